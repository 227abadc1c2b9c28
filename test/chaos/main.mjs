// make chaos: the real thing under load, and one fault after another.
//
//     node test/chaos/main.mjs [--only TEXT] [--seed N] [--list]
//
// --only takes the faults whose name holds TEXT. One line for each; exit status 1 when a promise was broken. What happened
// is in build/results/chaos.history, one JSON object a line.
import { parseArgs } from 'node:util';
import { faults } from './faults.mjs';
import { suffer } from './room.mjs';
import { PROMISED } from './verdict.mjs';
import { NoDisk } from './world.mjs';

const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, seed: { type: 'string', default: '1' }, list: { type: 'boolean' } } });
const names = Object.keys(faults).filter((name) => name.includes(values.only));
const seed = Number(values.seed);

const ms = (n) => (n === undefined ? '-' : `${Math.round(n)}`);
const line = (...cells) => console.log(`  ${String(cells[0]).padEnd(28)}${cells.slice(1).map((c) => String(c).padStart(11)).join('')}`);

function tell({ base, row, read, lost }) {
  if (base) {
    console.log(`quiet: ${base.requests} requests, p50 ${base.p50.toFixed(1)} ms, p99 ${base.p99.toFixed(1)} ms` +
      (base.slack > 1 ? `; a busy machine: what is promised in time is stretched ${base.slack.toFixed(1)} times` : ''));
    console.log(`promised: answers ${PROMISED.answer} ms, back ${PROMISED.back} ms, p99 of the spared ${PROMISED.p99} ms, nothing lost, no gap unsignalled\n`);
    line('fault', 'answers', 'slowest', 'back', 'p99', 'read back', 'lost', 'gaps');
  } else if (row) {
    line(row.name, row.answers, ms(row.slowest), ms(row.back), ms(row.p99), row.read, row.lost, row.gaps);
    if (row.note) console.log(`      ${row.note}`);
    if (row.slack > 1) console.log(`      the machine was busy: judged by ${row.slack.toFixed(1)} times what is promised in time`);
    for (const text of row.broken.slice(0, 8)) console.log(`    ! ${text}`);
  } else {
    console.log(`\nread back in the end: ${read} acknowledged changes, ${lost} lost`);
  }
}

if (values.list) {
  console.log(names.join('\n'));
} else {
  const began = Date.now(), rows = [];
  const disk = names.filter((name) => faults[name].disk), rest = names.filter((name) => !faults[name].disk);
  console.log(`chaos: ${names.length} faults, --seed ${seed}`);
  if (rest.length) rows.push(...(await suffer(rest, { seed, tell })));
  if (disk.length) {
    try {
      rows.push(...(await suffer(disk, { seed, tell, name: 'chaos-disk', disk: 256 << 20 })));
    } catch (error) {
      if (!(error instanceof NoDisk)) throw error;
      console.log(`  ${disk.join(', ')}: skipped, no small file system can be made here (${error.message})`);
    }
  }
  const broken = rows.filter((row) => row.broken.length);
  console.log(`${rows.length} faults, ${broken.length} with a broken promise${broken.length ? ` (${broken.map((r) => r.name).join(', ')})` : ''}, ${Math.round((Date.now() - began) / 1000)} s`);
  process.exitCode = broken.length ? 1 : 0;
}
