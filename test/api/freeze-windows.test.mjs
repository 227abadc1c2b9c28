// Freeze windows of an environment: nested rows, and when they are in force. What they keep out: promotion.test.mjs.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';

let s, api, first, second;
const base = (environment) => `/environments/${environment.id}/freeze-windows`;
const announce = (environment, body = {}) => api.want(201, 'POST', base(environment), {
  start: '2026-12-24T18:00:00+01:00', end: '2027-01-02T00:00:00Z', reason: 'holidays', ...body,
});

before(async () => {
  s = await start({ name: 'freeze' });
  api = s.api;
  first = await api.want(201, 'POST', '/environments', { name: 'first' });
  second = await api.want(201, 'POST', '/environments', { name: 'second' });
});
after(() => s?.stop());

test('one is announced for its environment, with instants in UTC', async () => {
  const answer = await api.post(base(first), { start: '2026-12-24T18:00:00+01:00', end: '2027-01-02T00:00:00Z', reason: 'holidays' });
  assert.equal(answer.status, 201);
  assert.equal(answer.headers.location, `/api/v1${base(first)}/${answer.data.id}`);
  assert.equal(answer.data.environmentId, first.id);
  assert.equal(answer.data.start, '2026-12-24T17:00:00.000Z');
  assert.deepEqual(answer.data.exceptions, []);
  assert.equal(answer.data.blockRollbacks, false);
  await api.want(204, 'DELETE', `${base(first)}/${answer.data.id}`);
});

describe('each environment has its own', () => {
  let mine, theirs;
  before(async () => {
    theirs = await announce(second, { reason: 'audit' });
    mine = [];
    for (const day of ['03', '01', '02']) mine.push(await announce(first, { start: `2026-06-${day}T00:00:00Z` }));
  });

  test('and a list of them, by their start', async () => {
    const { data, body } = await api.get(base(first));
    assert.deepEqual(data.map((w) => w.start.slice(0, 10)), ['2026-06-01', '2026-06-02', '2026-06-03']);
    assert.equal(body.meta.pagination.totalItems, 3);
    assert.deepEqual((await api.get(base(second))).data.map((w) => w.id), [theirs.id]);
    const late = await api.get(base(first), { query: { filter: JSON.stringify({ start: { $gte: '2026-06-02T00:00:00Z' } }), sort: '-start', pageSize: '1' } });
    assert.deepEqual(late.data.map((w) => w.id), [mine[0].id]);
    assert.equal(late.body.meta.pagination.totalItems, 2);
  });

  test('which is not there where the environment is not', async () => {
    for (const id of ['nothing', '0190a5b0-0000-7000-8000-0000000000ab']) {
      assert.equal((await api.get(base({ id }))).status, 404);
      assert.equal((await api.post(base({ id }), { start: '2026-01-01T00:00:00Z', end: '2026-01-02T00:00:00Z', reason: 'x' })).status, 404);
    }
  });

  test('and none is found through another', async () => {
    assert.equal((await api.delete(`${base(second)}/${mine[0].id}`)).status, 404);
    await api.want(204, 'DELETE', `${base(first)}/${mine[0].id}`);
    assert.equal((await api.get(base(first))).body.meta.pagination.totalItems, 2);
  });

  test('which keep it from being deleted, and are in the audit trail', async () => {
    const answer = await api.delete(`/environments/${second.id}`);
    assert.equal(answer.code, 'RES_IN_USE');
    assert.deepEqual(answer.error.details.usedBy, [{ field: 'environmentId', id: theirs.id, resource: 'freeze-window' }]);
    await api.want(204, 'DELETE', `${base(second)}/${theirs.id}`);
    await api.want(204, 'DELETE', `/environments/${second.id}`);
    const { data } = await api.get('/audit-events', { query: { resource: 'freeze-window', environmentId: second.id, sort: 'sequence' } });
    assert.deepEqual(data.map((e) => e.action), ['freeze-window.created', 'freeze-window.deleted']);
  });
});

test('what it lacks is named', async () => {
  const answer = await api.post(base(first), { reason: '', exceptions: ['a', 'a'] });
  assert.deepEqual(answer.error.validationErrors.map((f) => `${f.field} ${f.code}`).sort(), [
    'end VAL_REQUIRED', 'exceptions[1] VAL_INVALID_FORMAT', 'reason VAL_OUT_OF_RANGE', 'start VAL_REQUIRED',
  ]);
});

test('one that ends before it starts is none', async () => {
  for (const end of ['2026-12-24T17:00:00Z', '2026-12-24T16:59:59Z']) {
    const answer = await api.post(base(first), { start: '2026-12-24T18:00:00+01:00', end, reason: 'x' });
    assert.deepEqual(answer.error.validationErrors.map((f) => f.field), ['end'], end);
  }
});

test('they say whether they are in force, and are found by that and by time', async () => {
  const there = await api.want(201, 'POST', '/environments', { name: 'timed' });
  const hours = (n) => new Date(Date.now() + n * 3600_000).toISOString();
  const [past, now, later] = [[-5, -3], [-1, 1], [3, 5]].map(([a, b]) => announce(there, { start: hours(a), end: hours(b) }));
  assert.deepEqual([(await past).active, (await now).active, (await later).active], [false, true, false]);
  const found = async (query) => (await api.get(base(there), { query })).data.map((w) => w.id);
  const [a, b, c] = [(await past).id, (await now).id, (await later).id];
  assert.deepEqual(await found({}), [a, b, c]);
  assert.deepEqual(await found({ active: 'true' }), [b]);
  assert.deepEqual(await found({ active: 'false' }), [a, c]);
  assert.deepEqual(await found({ from: hours(-2) }), [b, c]);
  assert.deepEqual(await found({ to: hours(2) }), [a, b]);
  assert.deepEqual(await found({ from: hours(-2), to: hours(2) }), [b]);
  for (const query of [{ active: 'maybe' }, { from: 'yesterday' }]) assert.equal((await api.get(base(there), { query })).status, 400);
});

for (const [state, [from, to]] of Object.entries({ future: [2, 4], 'in force': [-1, 1], ended: [-4, -2] }))
  test(`one that is ${state}: what finds it, and that it can be taken back`, async () => {
    const hours = (n) => new Date(Date.now() + n * 3600_000).toISOString();
    const there = await api.want(201, 'POST', '/environments', { name: state.replace(' ', '-') });
    const { id, active } = await announce(there, { start: hours(from), end: hours(to) });
    assert.equal(active, state === 'in force');
    for (const [query, found] of [
      [{}, true],
      [{ active: 'true' }, state === 'in force'],
      [{ active: 'false' }, state !== 'in force'],
      [{ from: hours(1.5) }, state === 'future'],
      [{ to: hours(-1.5) }, state === 'ended'],
      [{ from: hours(-1.5), to: hours(1.5) }, state === 'in force'],
      [{ from: hours(from + 0.5), to: hours(to - 0.5) }, true],
      [{ filter: JSON.stringify({ start: { $gt: hours(0) } }) }, state === 'future'],
      [{ filter: JSON.stringify({ end: { $lt: hours(0) } }) }, state === 'ended'],
    ]) assert.deepEqual((await api.want(200, 'GET', `${base(there)}?${new URLSearchParams(query)}`)).map((w) => w.id), found ? [id] : [], JSON.stringify(query));
    await api.want(204, 'DELETE', `${base(there)}/${id}`);
    assert.equal((await api.delete(`${base(there)}/${id}`)).code, 'RES_NOT_FOUND');
    assert.deepEqual(await api.want(200, 'GET', base(there)), []);
  });
