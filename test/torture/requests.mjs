// A scenario (scenarios.mjs) done again and again with one server, each time with another call failing.
import { Sweep } from './sweep.mjs';
import { World } from './world.mjs';

export class Requests extends Sweep {
  async open() {
    const w = (this.world = await World.open(this.scenario));
    await this.scenario.set?.(w);
    for (let i = 0; i < 2; i++) await this.calm(); // caches are full
  }

  take({ world }) {
    this.world = world;
  }

  async calm() {
    const w = this.world;
    w.calm = true;
    await this.scenario.once(w, await this.scenario.before?.(w));
    await this.scenario.check?.(w);
  }

  /** By a clean run. */
  async order() {
    const { world: w, scenario } = this;
    const made = await scenario.before?.(w);
    await w.server.record(this.kind);
    await scenario.once(w, made);
    this.row.calls = (await w.server.disarm()).calls;
    return this.numbers(await w.server.sites());
  }

  async failOne(n) {
    const { world: w, scenario } = this;
    let problem;
    w.tally = { right: 0, refused: 0, cut: 0 };
    try {
      const made = await scenario.before?.(w);
      await w.server.arm(this.kind, n, this.times);
      w.calm = false;
      await scenario.once(w, made);
    } catch (error) {
      problem = error;
    }
    for (const key of Object.keys(w.tally)) this.row[key] += w.tally[key];
    try {
      await w.server.disarm();
      await w.wellAgain();
      if (!problem) await scenario.check?.(w);
    } catch (error) {
      problem ??= error;
    }
    const { failed } = w.server.control;
    this.note(failed);
    if (problem || w.report || !w.alive) await this.wrong(n, problem);
    return Boolean(failed);
  }

  /** With nothing armed all is well, and nothing was lost. */
  async settle(n) {
    const w = this.world;
    try {
      await this.calm();
      if (await w.server.leaks()) await this.wrong(n, new Error('one of the last failures lost memory'), 'leaks');
    } catch (error) {
      await this.wrong(n, error);
    }
  }

  /** Counts what is wrong, and goes on with a fresh server. */
  async wrong(n, error, what) {
    const w = this.world;
    this.row[what ?? (w.report || !w.alive ? 'crashes' : 'wrong')]++;
    this.found(n, error, { failed: w.server.control.failed, process: w.server.process });
    await w.remove();
    await this.open();
  }

  /** Ends the server in order, which tells of leaks once more. */
  async close() {
    const w = this.world;
    if (!w) return;
    const ended = await w.end();
    if (ended) {
      this.row.wrong++;
      this.found(0, new Error(`after all that ${ended}`), { process: w.server.process });
    }
    await w.remove();
  }
}
