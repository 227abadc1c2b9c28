// What is asked of an agent about a target, and what a target's documents say of what is on it. Agents are played by
// the test; what a job would have written is put into the store by hand.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FakeAgent } from '../lib/agent.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';
import { deployedTo, spaceOf } from '../lib/target.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'target', instances: 2 });
  api = s.api;
});
after(() => s?.stop());

const digest = (c) => `sha256:${c.repeat(64)}`;
const uuid = () => crypto.randomUUID();

async function target(more = {}, environment = {}) {
  const env = await api.want(201, 'POST', '/environments', { name: unique('env').toLowerCase(), ...environment });
  return api.want(201, 'POST', '/targets', {
    environmentId: env.id, name: unique('web'), type: 'host', connection: { path: '/srv/site' }, ...more,
  });
}

/** A target that one agent alone serves; the agent hangs on `server`. */
async function served(server = s.server, more = {}, environment = {}) {
  const agent = await new FakeAgent(s, { server }).register({ capabilities: ['host'] });
  await agent.connect();
  return { agent, target: await target({ agentId: agent.id, ...more }, environment) };
}

/** The task that the agent is asked for, accepted and started. */
async function asked(agent, type, nth = 0) {
  const frame = await agent.stream.until((w) => w.frames.filter((f) => f.type === 'task_assigned' && f.task.type === type)[nth], `a ${type} task`);
  const taskId = frame.task.id;
  await agent.tell('task_accepted', { taskId });
  await agent.tell('task_started', { taskId, startedAt: new Date().toISOString(), pid: 1 });
  return frame.task;
}

const release = (name, ...components) => ({
  id: uuid(), name, createdAt: '2026-01-01T00:00:00.000Z',
  components: components.map(([component, c]) => ({ componentId: uuid(), name: component, role: 'primary', digest: digest(c), versionId: uuid(), artifactUrl: '/x' })),
});
const sticker = (r) => ({ version: '1.0', release: { id: r.id, name: r.name } });
const facts = (r, more = {}) => ({
  release: r, previous: null, jobId: uuid(), deployedAt: '2026-02-01T00:00:00.000Z', sticker: sticker(r), contentHash: digest('c'), ...more,
});

const happened = (t, what) => deployedTo(s, t, what);
const settled = (t, what) => eventually(async () => {
  const now = await api.want(200, 'GET', `/targets/${t.id}`);
  return [Boolean(what(now)), now];
}, 'the target to be settled');
const get = (t) => api.want(200, 'GET', `/targets/${t.id}`);
const stickers = async (t, more = {}) =>
  (await api.get('/version-stickers', { query: { targetId: t.id, sort: 'createdAt', ...more } })).data;

describe('a health check', () => {
  test('without an agent: 422 at once, and why', async () => {
    const t = await target({}, { config: { agentLabels: ['nobody-has-this'] } });
    const answer = await api.post(`/targets/${t.id}/health-check`, { type: 'tcp', port: 80 });
    assert.deepEqual([answer.status, answer.code], [422, 'ENV_NO_ELIGIBLE_AGENT']);
    assert.match(answer.error.message, /agent/);
    assert.equal((await api.want(200, 'GET', `/targets/${t.id}`)).healthStatus, 'unknown');
  });

  for (const place of [0, 1])
    test(`is carried out by the agent, which hangs on instance ${place + 1}`, async () => {
      const { agent, target: t } = await served(s.servers[place]);
      const answer = api.post(`/targets/${t.id}/health-check`, { type: 'http', port: 8080, path: '/up', expectStatus: 204 });
      const task = await asked(agent, 'health-check');
      assert.match(task.id, /:0-health-check:1$/);
      const { timeoutSeconds, ...payload } = task.payload;
      assert.ok(timeoutSeconds > 0 && timeoutSeconds <= 5);
      assert.deepEqual(payload, { type: 'http', port: 8080, path: '/up', expectStatus: 204, retries: 0, intervalSeconds: 1, root: '/srv/site' });
      const at = new Date().toISOString();
      await agent.completed(task.id, { outputs: { healthy: true, latencyMs: 12, samples: [{ at, ok: true, latencyMs: 12, message: '204' }] } });
      const { status, data } = await answer;
      assert.equal(status, 200);
      assert.deepEqual({ ...data, checkedAt: 0 }, {
        targetId: t.id, status: 'healthy', type: 'http', latencyMs: 12, message: '204', checkedAt: 0,
        checks: [{ at, ok: true, latencyMs: 12, message: '204' }],
      });
      const now = await api.want(200, 'GET', `/targets/${t.id}`);
      assert.deepEqual([now.healthStatus, now.lastHealthCheck, now.healthMessage], ['healthy', data.checkedAt, '204']);
    });

  test('that fails makes the target unhealthy; the change is an entry of the audit trail, once', async () => {
    const { agent, target: t } = await served();
    for (let i = 0; i < 2; i++) {
      const answer = api.post(`/targets/${t.id}/health-check`, { type: 'tcp', port: 1 });
      const task = await asked(agent, 'health-check', i);
      await agent.completed(task.id, { success: false, error: 'connection refused', errorType: 'unhealthy', retriable: false,
        outputs: { healthy: false, latencyMs: 1, samples: [{ at: new Date().toISOString(), ok: false, latencyMs: 1, message: 'connection refused' }] } });
      assert.equal((await answer).data.status, 'unhealthy');
    }
    const now = await api.want(200, 'GET', `/targets/${t.id}`);
    assert.deepEqual([now.healthStatus, now.healthMessage], ['unhealthy', 'connection refused']);
    const { data } = await api.get('/audit-events', { query: { resourceId: t.id, action: 'target.health_changed' } });
    assert.deepEqual(data.map((e) => [e.before.healthStatus, e.after.healthStatus]), [['unknown', 'unhealthy']]);
  });

  test('says what the environment says when the body says nothing; without a port, whether an agent answers', async () => {
    const configured = await served(s.server, {}, { config: { healthCheckConfig: { type: 'http', port: 81, path: '/ready', timeout: 2 } } });
    let answer = api.post(`/targets/${configured.target.id}/health-check`);
    let task = await asked(configured.agent, 'health-check');
    assert.deepEqual([task.payload.type, task.payload.port, task.payload.path, task.payload.timeoutSeconds], ['http', 81, '/ready', 2]);
    await configured.agent.completed(task.id, { outputs: { healthy: true, latencyMs: 1, samples: [] } });
    assert.equal((await answer).data.status, 'healthy');

    const silent = await served();
    answer = api.post(`/targets/${silent.target.id}/health-check`);
    task = await asked(silent.agent, 'health-check');
    assert.equal(task.payload.type, 'none');
    await silent.agent.completed(task.id, { outputs: { healthy: true, latencyMs: 0, samples: [] } });
    assert.equal((await answer).data.type, 'none');

    const answered = await api.post(`/targets/${silent.target.id}/health-check`, { type: 'http' });
    assert.equal(answered.status, 400);
    assert.equal(answered.error.validationErrors[0].field, 'port');
  });

  test('that the agent does not answer ends with the request, and the task is taken back', async () => {
    const quick = await s.addServer({ name: 'quick', env: { SLIPWAY_REQUEST_TIMEOUT: '3s' } });
    const { agent, target: t } = await served();
    const answer = quick.client(s.key).post(`/targets/${t.id}/health-check`, { type: 'none' });
    const task = await asked(agent, 'health-check');
    const { status, code } = await answer;
    assert.deepEqual([status, code], [503, 'SYS_TIMEOUT']);
    await agent.stream.until((w) => w.frames.find((f) => f.type === 'task_cancel' && f.taskId === task.id), 'the task to be taken back');
    await quick.stop();
  });

  test('whose client has left leaves nothing behind', async () => {
    const { agent, target: t } = await served();
    const client = s.server.client(s.key);
    const gone = client.post(`/targets/${t.id}/health-check`, { type: 'none' }).catch(() => {});
    const task = await asked(agent, 'health-check');
    client.close();
    await gone;
    await agent.completed(task.id, { outputs: { healthy: true, latencyMs: 0, samples: [] } });
    await api.want(200, 'GET', `/targets/${t.id}`);
  });
});

describe('what is deployed', () => {
  test('a target that was never deployed to has no release, no sticker, no drift', async () => {
    const t = await target();
    assert.deepEqual([t.currentRelease ?? null, t.currentDigests], [null, []]);
    const answer = await api.get(`/targets/${t.id}/sticker`);
    assert.deepEqual([answer.status, answer.code], [404, 'RES_NOT_FOUND']);
    const drift = await api.want(200, 'GET', `/targets/${t.id}/drift`);
    assert.deepEqual({ ...drift, checkedAt: 0 }, { targetId: t.id, hasDrift: false, expected: null, actual: null, differences: [], checkedAt: 0 });
    assert.deepEqual(await stickers(t), []);
  });

  test('comes from the facts of jobs: release, digests, stickers one after the other', async () => {
    const t = await target();
    const one = release('shop-1', ['web', 'b'], ['api', 'a']), two = release('shop-2', ['api', 'd']);
    const first = facts(one), second = facts(two, { deployedAt: '2026-02-02T00:00:00.000Z', contentHash: digest('e') });
    await happened(t, first);
    let now = await settled(t, (n) => n.currentRelease?.id === one.id);
    assert.deepEqual(now.currentRelease, { id: one.id, name: 'shop-1', deployedAt: first.deployedAt });
    assert.deepEqual(now.currentDigests, [digest('a'), digest('b')]);
    assert.deepEqual(await api.want(200, 'GET', `/targets/${t.id}/sticker`),
      { targetId: t.id, content: first.sticker, observedAt: first.deployedAt, source: 'deployment' });
    await happened(t, second);
    now = await settled(t, (n) => n.currentRelease?.id === two.id);
    assert.deepEqual((await stickers(t)).map((x) => [x.status, x.releaseId, x.deploymentJobId, x.writtenAt, x.contentHash, x.environmentId]), [
      ['superseded', one.id, first.jobId, first.deployedAt, first.contentHash, t.environmentId],
      ['current', two.id, second.jobId, second.deployedAt, second.contentHash, t.environmentId],
    ]);
    const [current] = await stickers(t, { status: 'current' });
    assert.deepEqual(await api.want(200, 'GET', `/version-stickers/${current.id}`), current);
    assert.equal((await api.get('/version-stickers', { query: { releaseId: one.id } })).data.length, 1);
    assert.equal((await api.get('/version-stickers', { query: { environmentId: t.environmentId } })).data.length, 2);
  });

  test('settling twice changes nothing more, and takes the timer off', async () => {
    const t = await target(), what = facts(release('same', ['web', 'a']));
    const { partition, tenant } = await happened(t, what);
    const timer = () => s.redis.command('ZSCORE', `${partition}:t`, `${tenant}:target:${t.id}`);
    const now = await settled(t, (n) => n.currentRelease);
    await eventually(async () => (await timer()) === null, 'the timer to be off');
    await happened(t, what);
    await eventually(async () => (await timer()) === null, 'the timer to be off again');
    assert.equal((await api.want(200, 'GET', `/targets/${t.id}`)).revision, now.revision);
    assert.equal((await stickers(t)).length, 1);
  });

  test('back to nothing: no release, and the sticker is superseded', async () => {
    const t = await target(), what = facts(release('gone', ['web', 'a']));
    await happened(t, what);
    await settled(t, (n) => n.currentRelease);
    await happened(t, { ...what, release: null, sticker: null, contentHash: null, jobId: uuid() });
    const now = await settled(t, (n) => n.currentRelease === null);
    assert.deepEqual(now.currentDigests, []);
    assert.deepEqual((await stickers(t)).map((x) => x.status), ['superseded']);
    assert.equal((await api.get(`/targets/${t.id}/sticker`)).status, 404);
    assert.equal((await api.want(200, 'GET', `/targets/${t.id}/drift`)).expected, null);
  });

  test('the health that a job found counts while nobody has looked later', async () => {
    const t = await target(), what = facts(release('sick', ['web', 'a']));
    await happened(t, { ...what, healthStatus: 'unhealthy', healthMessage: '500', checkedAt: '2026-02-01T00:00:05.000Z' });
    const now = await settled(t, (n) => n.healthStatus === 'unhealthy');
    assert.deepEqual([now.healthMessage, now.lastHealthCheck], ['500', '2026-02-01T00:00:05.000Z']);
    await happened(t, { ...what, healthStatus: 'healthy', checkedAt: '2026-01-01T00:00:00.000Z', deployedAt: '2026-03-01T00:00:00.000Z' });
    assert.equal((await settled(t, (n) => n.currentRelease.deployedAt.startsWith('2026-03'))).healthStatus, 'unhealthy');
  });

  test('what is known of a target that is gone is forgotten', async () => {
    const t = await target(), what = facts(release('late', ['web', 'a']));
    const { partition, tenant } = await happened(t, what);
    await settled(t, (n) => n.currentRelease);
    await api.want(204, 'DELETE', `/targets/${t.id}`);
    assert.equal(await s.redis.command('HGET', `${partition}:ts:${tenant}`, t.id), null);
    await s.redis.command('HSET', `${partition}:ts:${tenant}`, t.id, JSON.stringify(what));
    await s.redis.command('ZADD', `${partition}:t`, '1', `${tenant}:target:${t.id}`);
    await eventually(async () => (await s.redis.command('HGET', `${partition}:ts:${tenant}`, t.id)) === null, 'the facts to be forgotten');
  });
});

describe('drift', () => {
  async function look(agent, t, outputs, nth) {
    const answer = api.get(`/targets/${t.id}/drift`);
    const task = await asked(agent, 'read-sticker', nth);
    assert.deepEqual(task.payload, { root: '/srv/site' });
    await agent.completed(task.id, { outputs });
    const { status, data, text } = await answer;
    assert.equal(status, 200, text);
    return data;
  }

  test('is what differs between the deployment and what an agent finds', async () => {
    const { agent, target: t } = await served();
    const r = release('shop-7', ['web', 'b']), what = facts(r);
    await happened(t, what);
    await settled(t, (n) => n.currentRelease);
    const components = [{ name: 'web', digest: digest('b') }];

    const none = await look(agent, t, { sticker: what.sticker, contentHash: digest('c'), current: 'shop-7', components }, 0);
    assert.deepEqual({ ...none, checkedAt: 0 }, {
      targetId: t.id, hasDrift: false, differences: [], checkedAt: 0,
      expected: { releaseId: r.id, releaseName: 'shop-7', components },
      actual: { releaseId: r.id, current: 'shop-7', components },
    });
    assert.deepEqual((await stickers(t)).map((x) => [x.status, x.lastVerifiedAt]), [['current', none.checkedAt]]);
    assert.deepEqual(await api.want(200, 'GET', `/targets/${t.id}/sticker`),
      { targetId: t.id, content: what.sticker, observedAt: none.checkedAt, source: 'agent' });

    const other = { ...what.sticker, release: { id: 'somebody', name: 'else' } };
    const tampered = await look(agent, t, { sticker: other, contentHash: digest('f'), current: 'shop-7', components }, 1);
    assert.deepEqual(tampered.differences, [{ component: null, kind: 'config_mismatch', expected: what.sticker, actual: other }]);
    assert.equal(tampered.hasDrift, true);
    assert.deepEqual((await stickers(t)).map((x) => [x.status, x.lastVerifiedAt]), [['mismatch', tampered.checkedAt]]);
    assert.deepEqual((await api.want(200, 'GET', `/targets/${t.id}/sticker`)).content, other);

    const empty = await look(agent, t, { sticker: null, current: null, components: [] }, 2);
    assert.deepEqual(empty.differences.map((d) => [d.kind, d.component]), [['config_mismatch', null], ['sticker_missing', null], ['missing', 'web']]);
    assert.deepEqual((await stickers(t)).map((x) => x.status), ['missing']);
    assert.match((await api.get(`/targets/${t.id}/sticker`)).error.message, /when it was last read/);

    await look(agent, t, { sticker: what.sticker, current: 'shop-7', components }, 3);
    assert.deepEqual((await stickers(t)).map((x) => x.status), ['current']);
  });

  test('a deployment that comes between looking and comparing is no drift', async () => {
    const { agent, target: t } = await served();
    const one = facts(release('a-1', ['web', 'a'])), two = facts(release('a-2', ['web', 'b']), { deployedAt: '2026-02-02T00:00:00.000Z' });
    await happened(t, one);
    await settled(t, (n) => n.currentRelease?.name === 'a-1');
    const answer = api.get(`/targets/${t.id}/drift`);
    const first = await asked(agent, 'read-sticker', 0);
    await happened(t, two);
    await agent.completed(first.id, { outputs: { sticker: two.sticker, current: 'a-2', components: [{ name: 'web', digest: digest('b') }] } });
    const second = await asked(agent, 'read-sticker', 1);
    await agent.completed(second.id, { outputs: { sticker: two.sticker, current: 'a-2', components: [{ name: 'web', digest: digest('b') }] } });
    const { data } = await answer;
    assert.deepEqual([data.hasDrift, data.expected.releaseName], [false, 'a-2']);
  });

  test('an agent that cannot look: 422; none that could: 422', async () => {
    const { agent, target: t } = await served();
    await happened(t, facts(release('x', ['web', 'a'])));
    await settled(t, (n) => n.currentRelease);
    const answer = api.get(`/targets/${t.id}/drift`);
    const task = await asked(agent, 'read-sticker');
    await agent.completed(task.id, { success: false, error: 'permission denied', errorType: 'target_unusable', retriable: false, outputs: undefined });
    const { status, code, error } = await answer;
    assert.deepEqual([status, code], [422, 'AGT_TASK_FAILED']);
    assert.match(error.message, /permission denied/);
    await api.want(200, 'PUT', `/agents/${agent.id}`, { lifecycleState: 'inactive' });
    const nobody = await api.get(`/targets/${t.id}/drift`);
    assert.deepEqual([nobody.status, nobody.code], [422, 'ENV_NO_ELIGIBLE_AGENT']);
  });
});

test('dashboards hear of health that has changed, and of drift', async () => {
  const { agent, target: t } = await served(), what = facts(release('heard', ['web', 'a']));
  const { partition, tenant } = await happened(t, what);
  await settled(t, (n) => n.currentRelease);
  for (let i = 0; i < 2; i++) {
    const answer = api.post(`/targets/${t.id}/health-check`, { type: 'none' });
    await agent.completed((await asked(agent, 'health-check', i)).id, { outputs: { healthy: true, latencyMs: 0, samples: [] } });
    assert.equal((await answer).status, 200);
  }
  const drift = api.get(`/targets/${t.id}/drift`);
  await agent.completed((await asked(agent, 'read-sticker')).id, { outputs: { sticker: null, current: null, components: [] } });
  assert.equal((await drift).data.hasDrift, true);
  const entries = await s.redis.command('XRANGE', `${partition}:e:${tenant}:dashboard`, '-', '+');
  const frames = entries.flatMap(([, fields]) => fields[fields.indexOf('b') + 1].split('\n')).map((line) => JSON.parse(line)).filter((f) => f.targetId === t.id);
  assert.deepEqual(frames.map(({ seq, timestamp, ...frame }) => frame), [
    { type: 'target_health_changed', targetId: t.id, targetName: t.name, environmentId: t.environmentId, status: 'healthy', previousStatus: 'unknown' },
    { type: 'drift_detected', targetId: t.id, targetName: t.name, environmentId: t.environmentId },
  ]);
  const drifted = async () => (await api.get('/targets', { query: { hasDrift: 'true', pageSize: '100' } })).data.map((n) => n.id);
  assert.ok((await drifted()).includes(t.id));
  const stream = new WsStream(s.server, '/dashboard/stream', { token: s.key });
  assert.equal((await stream.frame('snapshot')).data.estate.targetsDrifted, (await drifted()).length);
  stream.close();
  await happened(t, facts(release('heard-again', ['web', 'b'])));
  await settled(t, (n) => n.currentRelease.name === 'heard-again' && !n.hasDrift);
  assert.ok(!(await drifted()).includes(t.id), 'a deployment has put it right');
});

describe('a target whose environment is', () => {
  const free = { GET: 200, PUT: 200, sticker: 404, drift: 200, 'health-check': 422, DELETE: 204 };
  for (const [holder, answers] of Object.entries({ free, promotion: { ...free, DELETE: 409 }, rollback: { ...free, DELETE: 409 } }))
    test(`${holder === 'free' ? 'free' : `held by a ${holder}`}: what each operation answers`, async () => {
      const t = await target({}, { config: { agentLabels: ['nobody-has-this'] } }), id = uuid(), at = `/targets/${t.id}`;
      const { partition, tenant } = await spaceOf(s, t);
      if (holder !== 'free') await s.redis.command('HSET', `${partition}:pd:${tenant}`, t.environmentId, `${holder}:${id}`);
      const seen = {};
      for (const [what, ask] of Object.entries({
        GET: () => api.get(at), PUT: () => api.put(at, { displayName: 'other' }), sticker: () => api.get(`${at}/sticker`),
        drift: () => api.get(`${at}/drift`), 'health-check': () => api.post(`${at}/health-check`), DELETE: () => api.delete(at),
      })) {
        const answer = await ask();
        seen[what] = answer.status;
        if (answer.status === 409)
          assert.deepEqual([answer.code, answer.error.details.usedBy], ['RES_IN_USE', [{ field: 'environmentId', id, resource: holder }]]);
      }
      assert.deepEqual(seen, answers);
      if (holder === 'free') return;
      await s.redis.command('HDEL', `${partition}:pd:${tenant}`, t.environmentId);
      await api.want(204, 'DELETE', at);
    });
});

test('what several instances settle at once, while it changes, ends as it last was, with one current sticker', async () => {
  const t = await target(), rounds = 30;
  let last;
  for (let i = 1; i <= rounds; i++) {
    last = release(`r-${i}`, ['web', 'a']);
    await happened(t, facts(last, { deployedAt: new Date(Date.UTC(2026, 1, 1, 0, 0, i)).toISOString(), contentHash: digest((i % 10).toString()) }));
    if (i % 3 === 0) await api.want(200, 'PUT', `/targets/${t.id}`, { displayName: `round ${i}` });
  }
  await settled(t, (n) => n.currentRelease?.id === last.id);
  const { partition, tenant } = await spaceOf(s, t);
  await eventually(async () => (await s.redis.command('ZSCORE', `${partition}:t`, `${tenant}:target:${t.id}`)) === null, 'the timer to be off');
  assert.deepEqual((await stickers(t, { status: 'current', pageSize: '100' })).map((x) => x.releaseId), [last.id]);
  assert.equal((await get(t)).displayName, `round ${rounds}`);
});

test('another tenant sees none of it', async () => {
  const t = await target();
  await happened(t, facts(release('theirs', ['web', 'a'])));
  await settled(t, (n) => n.currentRelease);
  const [one] = await stickers(t);
  const other = api.as(await s.makeKey('--tenant', 'another', '--role', 'admin'));
  for (const [method, at] of [['GET', `/targets/${t.id}/sticker`], ['GET', `/targets/${t.id}/drift`], ['POST', `/targets/${t.id}/health-check`], ['GET', `/version-stickers/${one.id}`]])
    assert.equal((await other.request(method, at)).status, 404, `${method} ${at}`);
  assert.deepEqual((await other.get('/version-stickers')).data, []);

  const elsewhere = await target();
  const narrowed = api.as(await s.makeKey('--permissions', `evidence:read@${t.environmentId}`));
  assert.deepEqual((await narrowed.get('/version-stickers')).data.map((x) => x.id), [one.id]);
  assert.equal((await narrowed.get('/version-stickers', { query: { environmentId: elsewhere.environmentId } })).data?.length ?? 0, 0);
});
