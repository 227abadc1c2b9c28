// Permissions narrowed to an environment by `@environment`: what they grant there, and that they grant nothing elsewhere.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { FakeAgent } from '../lib/agent.mjs';
import { makeEstate, makeRelease } from '../lib/deployment.mjs';
import { makeTemplate, reaches, streamOf, unique, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, WsStream } from '../lib/stream.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api, dev, prod, template;

before(async () => {
  s = await start({ name: 'scope', workers: 2 });
  api = s.api;
  dev = await api.want(201, 'POST', '/environments', { name: 'dev' });
  prod = await api.want(201, 'POST', '/environments', { name: 'prod' });
  template = await makeTemplate(api, [wait('hold', 3600)]);
});
after(() => s?.stop());

const keyOf = async (...permissions) => s.server.client(await s.makeKey('--permissions', permissions.join(',')));
const target = (environment, more = {}) => ({
  environmentId: environment.id, name: unique('host'), type: 'host', connection: { path: '/srv/site' }, ...more,
});
const run = (environment, client = api, status = 201) =>
  client.want(status, 'POST', '/workflow-runs', { templateId: template.id, context: environment ? { environmentId: environment.id } : {} });

function outside(answer, required) {
  assert.equal(answer.status, 403, answer.text);
  assert.equal(answer.code, 'PERM_ENVIRONMENT_SCOPE', answer.text);
  assert.equal(answer.error.details.required, required);
}

test('by name and by id, and not where it is not granted', async () => {
  for (const place of ['dev', dev.id, dev.id.toUpperCase()]) {
    const key = await keyOf(`target:*@${place}`);
    const mine = await key.want(201, 'POST', '/targets', target(dev));
    outside(await key.post('/targets', target(prod)), 'target:create');
    assert.equal((await key.get(`/targets/${mine.id}`)).status, 200);
    assert.equal((await key.put(`/targets/${mine.id}`, { maintenance: true })).data.maintenance, true);
    const other = await api.want(201, 'POST', '/targets', target(prod));
    outside(await key.get(`/targets/${other.id}`), 'target:read');
    outside(await key.put(`/targets/${other.id}`, { maintenance: true }), 'target:update');
    outside(await key.delete(`/targets/${other.id}`), 'target:delete');
    assert.equal((await api.get(`/targets/${other.id}`)).data.maintenance, false);
    assert.equal((await key.delete(`/targets/${mine.id}`)).status, 204);
  }
});

test('what is not there, or belongs to another tenant, is 404', async () => {
  const key = await keyOf('target:*@dev', 'environment:*@dev');
  const stranger = s.server.client(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
  const theirs = await stranger.want(201, 'POST', '/environments', { name: 'dev' });
  for (const id of [randomUUID(), 'no-id', theirs.id]) {
    for (const path of [`/targets/${id}`, `/environments/${id}`]) {
      assert.equal((await key.get(path)).status, 404, path);
      assert.equal((await key.delete(path)).status, 404, path);
    }
  }
});

test('a name that no environment has grants nothing, and no permission beyond the one', async () => {
  const key = await keyOf('target:read@nowhere', 'target:update@dev');
  assert.deepEqual((await key.get('/targets')).data, []);
  const denied = await key.post('/targets', target(dev));
  assert.equal(denied.code, 'PERM_DENIED');
  assert.equal(denied.error.details.required, 'target:create');
  const mine = await api.want(201, 'POST', '/targets', target(dev));
  outside(await key.get(`/targets/${mine.id}`), 'target:read');
  assert.equal((await key.put(`/targets/${mine.id}`, { maintenance: true })).status, 200);
});

test('lists hold what belongs to the environments, with their totals, filters and pages', async () => {
  await api.want(201, 'POST', '/environments', { name: 'stage' });
  const key = await keyOf('target:read@prod', `target:read@${dev.id}`, 'environment:read@prod', 'target:read@nowhere');
  const onlyProd = await keyOf('target:read@prod');
  for (let i = 0; i < 3; i++) {
    await api.want(201, 'POST', '/targets', target(prod, { maintenance: i === 0 }));
    await api.want(201, 'POST', '/targets', target(dev, { maintenance: true }));
  }
  const all = (await api.get('/targets', { query: { pageSize: '100' } })).data;
  const inProd = all.filter((t) => t.environmentId === prod.id);
  const seen = await onlyProd.get('/targets', { query: { pageSize: '100' } });
  assert.deepEqual(seen.data.map((t) => t.id).sort(), inProd.map((t) => t.id).sort());
  assert.equal(seen.body.meta.pagination.totalItems, inProd.length);
  const page = await onlyProd.get('/targets', { query: { pageSize: '2', page: '2', sort: 'name' } });
  assert.deepEqual(page.data.map((t) => t.name), inProd.map((t) => t.name).sort().slice(2, 4));
  const filtered = await onlyProd.get('/targets', { query: { maintenance: 'true' } });
  assert.equal(filtered.body.meta.pagination.totalItems, inProd.filter((t) => t.maintenance).length);
  const asked = await onlyProd.get('/targets', { query: { environmentId: dev.id } });
  assert.equal(asked.body.meta.pagination.totalItems, 0);
  assert.equal((await key.get('/targets')).body.meta.pagination.totalItems, all.length);
  assert.deepEqual((await key.get('/environments')).data.map((e) => e.name), ['prod']);
  assert.equal((await key.get('/environments')).body.meta.pagination.totalItems, 1);
});

test('environments: its own can be changed, none can be made', async () => {
  const key = await keyOf('environment:*@dev', 'freeze:*@dev');
  assert.equal((await key.put(`/environments/${dev.id}`, { displayName: 'Development' })).status, 200);
  outside(await key.put(`/environments/${prod.id}`, { displayName: 'x' }), 'environment:update');
  outside(await key.post('/environments', { name: unique('env') }), 'environment:create');
  const window = { start: '2030-01-01T00:00:00Z', end: '2030-01-02T00:00:00Z', reason: 'holidays' };
  const made = await key.want(201, 'POST', `/environments/${dev.id}/freeze-windows`, window);
  outside(await key.post(`/environments/${prod.id}/freeze-windows`, window), 'freeze:create');
  assert.equal((await key.get(`/environments/${dev.id}/freeze-windows`)).body.meta.pagination.totalItems, 1);
  outside(await key.get(`/environments/${prod.id}/freeze-windows`), 'freeze:read');
  const theirs = await api.want(201, 'POST', `/environments/${prod.id}/freeze-windows`, window);
  outside(await key.delete(`/environments/${prod.id}/freeze-windows/${theirs.id}`), 'freeze:delete');
  assert.equal((await key.delete(`/environments/${dev.id}/freeze-windows/${theirs.id}`)).status, 404);
  assert.equal((await key.delete(`/environments/${dev.id}/freeze-windows/${made.id}`)).status, 204);
});

test('runs by the environment of their context: start, read, act, steps, logs', async () => {
  const key = await keyOf('workflow:read@dev', 'workflow:execute@dev');
  const mine = await run(dev, key);
  outside(await key.post('/workflow-runs', { templateId: template.id, context: { environmentId: prod.id } }), 'workflow:execute');
  outside(await key.post('/workflow-runs', { templateId: template.id }), 'workflow:execute');
  const theirs = await run(prod), nobodys = await run(undefined);
  for (const r of [theirs, nobodys]) {
    outside(await key.get(`/workflow-runs/${r.id}`), 'workflow:read');
    outside(await key.get(`/workflow-runs/${r.id}/steps`), 'workflow:read');
    outside(await key.get(`/workflow-runs/${r.id}/steps/hold`), 'workflow:read');
    outside(await key.get(`/workflow-runs/${r.id}/steps/hold/logs`), 'workflow:read');
    for (const action of ['pause', 'resume', 'cancel']) outside(await key.post(`/workflow-runs/${r.id}/${action}`), 'workflow:execute');
  }
  assert.deepEqual((await key.get('/workflow-runs')).data.map((r) => r.id), [mine.id]);
  assert.equal((await key.get(`/workflow-runs/${mine.id}/steps`)).data.length, 1);
  assert.equal((await key.get(`/workflow-runs/${mine.id}/steps/hold`)).status, 200);
  assert.equal((await key.post(`/workflow-runs/${mine.id}/pause`)).status, 200);
  assert.equal((await key.get('/workflow-templates')).code, 'PERM_DENIED'); // a template belongs to no environment
  for (const r of [mine, theirs, nobodys]) {
    await api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, {});
    await reaches(api, r, 'cancelled');
  }
});

test('streams: by header, by query and by first message', async () => {
  const signer = new Signer(s.server.data);
  const { tenantId } = dev;
  const token = signer.token({ tenant_id: tenantId, roles: [], permissions: ['workflow:read@dev'] });
  const mine = await run(dev), theirs = await run(prod);
  for (const [r, good] of [[mine, true], [theirs, false]]) {
    const header = new WsStream(s.server, streamOf(r), { token });
    const query = new WsStream(s.server, streamOf(r), { query: { token } });
    const sse = new SseStream(s.server, streamOf(r), { token });
    for (const stream of [header, query, sse]) {
      if (good) await stream.until((x) => x.frames.some((f) => f.type === 'synced'), 'the stream to be in step');
      else if (stream !== sse) assert.equal((await stream.refusal()).code, 'PERM_ENVIRONMENT_SCOPE');
      else assert.equal((await api.as(token).get(streamOf(r), { headers: { accept: 'text/event-stream' } })).code, 'PERM_ENVIRONMENT_SCOPE');
      stream.close();
    }
    const late = new WsStream(s.server, streamOf(r));
    await late.opened();
    late.send({ type: 'auth', token });
    if (good) await late.until((x) => x.frames.some((f) => f.type === 'synced'), 'the stream to be in step');
    else assert.equal((await eventually(() => late.closed, 'the stream to be closed')).code, 4403);
    late.close();
  }
  const nothing = new WsStream(s.server, `/workflow-runs/${randomUUID()}/stream`);
  await nothing.opened();
  nothing.send({ type: 'auth', token });
  assert.equal((await eventually(() => nothing.closed, 'the stream to be closed')).code, 4404);
  for (const r of [mine, theirs]) await api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, {});
});

test('promotions: asking for one, seeing it, and what needs a further permission there', async () => {
  const component = await api.want(201, 'POST', '/components', { name: unique('site'), imageRepository: 'example.org/site', displayName: 'Site' });
  await api.want(201, 'POST', `/components/${component.id}/versions`, { tag: '1.0.0', digest: `sha256:${'a'.repeat(64)}`, artifactUrl: 'http://127.0.0.1:9/x.tar' });
  const release = await api.want(201, 'POST', '/releases', { name: unique('r'), components: [{ componentId: component.id, tag: '1.0.0' }] });
  await api.want(201, 'POST', `/environments/${dev.id}/freeze-windows`, { start: '2020-01-01T00:00:00Z', end: '2090-01-01T00:00:00Z', reason: 'closed' });
  const key = await keyOf('promotion:*@dev', 'freeze:override@dev');
  const ask = (environment, client, more = {}) => client.post('/promotions', { releaseId: release.id, targetEnvironmentId: environment.id, reason: 'try', ...more });
  outside(await ask(prod, key), 'promotion:request');
  const frozen = await ask(dev, key);
  assert.equal(frozen.code, 'PROMOTION_BLOCKED', frozen.text);
  const [window] = (await api.get(`/environments/${dev.id}/freeze-windows`, { query: { sort: '-createdAt' } })).data;
  const freezeOverride = { windowIds: [window.id], reason: 'it must' };
  assert.equal((await ask(dev, await keyOf('promotion:*@dev', 'freeze:override@prod'), { freezeOverride })).code, 'PROMOTION_BLOCKED');
  const made = await ask(dev, key, { freezeOverride });
  assert.equal(made.status, 201, made.text);
  assert.deepEqual((await key.get('/promotions')).data.map((p) => p.id), [made.data.id]);
  const elsewhere = await keyOf('promotion:*@prod');
  outside(await elsewhere.get(`/promotions/${made.data.id}`), 'promotion:read');
  outside(await elsewhere.post(`/promotions/${made.data.id}/cancel`), 'promotion:read');
  assert.equal((await elsewhere.get('/promotions')).body.meta.pagination.totalItems, 0);
});

test('a refusal is an entry of the audit trail', async () => {
  const key = await keyOf('target:*@dev');
  const other = await api.want(201, 'POST', '/targets', target(prod));
  outside(await key.delete(`/targets/${other.id}`), 'target:delete');
  const entry = await eventually(async () => {
    const { data } = await api.get('/audit-events', { query: { action: 'permission.denied', resourceId: other.id } });
    return data[0];
  }, 'the entry');
  assert.equal(entry.resource, 'target');
  assert.equal(entry.metadata.code, 'PERM_ENVIRONMENT_SCOPE');
});

test('only what could grant something is taken by `key create`', async () => {
  for (const bad of ['target:read@', 'target:fly@dev', '@dev', 'target:read@dev@prod', 'target:read@de/v', 'target:read@de v'])
    await assert.rejects(s.makeKey('--permissions', bad), /there is no permission/, bad);
});

test('ids of another tenant in a body are answered as ids that nobody has', async () => {
  const stranger = s.server.client(await s.makeKey('--tenant', 'neighbours', '--role', 'admin'));
  const theirs = await makeEstate(stranger, 1), release = await makeRelease(stranger);
  const agent = await new FakeAgent(s, { api: stranger }).register({ capabilities: ['host'] });
  const mine = await makeEstate(api, 1), own = await makeRelease(api);
  const workflow = await stranger.want(201, 'POST', '/workflow-templates', { name: 'theirs', status: 'active', nodes: [{ id: 'a', type: 'wait', config: { seconds: 0 } }] });
  const started = await stranger.want(201, 'POST', '/promotions', {
    releaseId: release.id, targetEnvironmentId: theirs.environment.id, templateId: workflow.id, reason: 'theirs', skipOrderReason: 'theirs',
  });
  const promotion = { reason: 'x', skipOrderReason: 'x' }, target = { name: 'foreign', type: 'host', connection: { path: '/srv/foreign' } };
  for (const [path, foreign, body] of [
    ['/promotions', release.id, (id) => ({ ...promotion, releaseId: id, targetEnvironmentId: mine.environment.id })],
    ['/promotions', theirs.environment.id, (id) => ({ ...promotion, releaseId: own.id, targetEnvironmentId: id })],
    ['/promotions', workflow.id, (id) => ({ ...promotion, releaseId: own.id, targetEnvironmentId: mine.environment.id, templateId: id })],
    ['/targets', theirs.environment.id, (id) => ({ ...target, environmentId: id })],
    ['/targets', agent.id, (id) => ({ ...target, environmentId: mine.environment.id, agentId: id })],
    ['/releases', release.component.id, (id) => ({ name: 'foreign', components: [{ componentId: id, versionId: own.version.id }] })],
    ['/releases', release.version.id, (id) => ({ name: 'foreign', components: [{ componentId: own.component.id, versionId: id }] })],
    ['/rollbacks', theirs.environment.id, (id) => ({ reason: 'x', environmentId: id })],
    ['/rollbacks', release.id, (id) => ({ reason: 'x', environmentId: mine.environment.id, toReleaseId: id })],
    ['/workflow-runs', workflow.id, (id) => ({ templateId: id })],
  ]) {
    const nobodys = randomUUID();
    const [one, other] = [await api.post(path, body(foreign)), await api.post(path, body(nobodys))];
    const what = `${path} ${JSON.stringify(body(foreign))}: ${one.text}`;
    assert.ok([404, 422].includes(one.status), what);
    assert.equal(one.status, other.status, what);
    assert.equal(JSON.stringify(one.error).replaceAll(foreign, 'ID'), JSON.stringify(other.error).replaceAll(nobodys, 'ID'), what);
    for (const name of [release.name, release.component.name, theirs.environment.name, agent.name, 'theirs'])
      if (name) assert.ok(!one.text.includes(name), what);
  }
  for (const path of ['/targets', '/releases']) assert.deepEqual(await api.want(200, 'GET', `${path}?name=foreign`), [], path);
  assert.deepEqual(await api.want(200, 'GET', `/promotions?targetEnvironmentId=${mine.environment.id}`), []);
  assert.equal((await stranger.get(`/promotions/${started.id}`)).data.targetEnvironmentId, theirs.environment.id);
});
