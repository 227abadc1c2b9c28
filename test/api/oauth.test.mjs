// What Slipway publishes as an authorization server, judged by the RFCs that say how.
import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
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
