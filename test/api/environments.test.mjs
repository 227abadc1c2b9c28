// Environments: a resource by rows. What the rows promise, and the few rules that are its own.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'environments' });
  api = s.api;
});
after(() => s?.stop());

const path = '/environments';
const unknown = '0190a5b0-0000-7000-8000-0000000000ab';
let count = 0;
const name = (stem = 'env') => `${stem}-${++count}`;
const make = (body = {}) => api.want(201, 'POST', path, { name: name(), ...body });
const fields = (answer) => answer.error.validationErrors.map((f) => `${f.field} ${f.code}`).sort();

beforeEach(async () => {
  // Dependents first: an environment that others are promoted from cannot be deleted.
  for (;;) {
    const { data } = await api.get(path, { query: { pageSize: '100', sort: '-orderIndex' } });
    if (data.length === 0) return;
    for (const one of data) await api.want(204, 'DELETE', `${path}/${one.id}`);
  }
});

describe('creating', () => {
  test('fills in defaults and answers 201 with Location and ETag', async () => {
    const answer = await api.post(path, { name: 'production' });
    assert.equal(answer.status, 201);
    const made = answer.data;
    assert.equal(answer.headers.location, `/api/v1/environments/${made.id}`);
    assert.equal(answer.headers.etag, '"1"');
    assert.deepEqual(
      { ...made, id: 0, tenantId: 0, createdAt: 0, updatedAt: 0, createdBy: 0, updatedBy: 0 },
      {
        id: 0, tenantId: 0, createdAt: 0, updatedAt: 0, createdBy: 0, updatedBy: 0,
        name: 'production', displayName: 'production', orderIndex: 0, requiredApprovals: 0,
        requireSeparationOfDuties: false, autoPromoteFrom: null, isProduction: true, revision: 1,
        config: {
          deploymentTimeout: 600, healthCheckInterval: 30,
          healthCheckConfig: { type: 'http', path: '/health', timeout: 30, retries: 3, interval: 10 },
        },
      });
    assert.deepEqual((await api.get(`${path}/${made.id}`)).data, made);
  });

  test('orderIndex goes behind the last when it is not given, also when several are made at once', async () => {
    await make({ orderIndex: 40 });
    const made = await Promise.all(Array.from({ length: 4 }, () => make()));
    assert.deepEqual(made.map((e) => e.orderIndex).sort(), [41, 42, 43, 44]);
  });

  test('names every fault at once, with its place', async () => {
    const answer = await api.post(path, {
      name: 'Not A Name', orderIndex: -1, isProduction: 'yes', colour: 'red', autoPromoteFrom: 'dev',
      config: { deploymentTimeout: 0, variables: { a: 1 }, healthCheckConfig: { type: 'smell' }, agentLabels: ['x', 'x'], more: 1 },
    });
    assert.equal(answer.status, 400);
    assert.equal(answer.code, 'VAL_FAILED');
    assert.deepEqual(fields(answer), [
      'autoPromoteFrom VAL_INVALID_FORMAT', 'colour VAL_UNKNOWN_FIELD', 'config.agentLabels[1] VAL_INVALID_FORMAT',
      'config.deploymentTimeout VAL_OUT_OF_RANGE', 'config.healthCheckConfig.type VAL_INVALID_ENUM',
      'config.more VAL_UNKNOWN_FIELD', 'config.variables.a VAL_INVALID_TYPE', 'isProduction VAL_INVALID_TYPE',
      'name VAL_INVALID_FORMAT', 'orderIndex VAL_OUT_OF_RANGE',
    ]);
  });

  test('ignores what the server sets', async () => {
    const made = await make({ id: unknown, revision: 7, createdAt: 'never', createdBy: 5 });
    assert.notEqual(made.id, unknown);
    assert.equal(made.revision, 1);
  });

  test('requireSod is another name of requireSeparationOfDuties', async () => {
    const made = await make({ requireSod: true });
    assert.equal(made.requireSeparationOfDuties, true);
    assert.ok(!('requireSod' in made));
    assert.equal((await make({ requireSod: false, requireSeparationOfDuties: false })).requireSeparationOfDuties, false);
    const answer = await api.post(path, { name: name(), requireSod: true, requireSeparationOfDuties: false });
    assert.deepEqual(fields(answer), ['requireSeparationOfDuties VAL_INVALID_FORMAT']);
  });

  test('a taken name or orderIndex is 409 and names the field; a deleted one is free again', async () => {
    const made = await make({ name: 'taken', orderIndex: 3 });
    for (const [body, field] of [[{ name: 'taken' }, 'name'], [{ name: 'other', orderIndex: 3 }, 'orderIndex']]) {
      const answer = await api.post(path, body);
      assert.equal(answer.status, 409);
      assert.equal(answer.code, 'RES_ALREADY_EXISTS');
      assert.equal(answer.error.details.field, field);
    }
    await api.want(204, 'DELETE', `${path}/${made.id}`);
    await make({ name: 'taken', orderIndex: 3 });
  });

  test('of many at once with one name exactly one is made', async () => {
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => api.post(path, { name: 'race', orderIndex: 100 + i })));
    assert.deepEqual(answers.map((a) => a.status).sort(), [201, ...Array(11).fill(409)]);
  });
});

describe('changing', () => {
  test('merges: what is not given stays, null takes away, defaults come back', async () => {
    const made = await make({ displayName: 'Shown', config: { variables: { a: '1', b: '2' }, deploymentTimeout: 5 }, promotionPolicy: 'strict' });
    const answer = await api.put(`${path}/${made.id}`, {
      displayName: null, promotionPolicy: null, config: { variables: { a: null, c: '3' }, deploymentTimeout: null },
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.etag, '"2"');
    assert.deepEqual(answer.data.config.variables, { b: '2', c: '3' });
    assert.equal(answer.data.config.deploymentTimeout, 600);
    assert.equal(answer.data.displayName, made.name);
    assert.ok(!('promotionPolicy' in answer.data));
    assert.equal(answer.data.createdAt, made.createdAt);
    assert.equal(answer.data.revision, 2);
    assert.deepEqual((await api.get(`${path}/${made.id}`)).data, answer.data);
  });

  test('PATCH does what PUT does', async () => {
    const made = await make();
    const answer = await api.patch(`${path}/${made.id}`, { requiredApprovals: 2 });
    assert.equal(answer.data.requiredApprovals, 2);
    assert.equal(answer.data.name, made.name);
  });

  test('a required member cannot be taken away', async () => {
    const made = await make();
    assert.deepEqual(fields(await api.put(`${path}/${made.id}`, { name: null })), ['name VAL_REQUIRED']);
  });

  test('what was read can be sent back', async () => {
    const made = await make({ config: { variables: { a: 'b' } } });
    const answer = await api.put(`${path}/${made.id}`, made);
    assert.equal(answer.status, 200);
    assert.deepEqual({ ...answer.data, revision: 1, updatedAt: 0 }, { ...made, updatedAt: 0 });
  });

  test('If-Match of another revision is 409 and says the present one', async () => {
    const made = await make();
    await api.want(200, 'PUT', `${path}/${made.id}`, { requiredApprovals: 1 }, { headers: { 'if-match': '"1"' } });
    for (const method of ['PUT', 'PATCH', 'DELETE']) {
      const answer = await api.request(method, `${path}/${made.id}`, method === 'DELETE' ? undefined : {}, { headers: { 'if-match': '"1"' } });
      assert.equal(answer.status, 409);
      assert.equal(answer.code, 'RES_VERSION_CONFLICT');
      assert.equal(answer.error.details.currentRevision, 2);
    }
    await api.want(204, 'DELETE', `${path}/${made.id}`, undefined, { headers: { 'if-match': '"7", "2"' } });
  });

  test('changes of different members at once are all kept', async () => {
    const made = await make();
    const answers = await Promise.all(['a', 'b', 'c', 'd'].map((key) =>
      api.patch(`${path}/${made.id}`, { config: { variables: { [key]: 'x' } } })));
    assert.deepEqual(answers.map((a) => a.status), [200, 200, 200, 200]);
    const { data } = await api.get(`${path}/${made.id}`);
    assert.deepEqual(Object.keys(data.config.variables).sort(), ['a', 'b', 'c', 'd']);
    assert.equal(data.revision, 5);
  });

  test('a new name frees the old one', async () => {
    const made = await make({ name: 'before' });
    await api.want(200, 'PUT', `${path}/${made.id}`, { name: 'after' });
    await make({ name: 'before' });
    assert.equal((await api.post(path, { name: 'after' })).status, 409);
  });
});

describe('promotion by itself', () => {
  test('must come from an environment that exists and has a lower orderIndex', async () => {
    const dev = await make({ orderIndex: 1 });
    const prod = await make({ orderIndex: 2, autoPromoteFrom: dev.id.toUpperCase() });
    assert.equal(prod.autoPromoteFrom, dev.id);
    const refuse = async (status, code, field, id, body) => {
      const answer = id ? await api.put(`${path}/${id}`, body) : await api.post(path, { name: name(), ...body });
      assert.equal(answer.status, status);
      assert.equal(answer.code, code);
      assert.deepEqual(fields(answer), [`${field} ${code}`]);
    };
    await refuse(422, 'RES_REFERENCE_UNKNOWN', 'autoPromoteFrom', null, { autoPromoteFrom: unknown });
    await refuse(422, 'RES_REFERENCE_UNKNOWN', 'autoPromoteFrom', prod.id, { autoPromoteFrom: unknown });
    await refuse(422, 'ENV_ORDER_VIOLATION', 'autoPromoteFrom', null, { orderIndex: 0, autoPromoteFrom: dev.id });
    await refuse(422, 'ENV_ORDER_VIOLATION', 'autoPromoteFrom', dev.id, { autoPromoteFrom: prod.id });
    await refuse(422, 'ENV_ORDER_VIOLATION', 'autoPromoteFrom', dev.id, { autoPromoteFrom: dev.id });
    await refuse(422, 'ENV_ORDER_VIOLATION', 'autoPromoteFrom', dev.id, { autoPromoteFrom: dev.id, orderIndex: 9 });
    await refuse(422, 'ENV_ORDER_VIOLATION', 'autoPromoteFrom', prod.id, { orderIndex: 0 });
  });

  test('keeps the order of those it concerns, also when both change at once', async () => {
    const dev = await make({ orderIndex: 1 });
    const prod = await make({ orderIndex: 5, autoPromoteFrom: dev.id });
    assert.equal((await api.put(`${path}/${dev.id}`, { orderIndex: 6 })).code, 'ENV_ORDER_VIOLATION');
    await api.want(200, 'PUT', `${path}/${dev.id}`, { orderIndex: 4 });
    await api.want(200, 'PUT', `${path}/${prod.id}`, { autoPromoteFrom: null });
    for (let round = 0; round < 5; round++) {
      const [raised, linked] = await Promise.all([
        api.put(`${path}/${dev.id}`, { orderIndex: 9 }),
        api.put(`${path}/${prod.id}`, { autoPromoteFrom: dev.id }),
      ]);
      assert.deepEqual([raised.status, linked.status].sort(), [200, 422]);
      await api.want(200, 'PUT', `${path}/${prod.id}`, { autoPromoteFrom: null });
      await api.want(200, 'PUT', `${path}/${dev.id}`, { orderIndex: 4 });
    }
  });

  test('keeps its source from being deleted, and says who does', async () => {
    const dev = await make();
    const prod = await make({ autoPromoteFrom: dev.id });
    const answer = await api.delete(`${path}/${dev.id}`);
    assert.equal(answer.status, 409);
    assert.equal(answer.code, 'RES_IN_USE');
    assert.deepEqual(answer.error.details.usedBy, [{ field: 'autoPromoteFrom', id: prod.id, resource: 'environment' }]);
    await api.want(200, 'PUT', `${path}/${prod.id}`, { autoPromoteFrom: null });
    await api.want(204, 'DELETE', `${path}/${dev.id}`);
  });
});

describe('reading', () => {
  test('what is not there is 404, whatever its id looks like', async () => {
    for (const id of [unknown, 'nope', '%20', '0'])
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const answer = await api.request(method, `${path}/${id}`, method === 'PUT' ? {} : undefined);
        assert.equal(answer.status, 404, `${method} ${id}`);
        assert.equal(answer.code, 'RES_NOT_FOUND');
      }
  });

  test('If-None-Match of the present revision is 304', async () => {
    const made = await make();
    const at = `${path}/${made.id.toUpperCase()}`;
    assert.equal((await api.get(at, { headers: { 'if-none-match': '"1"' } })).status, 304);
    assert.equal((await api.get(at, { headers: { 'if-none-match': '"2"' } })).status, 200);
  });

  test('currentRelease comes with includeState only', async () => {
    const made = await make();
    assert.ok(!('currentRelease' in (await api.get(`${path}/${made.id}`)).data));
    assert.equal((await api.get(`${path}/${made.id}`, { query: { includeState: 'true' } })).data.currentRelease, null);
    assert.equal((await api.get(path, { query: { includeState: 'true' } })).data[0].currentRelease, null);
    assert.deepEqual(fields(await api.get(path, { query: { includeState: 'perhaps' } })), ['query.includeState VAL_INVALID_TYPE']);
  });

  test('deleted is gone, and deleting again is 404', async () => {
    const made = await make();
    const answer = await api.delete(`${path}/${made.id}`);
    assert.equal(answer.status, 204);
    assert.equal(answer.text, '');
    assert.equal((await api.get(`${path}/${made.id}`)).status, 404);
    assert.equal((await api.delete(`${path}/${made.id}`)).status, 404);
  });
});

test('a POST with one Idempotency-Key is done once', async () => {
  const headers = { 'idempotency-key': 'once' };
  const first = await api.post(path, { name: 'once' }, { headers });
  const again = await api.post(path, { name: 'once' }, { headers });
  assert.equal(first.status, 201);
  assert.equal(again.status, 201);
  assert.equal(again.headers['idempotency-replayed'], 'true');
  assert.deepEqual(again.data, first.data);
  assert.equal(again.headers.location, first.headers.location);
  assert.equal((await api.post(path, { name: 'twice' }, { headers })).code, 'RES_IDEMPOTENCY_CONFLICT');
  assert.equal((await api.get(path)).body.meta.pagination.totalItems, 1);
});
