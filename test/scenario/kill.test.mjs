// kill -9 of the server, of Redis and of the agent at seeded points, while a script prints 200 numbered lines a second and
// two watchers follow, one over WebSocket, one over server-sent events. Nothing may be lost, doubled or changed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { alive } from '../lib/process.mjs';
import { makeTemplate, reaches, script, startRun, streamOf } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { Watcher } from '../lib/stream.mjs';
import { numbered } from '../lib/story.mjs';
import { eventually } from '../lib/wait.mjs';

const SEED = Number(process.env.SLIPWAY_TEST_SEED ?? 20261128);
const RUNS = 4, KILLS = 5, EVERY = 400; // lines between two kills at most: two seconds
const LINES = KILLS * EVERY + 200;

/** mulberry32: the same points for the same seed, on every machine. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const written = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
const linesIn = (text) => text.split('\n').length - 1;

const victims = {
  server: { kill: (s) => s.server.kill(), start: (s) => s.server.start() },
  Redis: { kill: (s) => s.redis.kill(), start: (s) => s.redis.start() },
  agent: { kill: (s) => s.agents[0].kill(), start: (s) => s.agents[0].start() },
};

describe(`kill -9 at ${RUNS * KILLS} points each (SLIPWAY_TEST_SEED=${SEED})`, { concurrency: true }, () => {
  for (const [index, [name, victim]] of Object.entries(victims).entries()) {
    test(`of the ${name}`, async (t) => {
      const s = await start({ name: `kill-${name.toLowerCase()}` });
      try {
        await s.addAgent();
        const draw = random(SEED + index);
        for (let round = 0; round < RUNS; round++) {
          const points = Array.from({ length: KILLS }, (_, i) => i * EVERY + 1 + Math.floor(draw() * EVERY));
          t.diagnostic(`run ${round + 1}: killed at lines ${points}`);
          await survive(s, victim, points, `round${round}`);
        }
      } finally {
        await s.stop();
      }
    });
  }
});

async function survive(s, victim, points, name) {
  const [file, pidFile] = [s.nest.file(`${name}.lines`), s.nest.file(`${name}.pid`)];
  const r = await startRun(s.api, await makeTemplate(s.api, [script('count', numbered(LINES, file, pidFile))]));
  const watchers = ['ws', 'sse'].map((kind) => new Watcher(s.server, streamOf(r), { token: s.key, kind }));
  const pid = await eventually(() => Number(fs.readFileSync(pidFile, 'utf8')), 'the script to note its pid');
  for (const point of points) {
    await eventually(() => linesIn(written(file)) >= point, `the script to write line ${point}`);
    assert.ok(alive(pid), `the script's process ${pid} is there before line ${point}`);
    await victim.kill(s);
    assert.ok(alive(pid), `the script's process ${pid} outlives the kill at line ${point}`);
    await victim.start(s);
  }
  await Promise.all(watchers.map((w) => w.done));
  const text = written(file);
  assert.equal(linesIn(text), LINES);
  assert.equal(fs.readFileSync(pidFile, 'utf8'), `${pid}\n`, 'the script ran once');
  for (const w of watchers) {
    assert.equal(firstDifference(w.lines('count'), text), undefined, `the ${w.kind} watcher's lines`);
    assert.equal(w.events.at(-1).type, 'workflow_completed');
    assert.equal(w.events.at(-1).status, 'succeeded');
  }
  assert.deepEqual(watchers[0].events, watchers[1].events);
  const run = await reaches(s.api, r, 'succeeded');
  assert.equal(run.status, 'succeeded');
  const log = await s.api.get(`/workflow-runs/${r.id}/steps/count/logs`, { headers: { accept: 'text/plain' } });
  assert.equal(firstDifference(log.text, text), undefined, 'the log that is kept');
}

/** Where two texts part, with what stands there; undefined when they are the same. */
function firstDifference(seen, expected) {
  if (seen === expected) return undefined;
  const a = seen.split('\n'), b = expected.split('\n');
  const i = b.findIndex((line, at) => a[at] !== line);
  return `line ${(i < 0 ? b.length : i) + 1}: seen ${JSON.stringify(a[i])}, expected ${JSON.stringify(b[i])}; ${a.length - 1} lines instead of ${b.length - 1}`;
}
