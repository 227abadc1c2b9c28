// Promotions while servers die, and while two of them settle at once. Whatever happens: each promotion ends, has one run, no
// two deploy into one environment at once, and nothing is left lying about.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Product } from '../lib/promote.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const SEED = Number(process.env.SLIPWAY_TEST_SEED ?? 20261128);
const ROUNDS = 8, SPREAD = 40; // questions to Redis, each a fraction of a millisecond, before the server is killed

function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const list = async (s, query) => (await s.api.get('/promotions', { query: { pageSize: '100', ...query } })).data;
const runsOf = async (s, promotion) => (await s.api.get('/workflow-runs', { query: { promotionId: promotion.id } })).data;
const cancelRun = (s, p) => s.api.want(200, 'POST', `/workflow-runs/${p.workflowRunId}/cancel`, {});

async function restart(s) {
  await s.server.kill();
  await s.server.start();
}

/** No environment is held, nothing stands in a line, and no timer of an environment is set. */
async function nothingLeft(s) {
  await eventually(async () => {
    const keys = [...await s.redis.keys('*}:pd:*'), ...await s.redis.keys('*}:pp:*'), ...await s.redis.keys('*}:pq:*'), ...await s.redis.keys('*}:pk:*')];
    const timers = [];
    for (const key of await s.redis.keys('*}:t')) timers.push(...await s.redis.command('ZRANGE', key, 0, -1));
    const left = [...keys, ...timers.filter((t) => t.includes(':environment:'))];
    return [left.length === 0, left];
  }, 'everything about promotions to be done with');
}

describe(`kill -9 of the server (SLIPWAY_TEST_SEED=${SEED})`, { concurrency: true }, () => {
  test('at any moment of a promotion and of the one that follows it', async (t) => {
    const s = await start({ name: 'promotion-kill' });
    try {
      const draw = random(SEED), p = new Product(s.api);
      const dev = await p.environment(), stage = await p.environment('quick', { autoPromoteFrom: dev.id });
      for (let round = 0; round < ROUNDS; round++) {
        const release = await p.release(), questions = Math.floor(draw() * SPREAD);
        t.diagnostic(`round ${round + 1}: killed after ${questions} questions`);
        const asked = p.ask(release, dev).catch(() => {}); // whether it is answered is a matter of luck
        for (let i = 0; i < questions; i++) await s.redis.command('PING');
        await restart(s);
        await asked;
        const [known] = await list(s, { releaseId: release.id, environmentId: dev.id });
        const one = await p.until(known ?? await p.promote(release, dev), 'deployed');
        const two = await eventually(async () => (await list(s, { releaseId: release.id, environmentId: stage.id }))[0], 'the promotion that follows');
        await p.until(two, 'deployed');
        assert.equal((await list(s, { releaseId: release.id })).length, 2);
        for (const x of [one, two]) assert.equal((await runsOf(s, x)).length, 1);
        for (const e of [dev, stage]) assert.equal((await p.state(e)).id, release.id);
      }
      await nothingLeft(s);
    } finally {
      await s.stop();
    }
  });

  test('while one deploys, one waits in line, one waits for approval, and when the run is told to end', async () => {
    const s = await start({ name: 'promotion-kill2' });
    try {
      const p = new Product(s.api), { id: quick } = await p.workflow('quick');
      const e = await p.environment('slow'), guarded = await p.environment('quick', { requiredApprovals: 1 });
      const current = await p.until(await p.skip(await p.release(), e), 'deploying');
      const awaiting = await p.until(await p.skip(await p.release(), guarded), 'awaiting_approval');
      const waiting = await p.until(await p.skip(await p.release(), e, { templateId: quick }), 'approved');
      await restart(s);
      for (const [x, status] of [[current, 'deploying'], [awaiting, 'awaiting_approval'], [waiting, 'approved']])
        assert.equal((await s.api.get(`/promotions/${x.id}`)).data.status, status);
      const told = cancelRun(s, current).catch(() => {});
      await restart(s);
      await told;
      if (['running', 'waiting'].includes((await runsOf(s, current))[0].status)) await cancelRun(s, current).catch(() => {});
      assert.equal((await p.until(current, 'failed')).error.code, 'WF_CANCELLED');
      await p.until(waiting, 'deployed');
      await s.api.want(200, 'POST', `/promotions/${awaiting.id}/cancel`, {});
      await nothingLeft(s);
    } finally {
      await s.stop();
    }
  });
});

test('a run that ends while Redis has no memory left ends its promotion when there is some again', async () => {
  const s = await start({ name: 'promotion-full' });
  try {
    const p = new Product(s.api), e = await p.environment('slow'), { id: quick } = await p.workflow('quick');
    const one = await p.until(await p.skip(await p.release(), e), 'deploying');
    const two = await p.until(await p.skip(await p.release(), e, { templateId: quick }), 'approved');
    const release = await p.release();
    const used = Number((await s.redis.command('INFO', 'memory')).match(/used_memory:(\d+)/)[1]);
    await s.redis.command('CONFIG', 'SET', 'maxmemory', String(Math.floor(used / 2)));
    await cancelRun(s, one);
    await eventually(async () => (await runsOf(s, one))[0]?.status === 'cancelled', 'the run to end');
    assert.equal((await p.ask(release, e, { skipOrderReason: 'x' })).status, 503);
    await s.redis.command('CONFIG', 'SET', 'maxmemory', '0');
    assert.equal((await p.until(one, 'failed')).error.code, 'WF_CANCELLED');
    await p.until(two, 'deployed');
    await nothingLeft(s);
  } finally {
    await s.stop();
  }
});

describe('two instances', () => {
  let s;
  after(() => s?.stop());

  test('settle at once: each promotion runs once, and each environment has one at a time', async () => {
    s = await start({ name: 'promotion-two', instances: 2 });
    const p = new Product(s.api), other = s.servers[1].client(s.key);
    const environments = [await p.environment(), await p.environment(), await p.environment()];
    const releases = [];
    for (let i = 0; i < 8; i++) releases.push(await p.release());
    await Promise.all(environments.flatMap((e) => releases.map((r, i) => p.skip(r, e, {}, i % 2 ? other : s.api))));
    for (const e of environments) {
      const made = await list(s, { environmentId: e.id });
      assert.equal(made.length, releases.length);
      const over = [];
      for (const x of made) over.push(await p.until(x, 'deployed'));
      over.sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
      for (let i = 1; i < over.length; i++)
        assert.ok(over[i - 1].completedAt <= over[i].startedAt, `${over[i].id} began before ${over[i - 1].id} had ended`);
      for (const x of over) assert.equal((await runsOf(s, x)).length, 1);
      assert.equal((await p.state(e)).id, over.at(-1).releaseId);
    }
    await nothingLeft(s);
  });
});
