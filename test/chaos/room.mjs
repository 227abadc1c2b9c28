// One fault after another on one world, each with its verdict.
import fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { BUILD } from '../lib/process.mjs';
import { faults, settled } from './faults.mjs';
import { SETTLE, back, baseline, judge, readBack } from './verdict.mjs';
import { World } from './world.mjs';

const CALM = 500; // ms before and after a fault that tell how busy the machine is

/** One fault and its verdict. */
export async function bear(world, name, base) {
  const { history } = world, fault = faults[name], times = { begin: history.now };
  const calm = () => baseline(history, history.now - CALM, base.slack).slack; // the machine may have more to do by now
  const before = calm();
  world.forgiven = fault.forgets === true;
  await fault.begin(world);
  await pause(fault.lasts);
  const note = await fault.end(world);
  const said = typeof note === 'string' && note.length > 2 ? note : undefined;
  times.end = history.now;
  while (history.now < times.end + 1000 || (back(world, times.end).ms === undefined && history.now < times.end + SETTLE)) await pause(50);
  times.settled = history.now;
  await settled();
  await pause(CALM);
  const slack = Math.max(before, calm());
  times.read = await readBack(world, times.begin, fault.forgets && [times.begin, times.end]);
  const row = judge(world, name, fault, { ...times, note: said }, slack);
  if (fault.forgets) for (const writer of world.writers) forget(writer, times);
  world.forgiven = false;
  return row;
}

function forget(writer, { begin, end }) {
  writer.register = { n: 0 };
  writer.acked = writer.acked.filter(({ at }) => at < begin || at > end);
}

/** Answers a row for each fault; `tell({row})` as they come. quiet: ms that are measured before anything happens; slack:
 * how far what is promised in time is stretched at least. */
export async function suffer(names, { seed, tell, name = 'chaos', quiet = 4000, slack = 1, ...options }) {
  const world = new World({ seed, name, ...options });
  const rows = [];
  try {
    await world.start();
    await world.begin();
    const from = world.history.now;
    await pause(quiet);
    const base = baseline(world.history, from, slack);
    tell({ base });
    for (const fault of names) {
      rows.push(await bear(world, fault, base));
      tell({ row: rows.at(-1) });
    }
    const read = await readBack(world, 0); // all that was ever acknowledged
    const lost = world.history.of('breach').filter((b) => b.promise === 'lost');
    tell({ read, lost: lost.length });
  } finally {
    fs.mkdirSync(`${BUILD}/results`, { recursive: true });
    world.history.write(`${BUILD}/results/${name}.history`);
    await world.stop();
  }
  return rows;
}
