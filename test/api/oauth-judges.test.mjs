// The authorization server before other people's clients: openid-client and oauth4webapi run the flows and judge the
// answers.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const HTTP = { [oauth.allowInsecureRequests]: true };

let s, secret, keyed;
const pairs = {};
before(async () => {
  s = await start({ name: 'oauth-judges', workers: 1 });
  const make = async (body) => (await s.api.post('/v1/oauth/clients', { name: 'ci', ...body }, { absolute: true })).body;
  pairs.ES256 = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  pairs.RS256 = await webcrypto.subtle.generateKey({ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }, true, ['sign', 'verify']);
  pairs.Ed25519 = await webcrypto.subtle.generateKey({ name: 'Ed25519' }, true, ['sign', 'verify']);
  const keys = await Promise.all(Object.entries(pairs).map(async ([kid, { publicKey }]) => ({ ...await webcrypto.subtle.exportKey('jwk', publicKey), kid, key_ops: undefined, ext: undefined, alg: undefined })));
  secret = await make();
  keyed = await make({ token_endpoint_auth_method: 'private_key_jwt', jwks: { keys } });
});
after(() => s?.stop());

const methods = (lib) => ({
  client_secret_basic: () => [secret, lib.ClientSecretBasic(secret.client_secret)],
  client_secret_post: () => [secret, lib.ClientSecretPost(secret.client_secret)],
  ...Object.fromEntries(Object.keys(pairs).map((kid) => [`private_key_jwt with ${kid}`, () => [keyed, lib.PrivateKeyJwt({ key: pairs[kid].privateKey, kid })]])),
});
const refusedByApi = (token) => eventually(async () => (await s.api.as(token).get('/releases')).code === 'AUTH_TOKEN_REVOKED', 'the token to be refused');

test('openid-client: RFC 8414 discovery, RFC 6749 §4.4, RFC 7662, RFC 7009, by every way to authenticate', async () => {
  for (const [what, give] of Object.entries(methods(openid))) {
    const [client, auth] = give();
    const config = await openid.discovery(new URL(s.server.url), client.client_id, undefined, auth, { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] });
    const given = await openid.clientCredentialsGrant(config, { scope: 'projects:read deployments:write' });
    assert.deepEqual([given.token_type, given.expires_in, given.scope], ['bearer', 3600, 'projects:read deployments:write'], what);
    assert.equal((await s.api.as(given.access_token).get('/releases')).status, 200, what);
    const state = await openid.tokenIntrospection(config, given.access_token);
    assert.deepEqual([state.active, state.client_id, state.iss], [true, client.client_id, s.server.url], what);
    await openid.tokenRevocation(config, given.access_token);
    assert.deepEqual(await openid.tokenIntrospection(config, given.access_token), { active: false }, what);
    await refusedByApi(given.access_token);
    await assert.rejects(openid.clientCredentialsGrant(config, { scope: 'openid' }), { error: 'invalid_scope' });
  }
});

describe('oauth4webapi', () => {
  let as;
  before(async () => {
    const issuer = new URL(s.server.url);
    as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...HTTP }));
  });

  test('RFC 6749 §4.4, RFC 7662, RFC 7009, by every way to authenticate', async () => {
    for (const [what, give] of Object.entries(methods(oauth))) {
      const [{ client_id }, auth] = give();
      const client = { client_id };
      const given = await oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: 'projects:read' }, HTTP));
      assert.equal(given.scope, 'projects:read', what);
      const inspect = async () => oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, given.access_token, HTTP));
      assert.equal((await inspect()).active, true, what);
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, given.access_token, HTTP));
      assert.deepEqual(await inspect(), { active: false }, what);
    }
  });

  test('RFC 9068 §4: an access token validates by the published keys, as one for this API', async () => {
    const client = { client_id: secret.client_id };
    const auth = oauth.ClientSecretBasic(secret.client_secret);
    const given = await oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, {}, HTTP));
    const request = new Request(`${s.server.url}/api/v1/releases`, { headers: { authorization: `Bearer ${given.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(as, request, 'slipway', HTTP);
    assert.deepEqual([claims.iss, claims.client_id, claims.scope], [s.server.url, secret.client_id, given.scope]);
  });

  test('RFC 6749 §5.2: a refusal is told as an error, and as a challenge where a client does not authenticate', async () => {
    const client = { client_id: secret.client_id };
    const response = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretBasic('wrong'), {}, HTTP);
    await assert.rejects(oauth.processClientCredentialsResponse(as, client, response), (error) => error instanceof oauth.WWWAuthenticateChallengeError && error.cause[0].scheme === 'basic');
    const other = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretPost(secret.client_secret), { scope: 'openid' }, HTTP);
    await assert.rejects(oauth.processClientCredentialsResponse(as, client, other), { error: 'invalid_scope' });
  });

  test('RFC 9728 §5.1, RFC 6750 §3: a challenge leads to the metadata of the resource and its authorization server', async () => {
    const answer = await s.api.as('nonsense').get('/releases');
    const at = new URL(answer.headers['www-authenticate'].match(/resource_metadata="([^"]+)"/)[1]);
    assert.equal(at.href, `${s.server.url}/.well-known/oauth-protected-resource`);
    const resource = new URL(s.server.url);
    const metadata = await oauth.processResourceDiscoveryResponse(resource, await oauth.resourceDiscoveryRequest(resource, HTTP));
    assert.deepEqual([metadata.authorization_servers, metadata.bearer_methods_supported], [[as.issuer], ['header']]);
  });
});
