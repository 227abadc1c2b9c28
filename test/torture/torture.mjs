// Fails each call that may fail, one after the other (test/torture/point.h): for each scenario the first allocation, the
// second, and so on until none fails any more; then the operations. `make torture`, or with options:
//
//     node test/torture/torture.mjs [--only NAME,…] [--kind alloc|op|read|…] [--from N] [--most N] [--times N] [--sites]
//                                   [--seconds N]
//
// --only is the scenarios' names, --kind what fails (default: alloc, then op, which is everything else), --from the first
// call to fail, --most how many calls to try (2,000), --times how many calls in a row fail (1). --sites tries only the
// first call of each place (by its stack). --seconds bounds the time per scenario and kind: a sample with a stride.
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { scenarios } from './scenarios.mjs';
import { symbols } from './target.mjs';
import { World } from './world.mjs';

const CALM_EACH = 16; // failures, until a calm run and a look for leaks

/** One scenario and kind. Answers a row of the table. */
export class Torture {
  constructor(scenario, kind, { from = 1, most = 2000, times = 1, sites = false, seconds = Infinity, tell = () => {} } = {}) {
    Object.assign(this, { scenario, kind, from, most, times, sites, seconds, tell });
    this.row = { scenario: scenario.name, kind, calls: 0, failed: 0, places: 0, right: 0, refused: 0, cut: 0, crashes: 0, leaks: 0, wrong: 0 };
    this.places = new Set();
    this.problems = [];
  }

  async run() {
    const began = Date.now();
    await this.open();
    try {
      const order = await this.order();
      await this.fail(order, Date.now() + this.seconds * 1000);
      await this.settle(order.at(-1));
    } finally {
      await this.world?.remove();
    }
    this.row.places = this.places.size;
    this.row.seconds = Math.round((Date.now() - began) / 100) / 10;
    return this;
  }

  async open() {
    const w = (this.world = await World.open(this.scenario));
    await this.scenario.set?.(w);
    for (let i = 0; i < 2; i++) await this.calm(); // caches are full
  }

  async calm() {
    const w = this.world;
    w.calm = true;
    await this.scenario.once(w, await this.scenario.before?.(w));
    await this.scenario.check?.(w);
  }

  /** The numbers of the calls to fail, by a clean run. */
  async order() {
    const { world: w, scenario } = this;
    const made = await scenario.before?.(w);
    await w.server.record(this.kind);
    await scenario.once(w, made);
    this.row.calls = (await w.server.disarm()).calls;
    const last = Math.min(this.row.calls + 50, this.from + this.most - 1); // not each run makes equally many
    let order = [];
    if (this.sites) order = (await w.server.sites()).map((site) => site.n).filter((n) => n >= this.from && n <= last);
    else for (let n = this.from; n <= last; n++) order.push(n);
    return order;
  }

  async fail(order, until) {
    let idle = 0;
    // With little time, those far apart come first.
    for (const [i, n] of spread(order, this.seconds < Infinity).entries()) {
      if (Date.now() > until) break;
      const fired = await this.failOne(n);
      idle = fired ? 0 : idle + 1;
      if (this.seconds === Infinity && n > this.row.calls && idle > 2) break;
      if (i % CALM_EACH === CALM_EACH - 1) await this.settle(n);
    }
  }

  async failOne(n) {
    const { world: w, scenario } = this;
    let problem, fired = false;
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
      fired = (await w.server.disarm()).failures > 0;
      await w.wellAgain();
      if (!problem) await scenario.check?.(w);
    } catch (error) {
      fired = true;
      problem ??= error;
    }
    const { failed } = w.server.control;
    if (failed) this.places.add(failed.stack.join());
    this.row.failed += fired;
    if (problem || w.report || !w.alive) await this.found(n, problem);
    return fired;
  }

  /** With nothing armed all is well, and nothing was lost. */
  async settle(n) {
    const w = this.world;
    try {
      await this.calm();
      if (await w.server.leaks()) await this.found(n, new Error('memory was lost by one of the last failures'), 'leaks');
    } catch (error) {
      await this.found(n, error);
    }
  }

  /** Notes what is wrong and goes on with a fresh server. */
  async found(n, error, what) {
    const w = this.world;
    const { failed } = w.server.control;
    const report = w.report;
    what ??= report || !w.alive ? 'crashes' : 'wrong';
    this.row[what]++;
    this.problems.push([
      `${this.scenario.name}: ${what} when ${this.kind} ${n} fails: ${error?.message.split('\n').slice(0, 4).join('\n    ')}`,
      ...(failed ? [`  the call that failed: ${failed.what}`, ...symbols(failed.stack).map((name) => `    ${name}`)] : []),
      ...(report ? report.split('\n').map((line) => `  | ${line}`) : []),
      ...(report ? [] : w.server.process.tail(12).split('\n').filter((line) => !/ info request /.test(line)).map((line) => `  log ${line}`)),
      `  again: BUILD=${process.env.BUILD ?? 'build'} node test/torture/torture.mjs --only ${this.scenario.name} --kind ${this.kind} --from ${n} --most 1`,
    ].join('\n'));
    this.tell(this.problems.at(-1));
    await w.remove();
    await this.open();
  }
}

/** Halves, quarters, eighths … of a list, so that its beginning is a sample of the whole. */
export function spread(list, sample) {
  if (!sample) return list;
  const order = [], seen = new Set();
  for (let step = list.length; step >= 1; step /= 2)
    for (let at = 0; at < list.length; at += step) {
      const i = Math.floor(at);
      if (!seen.has(i)) order.push(list[i]);
      seen.add(i);
    }
  for (const [i, n] of list.entries()) if (!seen.has(i)) order.push(n);
  return order;
}

const COLUMNS = ['calls', 'failed', 'places', 'right', 'refused', 'cut', 'crashes', 'leaks', 'wrong', 'seconds'];
const line = (row) => `${row.scenario.padEnd(16)} ${row.kind.padEnd(6)}${COLUMNS.map((c) => String(row[c]).padStart(9)).join('')}`;

async function main() {
  const { values: v } = parseArgs({
    options: {
      only: { type: 'string' }, kind: { type: 'string', default: 'alloc,op' }, from: { type: 'string', default: '1' },
      most: { type: 'string', default: '2000' }, times: { type: 'string', default: '1' }, seconds: { type: 'string' },
      sites: { type: 'boolean', default: false },
    },
  });
  const wanted = v.only?.split(',');
  const chosen = scenarios.filter(({ name }) => !wanted || wanted.includes(name));
  const options = { from: Number(v.from), most: Number(v.most), times: Number(v.times), sites: v.sites, seconds: v.seconds ? Number(v.seconds) : Infinity };
  console.log(line({ scenario: 'scenario', kind: 'kind', ...Object.fromEntries(COLUMNS.map((c) => [c, c])) }));
  let problems = 0;
  for (const scenario of chosen)
    for (const kind of v.kind.split(',').filter((k) => !scenario.kinds || scenario.kinds.includes(k))) {
      const torture = await new Torture(scenario, kind, { ...options, tell: (text) => console.log(text) }).run();
      console.log(line(torture.row));
      problems += torture.problems.length;
    }
  console.log(`== torture: ${problems} problems`);
  process.exitCode = problems ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();
