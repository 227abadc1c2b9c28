// One scenario and one kind of calls: the first of them fails, then the second, and so on. What a subclass adds is how the
// scenario is done: open(), order(), failOne(n) -> whether a call failed, settle(n), close().
import { BUILD, ROOT } from '../lib/process.mjs';
import path from 'node:path';
import { report, symbols } from './target.mjs';

const CALM_EACH = 16; // failures, until a calm run and a look for leaks

export class Sweep {
  /**
   * from: the first call to fail; most: how many to try; times: how many in a row fail; sites: only the first call of each
   * place, by its stack; seconds: a sample, with a stride, for about so long; tell(text): hears of what is wrong at once;
   * before: a sweep of the same scenario that left open (leaves) what this one goes on with.
   */
  constructor(scenario, kind, { from = 1, most = 2000, times = 1, sites = false, seconds = Infinity, tell = () => {}, before, leaves = false } = {}) {
    Object.assign(this, { scenario, kind, from, most, times, sites, seconds, tell, before, leaves });
    this.row = { scenario: scenario.name, kind, calls: 0, failed: 0, places: 0, right: 0, refused: 0, cut: 0, crashes: 0, leaks: 0, wrong: 0 };
    this.places = new Set();
    this.problems = [];
  }

  async run() {
    const began = Date.now();
    try {
      if (this.before) this.take(this.before);
      else await this.open();
      const order = await this.order();
      await this.fail(order, Date.now() + this.seconds * 1000);
      await this.settle(order.at(-1));
      this.well = true;
    } finally {
      if (!this.leaves || !this.well) await this.close();
    }
    this.row.places = this.places.size;
    this.row.seconds = Math.round((Date.now() - began) / 100) / 10;
    return this;
  }

  async settle() {}

  /** Which calls fail, in order, when row.calls were made. */
  numbers(sites) {
    const last = Math.min(this.row.calls + (this.sites ? 0 : 50), this.from + this.most - 1); // not each run makes equally many
    const numbers = this.sites ? sites.map((site) => site.n).filter((n) => n >= this.from) : Array.from({ length: last - this.from + 1 }, (_, i) => this.from + i);
    return numbers.filter((n) => n <= last);
  }

  async fail(order, until) {
    let idle = 0;
    for (const [i, n] of (this.seconds < Infinity ? spread(order) : order).entries()) {
      if (Date.now() > until) break;
      idle = (await this.failOne(n)) ? 0 : idle + 1;
      if (this.seconds === Infinity && n > this.row.calls && idle > 2) break;
      if (i % CALM_EACH === CALM_EACH - 1) await this.settle(n);
    }
  }

  /** Counts the call that failed, if one did. */
  note(failed) {
    this.row.failed += Boolean(failed);
    if (failed) this.places.add(failed.stack.join());
  }

  found(n, error, { failed, process }) {
    const said = report(process.log);
    const { name } = this.scenario;
    const log = process.tail(12).split('\n').filter((line) => !/ info request /.test(line));
    this.problems.push([
      `${name}: when ${this.kind} ${n} fails: ${error?.message.split('\n').slice(0, 4).join('\n    ') ?? 'it crashes'}`,
      ...(failed ? [`  the call that failed: ${failed.what}`, ...symbols(failed.stack).map((frame) => `    ${frame}`)] : []),
      ...(said ? said.split('\n').map((line) => `  | ${line}`) : log.map((line) => `  log ${line}`)),
      `  again: BUILD=${path.relative(ROOT, BUILD)} node test/torture/torture.mjs --only ${name} --kind ${this.kind} --times ${this.times} --from ${n} --most 1`,
    ].join('\n'));
    this.tell(this.problems.at(-1));
  }
}

/** Halves, quarters, eighths … of a list, so that its beginning is a sample of the whole. */
function spread(list) {
  const order = new Set();
  for (let step = list.length; step >= 1; step /= 2)
    for (let at = 0; at < list.length; at += step) order.add(list[Math.floor(at)]);
  for (const n of list) order.add(n);
  return [...order];
}
