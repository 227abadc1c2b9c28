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
import { Launches, launches } from './launches.mjs';
import { Requests } from './requests.mjs';
import { scenarios } from './scenarios.mjs';

/** {name, sweep(kind, options)} of each. */
export const rows = [
  ...launches.map((row) => ({ name: row.name, sweep: (...how) => new Launches(row, ...how) })),
  ...scenarios.map((row) => ({ name: row.name, sweep: (...how) => new Requests(row, ...how) })),
];

const COLUMNS = ['calls', 'failed', 'places', 'right', 'refused', 'cut', 'crashes', 'leaks', 'wrong', 'seconds'];
const line = (row) => `${row.scenario.padEnd(16)} ${row.kind.padEnd(6)}${COLUMNS.map((c) => String(row[c]).padStart(9)).join('')}`;

async function main() {
  const { values: v } = parseArgs({
    options: {
      only: { type: 'string' }, kind: { type: 'string', default: 'alloc,op' }, from: { type: 'string', default: '1' },
      most: { type: 'string', default: '2000' }, times: { type: 'string', default: '1' }, seconds: { type: 'string', default: 'Infinity' },
      sites: { type: 'boolean', default: false },
    },
  });
  const wanted = v.only?.split(',') ?? rows.map(({ name }) => name);
  const unknown = wanted.filter((name) => !rows.some((row) => row.name === name));
  if (unknown.length) throw new Error(`there is no scenario ${unknown}; there are ${rows.map(({ name }) => name).join(' ')}`);
  const options = {
    from: Number(v.from), most: Number(v.most), times: Number(v.times), sites: v.sites, seconds: Number(v.seconds),
    tell: (text) => console.log(text),
  };
  console.log(line({ scenario: 'scenario', kind: 'kind', ...Object.fromEntries(COLUMNS.map((c) => [c, c])) }));
  let problems = 0;
  for (const row of rows.filter(({ name }) => wanted.includes(name)))
    for (const kind of v.kind.split(',')) {
      const done = await row.sweep(kind, options).run();
      console.log(line(done.row));
      problems += done.problems.length;
    }
  console.log(`== torture: ${problems} problems`);
  process.exit(problems ? 1 : 0);
}

if (process.argv[1].endsWith('torture.mjs')) await main();
