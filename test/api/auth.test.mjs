// Who calls, and what that lets them do.
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { after, before, test } from 'node:test';
import { raw } from '../lib/http.mjs';
import { start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';
import { Signer, unsigned } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

let s, signer, tenant;

before(async () => {
  s = await start({ name: 'auth', workers: 2 });
  signer = new Signer(s.server.data);
  const made = await s.slipway('key', 'list', '--json');
  tenant = JSON.parse(made.stdout)[0].tenant_id;
});
after(() => s?.stop());

const token = (claims, header) => signer.token({ tenant_id: tenant, ...claims }, header);
const whoami = (bearer, path = '/environments') => s.server.client().get(path, { headers: bearer === undefined ? {} : { authorization: bearer } });

function refused(answer, status, code, what) {
  assert.equal(answer.status, status, `${what}: ${answer.text}`);
  assert.equal(answer.code, code, what);
  if (status === 401) assert.match(answer.headers['www-authenticate'], /^Bearer/, what);
}

test('RFC 6750 §3: a request without a token is refused and told how to authenticate', async () => {
  const answer = await whoami(undefined);
  refused(answer, 401, 'AUTH_TOKEN_MISSING', 'no token');
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
});

test('RFC 6750 §3.1: what is no bearer token of ours is refused', async () => {
  const key = s.key;
  const flipped = key.slice(0, -1) + (key.endsWith('A') ? 'B' : 'A');
  for (const [bearer, code] of [
    ['Bearer', 'AUTH_TOKEN_INVALID'], ['Basic dXNlcjpwYXNz', 'AUTH_TOKEN_INVALID'], [`Token ${key}`, 'AUTH_TOKEN_INVALID'],
    ['Bearer x', 'AUTH_TOKEN_INVALID'], ['Bearer a.b.c', 'AUTH_TOKEN_INVALID'], [`Bearer ${key} ${key}`, 'AUTH_API_KEY_INVALID'],
    [`Bearer ${flipped}`, 'AUTH_API_KEY_INVALID'], [`Bearer ${key}x`, 'AUTH_API_KEY_INVALID'], ['Bearer slp_', 'AUTH_API_KEY_INVALID'],
    [`Bearer ${key.slice(0, -1)}`, 'AUTH_API_KEY_INVALID'], [`Bearer ${'x'.repeat(8300)}`, 'AUTH_TOKEN_INVALID'],
  ])
    refused(await whoami(bearer), 401, code, bearer.slice(0, 60));
});

test('a well-formed key that nobody made is refused', async () => {
  const other = await start({ name: 'auth-other', workers: 1 });
  try {
    refused(await whoami(`Bearer ${other.key}`), 401, 'AUTH_API_KEY_INVALID', 'key of another installation');
    refused(await whoami(`Bearer ${new Signer(other.server.data).token({ tenant_id: tenant })}`), 401, 'AUTH_TOKEN_INVALID', 'token of another installation');
  } finally {
    await other.stop();
  }
});

test('RFC 6750 §2.1, RFC 9110 §11.1: the scheme is case-insensitive', async () => {
  assert.equal((await whoami(`bearer ${s.key}`)).status, 200);
  assert.equal((await whoami(`BEARER   ${s.key}`)).status, 200);
});

test('inside the dialect 401 comes before 404 and 405; a known caller is told which', async () => {
  const anonymous = s.server.client();
  for (const [method, path] of [['GET', '/nothing'], ['DELETE', '/environments'], ['OPTIONS', '/environments'], ['GET', '/environments/x/y/z']])
    refused(await anonymous.request(method, path), 401, 'AUTH_TOKEN_MISSING', `${method} ${path}`);
  refused(await s.api.request('GET', '/nothing'), 404, 'RES_ROUTE_NOT_FOUND', 'unknown path');
  const wrong = await s.api.request('DELETE', '/environments');
  refused(wrong, 405, 'RES_METHOD_NOT_ALLOWED', 'wrong method');
  assert.deepEqual(wrong.headers.allow.split(', ').sort(), ['GET', 'HEAD', 'OPTIONS', 'POST']);
  const options = await s.api.request('OPTIONS', '/environments');
  assert.equal(options.status, 204);
  assert.equal(options.headers.allow, wrong.headers.allow);
  const head = await s.api.request('HEAD', '/environments');
  assert.equal(head.status, 200);
  assert.equal(head.text, '');
  assert.ok(Number(head.headers['content-length']) > 0);
  refused(await anonymous.request('GET', '/nothing', undefined, { absolute: true }), 404, 'RES_ROUTE_NOT_FOUND', 'outside');
});

test('a good access token lets in, with the rights of its roles and permissions', async () => {
  assert.equal((await whoami(`Bearer ${token()}`)).status, 200);
  assert.equal((await whoami(`Bearer ${token({ roles: [], permissions: ['environment:read'] })}`)).status, 200);
  const none = await whoami(`Bearer ${token({ roles: ['nobody'], permissions: ['no:such'] })}`);
  refused(none, 403, 'PERM_DENIED', 'no rights');
  assert.deepEqual(none.error.details, { required: 'environment:read' });
});

test('RFC 8725 §3.1, RFC 7515 §4.1.11, RFC 7519 §6: tokens that were tampered with, or are of another make, are refused', async () => {
  const good = token();
  const [head, body, signature] = good.split('.');
  const claims = JSON.parse(Buffer.from(body, 'base64url'));
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const jwk = publicKey.export({ format: 'jwk' });
  const foreign = (header) => {
    const signed = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${body}`;
    return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`;
  };
  const hmac = (() => {
    const signed = `${Buffer.from('{"alg":"HS256","kid":"1","typ":"at+jwt"}').toString('base64url')}.${body}`;
    return `${signed}.${createHmac('sha256', jwk.x).update(signed).digest('base64url')}`;
  })();
  const attacks = {
    'alg none': unsigned({ alg: 'none', kid: '1', typ: 'at+jwt' }, claims),
    'alg none with our signature': `${Buffer.from('{"alg":"none","kid":"1","typ":"at+jwt"}').toString('base64url')}.${body}.${signature}`,
    'no signature': `${head}.${body}.`,
    'HMAC': hmac,
    'signed by a stranger': foreign({ alg: 'EdDSA', kid: '1', typ: 'at+jwt' }),
    'embedded key': foreign({ alg: 'EdDSA', kid: '1', typ: 'at+jwt', jwk }),
    'linked key': token({}, { jku: 'http://127.0.0.1/keys' }),
    'certificate url': token({}, { x5u: 'http://127.0.0.1/c' }),
    'critical extension': token({}, { crit: ['x'] }),
    'unknown kid': token({}, { kid: '9' }),
    'kid as a path': token({}, { kid: '../../keyring' }),
    'an id token': token({}, { typ: 'JWT' }),
    'no typ': token({}, { typ: null }),
    'changed body': `${head}.${Buffer.from(JSON.stringify({ ...claims, roles: ['admin'], user_id: 'root', sub: 'root' })).toString('base64url')}.${signature}`,
    'padded': `${good}=`,
    'another audience': token({ aud: 'elsewhere' }),
    'a list of audiences': token({ aud: ['slipway', 'elsewhere'] }),
    'another issuer': token({ iss: 'elsewhere' }),
    'no expiry': token({ exp: null }),
    'expiry as text': token({ exp: String(claims.exp) }),
    'no tenant': token({ tenant_id: null }),
    'tenant that is no id': token({ tenant_id: '*' }),
    'not yet valid': token({ nbf: claims.iat + 3600 }),
    'issued tomorrow': token({ iat: claims.iat + 86400, exp: claims.iat + 90000 }),
    'longer than allowed': token({ exp: claims.iat + 86400 * 365 }),
    'user and agent at once': token({ agent_id: 'alice' }),
  };
  for (const [what, bearer] of Object.entries(attacks)) refused(await whoami(`Bearer ${bearer}`), 401, 'AUTH_TOKEN_INVALID', what);
  refused(await whoami(`Bearer ${token({ iat: claims.iat - 7200, exp: claims.iat - 3600 })}`), 401, 'AUTH_TOKEN_EXPIRED', 'expired');
  assert.equal((await whoami(`Bearer ${token({ iat: claims.iat - 600, exp: claims.iat - 20 })}`)).status, 200, 'a minute of leeway');
});

test('keys have the rights of their role', async () => {
  const viewer = s.server.client(await s.makeKey('--role', 'viewer'));
  assert.equal((await viewer.get('/environments')).status, 200);
  const denied = await viewer.post('/environments', { name: 'denied', orderIndex: 900 });
  refused(denied, 403, 'PERM_DENIED', 'viewer creates');
  assert.deepEqual(denied.error.details, { required: 'environment:create' });
  const bad = await s.slipway('key', 'create', '--role', 'emperor');
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /no role 'emperor'/);
});

test('another tenant sees nothing of ours', async () => {
  const ours = await s.api.want(201, 'POST', '/environments', { name: 'ours', orderIndex: 901 });
  const theirs = s.server.client(await s.makeKey('--tenant', 'others', '--role', 'admin'));
  assert.deepEqual((await theirs.get('/environments')).data, []);
  refused(await theirs.get(`/environments/${ours.id}`), 404, 'RES_NOT_FOUND', 'read');
  refused(await theirs.put(`/environments/${ours.id}`, { displayName: 'x' }), 404, 'RES_NOT_FOUND', 'change');
  refused(await theirs.delete(`/environments/${ours.id}`), 404, 'RES_NOT_FOUND', 'delete');
  assert.equal((await s.api.get(`/environments/${ours.id}`)).status, 200);
});

/** The first answer of that status: a worker trusts for auth-trust that nothing was revoked. */
const felt = (ask, status) => eventually(async () => {
  const answer = await ask();
  return answer.status === status && answer;
}, `the revocation to be felt as ${status}`);

test('a revoked key is refused within a second on every worker', async () => {
  const key = await s.makeKey('--role', 'viewer', '--name', 'to be revoked');
  const clients = Array.from({ length: 8 }, () => s.server.client(key)); // connections spread over the workers
  for (const c of clients) assert.equal((await c.get('/environments')).status, 200);
  const listed = JSON.parse((await s.slipway('key', 'list', '--json')).stdout).find((k) => k.name === 'to be revoked');
  assert.equal((await s.slipway('key', 'revoke', listed.id)).code, 0);
  const revoked = Date.now();
  for (const c of clients)
    refused(await felt(() => c.get('/environments'), 401), 401, 'AUTH_TOKEN_REVOKED', 'after the revocation');
  assert.ok(Date.now() - revoked < 30_000);
  const again = JSON.parse((await s.slipway('key', 'list', '--json')).stdout).find((k) => k.id === listed.id);
  assert.ok(again.revoked_at);
});

test('a revoked access token is refused, another one of its user is not', async () => {
  const make = async () => JSON.parse((await s.slipway('key', 'jwt', '--user', 'bob', '--role', 'viewer', '--json')).stdout);
  const [first, second] = [await make(), await make()];
  assert.equal((await whoami(`Bearer ${first.token}`)).status, 200);
  assert.equal((await s.slipway('key', 'revoke', first.id)).code, 0);
  refused(await felt(() => whoami(`Bearer ${first.token}`), 401), 401, 'AUTH_TOKEN_REVOKED', 'revoked');
  assert.equal((await whoami(`Bearer ${second.token}`)).status, 200);
});

test('an expired key is refused', async () => {
  const key = await s.makeKey('--role', 'viewer', '--expires', '1s');
  const answer = await eventually(async () => {
    const got = await whoami(`Bearer ${key}`);
    return got.status === 401 && got;
  }, 'the key to expire');
  refused(answer, 401, 'AUTH_TOKEN_EXPIRED', 'expired key');
});

test('request ids are echoed when they are short and printable, and made otherwise', async () => {
  const ask = (id) => s.api.get('/environments', { headers: { 'x-request-id': id } });
  const echoed = await ask('my-id/1:{}"\\');
  assert.equal(echoed.headers['x-request-id'], 'my-id/1:{}"\\');
  assert.equal(echoed.body.meta.requestId, 'my-id/1:{}"\\');
  for (const id of ['with space', 'x'.repeat(129), 'umläut']) {
    const answer = await ask(id);
    assert.match(answer.headers['x-request-id'], /^[0-9a-f-]{36}$/, id);
    assert.equal(answer.body.meta.requestId, answer.headers['x-request-id']);
  }
  assert.equal((await ask('x'.repeat(128))).headers['x-request-id'], 'x'.repeat(128));
});

test('the line of a request in the log has its id, route, status, code and caller', async () => {
  const id = 'the-one-in-the-log';
  assert.equal((await s.api.get('/environments/0192f7a0-0000-7000-8000-0000000000ff', { headers: { 'x-request-id': id } })).status, 404);
  const line = await eventually(() => s.server.process.text().split('\n').find((one) => one.endsWith(` request=${id}`)), 'the line');
  assert.match(line, / request method=GET route=\/api\/v1\/environments\/\{id\} status=404 code=\w+ caller=key:[0-9a-f-]{36} tenant=[0-9a-f-]{36} address=127\.0\.0\.1 /);
});

test('RFC 6750 §2.3: a token in the query counts on streams only, is short-lived, and never a key', async () => {
  refused(await s.server.client().get('/environments', { query: { token: token() } }), 401, 'AUTH_TOKEN_MISSING', 'plain route');
  const id = '0192f7a0-0000-7000-8000-0000000000ff';
  const open = async (bearer) => (await new WsStream(s.server, `/workflow-runs/${id}/stream`, { query: { token: bearer } }).refusal());
  refused(await open(s.key), 401, 'AUTH_API_KEY_INVALID', 'a key');
  const now = Math.floor(Date.now() / 1000);
  refused(await open(token({ exp: now + 7200 })), 401, 'AUTH_TOKEN_INVALID', 'two hours');
  refused(await open(token()), 404, 'RES_NOT_FOUND', 'known caller, unknown run');
});

test('revoking a key closes the streams that were opened with it, on every worker', async () => {
  const template = await s.api.want(201, 'POST', '/workflow-templates', {
    name: 'waits', status: 'active', nodes: [{ id: 'wait', type: 'wait', config: { seconds: 3600 } }], edges: [],
  });
  const started = await s.api.want(201, 'POST', '/workflow-runs', { templateId: template.id });
  const key = await s.makeKey('--role', 'viewer', '--name', 'watcher');
  const kept = new WsStream(s.server, `/workflow-runs/${started.id}/stream`, { token: s.key });
  const streams = Array.from({ length: 8 }, () => new WsStream(s.server, `/workflow-runs/${started.id}/stream`, { token: key }));
  for (const stream of [kept, ...streams]) await stream.frame('synced');
  const listed = JSON.parse((await s.slipway('key', 'list', '--json')).stdout).find((k) => k.name === 'watcher');
  assert.equal((await s.slipway('key', 'revoke', listed.id)).code, 0);
  const began = Date.now();
  for (const stream of streams) assert.ok([4401, 4403].includes((await stream.ended()).code), JSON.stringify(stream.closed));
  assert.ok(Date.now() - began < 15_000);
  assert.equal(kept.closed, undefined);
  kept.close();
  await s.api.want(200, 'POST', `/workflow-runs/${started.id}/cancel`, {});
});

test('an agent may be itself and nothing else, until it is revoked', async () => {
  const join = async (name) => {
    const { token: once } = await s.api.want(201, 'POST', '/admin/agent-tokens', {});
    return s.server.client().want(201, 'POST', '/agents/register', { name, version: '1.0.0', capabilities: ['script'], labels: {} }, { headers: { 'x-agent-token': once } });
  };
  const [one, two] = [await join('auth-one'), await join('auth-two')];
  const agent = s.server.client(one.token);
  const beat = (id) => agent.post(`/agents/${id}/heartbeat`, { version: '1.0.0', status: 'online' });
  assert.equal((await beat(one.agentId)).status, 200);
  refused(await beat(two.agentId), 403, 'PERM_DENIED', 'another agent');
  for (const path of ['/agents', '/environments', '/workflow-runs', `/agents/${one.agentId}`]) refused(await agent.get(path), 403, 'PERM_DENIED', path);
  refused(await s.api.post(`/agents/${one.agentId}/heartbeat`, { version: '1.0.0', status: 'online' }), 403, 'PERM_DENIED', 'an admin is no agent');
  await s.api.want(204, 'DELETE', `/agents/${one.agentId}`);
  refused(await felt(() => beat(one.agentId), 403), 403, 'AGT_REVOKED', 'revoked');
  assert.equal((await s.server.client(two.token).post(`/agents/${two.agentId}/heartbeat`, { version: '1.0.0', status: 'online' })).status, 200);
});

test('no token is ever in the log', async () => {
  const secret = token();
  await new WsStream(s.server, '/workflow-runs/0192f7a0-0000-7000-8000-0000000000ff/stream', { query: { token: secret } }).refusal();
  await raw(s.server, `GET /api/v1/environments?token=${secret} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${s.key}\r\n\r\n`);
  const { readFileSync } = await import('node:fs');
  const log = readFileSync(s.nest.file('server1.log'), 'utf8');
  for (const part of [secret, secret.split('.')[2], s.key, s.key.slice(4)]) assert.ok(!log.includes(part));
  assert.ok(log.includes('route=/api/v1/workflow-runs/{id}/stream'));
});
