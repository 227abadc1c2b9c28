// What is released and where to: components with their versions, and the targets of environments.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'catalog' });
  api = s.api;
});
after(() => s?.stop());

let count = 0;
const name = (stem) => `${stem}-${++count}`;
const digest = (n) => `sha256:${String(n).padStart(64, '0')}`;
const refused = (answer) => [answer.status, answer.error.code, ...(answer.error.validationErrors ?? []).map((f) => f.field)];

describe('targets', () => {
  const target = (environmentId, more = {}) => ({ environmentId, name: 'web', type: 'host', connection: { path: '/srv/site' }, ...more });
  const environment = () => api.want(201, 'POST', '/environments', { name: name('env') });

  test('start unknown, empty and out of maintenance', async () => {
    const made = await api.want(201, 'POST', '/targets', target((await environment()).id));
    assert.deepEqual(
      [made.healthStatus, made.currentRelease, made.maintenance, made.agentId, made.connection],
      ['unknown', null, false, null, { keep: 3, path: '/srv/site' }]);
  });

  test('have names that are unique in their environment only', async () => {
    const [one, two] = [await environment(), await environment()];
    await api.want(201, 'POST', '/targets', target(one.id));
    await api.want(201, 'POST', '/targets', target(two.id));
    assert.deepEqual(refused(await api.post('/targets', target(one.id))), [409, 'RES_ALREADY_EXISTS', 'name']);
  });

  test('keep their environment, and keep it from being deleted', async () => {
    const [one, two] = [await environment(), await environment()];
    const made = await api.want(201, 'POST', '/targets', target(one.id));
    const moved = await api.put(`/targets/${made.id}`, { environmentId: two.id });
    assert.deepEqual(refused(moved), [400, 'VAL_FAILED', 'environmentId']);
    const used = await api.delete(`/environments/${one.id}`);
    assert.equal(used.error.code, 'RES_IN_USE');
    assert.deepEqual(used.error.details.usedBy, [{ field: 'environmentId', id: made.id, resource: 'target' }]);
    await api.want(204, 'DELETE', `/targets/${made.id}`);
    await api.want(204, 'DELETE', `/environments/${one.id}`);
  });

  test('of environments and agents that do not exist are refused', async () => {
    const ghost = '0190a5b0-0000-7000-8000-0000000000ab';
    assert.deepEqual(refused(await api.post('/targets', target(ghost))), [422, 'RES_REFERENCE_UNKNOWN', 'environmentId']);
    const real = await environment();
    assert.deepEqual(refused(await api.post('/targets', target(real.id, { agentId: ghost }))),
      [422, 'RES_REFERENCE_UNKNOWN', 'agentId']);
  });

  test('take absolute paths without dots only', async () => {
    const { id } = await environment();
    for (const path of ['srv/site', '/', '/srv/../etc', '/srv//site', '/srv/.hidden', '/srv/si te', '/srv/site/']) {
      const answer = await api.post('/targets', target(id, { connection: { path } }));
      assert.deepEqual(refused(answer), [400, 'VAL_FAILED', 'connection.path'], path);
    }
  });

  test('are found by environment, labels and state', async () => {
    const { id } = await environment();
    const made = await api.want(201, 'POST', '/targets', target(id, { labels: { role: 'web' } }));
    const found = await api.get('/targets', {
      query: { environmentId: id, maintenance: 'false', filter: JSON.stringify({ 'labels.role': 'web', healthStatus: 'unknown' }) },
    });
    assert.deepEqual(found.data.map((t) => t.id), [made.id]);
  });
});

describe('versions', () => {
  const component = (more = {}) => api.want(201, 'POST', '/components', { name: name('site'), ...more });
  const add = (c, tag, n = 1, more = {}) => api.want(201, 'POST', `/components/${c.id}/versions`, { tag, digest: digest(n), ...more });
  const tags = async (c, query = {}) => (await api.get(`/components/${c.id}/versions`, { query })).data.map((v) => v.tag);

  test('are listed newest first by semantic precedence, whatever the order of adding', async () => {
    const c = await component();
    for (const tag of ['1.2.0', '1.10.0', 'latest', '1.2.0-rc.10', 'v1.2.0-rc.9', '2.0.0-alpha'])
      await add(c, tag);
    assert.deepEqual(await tags(c), ['2.0.0-alpha', '1.10.0', '1.2.0', '1.2.0-rc.10', 'v1.2.0-rc.9', 'latest']);
    assert.deepEqual(await tags(c, { prerelease: 'true' }), ['2.0.0-alpha', '1.2.0-rc.10', 'v1.2.0-rc.9']);
  });

  test('of dates and counters are ordered by their numbers, of manual components by time', async () => {
    const dated = await component({ versioningStrategy: 'date' });
    for (const tag of ['2026.9.30', '2026.11.2', '2025.12.31']) await add(dated, tag);
    assert.deepEqual(await tags(dated), ['2026.11.2', '2026.9.30', '2025.12.31']);
    const counted = await component({ versioningStrategy: 'sequential' });
    for (const tag of ['build-9', 'build-10', 'build-100']) await add(counted, tag);
    assert.deepEqual(await tags(counted), ['build-100', 'build-10', 'build-9']);
    const manual = await component({ versioningStrategy: 'manual' });
    await add(manual, '9.0.0', 1, { pushedAt: '2026-01-02T00:00:00Z' });
    await add(manual, '10.0.0', 1, { pushedAt: '2026-01-01T00:00:00Z' });
    assert.deepEqual(await tags(manual), ['9.0.0', '10.0.0']);
  });

  test('are told apart by tag and digest: a tag that moves is a new one', async () => {
    const c = await component();
    await add(c, '1.0.0', 1);
    await add(c, '1.0.0', 2);
    const again = await api.post(`/components/${c.id}/versions`, { tag: '1.0.0', digest: digest(1) });
    assert.deepEqual(refused(again), [409, 'RES_ALREADY_EXISTS', 'reference']);
    assert.deepEqual(await tags(c, { digest: digest(2) }), ['1.0.0']);
  });

  test('know their component\'s channel, their semantic version and when they came', async () => {
    const c = await component({ defaultChannel: 'beta' });
    const made = await add(c, 'v1.2.3+build.7');
    assert.deepEqual([made.channel, made.semver, made.prerelease, made.componentId], ['beta', '1.2.3+build.7', false, c.id]);
    assert.equal(made.pushedAt, made.discoveredAt);
    assert.equal((await add(c, 'nightly', 2, { channel: 'edge' })).semver, null);
  });

  test('keep their component from being deleted, and are 404 without one', async () => {
    const c = await component();
    await add(c, '1.0.0');
    assert.equal((await api.delete(`/components/${c.id}`)).error.code, 'RES_IN_USE');
    const ghost = '0190a5b0-0000-7000-8000-0000000000ab';
    assert.equal((await api.get(`/components/${ghost}/versions`)).status, 404);
    assert.equal((await api.post(`/components/${ghost}/versions`, { tag: '1', digest: digest(1) })).status, 404);
  });
});
