// A person lets a client act in their name: code with PKCE, consent, refresh tokens; other people's clients as judges.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { Browser, takeToken } from '../lib/browser.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const PASSWORD = 'a long enough sentence', EMAIL = 'ada@example.org', BACK = 'http://127.0.0.1/back';
const HTTP = { [oauth.allowInsecureRequests]: true };
let s, ada, app, page;

const admin = async (method, path, body, status) => {
  const answer = await s.api.request(method, `/v1${path}`, body, { absolute: true });
  assert.equal(answer.status, status, answer.text);
  return answer.body;
};
const register = (body) => admin('POST', '/oauth/clients', { name: 'A <b>client</b>', grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [BACK], ...body }, 201);

before(async () => {
  s = await start({ name: 'oauth-code', workers: 1 });
  ada = await admin('POST', '/users', { email: EMAIL, name: 'Ada', password: PASSWORD, roles: ['release-manager'] }, 201);
  app = await register({ token_endpoint_auth_method: 'none' });
  page = await register({});
});
after(() => s?.stop());

const verifier = () => randomBytes(32).toString('base64url');
const challenge = (v) => createHash('sha256').update(v).digest('base64url');
const asked = (over = {}) => {
  const v = verifier();
  const query = { client_id: app.client_id, redirect_uri: BACK, response_type: 'code', scope: 'projects:read', state: 'a b&c', code_challenge: challenge(v), code_challenge_method: 'S256', ...over };
  for (const name of Object.keys(query)) if (query[name] === undefined) delete query[name];
  return { v, path: `/v1/auth/authorize?${new URLSearchParams(query)}` };
};
const signedIn = () => new Browser(s.server.url).login(EMAIL, PASSWORD);
const back = (answer) => {
  assert.equal(answer.status, 303, answer.text);
  const { searchParams, href } = new URL(answer.headers.location);
  return { to: href.slice(0, href.indexOf('?')), ...Object.fromEntries(searchParams) };
};
/** Through login and consent to the redirect. */
const allow = async (path, browser) => {
  const b = browser ?? await signedIn();
  const consent = await b.get(path);
  assert.equal(consent.status, 200, consent.text);
  return back(await b.submit({ decision: 'allow' }));
};
const token = async (fields) => {
  const answer = await fetch(`${s.server.url}/v1/auth/token`, { method: 'POST', body: new URLSearchParams(fields) });
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  return { status: answer.status, ...await answer.json() };
};
const redeem = async ({ over = {}, asking = {} } = {}) => {
  const { v, path } = asked(asking);
  const { code } = await allow(path);
  return { code, v, ...await token({ grant_type: 'authorization_code', client_id: app.client_id, redirect_uri: BACK, code, code_verifier: v, ...over }) };
};
const refresh = (given, over = {}) => token({ grant_type: 'refresh_token', client_id: app.client_id, refresh_token: given, ...over });
const api = (given, method = 'GET', path = '/releases', body) => s.api.as(given).request(method, path, body);
const claims = (given) => JSON.parse(Buffer.from(given.split('.')[1], 'base64url'));

test('RFC 6749 §4.1, RFC 9068 §2.2: a person who allows it is sent back with a code, for a token in their name', async () => {
  const { path } = asked();
  const b = new Browser(s.server.url);
  const login = await b.get(path);
  assert.match(login.headers.location, /^\/v1\/auth\/login\?return_to=%2Fv1%2Fauth%2Fauthorize%3F/);
  await b.get(login.headers.location);
  const consent = await b.get((await b.submit({ email: EMAIL, password: PASSWORD })).headers.location);
  assert.match(consent.text, /A &lt;b&gt;client&lt;\/b&gt;<\/strong> asks/);
  assert.match(consent.text, /Components, versions, artifacts and releases\. <code>projects:read<\/code>/);
  assert.match(consent.headers['content-security-policy'], /form-action 'self' http:\/\/127\.0\.0\.1;/);
  const given = await redeem();
  assert.deepEqual([given.status, given.token_type, given.expires_in, given.scope], [200, 'Bearer', 3600, 'projects:read']);
  const said = claims(given.access_token);
  assert.deepEqual([said.sub, said.user_id, said.client_id, said.name], [ada.id, ada.id, app.client_id, 'Ada']);
  assert.equal((await api(given.access_token)).status, 200);
  assert.equal((await api(given.access_token, 'POST', '/components', { name: 'site' })).status, 403);
});

test('RFC 6749 §4.1.2.1, RFC 9207 §2: errors go back to the client, with state and issuer', async () => {
  const cases = [
    [{ response_type: 'token' }, 'unsupported_response_type'], [{ response_type: undefined }, 'invalid_request'],
    [{ scope: 'projects:read nonsense' }, 'invalid_scope'], [{ scope: 'tenant:manage' }, 'invalid_scope'],
    [{ resource: 'https://elsewhere.example' }, 'invalid_target'],
  ];
  for (const [over, error] of cases) {
    const answer = back(await (new Browser(s.server.url)).get(asked(over).path));
    assert.deepEqual([answer.to, answer.error, answer.state, answer.iss], [BACK, error, 'a b&c', s.server.url], JSON.stringify(over));
  }
  const b = await signedIn();
  await b.get(asked().path);
  const denied = back(await b.submit({ decision: 'deny' }));
  assert.deepEqual([denied.error, denied.state, denied.iss, denied.code], ['access_denied', 'a b&c', s.server.url, undefined]);
  assert.equal(back(await b.get(asked({ prompt: 'none' }).path)).error, 'consent_required');
  assert.equal(back(await new Browser(s.server.url).get(asked({ prompt: 'none' }).path)).error, 'login_required');
});

test('RFC 6749 §3.1.2.4, RFC 9700 §4.1.3: nobody is sent to an address that is not the client\'s', async () => {
  for (const over of [{ redirect_uri: 'https://evil.example/' }, { redirect_uri: `${BACK}/` }, { redirect_uri: `${BACK}?x=1` }, { client_id: '0'.repeat(8) }, { client_id: undefined }]) {
    const answer = await (await signedIn()).get(asked(over).path);
    assert.deepEqual([answer.status, answer.headers.location], [400, undefined], JSON.stringify(over));
    assert.match(answer.headers['content-type'], /^text\/html/);
  }
});

test('RFC 8252 §7.3: on loopback the port does not matter', async () => {
  const uri = 'http://127.0.0.1:51004/back', { v, path } = asked({ redirect_uri: uri });
  const { to, code } = await allow(path);
  assert.equal(to, uri);
  const fields = { grant_type: 'authorization_code', client_id: app.client_id, code, code_verifier: v };
  assert.equal((await token({ ...fields, redirect_uri: BACK })).error, 'invalid_grant');
  assert.equal((await token({ ...fields, redirect_uri: uri })).status, 200);
});

test('RFC 7636 §4.4.1, §4.6: PKCE with S256 is mandatory, and the verifier has to fit', async () => {
  for (const over of [{ code_challenge: undefined }, { code_challenge_method: 'plain' }, { code_challenge_method: undefined }, { code_challenge: 'short' }])
    assert.equal(back(await (new Browser(s.server.url)).get(asked(over).path)).error, 'invalid_request');
  for (const over of [{ code_verifier: verifier() }, { code_verifier: '' }, { code_verifier: 'x' }])
    assert.deepEqual([(await redeem({ over })).error], ['invalid_grant']);
});

test('RFC 6749 §4.1.2: a code that comes twice ends all that came of it', async () => {
  const first = await redeem();
  assert.equal(first.status, 200);
  const again = await token({ grant_type: 'authorization_code', client_id: app.client_id, redirect_uri: BACK, code: first.code, code_verifier: first.v });
  assert.deepEqual([again.status, again.error], [400, 'invalid_grant']);
  await eventually(async () => (await api(first.access_token)).code === 'AUTH_TOKEN_REVOKED', 'the first token to be refused');
  assert.equal((await refresh(first.refresh_token)).error, 'invalid_grant');
});

test('RFC 6749 §4.1.3: a code is the client\'s that it was sent to', async () => {
  const { v, path } = asked();
  const { code } = await allow(path);
  const other = await token({ grant_type: 'authorization_code', client_id: page.client_id, client_secret: page.client_secret, redirect_uri: BACK, code, code_verifier: v });
  assert.equal(other.error, 'invalid_grant');
  assert.equal((await token({ grant_type: 'authorization_code', client_id: app.client_id, redirect_uri: BACK, code, code_verifier: v })).status, 200);
});

test('RFC 6749 §6, RFC 9700 §4.14.2: each refresh token is good once; one that comes again ends the family', async () => {
  const given = await redeem();
  const next = await refresh(given.refresh_token);
  assert.equal(next.status, 200, JSON.stringify(next));
  assert.notEqual(next.refresh_token, given.refresh_token);
  assert.equal((await api(next.access_token)).status, 200);
  assert.equal((await refresh(given.refresh_token)).error, 'invalid_grant');
  await eventually(async () => (await api(next.access_token)).code === 'AUTH_TOKEN_REVOKED', 'the newest token to be refused');
  assert.equal((await refresh(next.refresh_token)).error, 'invalid_grant');
});

test('RFC 6749 §6: two that refresh at once do not both get on', async () => {
  const given = await redeem();
  const both = await Promise.all([refresh(given.refresh_token), refresh(given.refresh_token)]);
  assert.deepEqual(both.map((answer) => answer.status).sort(), [200, 400]);
});

test('RFC 6749 §6: a refresh may narrow the scope and never widens it', async () => {
  const given = await redeem({ asking: { scope: 'projects:read environments:read' } });
  const narrow = await refresh(given.refresh_token, { scope: 'projects:read' });
  assert.equal(narrow.scope, 'projects:read');
  assert.equal((await refresh(narrow.refresh_token, { scope: 'projects:write' })).error, 'invalid_scope');
  assert.equal((await refresh(narrow.refresh_token)).scope, 'projects:read environments:read');
});

test('RFC 7009 §2.1, RFC 7662 §2.2: with a refresh token, or an access token, of a person ends the grant', async () => {
  for (const which of ['refresh_token', 'access_token']) {
    const given = await redeem({});
    const state = async () => (await (await fetch(`${s.server.url}/v1/auth/introspect`, { method: 'POST', body: new URLSearchParams({ client_id: page.client_id, client_secret: page.client_secret, token: given.access_token }) })).json());
    const before = await state();
    assert.deepEqual([before.active, before.username, before.sub], [true, 'Ada', ada.id]);
    const answer = await fetch(`${s.server.url}/v1/auth/revoke`, { method: 'POST', body: new URLSearchParams({ client_id: app.client_id, token: given[which] }) });
    assert.equal(answer.status, 200);
    assert.deepEqual(await state(), { active: false });
    assert.equal((await refresh(given.refresh_token)).error, 'invalid_grant');
    await eventually(async () => (await api(given.access_token)).code === 'AUTH_TOKEN_REVOKED', 'the token to be refused');
  }
});

test('a token in a person\'s name never does more than the person may at that moment', async () => {
  const bob = await admin('POST', '/users', { email: 'bob@example.org', name: 'Bob', password: PASSWORD, roles: ['viewer'] }, 201);
  const { v, path } = asked({ scope: 'projects:write' });
  const { code } = await allow(path, await new Browser(s.server.url).login('bob@example.org', PASSWORD));
  const given = await token({ grant_type: 'authorization_code', client_id: app.client_id, redirect_uri: BACK, code, code_verifier: v });
  const make = (name) => api(given.access_token, 'POST', '/components', { name });
  assert.equal((await make('one')).status, 403);
  await admin('PATCH', `/users/${bob.id}`, { roles: ['release-manager'] }, 200);
  await eventually(async () => (await make('two')).status === 201, 'the new role to count');
  await admin('PATCH', `/users/${bob.id}`, { roles: ['viewer'] }, 200);
  await eventually(async () => (await make('three')).status === 403, 'the role to be gone');
  await admin('PATCH', `/users/${bob.id}`, { status: 'suspended' }, 200);
  await eventually(async () => (await api(given.access_token)).code === 'AUTH_TOKEN_REVOKED', 'the token to be refused');
  assert.equal((await refresh(given.refresh_token)).error, 'invalid_grant');
});

test('a person sees what programs may do in their name, and takes it back', async () => {
  const { body: { id, email } } = await s.api.request('POST', '/v1/users', { email: 'grants@example.org', name: 'Grants', password: PASSWORD, roles: ['viewer'] }, { absolute: true });
  const b = await new Browser(s.server.url).login(email, PASSWORD);
  const shown = async () => (await b.get('/v1/auth/account')).text.match(/name="grant" value="[^"]+"/g) ?? [];
  assert.deepEqual(await shown(), []);
  const tokens = [await takeToken(b, s.server.url, app.client_id, BACK, 'projects:read'), await takeToken(b, s.server.url, app.client_id, BACK, 'projects:read')];
  assert.equal((await shown()).length, 2);
  assert.match((await b.get('/v1/auth/account')).text, /Programs that act for you[^]*<strong>[^<]+<\/strong>, since \d{4}-\d\d-\d\d: projects:read/);
  const sid = claims(tokens[0]).sid;
  const end = async (browser, grant) => {
    await browser.get('/v1/auth/account');
    return browser.post('/v1/auth/account/grants/end', { ...browser.hidden, grant });
  };
  assert.equal((await end(await signedIn(), sid)).status, 404, 'another person\'s');
  assert.equal((await end(b, 'x')).status, 404);
  assert.equal((await end(b, sid)).status, 303);
  assert.deepEqual((await shown()).map((text) => text.includes(sid)), [false]);
  await eventually(async () => (await api(tokens[0])).status === 401, 'its tokens to be refused');
  assert.equal((await api(tokens[1])).status, 200);
  const entries = (await s.api.get('/audit-events', { query: { filter: JSON.stringify({ actorId: id }) } })).data;
  assert.ok(entries.some((e) => e.action === 'grant.ended' && e.resourceId === sid), JSON.stringify(entries.map((e) => e.action)));
});

test('RFC 6749 §2.3: with the client go all that people gave it', async () => {
  const gone = await register({ token_endpoint_auth_method: 'none' });
  const { v, path } = asked({ client_id: gone.client_id });
  const { code } = await allow(path);
  const given = await token({ grant_type: 'authorization_code', client_id: gone.client_id, redirect_uri: BACK, code, code_verifier: v });
  await admin('DELETE', `/oauth/clients/${gone.client_id}`, undefined, 204);
  await eventually(async () => (await api(given.access_token)).code === 'AUTH_TOKEN_REVOKED', 'the token to be refused');
});

test('what a client registers for people is checked', async () => {
  const wrong = [
    [{ redirect_uris: undefined }, /redirect_uris/], [{ redirect_uris: ['http://app.example/'] }, /redirect_uris\[0\]/], [{ redirect_uris: ['https://app.example/#x'] }, /redirect_uris\[0\]/],
    [{ grant_types: ['client_credentials'] }, /redirect_uris/], [{ grant_types: ['authorization_code', 'client_credentials'], token_endpoint_auth_method: 'none' }, /token_endpoint_auth_method/],
  ];
  for (const [body, why] of wrong) {
    const answer = await s.api.request('POST', '/v1/oauth/clients', { name: 'x', grant_types: ['authorization_code'], redirect_uris: [BACK], ...body }, { absolute: true });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.match(answer.body.error_description, why);
  }
});

test('openid-client runs the flow: RFC 8414, RFC 7636, RFC 9207, RFC 6749 §6', async () => {
  const config = await openid.discovery(new URL(s.server.url), page.client_id, undefined, openid.ClientSecretBasic(page.client_secret), { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] });
  const v = openid.randomPKCECodeVerifier(), state = openid.randomState();
  const url = openid.buildAuthorizationUrl(config, { redirect_uri: BACK, scope: 'projects:read', code_challenge: await openid.calculatePKCECodeChallenge(v), code_challenge_method: 'S256', state });
  const b = await signedIn();
  await b.get(url.pathname + url.search);
  const { headers: { location } } = await b.submit({ decision: 'allow' });
  const given = await openid.authorizationCodeGrant(config, new URL(location), { pkceCodeVerifier: v, expectedState: state });
  assert.equal((await openid.fetchUserInfo(config, given.access_token, ada.id)).email, ada.email);
  const next = await openid.refreshTokenGrant(config, given.refresh_token);
  assert.equal((await api(next.access_token)).status, 200);
  await openid.tokenRevocation(config, next.refresh_token);
  await assert.rejects(openid.refreshTokenGrant(config, next.refresh_token), { error: 'invalid_grant' });
});

test('OpenID Connect Core 1.0 §5.3: userinfo says who has the token, to GET and POST', async () => {
  const { access_token } = await redeem();
  for (const method of ['GET', 'POST']) {
    const answer = await s.api.as(access_token).request(method, '/v1/auth/userinfo', undefined, { absolute: true });
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.body, { sub: ada.id, name: 'Ada', email: EMAIL, tenant_id: ada.tenant_id });
  }
  assert.equal((await s.api.as(undefined).request('GET', '/v1/auth/userinfo', undefined, { absolute: true })).status, 401);
});

test('oauth4webapi runs the flow for a public client', async () => {
  const issuer = new URL(s.server.url);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...HTTP }));
  assert.deepEqual([as.code_challenge_methods_supported, as.authorization_response_iss_parameter_supported], [['S256'], true]);
  const client = { client_id: app.client_id }, v = oauth.generateRandomCodeVerifier();
  const { path } = asked({ state: 'x', code_challenge: await oauth.calculatePKCECodeChallenge(v) });
  const b = await signedIn();
  await b.get(path);
  const params = oauth.validateAuthResponse(as, client, new URL((await b.submit({ decision: 'allow' })).headers.location), 'x');
  const given = await oauth.processAuthorizationCodeResponse(as, client, await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, BACK, v, HTTP));
  const info = await oauth.processUserInfoResponse(as, client, ada.id, await oauth.userInfoRequest(as, client, given.access_token, HTTP));
  assert.deepEqual([info.sub, info.email, info.name], [ada.id, EMAIL, 'Ada']);
  const next = await oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, oauth.None(), given.refresh_token, HTTP));
  assert.equal((await api(next.access_token)).status, 200);
});
