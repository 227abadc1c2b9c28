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

describe('releases', () => {
  const component = (more = {}) => api.want(201, 'POST', '/components', { name: name('part'), ...more });
  const add = (c, tag, n) => api.want(201, 'POST', `/components/${c.id}/versions`, { tag, digest: digest(n) });
  const release = (components, more = {}) => api.want(201, 'POST', '/releases', { name: name('release'), components, ...more });
  const state = (answer) => [answer.status, answer.error.code, answer.error.details.currentState, answer.error.details.allowedActions];

  test('resolve tags to digests once: what a tag does later changes nothing', async () => {
    const c = await component({ imageRepository: 'registry.example/site' });
    const first = await add(c, '1.0.0', 1);
    const made = await release([{ componentId: c.id, tag: '1.0.0' }]);
    const moved = await add(c, '1.0.0', 2);
    assert.deepEqual(made.components, [{
      componentId: c.id, digest: digest(1), imageRepository: 'registry.example/site', name: c.name, role: 'primary',
      semver: '1.0.0', tag: '1.0.0', versionId: first.id,
    }]);
    assert.equal(made.status, 'ready');
    assert.deepEqual((await api.get(`/releases/${made.id}`)).data.components, made.components);
    assert.deepEqual((await release([{ componentId: c.id, digest: digest(2) }])).components[0].versionId, moved.id);
    assert.deepEqual((await release([{ componentId: c.id, versionId: first.id }])).components[0].digest, digest(1));
  });

  test('have the same content hash for the same digests, whatever their order and names', async () => {
    const [a, b] = [await component(), await component()];
    await add(a, '1.0.0', 51);
    await add(b, '1.0.0', 52);
    const parts = [{ componentId: a.id, tag: '1.0.0' }, { componentId: b.id, digest: digest(52), role: 'sidecar' }];
    const [one, two] = [await release(parts), await release([...parts].reverse())];
    assert.equal(one.contentHash, two.contentHash);
    assert.deepEqual(one.digests, [digest(51), digest(52)]);
    assert.notEqual((await release([parts[0]])).contentHash, one.contentHash);
    assert.deepEqual((await api.get('/releases', { query: { digests: digest(52), sort: 'createdAt' } })).data.map((r) => r.id),
      [one.id, two.id]);
  });

  test('that cannot be resolved are refused, naming the component', async () => {
    const c = await component();
    const v = await add(c, '1.0.0', 1);
    const other = await component();
    const post = async (components) => refused(await api.post('/releases', { name: name('release'), components }));
    assert.deepEqual(await post([]), [422, 'REL_EMPTY']);
    assert.deepEqual(await post([{ componentId: c.id, tag: '2.0.0' }]), [422, 'REL_TAG_UNRESOLVED', 'components[0]']);
    assert.deepEqual(await post([{ componentId: other.id, versionId: v.id }]), [422, 'REL_TAG_UNRESOLVED', 'components[0]']);
    assert.deepEqual(await post([{ componentId: '0190a5b0-0000-7000-8000-0000000000ab', tag: '1.0.0' }]),
      [422, 'REL_COMPONENT_UNKNOWN', 'components[0].componentId']);
    assert.deepEqual(await post([{ componentId: c.id }]), [400, 'VAL_FAILED', 'components[0]']);
    assert.deepEqual(await post([{ componentId: c.id, tag: '1.0.0', digest: digest(1) }]), [400, 'VAL_FAILED', 'components[0]']);
    assert.deepEqual(await post([{ componentId: c.id, tag: '1.0.0' }, { componentId: c.id, tag: '1.0.0' }]),
      [400, 'VAL_FAILED', 'components[1]']);
  });

  test('keep their components from being deleted', async () => {
    const c = await component();
    await add(c, '1.0.0', 1);
    await release([{ componentId: c.id, tag: '1.0.0' }]);
    assert.equal((await api.delete(`/components/${c.id}`)).error.code, 'RES_IN_USE');
  });

  // Every state against every action: what is allowed gives the state named, everything else is 409 with what is.
  const allowed = {
    draft: ['update', 'publish', 'delete'], ready: ['update', 'deprecate', 'delete'],
    deprecated: ['update', 'archive'], archived: ['update'],
  };
  const act = {
    'change components': (r, parts) => api.put(`/releases/${r.id}`, { components: parts }),
    update: (r) => api.put(`/releases/${r.id}`, { notes: 'x' }),
    publish: (r) => api.put(`/releases/${r.id}`, { status: 'ready' }),
    unpublish: (r) => api.put(`/releases/${r.id}`, { status: 'draft' }),
    deprecate: (r) => api.post(`/releases/${r.id}/deprecate`, { reason: 'superseded' }),
    'set deprecated': (r) => api.put(`/releases/${r.id}`, { status: 'deprecated' }),
    archive: (r) => api.put(`/releases/${r.id}`, { status: 'archived' }),
    delete: (r) => api.delete(`/releases/${r.id}`),
  };
  const outcome = {
    draft: { 'change components': 'draft', update: 'draft', publish: 'ready', unpublish: 'draft', delete: 'gone' },
    ready: { update: 'ready', publish: 'ready', deprecate: 'deprecated', delete: 'gone' },
    deprecated: { update: 'deprecated', 'set deprecated': 'deprecated', archive: 'archived' },
    archived: { update: 'archived', archive: 'archived' },
  };
  for (const from of Object.keys(outcome))
    for (const action of Object.keys(act))
      test(`${action} of a release that is ${from}: ${outcome[from][action] ?? '409'}`, async () => {
        const c = await component();
        await add(c, '1.0.0', 1);
        const parts = [{ componentId: c.id, tag: '1.0.0' }];
        const r = await release(parts, { draft: from === 'draft' });
        if (from === 'deprecated' || from === 'archived') await act.deprecate(r);
        if (from === 'archived') await act.archive(r);
        const answer = await act[action](r, parts);
        const wanted = outcome[from][action];
        if (wanted === undefined) assert.deepEqual(state(answer), [409, 'RES_INVALID_STATE', from, allowed[from]]);
        else if (wanted === 'gone') assert.equal(answer.status, 204);
        else assert.deepEqual([answer.status, answer.data.status], [200, wanted]);
      });

  test('may be empty only while they are drafts', async () => {
    const draft = await release([], { draft: true });
    assert.deepEqual(refused(await api.put(`/releases/${draft.id}`, { status: 'ready' })), [422, 'REL_EMPTY']);
    const c = await component();
    await add(c, '1.0.0', 1);
    const ready = await api.put(`/releases/${draft.id}`, { status: 'ready', components: [{ componentId: c.id, tag: '1.0.0' }] });
    assert.deepEqual([ready.status, ready.data.status, ready.data.components[0].digest], [200, 'ready', digest(1)]);
  });
});
