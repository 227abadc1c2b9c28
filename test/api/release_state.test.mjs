// Where releases are, how they differ, and one made of the newest versions.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Product, digest } from '../lib/promote.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';

const GHOST = '0190a5b0-0000-7000-8000-0000000000ab';
let s, api;
before(async () => {
  s = await start({ name: 'release-state' });
  api = s.api;
});
after(() => s?.stop());

const refused = (answer) => [answer.status, answer.error?.code, ...(answer.error?.validationErrors ?? []).map((f) => f.field)];
const cancelRun = (p) => api.want(200, 'POST', `/workflow-runs/${p.workflowRunId}/cancel`, {});

describe('the state of a release', () => {
  let p;
  before(() => {
    p = new Product(api);
  });
  const stateIn = async (release, environment) => {
    const { data } = await api.get(`/releases/${release.id}/state`);
    assert.deepEqual([data.releaseId, data.status], [release.id, 'ready']);
    const orders = data.environments.map((e) => e.orderIndex);
    assert.deepEqual(orders, orders.toSorted((a, b) => a - b));
    return data.environments.find((e) => e.environmentId === environment.id);
  };

  test('W18: tells when, by whom and by which promotion it came where it is', async () => {
    const [dev, stage] = [await p.environment(), await p.environment()];
    const r = await p.release();
    const { orderIndex, ...nowhere } = await stateIn(r, dev);
    assert.equal(orderIndex, dev.orderIndex);
    assert.deepEqual(nowhere, { environmentId: dev.id, environmentName: dev.name, state: 'not_deployed', deploymentJobId: null });
    const one = await p.deploy(r, dev);
    const there = await stateIn(r, dev);
    assert.deepEqual([there.state, there.promotionId, there.deployedAt, there.deployedBy, there.changedAt],
      ['deployed', one.id, one.completedAt, one.requestedBy, one.completedAt]);
    assert.equal((await stateIn(r, stage)).state, 'not_deployed');
  });

  test('is superseded where another one is now, and still tells when it was there', async () => {
    const e = await p.environment(), [old, now] = [await p.release(), await p.release()];
    const one = await p.deploy(old, e);
    await p.deploy(now, e);
    const was = await stateIn(old, e);
    assert.deepEqual([was.state, was.promotionId, was.deployedAt, was.deployedBy], ['superseded', one.id, one.completedAt, one.requestedBy]);
    assert.equal((await stateIn(now, e)).state, 'deployed');
    await p.deploy(old, e); // and back
    assert.equal((await stateIn(old, e)).state, 'deployed');
    assert.equal((await stateIn(now, e)).state, 'superseded');
  });

  test('is that of its newest promotion while that is under way, and when it failed', async () => {
    const e = await p.environment('slow', { requiredApprovals: 1 });
    const r = await p.release();
    const waits = await p.until(await p.skip(r, e), 'awaiting_approval');
    const awaiting = await stateIn(r, e);
    assert.deepEqual([awaiting.state, awaiting.promotionId, awaiting.changedAt], ['awaiting_approval', waits.id, waits.requestedAt]);
    await api.want(200, 'POST', `/promotions/${waits.id}/cancel`, {});
    assert.equal((await stateIn(r, e)).state, 'not_deployed', 'what was cancelled changed nothing');
    await api.want(200, 'PUT', `/environments/${e.id}`, { requiredApprovals: 0 });
    const deploying = await p.until(await p.skip(r, e), 'deploying');
    assert.deepEqual([(await stateIn(r, e)).state, (await stateIn(r, e)).changedAt], ['deploying', deploying.startedAt]);
    const queued = await p.release();
    const line = await p.until(await p.skip(queued, e), 'approved');
    assert.equal((await stateIn(queued, e)).state, 'pending');
    await api.want(200, 'POST', `/promotions/${line.id}/cancel`, {});
    await cancelRun(deploying);
    const failed = await p.until(deploying, 'failed');
    const over = await stateIn(r, e);
    assert.deepEqual([over.state, over.promotionId, over.changedAt, over.deployedAt], ['failed', failed.id, failed.completedAt, undefined]);
  });

  test('decides whether it can be put away, and finds it by environment', async () => {
    const e = await p.environment(), [deployed, never] = [await p.release(), await p.release()];
    await p.deploy(deployed, e);
    assert.deepEqual((await api.get('/releases', { query: { environmentId: e.id } })).data.map((r) => r.id), [deployed.id]);
    assert.deepEqual((await api.get('/releases', { query: { environmentId: e.id, status: 'draft' } })).data, []);
    assert.deepEqual((await api.get('/releases', { query: { environmentId: GHOST } })).data, []);
    for (const r of [deployed, never]) await api.want(200, 'POST', `/releases/${r.id}/deprecate`, { reason: 'old' });
    assert.deepEqual(refused(await api.put(`/releases/${deployed.id}`, { status: 'archived' })), [409, 'RES_INVALID_STATE']);
    assert.equal((await api.want(200, 'PUT', `/releases/${never.id}`, { status: 'archived' })).status, 'archived');
  });

  test('shows in the environments, each and in their list', async () => {
    const [one, two] = [await p.environment(), await p.environment()], r = await p.release();
    const done = await p.deploy(r, one);
    const current = { id: r.id, name: r.name, deployedAt: done.completedAt };
    const { data } = await api.get('/environments', { query: { includeState: 'true', pageSize: '100' } });
    assert.deepEqual(data.find((e) => e.id === one.id).currentRelease, current);
    assert.equal(data.find((e) => e.id === two.id).currentRelease, null);
    assert.deepEqual(await p.state(one), current);
    assert.ok(!('currentRelease' in (await api.get(`/environments/${one.id}`)).data));
  });

  test('is nobody else\'s: another tenant finds no release', async () => {
    const r = await p.release();
    const stranger = s.server.client(await s.makeKey('--tenant', unique('tenant'), '--role', 'admin'));
    assert.equal((await stranger.get(`/releases/${r.id}/state`)).status, 404);
    assert.equal((await stranger.get(`/releases/${r.id}/compare/${r.id}`)).status, 404);
    assert.equal((await api.get(`/releases/${GHOST}/state`)).status, 404);
  });
});

/** A component with versions: {tag: number of its digest}. */
async function component(versions, more = {}) {
  const made = await api.want(201, 'POST', '/components', { name: unique('part'), ...more });
  for (const [tag, n] of Object.entries(versions)) await api.want(201, 'POST', `/components/${made.id}/versions`, { tag, digest: digest(n) });
  return made;
}
const release = (parts) => api.want(201, 'POST', '/releases', {
  name: unique('release'), components: parts.map(([c, tag]) => ({ componentId: c.id, tag })),
});

describe('how two releases differ', () => {
  const between = async (a, b) => (await api.get(`/releases/${a.id}/compare/${b.id}`)).data;

  test('by what was added, removed, changed and kept', async () => {
    const [kept, gone, fresh, moved] = [await component({ '1.0.0': 1 }), await component({ '1.0.0': 2 }), await component({ '1.0.0': 3 }), await component({ '1.0.0': 4, '2.0.0': 5 })];
    const a = await release([[kept, '1.0.0'], [gone, '1.0.0'], [moved, '1.0.0']]);
    const b = await release([[kept, '1.0.0'], [fresh, '1.0.0'], [moved, '2.0.0']]);
    const d = await between(a, b);
    assert.deepEqual([d.from, d.to, d.identical], [{ id: a.id, name: a.name }, { id: b.id, name: b.name }, false]);
    assert.deepEqual([d.added, d.removed, d.unchanged].map((l) => l.map((x) => x.componentId)), [[fresh.id], [gone.id], [kept.id]]);
    assert.deepEqual(d.changed, [{
      componentId: moved.id, name: moved.name, semverChange: 'major',
      from: { digest: digest(4), semver: '1.0.0', tag: '1.0.0' }, to: { digest: digest(5), semver: '2.0.0', tag: '2.0.0' },
    }]);
    const back = await between(b, a);
    assert.deepEqual([back.added[0].componentId, back.changed[0].semverChange], [gone.id, 'downgrade']);
    const same = await between(a, a);
    assert.deepEqual([same.identical, same.unchanged.length, same.changed], [true, 3, []]);
  });

  test('and by how far: major, minor, patch, pre-release, down, or nobody knows', async () => {
    const c = await component({ '1.2.3': 1, '1.2.4': 2, '1.3.0': 3, '2.0.0': 4, '2.0.0-rc.1': 5, nightly: 6, '2.0.0-rc.2': 7 });
    const at = {};
    for (const tag of ['1.2.3', '1.2.4', '1.3.0', '2.0.0', '2.0.0-rc.1', 'nightly', '2.0.0-rc.2']) at[tag] = await release([[c, tag]]);
    const change = async (from, to) => (await between(at[from], at[to])).changed[0].semverChange;
    assert.equal(await change('1.2.3', '1.2.4'), 'patch');
    assert.equal(await change('1.2.4', '1.3.0'), 'minor');
    assert.equal(await change('1.3.0', '2.0.0'), 'major');
    assert.equal(await change('2.0.0-rc.1', '2.0.0-rc.2'), 'prerelease');
    assert.equal(await change('2.0.0', '1.3.0'), 'downgrade');
    assert.equal(await change('2.0.0', 'nightly'), 'unknown');
  });

  test('also after a change of what does not matter', async () => {
    const c = await component({ '1.0.0': 1 }), a = await release([[c, '1.0.0']]);
    const changed = await api.want(200, 'PUT', `/releases/${a.id}`, { notes: 'for people' });
    assert.deepEqual(changed.components, a.components);
    assert.equal((await between(a, a)).unchanged[0].name, c.name);
  });

  test('unknown ones are 404', async () => {
    const a = await release([[await component({ '1.0.0': 1 }), '1.0.0']]);
    for (const [x, y] of [[a.id, GHOST], [GHOST, a.id], [a.id, 'none']]) assert.equal((await api.get(`/releases/${x}/compare/${y}`)).status, 404);
  });
});

describe('a release of the newest versions', () => {
  const latest = (body, client = api) => client.post('/releases/from-latest', { name: unique('latest'), ...body });
  const tags = (made) => Object.fromEntries(made.components.map((c) => [c.componentId, c.tag]));

  test('has each component\'s newest by its own order, and none before their time', async () => {
    const a = await component({ '1.10.0': 1, '1.9.0': 2, '2.0.0-rc.1': 3 });
    const b = await component({ 'build-10': 4, 'build-9': 5 }, { versioningStrategy: 'sequential' });
    const answer = await latest({ componentIds: [a.id, b.id], displayName: 'Newest' });
    assert.equal(answer.status, 201);
    assert.deepEqual(tags(answer.data), { [a.id]: '1.10.0', [b.id]: 'build-10' });
    assert.deepEqual([answer.data.status, answer.data.displayName], ['ready', 'Newest']);
    assert.equal(answer.headers.location, `/api/v1/releases/${answer.data.id}`);
    assert.deepEqual((await api.get(`/releases/${answer.data.id}`)).data, answer.data);
    assert.deepEqual(tags((await latest({ componentIds: [a.id], includePrerelease: true })).data), { [a.id]: '2.0.0-rc.1' });
  });

  test('keeps to a channel, and to what is pinned', async () => {
    const a = await component({ '1.0.0': 1 }), b = await component({ '1.0.0': 2, '2.0.0': 3 });
    await api.want(201, 'POST', `/components/${a.id}/versions`, { tag: '1.1.0', digest: digest(9), channel: 'beta' });
    assert.deepEqual(tags((await latest({ componentIds: [a.id], channel: 'beta' })).data), { [a.id]: '1.1.0' });
    assert.deepEqual(tags((await latest({ componentIds: [a.id], channel: 'stable' })).data), { [a.id]: '1.0.0' });
    assert.deepEqual(tags((await latest({ componentIds: [a.id, b.id], pins: { [b.id]: '1.0.0' } })).data), { [a.id]: '1.1.0', [b.id]: '1.0.0' });
    assert.deepEqual(tags((await latest({ componentIds: [b.id], pins: { [b.id.toUpperCase()]: digest(2) } })).data), { [b.id]: '1.0.0' });
  });

  test('is refused when a component has nothing that fits, with its id', async () => {
    const bare = await component({}), pre = await component({ '1.0.0-rc.1': 1 });
    for (const c of [bare, pre]) {
      const answer = await latest({ componentIds: [c.id] });
      assert.deepEqual(refused(answer), [422, 'REL_TAG_UNRESOLVED']);
      assert.equal(answer.error.details.componentId, c.id);
    }
    assert.deepEqual(refused(await latest({ componentIds: [pre.id], pins: { [pre.id]: '9.9.9' } })).slice(0, 2), [422, 'REL_TAG_UNRESOLVED']);
    assert.deepEqual(refused(await latest({ componentIds: [pre.id], pins: { [GHOST]: '1.0.0' } })), [400, 'VAL_FAILED', `pins.${GHOST}`]);
    assert.equal((await latest({ componentIds: [GHOST] })).status, 422);
    assert.deepEqual(refused(await latest({ componentIds: [], name: 'x' })).slice(0, 2), [400, 'VAL_FAILED']);
  });

  test('takes all components of the tenant when none are named', async () => {
    const stranger = s.server.client(await s.makeKey('--tenant', unique('tenant'), '--role', 'admin'));
    assert.deepEqual(refused(await latest({}, stranger)), [422, 'REL_EMPTY']);
    const c = await stranger.want(201, 'POST', '/components', { name: 'only' });
    await stranger.want(201, 'POST', `/components/${c.id}/versions`, { tag: '1.0.0', digest: digest(1) });
    const made = await stranger.want(201, 'POST', '/releases/from-latest', { name: 'first' });
    assert.deepEqual(tags(made), { [c.id]: '1.0.0' });
    assert.deepEqual(refused(await latest({ name: 'first' }, stranger)), [409, 'RES_ALREADY_EXISTS', 'name']);
  });
});
