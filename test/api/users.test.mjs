// People of a tenant: made, changed and removed by whoever manages it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Browser, takeToken } from '../lib/browser.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

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
  assert.deepEqual(rest, { email: 'ada@example.org', name: 'A person', status: 'active', roles: ['operator'], groups: [], revision: 1 });
  assert.deepEqual((await users('GET', `/${id}`)).body, made.body);
  assert.deepEqual((await users('GET', '?email=ada%40example.org')).body.data.map((u) => u.id), [id]);
});

test('an email is given once, in whatever case', async () => {
  assert.equal((await users('POST', '', person('bob@example.org'))).status, 201);
  assert.equal((await users('POST', '', person('BOB@example.org'))).status, 409);
});

test('an email has any letter, and no spaces', async () => {
  assert.equal((await users('POST', '', person('the.quick+brown-fox_jumps@overthelazydogs.example'))).status, 201);
  for (const bad of ['a b@example.org', 'a\tb@example.org', 'a@b@example.org', 'a,b@example.org', 'a@exam ple.org'])
    assert.equal((await users('POST', '', person(bad))).status, 400, bad);
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

const of = (what, method, path = '', body, key) => (key === undefined ? s.api : s.api.as(key)).request(method, `/v1/${what}${path}`, body, { absolute: true });
const made = async (what, body) => {
  const answer = await of(what, 'POST', '', body);
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
};

test('what a group has, its members have, from the next request on', async () => {
  const group = await made('groups', { name: 'releasers', roles: ['release-manager'] });
  const user = await made('users', person('gina@example.org', { roles: [], groups: [group.id] }));
  assert.deepEqual(user.groups, [group.id]);
  const b = await new Browser(s.server.url).login('gina@example.org', 'a long enough sentence');
  const { client_id } = await made('oauth/clients', { name: 'app', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], redirect_uris: ['http://127.0.0.1/back'], scopes: ['projects:write'] });
  const token = await takeToken(b, s.server.url, client_id, 'http://127.0.0.1/back');
  const make = (name) => s.api.as(token).request('POST', '/components', { name });
  assert.equal((await make('one')).status, 201);
  assert.equal((await of('groups', 'PATCH', `/${group.id}`, { roles: ['viewer'] })).status, 200);
  await eventually(async () => (await make('two')).status === 403, 'the group\'s role to be gone');
  assert.equal((await of('groups', 'DELETE', `/${group.id}`)).code ?? (await of('groups', 'DELETE', `/${group.id}`)).body.error, 'conflict', 'it has a member');
});

test('nobody gets more by a group or an invitation than their giver has', async () => {
  const key = await s.makeKey('--permissions', 'tenant:manage,release:read');
  assert.equal((await of('groups', 'POST', '', { name: 'mine', roles: ['admin'] }, key)).status, 403);
  const group = await made('groups', { name: 'admins', roles: ['admin'] });
  assert.equal((await of('users', 'POST', '', person('max@example.org', { roles: [], groups: [group.id] }), key)).status, 403);
  assert.equal((await of('invitations', 'POST', '', { email: 'max@example.org', roles: ['admin'] }, key)).status, 403);
});

test('an invitation is taken once, by whoever has its token', async () => {
  const { token, ...invitation } = await made('invitations', { email: 'Ida@Example.org', roles: ['viewer'] });
  assert.match(token, /^slin_[0-9A-Za-z]{36}$/);
  assert.deepEqual((await of('invitations', 'GET', `/${invitation.id}`)).body, invitation);
  const accept = (body) => s.api.as(undefined).request('POST', '/v1/invitations/accept', { token, name: 'Ida', password: 'a long enough sentence', ...body }, { absolute: true });
  assert.equal((await accept({ password: 'short' })).status, 400);
  assert.equal((await accept({ token: 'slin_x' })).status, 401);
  const both = await Promise.all([accept(), accept()]);
  assert.deepEqual(both.map((answer) => answer.status).sort(), [201, 401]);
  const { body: user } = both.find((answer) => answer.status === 201);
  assert.deepEqual([user.email, user.name, user.roles, user.status], ['ida@example.org', 'Ida', ['viewer'], 'active']);
  assert.deepEqual((await of('users', 'GET', `/${user.id}`)).body, user);
  assert.equal((await of('invitations', 'GET', `/${invitation.id}`)).body.status, 'accepted');
  await new Browser(s.server.url).login('ida@example.org', 'a long enough sentence');
});

test('an invitation that was taken back, or whose person is there already, makes nobody', async () => {
  const { token, id } = await made('invitations', { email: 'kim@example.org' });
  assert.equal((await of('invitations', 'DELETE', `/${id}`)).status, 204);
  const accept = (given) => s.api.as(undefined).request('POST', '/v1/invitations/accept', { token: given, name: 'Kim', password: 'a long enough sentence' }, { absolute: true });
  assert.equal((await accept(token)).status, 401);
  const twice = await made('invitations', { email: 'ada@example.org' });
  assert.equal((await accept(twice.token)).status, 409);
});

test('an invitation is taken at a page, too', async () => {
  const { token } = await made('invitations', { email: 'lea@example.org' });
  const b = new Browser(s.server.url);
  await b.get('/v1/auth/invitation');
  const short = await b.submit({ token, name: 'Lea', password: 'short' });
  assert.equal(short.status, 400);
  assert.match(short.text, /shorter than 12 characters/);
  assert.equal((await b.submit({ token, name: 'Lea', password: 'a long enough sentence' })).headers.location, '/v1/auth/login');
  await b.login('lea@example.org', 'a long enough sentence');
});

// A person with these roles, signed in, and a grant of theirs for managing the tenant.
const back = 'http://127.0.0.1/back';
let app;
const signIn = async (email, roles, rest = {}) => {
  const admin = (await of('roles', 'GET')).body.find((role) => role.name === 'admin');
  app ??= (await made('oauth/clients', { name: 'console', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], redirect_uris: [back], scopes: admin.permissions })).client_id;
  const user = await made('users', person(email, { roles, ...rest }));
  const b = await new Browser(s.server.url).login(email, 'a long enough sentence');
  return { ...user, token: await takeToken(b, s.server.url, app, back) };
};

test('who manages the tenant and nothing else cannot touch an administrator', async () => {
  const key = await s.makeKey('--permissions', 'tenant:manage');
  const group = await made('groups', { name: 'chiefs', roles: ['admin'] });
  const chiefs = [await made('users', person('boss@example.org', { roles: ['admin'] })), await made('users', person('chief@example.org', { roles: [], groups: [group.id] }))];
  for (const { id } of chiefs) {
    const tries = [['DELETE'], ['PATCH', { status: 'suspended', roles: [], groups: [] }], ['PATCH', { roles: [], groups: [] }], ['PATCH', { password: 'mine from now on' }], ['PATCH', { name: 'Nobody' }]];
    for (const [method, body] of tries) assert.equal((await of('users', method, `/${id}`, body, key)).status, 403, `${method} ${JSON.stringify(body)}`);
  }
  for (const [method, body] of [['PATCH', { roles: [] }], ['DELETE']]) assert.equal((await of('groups', method, `/${group.id}`, body, key)).status, 403);
  const plain = await made('users', person('plain@example.org', { roles: [] }));
  assert.equal((await of('users', 'PATCH', `/${plain.id}`, { name: 'Plain' }, key)).status, 200);
  assert.equal((await of('users', 'DELETE', `/${plain.id}`, undefined, key)).status, 204);
});

test('nobody takes the tenant out of their own hands, also not by a group', async () => {
  const group = await made('groups', { name: 'managers', roles: ['admin'] });
  const people = [await signIn('own1@example.org', ['admin']), await signIn('own2@example.org', [], { groups: [group.id] })];
  for (const { id, token } of people) {
    for (const [method, body] of [['DELETE'], ['PATCH', { status: 'suspended' }], ['PATCH', { roles: ['viewer'], groups: [] }]]) {
      const answer = await of('users', method, `/${id}`, body, token);
      assert.equal(answer.status, 409, `${method} ${answer.text}`);
      assert.match(answer.body.error_description, /from themselves/);
    }
    assert.equal((await of('users', 'PATCH', `/${id}`, { name: 'Still here' }, token)).status, 200);
  }
  const [{ id, token }, { token: grouped }] = people;
  const key = await of('tokens', 'POST', '', { name: 'mine', prefix: 'sk_user', permissions: (await of('roles', 'GET')).body[0].permissions }, token);
  assert.equal(key.status, 201, key.text);
  assert.equal((await of('users', 'DELETE', `/${id}`, undefined, key.body.token)).status, 409, 'by a key of theirs');
  assert.equal((await of('groups', 'PATCH', `/${group.id}`, { roles: ['viewer'] }, grouped)).status, 409, 'by the group they are in');
  assert.equal((await of('users', 'DELETE', `/${people[0].id}`)).status, 204, 'another may');
  assert.equal((await of('groups', 'PATCH', `/${group.id}`, { roles: ['viewer'] })).status, 200);
});

const accept = (token, name) => s.api.as(undefined).request('POST', '/v1/invitations/accept', { token, name, password: 'a long enough sentence' }, { absolute: true });

test('an invitation ends with who made it, and gives no more than they have', async () => {
  const invite = async (key, email, roles = []) => {
    const answer = await of('invitations', 'POST', '', { email, roles }, key);
    assert.equal(answer.status, 201, answer.text);
    return answer.body.token;
  };
  const { id, token } = await signIn('host@example.org', ['admin']);
  const tokens = [await invite(token, 'guest1@example.org'), await invite(token, 'guest2@example.org'), await invite(token, 'guest3@example.org')];
  assert.equal((await accept(tokens[0], 'guest1@example.org')).status, 201);
  assert.equal((await of('users', 'PATCH', `/${id}`, { status: 'suspended' })).status, 200);
  const refused = await accept(tokens[1], 'guest2@example.org');
  assert.equal(refused.status, 401, refused.text);
  assert.match(refused.body.error_description, /who made the invitation/);
  assert.equal((await of('users', 'PATCH', `/${id}`, { status: 'active' })).status, 200);
  assert.equal((await accept(tokens[1], 'guest2@example.org')).status, 201);
  assert.equal((await of('users', 'DELETE', `/${id}`)).status, 204);
  assert.equal((await accept(tokens[2], 'guest3@example.org')).status, 401);
});

test('an invitation to roles that its maker has lost is good for nothing', async () => {
  const { id, token } = await signIn('loser@example.org', ['admin']);
  const given = await of('invitations', 'POST', '', { email: 'heir@example.org', roles: ['operator'] }, token);
  assert.equal(given.status, 201, given.text);
  assert.equal((await of('users', 'PATCH', `/${id}`, { roles: ['viewer'] })).status, 200);
  const answer = await accept(given.body.token, 'heir@example.org');
  assert.equal(answer.status, 401, answer.text);
  assert.match(answer.body.error_description, /may not give/);
});

test('a key that was taken back takes its invitations along', async () => {
  const key = await made('tokens', { name: 'inviter', prefix: 'slp', permissions: ['tenant:manage'] });
  const invite = (email) => of('invitations', 'POST', '', { email, roles: [] }, key.token);
  const { body: { token } } = await invite('late@example.org');
  const { body: { token: intime } } = await invite('intime@example.org');
  assert.equal((await accept(intime, 'In time')).status, 201);
  assert.equal((await of('tokens', 'DELETE', `/${key.id}`)).status, 204);
  const answer = await accept(token, 'Late');
  assert.equal(answer.status, 401, answer.text);
});

test('who was invited in vain can be invited again', async () => {
  for (let i = 0; i < 2; i++) await made('invitations', { email: 'again@example.org', roles: [] });
});

test('the roles are listed for everybody who is known', async () => {
  const { status, body } = await of('roles', 'GET', '', undefined, await s.makeKey('--permissions', 'release:read'));
  assert.equal(status, 200);
  assert.deepEqual(body.map((role) => role.name), ['admin', 'release-manager', 'operator', 'approver', 'viewer', 'auditor', 'agent']);
});
