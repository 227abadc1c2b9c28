// The device grant (RFC 8628): a program shows a code, a person enters it; oauth4webapi and openid-client as judges.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { Browser } from '../lib/browser.mjs';
import { start } from '../lib/slipway.mjs';

const PASSWORD = 'a long enough sentence', EMAIL = 'ada@example.org', GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const HTTP = { [oauth.allowInsecureRequests]: true };
let s, app, ada;

const admin = async (path, body) => {
  const answer = await s.api.request('POST', `/v1${path}`, body, { absolute: true });
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
};
before(async () => {
  s = await start({ name: 'oauth-device', workers: 1 });
  ada = await admin('/users', { email: EMAIL, name: 'Ada', password: PASSWORD, roles: ['release-manager'] });
  app = await admin('/oauth/clients', { name: 'Tool', token_endpoint_auth_method: 'none', grant_types: [GRANT, 'refresh_token'], scopes: ['projects:read'] });
});
after(() => s?.stop());

const post = async (path, fields) => {
  const answer = await fetch(`${s.server.url}/v1/auth/${path}`, { method: 'POST', body: new URLSearchParams({ client_id: app.client_id, ...fields }) });
  return { status: answer.status, ...await answer.json() };
};
const begin = async (fields) => {
  const begun = await post('device_authorization', fields);
  assert.equal(begun.status, 200, JSON.stringify(begun));
  return begun;
};
const poll = ({ device_code }) => post('token', { grant_type: GRANT, device_code });
/** Ada enters the code and answers. */
async function decide(begun, decision, path = '/v1/auth/device') {
  const b = await new Browser(s.server.url).login(EMAIL, PASSWORD);
  await b.get(path);
  const consent = await b.submit({ user_code: begun.user_code.toLowerCase().replace('-', ' ') });
  assert.equal(consent.status, 200, consent.text);
  assert.match(consent.text, /<strong>Tool<\/strong>, on the device/);
  return b.submit({ decision });
}

test('RFC 8628 §3.2, §6.1: what the device gets to show', async () => {
  const { status, device_code, user_code, ...rest } = await begin();
  assert.match(device_code, /^sldc_[0-9A-Za-z]{36}$/);
  assert.match(user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  assert.deepEqual({ status, ...rest }, { status: 200, expires_in: 600, interval: 5, verification_uri: `${s.server.url}/v1/auth/device`, verification_uri_complete: `${s.server.url}/v1/auth/device?user_code=${user_code}` });
});

test('RFC 8628 §3.5: pending until the person answers, slower for who asks too often, and a token at the end', async () => {
  const begun = await begin();
  assert.deepEqual(await poll(begun).then(({ status, error }) => [status, error]), [400, 'authorization_pending']);
  assert.equal((await poll(begun)).error, 'slow_down');
  const done = await decide(begun, 'allow', `/v1/auth/device?user_code=${begun.user_code}`);
  assert.match(done.text, /Connected/);
  const given = await poll(begun);
  assert.deepEqual([given.status, given.scope, given.token_type], [200, 'projects:read', 'Bearer']);
  assert.equal(JSON.parse(Buffer.from(given.access_token.split('.')[1], 'base64url')).sub, ada.id);
  assert.equal((await s.api.as(given.access_token).get('/releases')).status, 200);
  assert.equal((await post('token', { grant_type: 'refresh_token', refresh_token: given.refresh_token })).status, 200);
});

test('RFC 8628 §3.5: a person who refuses', async () => {
  const begun = await begin();
  assert.match((await decide(begun, 'deny')).text, /Refused/);
  assert.equal((await poll(begun)).error, 'access_denied');
});

test('RFC 8628 §5.2: a code is answered once, and of nobody else\'s tenant', async () => {
  const begun = await begin();
  await decide(begun, 'allow');
  const b = await new Browser(s.server.url).login(EMAIL, PASSWORD);
  await b.get('/v1/auth/device');
  assert.match((await b.submit({ user_code: begun.user_code })).text, /no such code/);
  assert.match((await b.submit({ user_code: 'short' })).text, /eight letters/);
  const twice = [await poll(begun), await poll(begun)];
  assert.deepEqual(twice.map((answer) => answer.status), [200, 400]);
});

test('RFC 8628 §3.1: who may begin', async () => {
  const other = await admin('/oauth/clients', { name: 'other' });
  assert.equal((await post('device_authorization', { client_id: other.client_id, client_secret: other.client_secret })).error, 'unauthorized_client');
  assert.equal((await post('device_authorization', { scope: 'projects:write' })).error, 'invalid_scope');
  assert.equal((await post('device_authorization', { client_id: 'nobody' })).error, 'invalid_client');
  assert.equal((await post('token', { grant_type: GRANT, device_code: 'sldc_x' })).error, 'invalid_grant');
});

test('oauth4webapi and openid-client begin, and take what comes', async () => {
  const issuer = new URL(s.server.url), client = { client_id: app.client_id };
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...HTTP }));
  const begun = await oauth.processDeviceAuthorizationResponse(as, client, await oauth.deviceAuthorizationRequest(as, client, oauth.None(), { scope: 'projects:read' }, HTTP));
  await decide(begun, 'allow');
  const given = await oauth.processDeviceCodeResponse(as, client, await oauth.deviceCodeGrantRequest(as, client, oauth.None(), begun.device_code, HTTP));
  assert.equal((await s.api.as(given.access_token).get('/releases')).status, 200);
  const config = await openid.discovery(issuer, app.client_id, undefined, openid.None(), { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] });
  const again = await openid.initiateDeviceAuthorization(config, { scope: 'projects:read' });
  await decide(again, 'allow');
  assert.equal((await s.api.as((await openid.pollDeviceAuthorizationGrant(config, { ...again, interval: 0.1 })).access_token).get('/releases')).status, 200);
});
