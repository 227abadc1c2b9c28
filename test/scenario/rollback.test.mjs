// Targets and rollbacks with a real agent: what is on the disk is what counts.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { addVersion, makeRelease, makeTargets, promote, promotionReaches } from '../lib/release.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const SEED = Number(process.env.SLIPWAY_TEST_SEED ?? 20261128);
const ROUNDS = 6, SPREAD = 60; // questions to Redis, each a fraction of a millisecond, before the server is killed

function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

let s, api, component;
before(async () => {
  s = await start({ name: 'rollback', workers: 2 });
  api = s.api;
  await s.addAgent('host1');
  component = await api.want(201, 'POST', '/components', { name: unique('site') });
  for (const tag of ['1.0.0', '2.0.0', '3.0.0']) await addVersion(s, component, tag, { 'index.html': `version ${tag}\n` });
});
after(() => s?.stop());

const get = (at) => api.want(200, 'GET', at);
const root = (target) => target.connection.path;
const page = (target) => fs.readFileSync(`${root(target)}/current/${component.name}/index.html`, 'utf8').trim();
const linked = (target) => {
  try {
    return fs.readlinkSync(`${root(target)}/current`).split('/').pop();
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
};

async function deploy(release, environment) {
  const promotion = await promote(s, release, environment, { skipOrderReason: 'a test' });
  return promotionReaches(s, promotion, 'deployed');
}

/** An environment whose targets have had releases of these tags, one after the other. */
async function estate(count, ...tags) {
  const environment = await api.want(201, 'POST', '/environments', { name: unique('env') });
  const targets = await makeTargets(s, environment, count), releases = [], promotions = [];
  for (const tag of tags) {
    releases.push(await makeRelease(s, component, tag));
    promotions.push(await deploy(releases.at(-1), environment));
  }
  return { environment, targets, releases, promotions };
}

const settled = (target, release) => eventually(async () => {
  const now = await get(`/targets/${target.id}`);
  return [(now.currentRelease?.id ?? null) === (release?.id ?? null), now.currentRelease];
}, `target ${target.name} to have ${release?.name ?? 'nothing'}`);

const ended = (rollback) => eventually(async () => {
  const now = await get(`/rollbacks/${rollback.id}`);
  return [['succeeded', 'failed'].includes(now.status), now];
}, `rollback ${rollback.id} to end`);

describe('a target', () => {
  test('is healthy when its agent says so, and says what was wrong when it is not', async () => {
    const { targets: [target] } = await estate(1, '1.0.0');
    const server = http.createServer((request, reply) => {
      reply.statusCode = request.url === '/up' ? 200 : 500;
      reply.end('all is well');
    });
    await new Promise((go) => server.listen(0, '127.0.0.1', go));
    const { port } = server.address();
    const check = async (body) => (await api.want(200, 'POST', `/targets/${target.id}/health-check`, body));
    try {
      const well = await check({ type: 'http', port, path: '/up', expectBody: 'is well' });
      assert.equal(well.status, 'healthy', JSON.stringify(well));
      assert.equal(well.checks.length, 1);
      assert.equal((await check({ type: 'http', port, path: '/down' })).status, 'unhealthy');
      assert.equal((await check({ type: 'tcp', port })).status, 'healthy');
    } finally {
      await new Promise((done) => server.close(done));
    }
    const ill = await check({ type: 'tcp', port });
    assert.equal(ill.status, 'unhealthy');
    const now = await get(`/targets/${target.id}`);
    assert.deepEqual([now.healthStatus, now.healthMessage, now.lastHealthCheck], ['unhealthy', ill.message, ill.checkedAt]);
    assert.equal((await check({})).status, 'healthy'); // only whether its agent answers
  });

  test('has the sticker that is on its disk; drift is what was tampered with', async () => {
    const { targets: [target], releases: [release] } = await estate(1, '1.0.0');
    await settled(target, release);
    const file = `${root(target)}/version.json`, written = fs.readFileSync(file, 'utf8');
    const sticker = await get(`/targets/${target.id}/sticker`);
    assert.deepEqual([sticker.content, sticker.source], [JSON.parse(written), 'deployment']);
    assert.equal(sticker.content.release.id, release.id);
    const drift = () => get(`/targets/${target.id}/drift`);
    const clean = await drift();
    assert.deepEqual([clean.hasDrift, clean.differences], [false, []], JSON.stringify(clean));
    assert.deepEqual([clean.expected.releaseId, clean.actual.releaseId, clean.actual.current], [release.id, release.id, release.name]);

    fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(written), release: { ...JSON.parse(written).release, name: 'something-else' } }));
    assert.deepEqual((await drift()).differences.map((d) => [d.kind, d.component]), [['config_mismatch', null]]);
    const stickers = async () => (await api.get('/version-stickers', { query: { targetId: target.id } })).data.map((x) => x.status);
    assert.deepEqual(await stickers(), ['mismatch']);
    fs.rmSync(file);
    assert.deepEqual((await drift()).differences.map((d) => d.kind), ['sticker_missing']);
    assert.equal((await api.get(`/targets/${target.id}/sticker`)).status, 404);
    fs.writeFileSync(file, written);

    const folder = `${root(target)}/releases/${release.name}`;
    fs.renameSync(`${folder}/${component.name}`, `${root(target)}/aside`);
    assert.deepEqual((await drift()).differences.map((d) => [d.kind, d.component]), [['missing', component.name]]);
    fs.renameSync(`${root(target)}/aside`, `${folder}/${component.name}`);
    fs.mkdirSync(`${folder}/stranger`);
    assert.deepEqual((await drift()).differences.map((d) => [d.kind, d.component]), [['unexpected', 'stranger']]);
    fs.rmdirSync(`${folder}/stranger`);
    assert.equal((await drift()).hasDrift, false);
    assert.deepEqual(await stickers(), ['current']);
  });
});

describe('a rollback', () => {
  test('W7, W20: brings the release before back to every disk, at once, and history says so', async () => {
    const { environment, targets, releases: [one, two], promotions } = await estate(3, '1.0.0', '2.0.0');
    for (const target of targets) assert.equal(page(target), 'version 2.0.0');
    const rollback = await api.want(201, 'POST', '/rollbacks', { deploymentJobId: promotions[1].deploymentJobId, reason: 'the shop is empty' });
    const done = await ended(rollback);
    assert.equal(done.status, 'succeeded', JSON.stringify(done.error));
    for (const target of targets) {
      assert.equal(page(target), 'version 1.0.0');
      assert.equal(JSON.parse(fs.readFileSync(`${root(target)}/version.json`, 'utf8')).release.id, one.id);
      await settled(target, one);
      assert.equal((await get(`/targets/${target.id}/drift`)).hasDrift, false);
    }
    await promotionReaches(s, promotions[1], 'rolled_back');
    const jobs = (await api.get('/deployment-jobs', { query: { environmentId: environment.id } })).data;
    assert.deepEqual(jobs.map((j) => [j.releaseId ?? null, j.status, j.rollbackOf ?? null, j.rolledBackBy ?? null]), [
      [null, 'succeeded', promotions[1].deploymentJobId, null],
      [two.id, 'rolled_back', null, rollback.id],
      [one.id, 'succeeded', null, null],
    ]);
    assert.equal((await get(`/rollbacks/${rollback.id}`)).reason, 'the shop is empty');
    const state = await get(`/environments/${environment.id}?includeState=true`);
    assert.equal(state.currentRelease.id, one.id);
  });

  test('takes the release away where there was none before', async () => {
    const { environment, targets: [old], releases: [one] } = await estate(1, '1.0.0');
    const [fresh] = await makeTargets(s, environment, 1, () => ({ name: 'fresh' }));
    const second = await deploy(await makeRelease(s, component, '2.0.0'), environment);
    const rollback = await api.want(201, 'POST', '/rollbacks', { deploymentJobId: second.deploymentJobId, reason: 'too early' });
    assert.match(rollback.plan.warnings.join(), /fresh had nothing before/);
    const done = await ended(rollback);
    assert.equal(done.status, 'succeeded', JSON.stringify(done.error));
    assert.deepEqual([linked(old), linked(fresh), fs.existsSync(`${root(fresh)}/version.json`)], [one.name, null, false]);
    await settled(old, one);
    await settled(fresh, null);
    assert.equal((await get(`/targets/${fresh.id}/drift`)).expected, null);
  });

  test('goes on after a kill -9 of the server in its middle, and frees the environment', async () => {
    const { environment, targets, releases: [one], promotions } = await estate(3, '1.0.0', '2.0.0');
    const rollback = await api.want(201, 'POST', '/rollbacks', { deploymentJobId: promotions[1].deploymentJobId, reason: 'power' });
    await s.server.kill();
    await s.server.start();
    const done = await ended(rollback);
    assert.equal(done.status, 'succeeded', JSON.stringify(done.error));
    for (const target of targets) {
      assert.equal(page(target), 'version 1.0.0');
      await settled(target, one);
    }
    await promotionReaches(s, promotions[1], 'rolled_back');
    const job = await eventually(async () => {
      const now = await get(`/deployment-jobs/${promotions[1].deploymentJobId}`);
      return [now.status === 'rolled_back', now];
    }, 'the job to be rolled back');
    assert.equal(job.rolledBackBy, rollback.id);
    const three = await makeRelease(s, component, '3.0.0');
    await deploy(three, environment);
    for (const target of targets) assert.equal(page(target), 'version 3.0.0');
  });

  test(`ends whenever the server is killed (SLIPWAY_TEST_SEED=${SEED}), and is done once`, async (t) => {
    const { environment, targets, releases: [one, two] } = await estate(2, '1.0.0', '2.0.0'), draw = random(SEED);
    let now = two;
    for (let round = 1; round <= ROUNDS; round++) {
      const next = now === two ? one : two, questions = Math.floor(draw() * SPREAD), reason = `round ${round}`;
      t.diagnostic(`${reason}: killed after ${questions} questions`);
      const asked = api.post('/rollbacks', { environmentId: environment.id, reason }).catch(() => {}); // whether it is answered is a matter of luck
      for (let i = 0; i < questions; i++) await s.redis.command('PING');
      await s.server.kill();
      await s.server.start();
      await asked;
      const known = (await api.get('/rollbacks', { query: { environmentId: environment.id } })).data.find((r) => r.reason === reason);
      const rollback = known ?? await api.want(201, 'POST', '/rollbacks', { environmentId: environment.id, reason });
      const done = await ended(rollback);
      assert.equal(done.status, 'succeeded', JSON.stringify(done.error));
      assert.equal(done.toReleaseId, next.id);
      for (const target of targets) {
        await settled(target, next);
        assert.equal(linked(target), next.name);
      }
      assert.equal((await get(`/environments/${environment.id}?includeState=true`)).currentRelease.id, next.id);
      now = next;
    }
    const { data } = await api.get('/rollbacks', { query: { environmentId: environment.id, pageSize: '100' } });
    assert.deepEqual(data.map((r) => r.status), Array(ROUNDS).fill('succeeded'));
    assert.deepEqual(await s.redis.keys('*}:pd:*'), []);
  });
});
