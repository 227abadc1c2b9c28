// `slipway client` beside a running server, without one, and over HTTP.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { Nest, SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s;
before(async () => (s = await start({ name: 'client', workers: 1, redis: 'embedded' })));
after(() => s?.stop());

const GRANT = ['--grant', 'client_credentials'];
const call = async (...args) => {
  const made = await run(SLIPWAY, ['client', ...args], { env: { SLIPWAY_REDIS: 'embedded' } });
  return { ...made, json: made.code === 0 && args.includes('--json') ? JSON.parse(made.stdout) : undefined };
};
const ok = async (...args) => {
  const made = await call(...args);
  assert.equal(made.code, 0, made.stderr);
  return made.json ?? made.stdout;
};
const here = () => ['--data', s.server.data];
const remote = () => ['--url', s.server.url, '--key-file', `${s.server.data}/admin.key`];
const token = ({ client_id: id, client_secret: secret }, scope = '') => s.api.request('POST', '/v1/auth/token', undefined, {
  absolute: true, raw: `grant_type=client_credentials&scope=${scope}`,
  headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`, 'content-type': 'application/x-www-form-urlencoded' },
});

for (const [what, where] of [['by the data', here], ['by the API', remote]])
  test(`create prints id and secret, list knows the client, revoke ends it: ${what}`, async () => {
    const made = await ok('create', ...where(), '--name', 'ci', ...GRANT, '--json');
    assert.deepEqual([made.name, made.grant_types, made.token_endpoint_auth_method], ['ci', ['client_credentials'], 'client_secret_basic']);
    const answer = await token(made, 'projects:read deployments:write');
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await s.api.as(answer.body.access_token).get('/releases')).status, 200);
    const { client_secret, ...listed } = made;
    const list = await ok('list', ...where(), '--json');
    assert.deepEqual(list.find((c) => c.client_id === made.client_id), listed);
    assert.match(await ok('list', ...where()), new RegExp(`^${made.client_id}  .*projects:write.*  ci$`, 'm'));
    assert.deepEqual(await ok('revoke', made.client_id, ...where(), '--json'), { revoked: made.client_id });
    assert.equal((await token(made)).body.error, 'invalid_client');
    await eventually(async () => (await s.api.as(answer.body.access_token).get('/releases')).status === 401, 'the token to be refused');
    const again = await call('revoke', made.client_id, ...where());
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^slipway client: /);
  });

test('scopes are those that are asked for, in a tenant of its own', async () => {
  const made = await ok('create', ...here(), '--name', 'reader', '--tenant', 'another', '--scope', 'release:read environments:read', '--json');
  assert.deepEqual(made.scopes, ['release:read', 'environments:read']);
  const answer = await token(made);
  assert.equal(answer.body.scope, 'release:read environments:read');
  assert.deepEqual((await s.api.as(answer.body.access_token).get('/environments')).data, []);
  const text = await ok('create', ...here(), '--name', 'text');
  assert.match(text, /^client_id {6}[0-9a-f-]{36}\nclient_secret {2}slcs_\w{36}\n$/);
});

test('with keys of its own a client gets no secret', async () => {
  const file = `${s.server.data}/jwks.json`;
  fs.writeFileSync(file, JSON.stringify({ keys: [generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })] }));
  const made = await ok('create', ...here(), '--name', 'signer', '--jwks', file, '--json');
  assert.deepEqual([made.client_secret, made.token_endpoint_auth_method], [undefined, 'private_key_jwt']);
});

test('a client of a CI trusts a provider and has no secret', async () => {
  const trust = ['--trust-issuer', 'https://ci.example', '--trust-subject', 'repo:acme/site:*'];
  const made = await ok('create', ...here(), '--name', 'site', ...trust, '--json');
  assert.deepEqual([made.client_secret, made.token_endpoint_auth_method, made.grant_types, made.trust],
    [undefined, 'none', ['urn:ietf:params:oauth:grant-type:token-exchange'], { issuer: 'https://ci.example', subject: 'repo:acme/site:*' }]);
  assert.match((await call('create', ...here(), '--name', 'site', '--trust-issuer', 'https://ci.example')).stderr, /trust\.subject is required/);
});

test('a public client of people is made with where they are sent back to', async () => {
  const grant = ['--grant', 'authorization_code,refresh_token'];
  const made = await ok('create', ...here(), '--name', 'app', ...grant, '--redirect-uri', 'http://127.0.0.1/back,https://app.example/back', '--public', '--json');
  assert.deepEqual([made.client_secret, made.token_endpoint_auth_method, made.redirect_uris], [undefined, 'none', ['http://127.0.0.1/back', 'https://app.example/back']]);
  assert.match((await call('create', ...here(), '--name', 'app', ...grant)).stderr, /redirect_uris/);
});

test('what cannot be is refused with a reason, and nothing is made', async () => {
  const wrong = [
    [['create', ...here()], 2, /needs a --name/], [['create', ...here(), '--name', 'x', '--grant', 'password'], 2, /grant_types/],
    [['create', ...here(), '--name', 'x', '--scope', 'openid'], 2, /scopes\[0\] is no scope/], [['create', ...here(), '--name', 'x', '--jwks', '/nowhere'], 2, /--jwks/],
    [['create', ...remote(), '--name', 'x', '--scope', 'openid'], 1, /scopes\[0\] is no scope.*\(400\)/], [['list', '--url', 'ftp://x'], 1, /--url ftp:\/\/x/],
    [['list', '--url', s.server.url, '--key-file', '/nowhere'], 1, /\/nowhere/], [['revoke', 'x', ...here()], 2, /id of a client/],
    [['list', 'more', ...here()], 2, /too many/], [['rotate'], 2, /there is no `client rotate`/], [[], 2, /one of create, list and revoke/],
  ];
  const before = await ok('list', ...here(), '--json');
  for (const [args, code, text] of wrong) {
    const made = await call(...args);
    assert.equal(made.code, code, `${args.join(' ')}: ${made.stderr}`);
    assert.match(made.stderr, text);
  }
  assert.deepEqual(await ok('list', ...here(), '--json'), before);
});

test('a client made before the first start is there after it, and so is the admin key', async () => {
  const nest = new Nest('client-first');
  try {
    const data = nest.file('data');
    const made = await ok('create', '--data', data, '--name', 'early', ...GRANT, '--json');
    const server = nest.start('server', SLIPWAY, ['serve', '--data', data, '--redis', 'embedded', '--listen', '127.0.0.1:0', '--workers', '1']);
    const url = await eventually(() => `http://${fs.readFileSync(`${data}/listen`, 'utf8').trim()}`, 'the server to listen');
    assert.match(fs.readFileSync(`${data}/admin.key`, 'utf8'), /^slp_/);
    const answer = await fetch(`${url}/v1/auth/token`, {
      method: 'POST', body: new URLSearchParams({ grant_type: 'client_credentials', client_id: made.client_id, client_secret: made.client_secret }),
    });
    assert.equal(answer.status, 200);
    assert.equal((await server.stop()).code, 0);
  } finally {
    await nest.remove();
  }
});
