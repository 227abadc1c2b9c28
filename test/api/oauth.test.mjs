// What Slipway publishes as an authorization server, judged by the RFCs that say how.
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { after, before, test } from 'node:test';
import { SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

let s;
before(async () => (s = await start({ name: 'oauth', workers: 1, redis: 'embedded' })));
after(() => s?.stop());

const published = async () => {
  const answer = await s.api.as(undefined).request('GET', '/.well-known/jwks.json', undefined, { absolute: true });
  assert.equal(answer.status, 200);
  assert.equal(answer.type, 'application/json');
  return answer;
};

const signedToken = async () => {
  const { code, stdout, stderr } = await s.slipway('key', 'jwt', '--user', 'alice', '--role', 'viewer', '--json');
  assert.equal(code, 0, stderr);
  const [head, body, signature] = JSON.parse(stdout).token.split('.');
  return { kid: JSON.parse(Buffer.from(head, 'base64url')).kid, signed: Buffer.from(`${head}.${body}`), signature: Buffer.from(signature, 'base64url') };
};

const verifies = (keys, token) => {
  const jwk = keys.find((k) => k.kid === token.kid);
  return jwk !== undefined && verify(null, token.signed, createPublicKey({ key: jwk, format: 'jwk' }), token.signature);
};

test('RFC 7517 §5, RFC 8037 §2: the key set has public Ed25519 keys only, for everyone, for five minutes', async () => {
  const { body, headers } = await published();
  assert.equal(headers['cache-control'], 'public, max-age=300');
  assert.deepEqual(Object.keys(body), ['keys']);
  assert.equal(body.keys.length, 1);
  const [{ x, ...rest }] = body.keys;
  assert.deepEqual(rest, { kty: 'OKP', crv: 'Ed25519', use: 'sig', alg: 'EdDSA', kid: '1' });
  assert.equal(Buffer.from(x, 'base64url').length, 32);
});

test('RFC 7517 §4.5: tokens from before and after a rotation verify with the key their kid names; no third is published', async () => {
  const old = await signedToken();
  assert.ok(verifies((await published()).body.keys, old));
  for (const kids of [['2', '1'], ['3', '2']]) {
    assert.equal((await s.slipway('key', 'rotate')).code, 0);
    let keys;
    await eventually(async () => {
      ({ keys } = (await published()).body);
      return keys[0].kid === kids[0];
    }, 'the running instance to publish the new key');
    assert.deepEqual(keys.map((k) => k.kid), kids);
    assert.ok(verifies(keys, await signedToken()));
    assert.equal(verifies(keys, old), kids.includes('1'));
  }
});

const document = (client, name) => client.as(undefined).request('GET', `/.well-known/${name}`, undefined, { absolute: true });

test('RFC 8414 §2, RFC 9728 §2: what is published is whole, and names the loopback address it is asked by', async () => {
  const names = Object.fromEntries(['localhost', '127.0.0.1'].map((host) => [host, `${host}:${s.server.port}`]));
  for (const host of Object.values(names)) {
    const answer = await s.api.as(undefined).request('GET', '/.well-known/oauth-authorization-server', undefined, { absolute: true, headers: { host } });
    assert.deepEqual([answer.body.issuer, answer.body.token_endpoint], [`http://${host}`, `http://${host}/v1/auth/token`]);
    assert.equal(answer.headers['cache-control'], 'no-store');
  }
  for (const host of ['evil.example', 'a"b', '127.0.0.1.evil.example@x']) {
    const answer = await s.api.as(undefined).request('GET', '/.well-known/oauth-protected-resource', undefined, { absolute: true, headers: { host } });
    if (answer.status === 200) assert.ok(!answer.text.includes('evil'), answer.text);
  }
});

test('RFC 8414 §3, RFC 9068 §4: --public-url is the issuer of everything; older tokens go on, those of another URL are refused', async () => {
  const url = 'https://ship.example:8443';
  const other = await start({ name: 'oauth-url', workers: 1, redis: 'embedded', args: ['--public-url', url] });
  try {
    const server = await document(other.api, 'oauth-authorization-server'), resource = await document(other.api, 'oauth-protected-resource');
    assert.equal(server.headers['cache-control'], 'public, max-age=300');
    const scopes = ['projects:read', 'projects:write', 'deployments:read', 'deployments:write', 'environments:read', 'environments:write', 'metrics:read'];
    const methods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'], algorithms = ['EdDSA', 'Ed25519', 'ES256', 'RS256'];
    assert.deepEqual(server.body, {
      issuer: url, token_endpoint: `${url}/v1/auth/token`, revocation_endpoint: `${url}/v1/auth/revoke`, introspection_endpoint: `${url}/v1/auth/introspect`,
      jwks_uri: `${url}/.well-known/jwks.json`, service_documentation: `${url}/docs`, scopes_supported: scopes, response_types_supported: ['code'], response_modes_supported: ['query'],
      authorization_endpoint: `${url}/v1/auth/authorize`, device_authorization_endpoint: `${url}/v1/auth/device_authorization`, userinfo_endpoint: `${url}/v1/auth/userinfo`, authorization_response_iss_parameter_supported: true, code_challenge_methods_supported: ['S256'],
      grant_types_supported: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code', 'client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange'], protected_resources: [url],
      ...Object.fromEntries(['token', 'revocation', 'introspection'].flatMap((e) => [[`${e}_endpoint_auth_methods_supported`, methods.slice(0, e === 'introspection' ? 3 : 4)], [`${e}_endpoint_auth_signing_alg_values_supported`, algorithms]])),
    });
    assert.deepEqual(resource.body, {
      resource: url, authorization_servers: [url], bearer_methods_supported: ['header'], scopes_supported: scopes, resource_name: 'Slipway', resource_documentation: `${url}/docs`,
    });
    const { stdout } = await run(SLIPWAY, ['key', 'jwt', '--data', other.server.data, '--user', 'alice', '--role', 'viewer', '--public-url', url]);
    const { iss, tenant_id } = JSON.parse(Buffer.from(stdout.split('.')[1], 'base64url'));
    assert.equal(iss, url);
    const signer = new Signer(other.server.data), ask = async (token) => (await other.api.as(token).get('/environments')).status;
    assert.equal(await ask(stdout.trim()), 200);
    assert.equal(await ask(signer.token({ tenant_id })), 200, 'from before there was a public URL');
    for (const wrong of ['https://ship.example', 'http://127.0.0.1:8080', `${url}/`]) assert.equal(await ask(signer.token({ tenant_id, iss: wrong })), 401, wrong);
  } finally {
    await other.stop();
  }
});

test('RFC 8414 §2: an issuer is an https URL, or http on loopback, without query and fragment', async () => {
  for (const [url, good] of [['https://ship.example', true], ['http://127.0.0.1:8080', true], ['http://[::1]:80', true], ['http://localhost', true],
    ['http://ship.example', false], ['https://ship.example/', false], ['https://ship.example/a', false], ['https://ship.example?x', false],
    ['https://ship.example#x', false], ['https://a@ship.example', false], ['ship.example', false], ['https://', false], ['https://SHIP.example', false]]) {
    const { code, stderr } = await run(SLIPWAY, ['config', '--public-url', url]);
    assert.equal(code, good ? 0 : 2, url);
    if (!good) assert.match(stderr, /public-url: /);
  }
});
