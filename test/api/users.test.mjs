// People of a tenant: made, changed and removed by whoever manages it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';

let s;
const users = (method, path = '', body) => s.api.request(method, `/v1/users${path}`, body, { absolute: true });
const person = (email, rest = {}) => ({ email, name: 'A person', password: 'a long enough sentence', ...rest });

before(async () => (s = await start({ name: 'users', workers: 1 })));
after(() => s?.stop());

test('a user is made, without the password in the answer, and found by id and in the list', async () => {
  const made = await users('POST', '', person('Ada@Example.org', { roles: ['operator'] }));
  assert.equal(made.status, 201, made.text);
  const { id, tenant_id: tenant, created_at: at, created_by: by, updated_at: changed, ...rest } = made.body;
  assert.ok(id && tenant && at && by && changed);
  assert.deepEqual(rest, { email: 'ada@example.org', name: 'A person', status: 'active', roles: ['operator'], revision: 1 });
  assert.deepEqual((await users('GET', `/${id}`)).body, made.body);
  assert.deepEqual((await users('GET', '?email=ada%40example.org')).body.data.map((u) => u.id), [id]);
});

test('an email is given once, in whatever case', async () => {
  assert.equal((await users('POST', '', person('bob@example.org'))).status, 201);
  assert.equal((await users('POST', '', person('BOB@example.org'))).status, 409);
});

test('a password is long, and none that is tried first', async () => {
  for (const [password, why] of [['short', /shorter than 12/], ['PasswordPassword', /tried first/], ['x'.repeat(2000), /1024|longer/]]) {
    const answer = await users('POST', '', person('eve@example.org', { password }));
    assert.equal(answer.status, 400);
    assert.match(answer.body.error_description, why);
  }
});

test('nobody gives a user more than they have', async () => {
  const key = await s.makeKey('--permissions', 'tenant:manage,release:read');
  const answer = await s.api.as(key).request('POST', '/v1/users', person('mallory@example.org', { roles: ['admin'] }), { absolute: true });
  assert.equal(answer.status, 403);
  assert.equal(answer.body.error, 'insufficient_scope');
});

test('a user is changed and removed', async () => {
  const { body: { id } } = await users('POST', '', person('carl@example.org'));
  const changed = await users('PATCH', `/${id}`, { status: 'suspended', roles: [] });
  assert.equal(changed.status, 200, changed.text);
  assert.deepEqual([changed.body.status, changed.body.roles, changed.body.revision], ['suspended', [], 2]);
  assert.equal((await users('DELETE', `/${id}`)).status, 204);
  assert.equal((await users('GET', `/${id}`)).status, 404);
});
