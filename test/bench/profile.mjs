// make profile: where the time of Slipway and its Redis goes under one row's load, by perf.
import { spawnSync } from 'node:child_process';
import { startedBy } from './machine.mjs';

const SHOWN = 45; // symbols

const perf = (...args) => spawnSync('perf', args, { encoding: 'utf8', maxBuffer: 1 << 28 });

/** A report's rows, by `fields` between tabs, as [percent, field, …]. */
const rows = (file, fields) =>
  perf('report', '-i', file, '--stdio', '--no-children', '-g', 'none', '-t', '\t', '--sort', fields).stdout.split('\n')
    .filter((line) => /^\s*[\d.]+%/.test(line)).map((line) => line.trim().split('\t'))
    .map(([percent, ...rest]) => [parseFloat(percent), ...rest.map((text) => text.trim().replace('[kernel.kallsyms]', 'kernel').replace('redis-check-rdb', 'redis'))]);

/** Adds up what has the same text; the largest first. */
function added(pairs) {
  const sums = new Map();
  for (const [percent, text] of pairs) sums.set(text, (sums.get(text) ?? 0) + percent);
  return [...sums].sort((a, b) => b[1] - a[1]).map(([text, percent]) => `  ${percent.toFixed(1).padStart(5)} %  ${text}`);
}

export class Profile {
  /** Every load from here on is recorded; the last one is what the report shows. */
  constructor(bench, pids) {
    this.file = bench.nest.file('perf.data');
    const tried = perf('record', '-e', 'cpu-clock', '-o', this.file, '--', 'true');
    if (tried.status !== 0)
      throw new Error(`perf is not usable here (kernel.perf_event_paranoid, a container, or not installed): ${(tried.stderr ?? tried.error.message).trim().split('\n')[0]}`);
    this.words = ['perf', 'record', '-q', '-e', 'cpu-clock', '-F', '1999', '-g', '-p', pids.join(','), '-o', this.file, '--'];
  }

  begin() {
    startedBy.push(...this.words);
  }

  report() {
    const all = rows(this.file, 'comm,dso,symbol').map(([percent, comm, dso, symbol]) => {
      const where = dso === 'kernel' ? `${comm}, kernel` : `${comm}, ${dso}`;
      return { percent, where, symbol: symbol.startsWith('[.] 0x') ? 'without a symbol' : symbol.slice(4).replace(/\s+-.*/, '') };
    });
    const places = added(all.map(({ percent, where }) => [percent, where])).filter((line) => !line.startsWith('    0.0'));
    const symbols = added(all.map(({ percent, where, symbol }) => [percent, `${where.padEnd(34)} ${symbol}`])).slice(0, SHOWN);
    return ['', 'where (thread, then kernel, program or library):', ...places, '', `the first ${symbols.length} symbols:`, ...symbols].join('\n');
  }
}
