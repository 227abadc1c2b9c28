// make soak: the mixed load for SOAK_MINUTES (30), a fault a minute, and whether the server stays as small as it was.
//
// Every fault hits the first instance, or Redis, or a link; the second is never restarted, and its resident memory and
// descriptors are what is judged: at most one megabyte in ten minutes once it is warm, and as many descriptors after the
// load as before. One line a minute; exit status 1 when a promise was broken.
import fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../lib/wait.mjs';
import { faults } from './faults.mjs';
import { percentile } from './history.mjs';
import { bear } from './room.mjs';
import { baseline } from './verdict.mjs';
import { World } from './world.mjs';

const MINUTE = 60_000, EACH = 2000; // ms; between two looks at a process
const GROWTH = 1; // MB in ten minutes, at most
const JUDGED = 15; // minutes from which on growth can be told from noise
const PLAN = [
  'server kill -9', 'client link cut', 'redis link half-open', 'agent kill -9', 'redis restarted', '1,000 that say nothing',
  'redis frozen', 'client link garbled', 'agent link half-open', 'server restarted', 'redis kill -9', '1,000 mute handshakes',
  'redis out of memory', 'server frozen', 'redis link garbled', '1,000 slow heads', 'agent frozen', 'flood of handshakes',
];
const minutes = Number(process.env.SOAK_MINUTES ?? 30);

const resident = (pid) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
const descriptors = (pid) => fs.readdirSync(`/proc/${pid}/fd`).length;

/** MB in ten minutes, by least squares. */
function growth(points) {
  const n = points.length, mean = (pick) => points.reduce((sum, p) => sum + pick(p), 0) / n;
  const at = mean((p) => p.at), mb = mean((p) => p.mb);
  const slope = points.reduce((s, p) => s + (p.at - at) * (p.mb - mb), 0) / points.reduce((s, p) => s + (p.at - at) ** 2, 0);
  return slope * 10 * MINUTE;
}

/** Looks at the process until `on.now` is false. */
async function look(pid, history, points, on) {
  for (; on.now; await pause(EACH)) points.push({ at: history.now, mb: resident(pid) });
}

async function soak() {
  const world = await new World({ seed: Number(process.env.SOAK_SEED ?? 1), name: 'soak' }).start();
  const { history } = world, broken = [], points = [], on = { now: true };
  try {
    const { pid } = world.s.servers[1].process;
    const before = descriptors(pid);
    await world.begin();
    const looking = look(pid, history, points, on);
    await pause(8000);
    const base = baseline(history, history.now - 6000, 1);
    console.log(`soak: ${minutes} minutes; quiet: p50 ${base.p50.toFixed(1)} ms, p99 ${base.p99.toFixed(1)} ms; ${before} descriptors before the load`);
    const began = history.now;
    for (let minute = 0; minute < minutes; minute++) {
      const name = PLAN[minute % PLAN.length], from = history.now;
      const row = await bear(world, name, base);
      await pause(Math.max(0, began + (minute + 1) * MINUTE - history.now));
      const ops = history.of('op', from), lately = points.filter((p) => p.at >= from).map((p) => p.mb);
      console.log(`  ${String(minute + 1).padStart(3)} min  ${name.padEnd(24)}${String(ops.length).padStart(6)} requests  p99 ${percentile(ops.filter((op) => op.ok).map((op) => op.ms), 0.99).toFixed(0).padStart(4)} ms` +
        `  back ${String(Math.round(row.back ?? NaN)).padStart(5)} ms  resident ${percentile(lately, 0.5).toFixed(1)} MB  ${descriptors(pid)} descriptors  lost ${row.lost}  gaps ${row.gaps}`);
      for (const text of row.broken) console.log(`    ! ${text}`);
      broken.push(...row.broken);
      history.forget(history.now - 15_000);
      for (const writer of world.writers) writer.acked = writer.acked.filter((_, i, all) => i % 10 === 0 || i >= all.length - 3);
    }
    on.now = false;
    await looking;
    await Promise.all(world.loops.map((loop) => loop.stop()));
    const after = await eventually(() => {
      const now = descriptors(pid);
      return [now <= before, now];
    }, `the descriptors to be ${before} again`, { patience: 2 * MINUTE }).catch(() => descriptors(pid));
    const warm = began + Math.min(10, minutes / 3) * MINUTE;
    const grows = growth(points.filter((p) => p.at >= warm));
    console.log(`resident: ${grows.toFixed(2)} MB in ten minutes, from ${((warm - began) / MINUTE).toFixed(1)} min on (${points.at(-1).mb.toFixed(1)} MB at the end); descriptors: ${before} before the load, ${after} after it`);
    if (minutes >= JUDGED && grows > GROWTH) broken.push(`memory grows by ${grows.toFixed(2)} MB in ten minutes`);
    if (minutes < JUDGED) console.log(`(growth is judged from ${JUDGED} minutes on)`);
    if (after > before) broken.push(`${after - before} descriptors are left`);
  } finally {
    on.now = false;
    await world.stop();
  }
  console.log(broken.length ? `${broken.length} broken promises` : 'all promises were kept');
  process.exitCode = broken.length ? 1 : 0;
}

if (PLAN.some((name) => !faults[name])) throw new Error('a fault of the plan is not there');
await soak();
