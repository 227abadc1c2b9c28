// Deployments of a size, and with an instance that dies under them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { HostAgent, jobOf, jobReaches, makeRelease, promote, runOf } from '../lib/deployment.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s;
before(async () => {
  s = await start({ name: 'deployment-large', instances: 2 });
});
after(() => s?.stop());

/** An environment with `n` targets, served by `agents` agents in turn, all of them at one instance. */
async function estate(api, server, n, agents, play) {
  const zone = unique('zone');
  const environment = await api.want(201, 'POST', '/environments', { name: unique('env'), config: { agentLabels: [`zone=${zone}`] } });
  const made = await Promise.all(Array.from({ length: agents }, () => new HostAgent(s, { server, api }).serve({ zone }, play)));
  const targets = await Promise.all(Array.from({ length: n }, (_, i) => api.want(201, 'POST', '/targets', {
    environmentId: environment.id, name: `t${i}`, type: 'host', agentId: made[i % agents].id, connection: { path: `/srv/${zone}/${i}` },
  })));
  return { environment, targets, agents: made };
}

/** Everything the job's channel holds, in order. */
async function events(job) {
  const [key] = await s.redis.keys(`*:e:*:job:${job.id}`);
  const entries = await s.redis.command('XRANGE', key, '-', '+');
  return entries.flatMap(([, fields]) => fields[fields.indexOf('b') + 1].split('\n')).map((text) => JSON.parse(text));
}

async function deployed(promotion, api) {
  return eventually(async () => {
    const now = await api.want(200, 'GET', `/promotions/${promotion.id}`);
    return [now.status === 'deployed', now.status];
  }, 'the promotion to be deployed');
}

test('two hundred targets at once: each is deployed to once, and every event is in its place', async () => {
  const { api } = s;
  const { environment, targets, agents } = await estate(api, s.server, 200, 40, () => ({ lines: ['unpacking', 'done'] }));
  const promotion = await promote(api, await makeRelease(api), environment, { strategy: { type: 'all-at-once', config: {} } });
  const job = await jobOf(api, await runOf(api, promotion));
  const ended = await jobReaches(api, job, 'succeeded');
  assert.equal(ended.completedTargets, 200);
  await deployed(promotion, api);
  assert.deepEqual(agents.flatMap((a) => (a.fault ? [String(a.fault)] : [])), []);
  const given = agents.flatMap((a) => a.tasks.map((t) => t.payload.target.id));
  assert.deepEqual(given.toSorted(), targets.map((t) => t.id).toSorted());
  const all = await events(job);
  assert.deepEqual(all.map((e) => e.seq), all.map((_, i) => i + 1));
  assert.equal(all.filter((e) => e.type === 'task_completed').length, 200);
  assert.equal(all.filter((e) => e.type === 'task_log').length, 400);
  assert.equal(all.filter((e) => e.type === 'job_completed').length, 1);
  const counted = await Promise.all(s.servers.map(async (server) => {
    const { text } = await server.client().request('GET', '/metrics', undefined, { absolute: true, judge: false });
    return Number(/^slipway_deployment_jobs_ended_total\{status="succeeded"\} (\d+)$/m.exec(text)[1]);
  }));
  assert.equal(counted[0] + counted[1], 1);
});

test('the instance that made a deployment dies: the other one brings it to its end', async () => {
  const [first, second] = s.servers;
  const api = second.client(s.key);
  let killed;
  const { environment, targets, agents } = await estate(api, second, 30, 5, () => {
    killed ??= first.kill(); // with the first batch under way
    return killed.then(() => ({}));
  });
  const promotion = await promote(first.client(s.key), await makeRelease(api), environment,
    { strategy: { type: 'rolling', config: { batchSize: 5 } } });
  const job = await jobOf(api, await runOf(api, promotion));
  assert.equal((await jobReaches(api, job, 'succeeded')).completedTargets, 30);
  await deployed(promotion, api);
  const given = agents.flatMap((a) => a.tasks.map((t) => t.payload.target.id));
  assert.deepEqual(given.toSorted(), targets.map((t) => t.id).toSorted());
  const all = await events(job);
  assert.deepEqual(all.map((e) => e.seq), all.map((_, i) => i + 1));
  assert.equal(all.filter((e) => e.type === 'batch_completed').length, 6);
  await first.start();
});

test('a job is kept for run-keep after its end, then nothing of it is left', async () => {
  const brief = await start({ name: 'job-retention', env: { SLIPWAY_RUN_KEEP: '1s' } });
  try {
    const { api } = brief;
    const zone = unique('zone');
    const environment = await api.want(201, 'POST', '/environments', { name: unique('env'), config: { agentLabels: [`zone=${zone}`] } });
    await api.want(201, 'POST', '/targets', { environmentId: environment.id, name: 'one', type: 'host', connection: { path: '/srv/one' } });
    const agent = await new HostAgent(brief).serve({ zone }, () => ({ lines: ['a line'] }));
    const promotion = await promote(api, await makeRelease(api), environment);
    await deployed(promotion, api);
    const [job] = agent.tasks.map((t) => t.id.split(':')[0]);
    await eventually(async () => (await api.get(`/deployment-jobs/${job}`)).status === 404, 'the job to be removed');
    assert.deepEqual((await brief.redis.keys(`*${job}*`)).filter((key) => !/:le:|:deploymentJobId=/.test(key)), []);
    for (const key of ['dirty', 't', 'q'])
      for (const set of await brief.redis.keys(`{p??}:${key}`))
        assert.deepEqual((await brief.redis.command('ZRANGE', set, '0', '-1')).filter((member) => member.includes(job)), []);
  } finally {
    await brief.stop();
  }
});
