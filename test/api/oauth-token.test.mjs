// The token endpoint and its neighbours, RFC by RFC, as a client on the wire sees them.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

let s, one, two;
before(async () => {
  s = await start({ name: 'oauth-token', workers: 2, instances: 2 });
  [one, two] = [await makeClient(), await makeClient({ scopes: ['release:read', 'promotion:request@prod'] })];
});
after(() => s?.stop());

const makeClient = async (body = {}) => {
  const answer = await s.api.post('/v1/oauth/clients', { name: 'ci', ...body }, { absolute: true });
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
};
const basic = ({ client_id: id, client_secret: secret }) => ({ authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` });
/** POST of a form: an object, or the very text. */
const post = (path, form, headers = {}, client = s.api) => client.request('POST', path, undefined, {
  absolute: true, raw: typeof form === 'string' ? form : String(new URLSearchParams(form)), headers: { authorization: null, ...FORM, ...headers },
});
const ask = (form = {}, headers = basic(one), client = undefined) => post('/v1/auth/token', typeof form === 'string' ? form : { grant_type: 'client_credentials', ...form }, headers, client);
const tokenOf = async (client = one, form = {}) => (await ask(form, basic(client))).body.access_token;
const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
const refused = (answer, status, error, what) => {
  assert.deepEqual([answer.status, answer.body?.error], [status, error], `${what ?? ''} ${answer.text}`);
  assert.equal(typeof answer.body.error_description, 'string');
  assert.deepEqual(Object.keys(answer.body).sort(), ['error', 'error_description']);
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.equal(answer.headers.pragma, 'no-cache');
};

describe('RFC 6749', () => {
  test('§4.4.3, §5.1: client credentials give a Bearer token without a refresh token, and nothing is stored on the way', async () => {
    const answer = await ask({ scope: 'projects:read deployments:write' });
    assert.equal(answer.status, 200, answer.text);
    const { access_token: token, ...rest } = answer.body;
    assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 3600, scope: 'projects:read deployments:write' });
    assert.equal(answer.type, 'application/json');
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(answer.headers.pragma, 'no-cache');
    assert.equal((await s.api.as(token).get('/releases')).status, 200);
    assert.equal((await s.api.as(token).get('/environments')).status, 403);
  });

  test('§3.3: a token of every permission there is is good, and scopes that no token could carry are invalid_scope', async () => {
    const [{ permissions }] = (await s.api.get('/v1/roles', { absolute: true })).body;
    const all = await makeClient({ scopes: permissions.slice(0, 64) });
    assert.ok(permissions.slice(0, 64).join(' ').length > 512);
    assert.equal((await s.api.as(await tokenOf(all)).get('/releases')).status, 200);
    const far = await makeClient({ scopes: Array.from({ length: 64 }, (_, i) => `promotion:request@${'x'.repeat(40)}${i}`) });
    refused(await ask({}, basic(far)), 400, 'invalid_scope');
    assert.equal((await ask({ scope: far.scopes[0] }, basic(far))).status, 200);
  });

  test('§3.3: without a scope the token has all that the client may ask for; more is invalid_scope', async () => {
    assert.equal((await ask({}, basic(two))).body.scope, 'release:read promotion:request@prod');
    for (const scope of ['release:create', 'projects:read', 'promotion:request', 'openid', 'release:read  release:read', ' release:read', '"', 'x'.repeat(500)])
      refused(await ask({ scope }, basic(two)), 400, 'invalid_scope', scope);
    assert.equal((await ask({ scope: 'release:read' }, basic(one))).body.scope, 'release:read', 'a permission that projects:write grants');
  });

  test('§3.2: a parameter without a value counts as left out, unknown ones are ignored, none comes twice', async () => {
    assert.equal((await ask('grant_type=client_credentials&scope=&foo=bar')).status, 200);
    refused(await ask('grant_type=client_credentials&grant_type=client_credentials'), 400, 'invalid_request');
    refused(await ask('grant_type=client_credentials&scope=a&sc%6fpe=b'), 400, 'invalid_request');
    refused(await ask('scope=release:read'), 400, 'invalid_request');
    refused(await ask(''), 400, 'invalid_request');
    refused(await ask('grant_type=client_credentials&x=%zz'), 400, 'invalid_request');
  });

  test('§3.2, appendix B: a space is +, %20 or itself', async () => {
    for (const space of ['+', '%20', ' '])
      assert.equal((await ask(`grant_type=client_credentials&scope=projects:read${space}deployments:write`)).status, 200);
  });

  test('§3.2: the endpoint takes POST alone, and forms alone', async () => {
    const got = await s.api.request('GET', '/v1/auth/token', undefined, { absolute: true });
    refused(got, 405, 'invalid_request');
    assert.match(got.headers.allow, /POST/);
    refused(await post('/v1/auth/token', '{"grant_type":"client_credentials"}', { ...basic(one), 'content-type': 'application/json' }), 400, 'invalid_request');
    refused(await post('/v1/auth/token?grant_type=client_credentials', {}, basic(one)), 400, 'invalid_request');
  });

  test('§5.2: grants that there are not', async () => {
    for (const grant_type of ['password', 'implicit', 'client_credentials2'])
      refused(await ask({ grant_type }), 400, 'unsupported_grant_type', grant_type);
  });

  test('§2.3.1: id and secret by the header, form-encoded each, or in the form', async () => {
    const encoded = [...one.client_id].map((c) => `%${c.charCodeAt(0).toString(16)}`).join('');
    const header = { authorization: `bAsIc ${Buffer.from(`${encoded}:${one.client_secret.replace('_', '%5F')}`).toString('base64')}` };
    assert.equal((await ask({}, header)).status, 200);
    assert.equal((await ask({ client_id: one.client_id, client_secret: one.client_secret }, {})).status, 200);
    assert.equal((await ask({ client_id: one.client_id })).status, 200, 'the same id beside the header');
  });

  test('§2.3: one way to authenticate in each request', async () => {
    refused(await ask({ client_id: one.client_id, client_secret: one.client_secret }), 400, 'invalid_request');
    refused(await ask({ client_id: two.client_id }), 400, 'invalid_request', 'the header says another');
    refused(await ask({ client_assertion_type: ASSERTION, client_assertion: 'a.b.c' }), 400, 'invalid_request');
  });

  test('§5.2: a client that does not authenticate is asked for Basic, whatever is wrong', async () => {
    const unknown = { client_id: randomUUID().replace(/..$/, '00'), client_secret: one.client_secret };
    const wrong = {
      'no credentials': [{}, {}], 'an unknown client': [{}, basic(unknown)], 'another secret': [{}, basic({ ...one, client_secret: two.client_secret })],
      'no secret': [{}, basic({ ...one, client_secret: '' })], 'an id alone': [{ client_id: one.client_id }, {}],
      'an id that is none': [{}, basic({ ...one, client_id: 'x' })], 'a Bearer token': [{}, { authorization: `Bearer ${s.key}` }],
      'no base64': [{}, { authorization: 'Basic %%%' }], 'no colon': [{}, { authorization: `Basic ${Buffer.from(one.client_id).toString('base64')}` }],
      'a bad escape': [{}, basic({ ...one, client_secret: '%zz' })], 'in the form': [{ client_id: one.client_id, client_secret: 'x' }, {}],
    };
    for (const [what, [form, headers]] of Object.entries(wrong)) {
      const answer = await ask(form, headers);
      refused(answer, 401, 'invalid_client', what);
      assert.match(answer.headers['www-authenticate'], /^Basic realm="slipway"/, what);
    }
    const texts = await Promise.all([basic(unknown), basic({ ...one, client_secret: 'x' })].map(async (h) => (await ask({}, h)).text));
    assert.equal(texts[0], texts[1], 'an unknown client and a wrong secret look the same');
  });
});

describe('RFC 7523', () => {
  const pair = generateKeyPairSync('ed25519');
  const jwk = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'k1' };
  let keyed;
  before(async () => (keyed = await makeClient({ token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } })));

  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = () => Math.floor(Date.now() / 1000);
  const assertion = (claims = {}, header = {}, key = pair.privateKey) => {
    const whole = { iss: keyed.client_id, sub: keyed.client_id, aud: s.server.url, jti: randomUUID(), iat: now(), exp: now() + 60, ...claims };
    const head = { alg: 'EdDSA', kid: 'k1', ...header };
    for (const object of [whole, head]) for (const [k, v] of Object.entries(object)) if (v === null) delete object[k];
    const signed = `${part(head)}.${part(whole)}`;
    const hash = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
    return `${signed}.${sign(hash, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };
  const present = (client_assertion, more = {}) => ask({ client_assertion_type: ASSERTION, client_assertion, ...more }, {});

  test('§2.2: an assertion by a registered key authenticates, for the issuer or the endpoint', async () => {
    assert.equal(keyed.client_secret, undefined);
    for (const aud of [s.server.url, [s.server.url], `${s.server.url}/v1/auth/token`])
      assert.equal((await present(assertion({ aud }))).status, 200, aud);
    assert.equal((await present(assertion({}, { kid: null }))).status, 200, 'without a kid any key will do');
    assert.equal((await present(assertion(), { client_id: keyed.client_id })).status, 200);
  });

  for (const [alg, type, options] of [['ES256', 'ec', { namedCurve: 'P-256' }], ['RS256', 'rsa', { modulusLength: 2048 }]])
    test(`RFC 7518 §3: ${alg}`, async () => {
      const { publicKey, privateKey } = generateKeyPairSync(type, options);
      const client = await makeClient({ token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k' }] } });
      const claims = { iss: client.client_id, sub: client.client_id };
      assert.equal((await present(assertion(claims, { alg, kid: 'k' }, privateKey))).status, 200);
      refused(await present(assertion(claims, { alg: alg === 'ES256' ? 'RS256' : 'ES256', kid: 'k' }, privateKey)), 401, 'invalid_client');
      refused(await present(assertion(claims, { kid: 'k' })), 401, 'invalid_client');
    });

  test('§3, RFC 8725 §3.1, RFC 7515 §4.1.11: what is not so is invalid_client', async () => {
    const other = generateKeyPairSync('ed25519').privateKey;
    const wrong = {
      'another issuer': assertion({ iss: one.client_id }), 'another subject': assertion({ sub: one.client_id }),
      'for somebody else': assertion({ aud: 'https://elsewhere.example' }), 'for two': assertion({ aud: [s.server.url, 'https://elsewhere.example'] }),
      'no audience': assertion({ aud: null }), 'over': assertion({ exp: now() - 120 }), 'no end': assertion({ exp: null }),
      'good for a day': assertion({ exp: now() + 86400 }), 'not yet': assertion({ nbf: now() + 600 }), 'issued tomorrow': assertion({ iat: now() + 600 }),
      'no id': assertion({ jti: null }), 'a long id': assertion({ jti: 'x'.repeat(201) }), 'another key': assertion({}, {}, other),
      'an unknown kid': assertion({}, { kid: 'k2' }), 'alg none': assertion({}, { alg: 'none' }), 'an HMAC': assertion({}, { alg: 'HS256' }),
      crit: assertion({}, { crit: ['exp'] }), 'no JWT': 'a.b.c',
      'an embedded key': assertion({}, { jwk: { ...createPublicKey(other).export({ format: 'jwk' }), kid: 'k1' } }, other),
      'a linked key': assertion({}, { jku: `${s.server.url}/.well-known/jwks.json`, kid: '1' }, other),
      'an algorithm of another key': assertion({}, { alg: 'ES256' }),
    };
    for (const [what, text] of Object.entries(wrong)) refused(await present(text), 401, 'invalid_client', what);
    refused(await ask({ client_assertion: assertion() }, {}), 400, 'invalid_request', 'without its type');
    refused(await ask({}, basic({ ...keyed, client_secret: one.client_secret })), 401, 'invalid_client', 'a secret instead');
  });

  test('§3, number 7: an assertion counts once, at any instance', async () => {
    const text = assertion();
    assert.equal((await present(text)).status, 200);
    refused(await present(text), 401, 'invalid_client');
    const headers = { host: `${s.server.host}:${s.server.port}` }; // the name that it is for
    const there = (t) => ask({ client_assertion_type: ASSERTION, client_assertion: t }, headers, s.servers[1].client());
    refused(await there(text), 401, 'invalid_client');
    assert.equal((await there(assertion())).status, 200);
  });

  test('RFC 7591 §2: keys are public ones, and go with private_key_jwt', async () => {
    const make = (body) => s.api.post('/v1/oauth/clients', { name: 'ci', ...body }, { absolute: true });
    const method = { token_endpoint_auth_method: 'private_key_jwt' };
    const bad = [method, { jwks: { keys: [jwk] } }, { ...method, jwks: { keys: [] } }, { ...method, jwks: { keys: [{ kty: 'oct', k: 'AAAA' }] } },
      { ...method, jwks: { keys: [pair.privateKey.export({ format: 'jwk' })] } }, { ...method, jwks: { keys: Array.from({ length: 9 }, (_, i) => ({ ...jwk, kid: `k${i}` })) } },
      { scopes: ['openid'] }, { scopes: [] }, { grant_types: ['password'] }, { name: '' }, { redirect: 1 }];
    for (const body of bad) refused(await make(body), 400, 'invalid_request', JSON.stringify(body));
  });
});

describe('RFC 9068', () => {
  test('§2: the token is an at+jwt of the client, with its tenant, scope and permissions', async () => {
    const token = await tokenOf(two);
    assert.deepEqual(JSON.parse(Buffer.from(token.split('.')[0], 'base64url')), { alg: 'EdDSA', kid: '1', typ: 'at+jwt' });
    const { jti, iat, exp, ...claims } = claimsOf(token);
    assert.match(jti, /^[0-9a-f-]{36}$/);
    assert.equal(exp - iat, 3600);
    assert.deepEqual(claims, {
      iss: s.server.url, aud: 'slipway', sub: two.client_id, client_id: two.client_id, tenant_id: two.tenant_id, name: 'ci',
      roles: [], permissions: ['release:read', 'promotion:request@prod'], scope: 'release:read promotion:request@prod',
    });
  });

  test('§2.2: a token whose subject is neither its user nor its client is refused', async () => {
    const { iss, tenant_id, client_id } = claimsOf(await tokenOf(one));
    const forged = (claims) => new Signer(s.server.data).token({ iss, tenant_id, sub: client_id, client_id, user_id: null, roles: [], permissions: ['release:read'], ...claims });
    assert.equal((await s.api.as(forged({})).get('/releases')).status, 200);
    for (const claims of [{ sub: 'alice' }, { client_id: null }, { client_id: randomUUID(), sub: client_id }])
      assert.equal((await s.api.as(forged(claims)).get('/releases')).status, 401, JSON.stringify(claims));
    const gone = randomUUID().replace(/..$/, client_id.slice(-2));
    assert.equal((await s.api.as(forged({ sub: gone, client_id: gone })).get('/releases')).status, 401, 'a client that there is not');
  });

  test('the audit trail says that it was issued, and that a client did what it did', async () => {
    const name = `by-${randomUUID().slice(0, 8)}`, client = await makeClient({ scopes: ['environments:write'] });
    const token = await tokenOf(client);
    await s.api.as(token).want(201, 'POST', '/environments', { name });
    const entries = (await s.api.get('/audit-events', { query: { filter: JSON.stringify({ actorId: client.client_id }) } })).data;
    assert.deepEqual(entries.map((e) => [e.actorType, e.action, e.resourceId === claimsOf(token).jti]).sort(),
      [['client', 'environment.created', false], ['client', 'token.issued', true]]);
  });
});

describe('RFC 7662', () => {
  const inspect = (token, client = one, headers = basic(client)) => post('/v1/auth/introspect', { token }, headers);

  test('§2.2: what the token says, while it is good', async () => {
    const token = await tokenOf(two), { permissions, name, ...claims } = claimsOf(token);
    const answer = await inspect(token);
    assert.deepEqual([answer.status, answer.body], [200, { active: true, token_type: 'Bearer', ...claims }]);
    assert.equal(answer.headers['cache-control'], 'no-store');
    const { stdout } = await s.slipway('key', 'jwt', '--user', 'alice', '--role', 'viewer', '--name', 'Alice');
    const { body } = await inspect(stdout.trim());
    assert.deepEqual([body.active, body.sub, body.username, body.roles], [true, 'alice', 'Alice', ['viewer']]);
  });

  test('§2.2: whatever is not good is exactly {"active":false}', async () => {
    const token = await tokenOf();
    const signer = new Signer(s.server.data);
    const hour = Math.floor(Date.now() / 1000) - 7200;
    const tenant_id = one.tenant_id;
    const other = (await s.slipway('key', 'jwt', '--user', 'eve', '--tenant', 'another', '--role', 'admin')).stdout.trim();
    for (const text of ['x', 'a.b.c', s.key, `${token.slice(0, -4)}AAAA`, other, signer.token({ tenant_id, iat: hour, exp: hour + 60 }), signer.token({ tenant_id, iss: 'elsewhere' })])
      assert.equal((await inspect(text)).text, '{"active":false}');
  });

  test('§2.1: only for a client that authenticates, with a token', async () => {
    refused(await inspect('x', one, {}), 401, 'invalid_client');
    refused(await post('/v1/auth/introspect', {}, basic(one)), 400, 'invalid_request');
  });
});

describe('RFC 7009', () => {
  const revoke = (form, client = one) => post('/v1/auth/revoke', form, basic(client));

  test('§2.1: a revoked token is refused on every instance, and is not active any more', async () => {
    const token = await tokenOf();
    const clients = s.servers.map((server) => server.client(token));
    for (const client of clients) assert.equal((await client.get('/releases')).status, 200);
    const answer = await revoke({ token, token_type_hint: 'refresh_token' });
    assert.deepEqual([answer.status, answer.text], [200, '']);
    for (const client of clients)
      await eventually(async () => (await client.get('/releases')).code === 'AUTH_TOKEN_REVOKED', 'the token to be refused');
    assert.equal((await post('/v1/auth/introspect', { token }, basic(one))).text, '{"active":false}');
    assert.equal((await revoke({ token })).status, 200, 'again');
    assert.equal((await s.api.as(await tokenOf()).get('/releases')).status, 200, 'others of the client go on');
  });

  test('§2.2: an unknown token is answered 200; §2.1: one of another client is refused', async () => {
    for (const token of ['x', 'a.b.c', 'slp_x']) assert.equal((await revoke({ token })).status, 200);
    const token = await tokenOf(two);
    refused(await revoke({ token }), 400, 'invalid_grant');
    assert.equal((await s.api.as(token).get('/releases')).status, 200);
    refused(await revoke({}), 400, 'invalid_request');
    refused(await post('/v1/auth/revoke', { token }, {}), 401, 'invalid_client');
  });

  test('streams that were opened with it end', async () => {
    const client = await makeClient();
    for (const end of [(token) => revoke({ token }, client), () => s.api.delete(`/v1/oauth/clients/${client.client_id}`, { absolute: true })]) {
      const token = await tokenOf(client);
      const { ticket } = await s.api.as(token).want(201, 'POST', '/stream-tickets');
      const streams = [await openStream({ authorization: `Bearer ${token}` }), await openStream({}, `?token=${ticket}`)];
      assert.ok((await end(token)).status < 300);
      await eventually(() => streams.every((stream) => stream.ended), 'the streams to end');
    }
    assert.equal((await ask({}, basic(client))).status, 401, 'the client is gone');
  });

  async function openStream(headers, query = '') {
    const response = await fetch(`${s.servers[1].url}/api/v1/dashboard/stream${query}`, { headers: { ...headers, accept: 'text/event-stream' } });
    assert.equal(response.status, 200);
    const stream = { ended: false };
    const drain = async () => { for await (const chunk of response.body) void chunk; };
    drain().catch(() => {}).finally(() => (stream.ended = true));
    return stream;
  }
});

describe('clients', () => {
  const at = (id = '') => `/v1/oauth/clients${id && `/${id}`}`;
  const call = (method, path, client, body) => client.request(method, path, body, { absolute: true });

  test('RFC 6750 §3: who may not is told what lacks, in the manner of OAuth', async () => {
    const viewer = s.api.as(await s.makeKey('--role', 'viewer'));
    for (const [method, path, body] of [['POST', at(), { name: 'x' }], ['GET', at()], ['GET', at(one.client_id)], ['DELETE', at(one.client_id)]]) {
      const none = await call(method, path, s.api.as(undefined), body);
      refused(none, 401, 'invalid_token');
      assert.equal(none.headers['www-authenticate'], `Bearer realm="slipway", resource_metadata="${s.server.url}/.well-known/oauth-protected-resource"`);
      const denied = await call(method, path, viewer, body);
      refused(denied, 403, 'insufficient_scope');
      assert.match(denied.headers['www-authenticate'], /error="insufficient_scope", scope="tenant:manage"/);
    }
  });

  test('nobody gives a client more than they have', async () => {
    const keeper = s.api.as(await s.makeKey('--permissions', 'tenant:manage,release:read'));
    const answer = await call('POST', at(), keeper, { name: 'x', scopes: ['release:read', 'workflow:execute'] });
    refused(answer, 403, 'insufficient_scope');
    assert.match(answer.headers['www-authenticate'], /scope="workflow:execute"/);
    assert.equal((await call('POST', at(), keeper, { name: 'x', scopes: ['release:read'] })).status, 201);
  });

  test('a client is listed and shown without its secret, by its own tenant alone', async () => {
    const { client_secret: secret, ...shown } = await makeClient({ name: 'listed' });
    assert.match(secret, /^slcs_[0-9A-Za-z]{36}$/);
    assert.deepEqual((await call('GET', at(shown.client_id), s.api)).body, shown);
    const list = (await s.api.get(at(), { absolute: true, query: { name: 'listed', limit: '1' } })).body;
    assert.deepEqual(list, { data: [shown], pagination: { limit: 1, page: 1, total: 1, totalPages: 1 } });
    const other = s.api.as(await s.makeKey('--tenant', 'another', '--role', 'admin'));
    for (const method of ['GET', 'DELETE']) refused(await call(method, at(shown.client_id), other), 404, 'not_found');
    for (const id of ['nothing', randomUUID()]) refused(await call('GET', at(id), s.api), 404, 'not_found');
    assert.equal((await call('DELETE', at(shown.client_id), s.api)).status, 204);
    refused(await call('DELETE', at(shown.client_id), s.api), 404, 'not_found');
  });

  test('a repeated registration with an Idempotency-Key shows the same secret', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const [first, again] = [await s.api.post(at(), { name: 'once' }, { absolute: true, headers }), await s.api.post(at(), { name: 'once' }, { absolute: true, headers })];
    assert.equal(first.status, 201);
    assert.deepEqual([again.status, again.body, again.headers['idempotency-replayed']], [201, first.body, 'true']);
  });

  test('no secret is stored as it is', async () => {
    const token = await tokenOf();
    for (const key of await s.redis.keys('*')) {
      const dump = String(await s.redis.command('DUMP', key));
      for (const secret of [one.client_secret, token.split('.')[2], createHash('sha256').update(one.client_secret).digest('hex')])
        assert.ok(!dump.includes(secret), key);
    }
  });
});

test('RFC 6749 §2.3.1: guesses are limited by client and address, and use up nobody else\'s turns', async () => {
  const slow = await start({ name: 'oauth-rate', workers: 1, env: { SLIPWAY_RATE_STANDARD: '6', SLIPWAY_RATE_STANDARD_BURST: '4' } });
  try {
    const made = async () => (await slow.api.post('/v1/oauth/clients', { name: 'ci' }, { absolute: true })).body;
    const [victim, other] = [await made(), await made()];
    const from = (localAddress, { client_id, client_secret }) => new Promise((resolve, reject) => {
      const request = http.request({ host: slow.server.host, port: slow.server.port, localAddress, method: 'POST', path: '/v1/auth/token', headers: { ...FORM, ...basic({ client_id, client_secret }) } }, (response) => {
        response.resume();
        response.on('end', () => resolve({ status: response.statusCode, retry: Number(response.headers['retry-after']) }));
      });
      request.on('error', reject);
      request.end('grant_type=client_credentials');
    });
    const guess = { ...victim, client_secret: 'guess' };
    const answers = await Promise.all(Array.from({ length: 12 }, () => from('127.0.0.1', guess)));
    const limited = answers.filter(({ status }) => status === 429);
    assert.ok(limited.length >= 6 && answers.every(({ status }) => [401, 429].includes(status)), JSON.stringify(answers));
    assert.ok(limited.every(({ retry }) => retry >= 1));
    assert.equal((await from('127.0.0.2', victim)).status, 200, 'the client itself, from elsewhere');
    assert.equal((await from('127.0.0.1', other)).status, 200, 'another client from there');
  } finally {
    await slow.stop();
  }
});
