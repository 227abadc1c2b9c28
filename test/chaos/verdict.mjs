// What a stretch of history says about a fault: how it was borne, and which promise was broken.
import { Prober, Reader } from './clients.mjs';
import { percentile } from './history.mjs';

export const PROMISED = { answer: 2000, back: 2000, p99: 50 }; // ms
export const SETTLE = 10_000; // ms until a fault counts as not recovered from

/** How fast a quiet system is here and now; what is promised is stretched where that is slow. */
export function baseline(history, from, least) {
  const times = history.of('op', from).filter((op) => op.ok && !op.place.endsWith('*')).map((op) => op.ms);
  const p99 = percentile(times, 0.99);
  const slack = Math.max(least, times.length ? p99 / 10 : 0);
  return { requests: times.length, p50: percentile(times, 0.5), p99, slack };
}

/** ms from the end of the fault until the client gets on for good; undefined: not yet. */
function backAfter(world, loop, end) {
  const { history } = world;
  if (loop instanceof Reader) {
    const cut = history.of('cut', end).filter((r) => r.who === loop.name).at(-1)?.at ?? end;
    if (loop.path === world.paths.dashboard) { // has something to say now and then only
      const known = history.of('cut', end - SETTLE).some((r) => r.who === loop.name);
      const frame = history.of('frame', cut).find((r) => r.who === loop.name);
      return frame ? frame.at - end : known ? undefined : 0;
    }
    const fresh = history.of('frame', cut).find((r) => r.who === loop.name && r.event && r.stamp >= history.wall(end));
    return fresh && fresh.at - end;
  }
  const ops = history.of('op', end).filter((op) => op.who === loop.name && op.start >= end);
  const failed = ops.findLastIndex((op) => !op.ok);
  const good = ops[failed + 1];
  return good && good.at - end;
}

/** The slowest client's, with its name; undefined while one is not back. */
export function back(world, end) {
  let slowest = { ms: 0, who: '' };
  for (const loop of world.loops) {
    const ms = backAfter(world, loop, end);
    if (ms === undefined) return { who: loop.name };
    if (ms > slowest.ms) slowest = { ms, who: loop.name };
  }
  return slowest;
}

/** Everything acknowledged in the stretch is read from both instances; answers how many there were. */
export async function readBack(world, from, forgotten = [Infinity, -Infinity]) {
  const { history } = world;
  const wanted = world.writers.flatMap((w) => w.acked).filter(({ at }) => at >= from && !(at >= forgotten[0] && at <= forgotten[1]));
  const readers = world.places.map((place) => new Prober(world, `reader-${place.name}`, place));
  await Promise.all(readers.map(async (reader) => {
    for (const { path } of wanted) {
      const answer = await reader.ask('read back', 'GET', path);
      if (answer.status !== 200) history.breach('lost', reader.name, `${path} was acknowledged, and answers ${answer.status} ${answer.error ?? answer.code}`);
    }
    reader.agent.destroy();
  }));
  return wanted.length;
}

/** One row of the table. fault: its entry; [begin, end, settled]: ms. */
export function judge(world, name, fault, { begin, end, settled, read, note }, slack) {
  const { history } = world;
  const { hit, mute = [] } = fault;
  const ops = history.of('op', begin, settled).filter((op) => op.start >= begin && op.what !== 'read back');
  const direct = ops.filter((op) => !op.place.endsWith('*') && !mute.includes(op.place));
  const spared = ops.filter((op) => !hit.includes(op.place));
  const slowest = direct.reduce((max, op) => (op.ms > max.ms ? op : max), { ms: 0 });
  const came = back(world, end);
  const breaches = history.of('breach', begin);
  const count = (promise) => breaches.filter((b) => b.promise === promise).length;
  const row = {
    name, answers: ops.length, slowest: slowest.ms, back: came.ms, p99: spared.length ? percentile(spared.map((op) => op.ms), 0.99) : undefined,
    read, lost: count('lost') + count('doubled'), gaps: count('gap'), note, slack,
  };
  const broken = breaches.map((b) => `${b.promise}: ${b.who}: ${b.text}`);
  const dead = direct.filter((op) => op.what === 'livez' && !op.ok);
  const failed = spared.filter((op) => !op.ok);
  if (dead.length) broken.push(`liveness: ${dead.length} times not up: ${say(dead[0])}`);
  if (failed.length) broken.push(`spared: ${failed.length} requests failed that had nothing to do with it: ${say(failed[0])}`);
  if (row.slowest > PROMISED.answer * slack) broken.push(`answers: ${say(slowest)}`);
  if (!(row.back <= PROMISED.back * slack)) broken.push(`back: ${came.who} after ${came.ms === undefined ? `more than ${SETTLE}` : Math.round(came.ms)} ms`);
  if (row.p99 > PROMISED.p99 * slack) broken.push(`p99: ${Math.round(row.p99)} ms`);
  return { ...row, broken };
}

const say = (op) => `${op.what} at ${op.place} by ${op.who}: ${op.status || op.error} after ${Math.round(op.ms)} ms`;
