// What is made and not yet begun: `pending` lasts from the commit that makes a promotion, a run or a job until the instance
// that made it moves it on. Here that instance loses Redis in between, and the other one is asked meanwhile; a moment later
// the other one moves them on itself. So each is asked for again should it have come too late.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { HostAgent, makeEstate, makeRelease } from '../lib/deployment.mjs';
import { RedisProxy } from '../lib/proxy.mjs';
import { makeTemplate, wait } from '../lib/run.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { eventually, within } from '../lib/wait.mjs';

let s, api, proxy, maker;
before(async () => {
  s = await start({ name: 'pending' });
  api = s.api;
  proxy = await new RedisProxy(s.nest, s.redis.socket).start();
  const server = new Server(s, 'maker', { args: ['--workers', '1', '--redis', proxy.url] });
  s.servers.push(server);
  await server.start();
  maker = server.client(s.key);
});
after(async () => {
  proxy?.stop();
  await s?.stop();
});

const read = (at) => api.want(200, 'GET', at);

const seen = new Set();

/** Has the maker make something, which is the last it does; answers what `path` lists anew then. */
async function left(action, ask, path) {
  const made = proxy.freezeAfter(action);
  const asked = ask(maker).catch(() => {}); // it may be told that it failed, or nothing
  await within(made, `${action} to be written`);
  const found = await eventually(async () => (await read(path)).find((x) => !seen.has(x.id)), `${path} to list it`);
  seen.add(found.id);
  return { ...found, over: async () => {
    proxy.thaw();
    await asked;
    await eventually(async () => (await maker.get('/readyz', { absolute: true })).status === 200, 'the maker to be ready');
  } };
}

/** Until `look` has seen it pending, from first to last. */
async function whilePending(leave, look) {
  for (let tries = 1; ; tries++) {
    const found = await leave();
    const status = await look(found).finally(found.over);
    if (status === 'pending') return found;
    assert.ok(tries < 20, `it was never seen pending, but ${status}`);
  }
}

const details = (a) => [a.status, a.code, a.error?.details?.currentState, a.error?.details?.allowedActions];

test('a promotion that is pending can be cancelled', async () => {
  const { environment } = await makeEstate(api, 1);
  await whilePending(async () => {
    const release = await makeRelease(api);
    return left('promotion.requested', (client) => client.post('/promotions', {
      releaseId: release.id, targetEnvironmentId: environment.id, reason: 'a test', skipOrderReason: 'a test',
    }), `/promotions?releaseId=${release.id}`);
  }, async ({ id }) => {
    const answer = await api.post(`/promotions/${id}/cancel`, {});
    const [event] = await read(`/audit-events?resourceId=${id}&action=promotion.cancelled`);
    if (answer.status === 200) assert.deepEqual([answer.data.status, answer.data.workflowRunId], ['cancelled', null]);
    return event?.before.status;
  });
});

test('a run that is pending can be cancelled, and neither paused nor resumed', async () => {
  const template = await makeTemplate(api, [wait('a', 3600)]);
  const { id } = await whilePending(
    () => left('run.created', (client) => client.post('/workflow-runs', { templateId: template.id }), `/workflow-runs?templateId=${template.id}`),
    async (run) => {
      const answers = [await api.post(`/workflow-runs/${run.id}/pause`, {}), await api.post(`/workflow-runs/${run.id}/resume`, {})];
      const { status } = await read(`/workflow-runs/${run.id}`);
      if (status === 'pending')
        for (const answer of answers) assert.deepEqual(details(answer), [409, 'RES_INVALID_STATE', 'pending', ['cancel']], answer.text);
      assert.equal((await api.want(200, 'POST', `/workflow-runs/${run.id}/cancel`, {})).status, 'cancelled');
      return status;
    });
  assert.equal((await read(`/workflow-runs/${id}`)).status, 'cancelled');
});

test('a job that is pending cannot be rolled back', async () => {
  const { environment, labels } = await makeEstate(api, 1);
  await new HostAgent(s).serve(labels);
  const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: {} }]);
  const release = await makeRelease(api);
  await whilePending(
    () => left('job.created', (client) => client.post('/promotions', {
      releaseId: release.id, targetEnvironmentId: environment.id, reason: 'a test', skipOrderReason: 'a test', templateId: template.id, redeploy: true,
    }), `/deployment-jobs?environmentId=${environment.id}`),
    async (job) => {
      const answers = [];
      for (const dryRun of [true, false]) answers.push(await api.post('/rollbacks', { deploymentJobId: job.id, reason: 'a test', dryRun }));
      const { status } = await read(`/deployment-jobs/${job.id}`);
      if (status === 'pending')
        for (const answer of answers) assert.deepEqual([...details(answer), answer.error.details.workflowRunId], [409, 'RES_INVALID_STATE', 'pending', ['cancel-run'], job.workflowRunId], answer.text);
      await eventually(async () => (await read(`/deployment-jobs/${job.id}`)).status === 'succeeded', 'the other instance to begin it');
      return status;
    });
});
