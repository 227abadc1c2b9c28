// Token exchange (RFC 8693): a CI's identity token, from an OpenID provider that the test plays, for one of ours.
import assert from 'node:assert/strict';
import { createHmac, createSecretKey, generateKeyPairSync, sign } from 'node:crypto';
import http from 'node:http';
import { after, before, test } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';

const PAIRS = { ES256: ['ec', { namedCurve: 'P-256' }], RS256: ['rsa', { modulusLength: 2048 }], EdDSA: ['ed25519'] };

/** A provider: its keys can be changed, and what it is asked is counted. */
class Provider {
  keys = [];
  asked = [];
  async open() {
    this.server = http.createServer((request, response) => {
      this.asked.push(request.url);
      response.setHeader('content-type', 'application/json');
      if (this.down) response.statusCode = 500;
      response.end(JSON.stringify(request.url === '/keys' ? { keys: this.keys } : { issuer: this.says ?? this.url, jwks_uri: `${this.url}/keys` }));
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    this.others = Object.fromEntries(Object.entries(PAIRS).map(([alg, options]) => [alg, generateKeyPairSync(...options)]));
    this.keys = Object.entries(this.others).map(([alg, pair]) => ({ ...pair.publicKey.export({ format: 'jwk' }), kid: alg, alg, use: 'sig' }));
    this.rotate('k1');
    return this;
  }

  rotate(kid) {
    this.pair = generateKeyPairSync(...PAIRS.ES256);
    this.kid = kid;
    this.keys = [{ ...this.pair.publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }, ...this.keys];
  }

  token(claims = {}, header = {}, key = this.pair.privateKey) {
    const now = Math.floor(Date.now() / 1000);
    const whole = { iss: this.url, sub: 'repo:acme/site:ref:refs/heads/main', aud: s.server.url, iat: now, exp: now + 300, ...claims };
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = Buffer.from(`${part({ alg: 'ES256', kid: this.kid, typ: 'JWT', ...header })}.${part(whole)}`);
    const signature = key.type === 'secret' ? createHmac('sha256', key).update(signed).digest()
      : sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', signed, { key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }
}

let s, provider, stranger, client;
before(async () => {
  [provider, stranger] = [await new Provider().open(), await new Provider().open()];
  s = await start({ name: 'oauth-exchange', workers: 1, args: ['--token-issuers', provider.url, '--outbound-allow', '127.0.0.0/8'] });
  client = await make({});
});
after(async () => {
  await s?.stop();
  for (const p of [provider, stranger]) p?.server.close();
});

const make = async ({ trust, ...body }) => {
  const answer = await s.api.post('/v1/oauth/clients', {
    name: 'site', scopes: ['projects:read', 'deployments:write'], grant_types: [GRANT], token_endpoint_auth_method: 'none',
    trust: { issuer: provider.url, subject: 'repo:acme/site:*', ...trust }, ...body,
  }, { absolute: true });
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
};
const exchange = (subject_token, form = {}, { client_id } = client) => s.api.request('POST', '/v1/auth/token', undefined, {
  absolute: true, headers: { authorization: null, 'content-type': 'application/x-www-form-urlencoded' },
  raw: String(new URLSearchParams({ grant_type: GRANT, client_id, subject_token, subject_token_type: `${TYPE}id_token`, ...form })),
});
const refused = (answer, status, error, what) => assert.deepEqual([answer.status, answer.body.error], [status, error], `${what}: ${answer.text}`);

test('RFC 8693 §2.2.1: a trusted identity token gives an access token of the client, without any secret', async () => {
  assert.equal(client.client_secret, undefined);
  const { status, body } = await exchange(provider.token(), { scope: 'projects:read' });
  assert.equal(status, 200);
  const { access_token: token, ...rest } = body;
  assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 3600, scope: 'projects:read', issued_token_type: `${TYPE}access_token` });
  assert.equal((await s.api.as(token).get('/releases')).status, 200);
  const entries = (await s.api.get('/audit-events', { query: { filter: JSON.stringify({ actorId: client.client_id }) } })).data;
  assert.deepEqual(entries.map((e) => [e.action, e.after.subject]), [['token.issued', 'repo:acme/site:ref:refs/heads/main']]);
});

test('RFC 8693 §2.1: openid-client and oauth4webapi exchange a token', async () => {
  const issuer = new URL(s.server.url), wish = { subject_token_type: `${TYPE}id_token`, scope: 'projects:read' };
  const config = await openid.discovery(issuer, client.client_id, undefined, openid.None(), { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] });
  const given = await openid.genericGrantRequest(config, GRANT, { ...wish, subject_token: provider.token() });
  assert.equal(given.issued_token_type, `${TYPE}access_token`);
  const HTTP = { [oauth.allowInsecureRequests]: true }, me = { client_id: client.client_id };
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...HTTP }));
  const ask = (more) => oauth.genericTokenEndpointRequest(as, me, oauth.None(), GRANT, { ...wish, subject_token: provider.token(), ...more }, HTTP);
  const other = await oauth.processGenericTokenEndpointResponse(as, me, await ask());
  for (const { access_token: token } of [given, other]) assert.equal((await s.api.as(token).get('/releases')).status, 200);
  await assert.rejects(async () => oauth.processGenericTokenEndpointResponse(as, me, await ask({ scope: 'projects:write' })), { error: 'invalid_scope' });
});

test('RFC 8693 §2.2.2: what the client, or the server, does not trust is invalid_request', async () => {
  const now = Math.floor(Date.now() / 1000);
  const elsewhere = await make({ trust: { issuer: stranger.url } });
  const wrong = {
    'another repository': [provider.token({ sub: 'repo:acme/other:ref:refs/heads/main' })], 'no subject': [provider.token({ sub: undefined })],
    'another audience': [provider.token({ aud: 'https://elsewhere.example' })], 'no audience': [provider.token({ aud: undefined })],
    over: [provider.token({ exp: now - 120 })], 'no end': [provider.token({ exp: undefined })], 'not yet': [provider.token({ nbf: now + 600 })],
    'another issuer': [stranger.token()], 'a key of another issuer': [stranger.token({ iss: provider.url })],
    'an issuer that the server does not list': [stranger.token(), {}, elsewhere], 'alg none': [provider.token({}, { alg: 'none' })],
    'no JWT': ['x'], 'no type': [provider.token(), { subject_token_type: '' }], 'a type that is none': [provider.token(), { subject_token_type: `${TYPE}saml2` }],
    'an actor': [provider.token(), { actor_token: 'x' }], 'a refresh token': [provider.token(), { requested_token_type: `${TYPE}refresh_token` }],
  };
  for (const [what, args] of Object.entries(wrong)) refused(await exchange(...args), 400, 'invalid_request', what);
  refused(await exchange(provider.token(), { scope: 'projects:write' }), 400, 'invalid_scope', 'more than the client has');
  assert.deepEqual(stranger.asked, [], 'nobody is asked whom the operator does not list');
});

test('RFC 7518 §3.1, RFC 8037 §3.1: tokens by RS256, ES256 and EdDSA verify, each with a key of its type', async () => {
  for (const alg of Object.keys(PAIRS))
    for (const kid of Object.keys(PAIRS)) {
      const answer = await exchange(provider.token({}, { alg, kid }, provider.others[kid].privateKey));
      assert.equal(answer.status, alg === kid ? 200 : 400, `${alg} with a key for ${kid}: ${JSON.stringify(answer.body)}`);
    }
});

test('RFC 8725 §3.1, RFC 7515 §4.1.11, RFC 7519 §6: no signature, a confused or embedded key and `crit` are no way in', async () => {
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...own.publicKey.export({ format: 'jwk' }), kid: provider.kid };
  const der = provider.pair.publicKey.export({ type: 'spki', format: 'der' }), pem = provider.pair.publicKey.export({ type: 'spki', format: 'pem' });
  const [head, body, signature] = provider.token().split('.');
  const none = Buffer.from(JSON.stringify({ alg: 'none', kid: provider.kid })).toString('base64url');
  const wrong = {
    'alg none': `${none}.${body}.`, 'alg none beside a signature': `${none}.${body}.${signature}`, 'no signature': `${head}.${body}.`,
    'an HMAC under the public key': provider.token({}, { alg: 'HS256' }, createSecretKey(der)), 'the same in PEM': provider.token({}, { alg: 'HS256' }, createSecretKey(pem, 'utf8')),
    'an algorithm of another type of key': provider.token({}, { alg: 'RS256' }), 'one of another curve': provider.token({}, { alg: 'ES384' }),
    'an embedded key': provider.token({}, { jwk }, own.privateKey), 'a linked key': provider.token({}, { jku: `${stranger.url}/keys` }, own.privateKey),
    'a linked certificate': provider.token({}, { x5u: `${stranger.url}/x5u` }, own.privateKey), 'a critical extension': provider.token({}, { crit: ['b64'], b64: false }),
    'a key that nobody has': provider.token({}, { kid: 'elsewhere' }, own.privateKey), 'two heads': `${head}${provider.token()}`,
  };
  for (const [what, text] of Object.entries(wrong)) refused(await exchange(text), 400, 'invalid_request', what);
  assert.deepEqual(stranger.asked, []);
});

test('an audience of its own, among others', async () => {
  const own = await make({ trust: { audience: 'slipway-ci' } });
  assert.equal((await exchange(provider.token({ aud: ['other', 'slipway-ci'] }), {}, own)).status, 200);
  refused(await exchange(provider.token(), {}, own), 400, 'invalid_request', 'this server');
});

test('keys are kept; where they cannot be had the answer is 503', async () => {
  const before = provider.asked.length;
  for (let i = 0; i < 3; i++) assert.equal((await exchange(provider.token())).status, 200);
  assert.equal(provider.asked.length, before, 'kept');
  const fresh = await start({ name: 'oauth-exchange-down', workers: 1, args: ['--token-issuers', `${stranger.url},http://127.0.0.1:1`, '--public-url', s.server.url, '--outbound-allow', '127.0.0.0/8'] });
  const guarded = await start({ name: 'oauth-exchange-guard', workers: 1, args: ['--token-issuers', stranger.url, '--public-url', s.server.url] });
  try {
    const ask = async (system, issuer, token) => {
      const { body } = await system.api.post('/v1/oauth/clients', { name: 'x', grant_types: [GRANT], token_endpoint_auth_method: 'none', trust: { issuer, subject: '*' } }, { absolute: true });
      return system.api.request('POST', '/v1/auth/token', undefined, {
        absolute: true, headers: { authorization: null, 'content-type': 'application/x-www-form-urlencoded' },
        raw: String(new URLSearchParams({ grant_type: GRANT, client_id: body.client_id, subject_token: token, subject_token_type: `${TYPE}jwt` })),
      });
    };
    refused(await ask(fresh, 'http://127.0.0.1:1', stranger.token({ iss: 'http://127.0.0.1:1' })), 503, 'temporarily_unavailable', 'nobody there');
    refused(await ask(guarded, stranger.url, stranger.token()), 503, 'temporarily_unavailable', 'a private address');
    assert.deepEqual(stranger.asked, []);
    for (const [member, value] of [['down', true], ['says', 'https://other.example']]) {
      stranger[member] = value;
      refused(await ask(fresh, stranger.url, stranger.token()), 503, 'temporarily_unavailable', member);
      stranger[member] = undefined;
    }
    assert.equal((await ask(fresh, stranger.url, stranger.token())).status, 200, 'there again');
  } finally {
    await Promise.all([fresh.stop(), guarded.stop()]);
  }
});

test('RFC 7517 §4.5: a key that the provider adds is found, and the one before goes on', async () => {
  const old = provider.token();
  provider.rotate('k2');
  await eventually(async () => (await exchange(provider.token())).status === 200, 'the new key to be fetched');
  assert.equal((await exchange(old)).status, 200);
});

test('a client without credentials has this grant alone, and may take its tokens back', async () => {
  const post = (path, form) => s.api.request('POST', path, undefined, {
    absolute: true, raw: String(new URLSearchParams({ client_id: client.client_id, ...form })), headers: { authorization: null, 'content-type': 'application/x-www-form-urlencoded' },
  });
  refused(await post('/v1/auth/token', { grant_type: 'client_credentials' }), 400, 'unauthorized_client', 'RFC 6749 §5.2');
  const { access_token: token } = (await exchange(provider.token())).body;
  refused(await post('/v1/auth/introspect', { token }), 401, 'invalid_client', 'RFC 7662 §2.1');
  assert.equal((await post('/v1/auth/revoke', { token })).status, 200, 'RFC 7009 §2.1');
  const plain = { name: 'x', trust: { issuer: provider.url, subject: '*' } };
  for (const body of [plain, { ...plain, grant_types: [GRANT, 'client_credentials'], token_endpoint_auth_method: 'none' }, { name: 'x', grant_types: [GRANT] }, { name: 'x', token_endpoint_auth_method: 'none' }])
    assert.equal((await s.api.post('/v1/oauth/clients', body, { absolute: true })).status, 400, JSON.stringify(body));
});
