// A whole run of everything that has secrets: each is noted where it is made, and then looked for, in every form, in
// what the processes wrote, in their arguments, in the audit trail, the metrics, the logs of runs, the store and its
// files.  Two files hold secrets by design and are left out: the keyring, and the first admin key beside it.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { FakeAgent, registrationToken } from '../lib/agent.mjs';
import { Browser } from '../lib/browser.mjs';
import { Arguments, disguises, everything, files } from '../lib/disguises.mjs';
import { makeTemplate, reaches, script, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream } from '../lib/stream.mjs';
import { base32, codeOf } from '../lib/totp.mjs';

const FORM = { 'content-type': 'application/x-www-form-urlencoded', authorization: null };

let s, argv;
/** What was told in confidence: what it is, and the text of it. */
const secrets = [];
function keep(what, secret) {
  assert.ok(secret.length >= 11, `${what}: ${secret}`);
  secrets.push([what, secret]);
  return secret;
}
/** A secret of the user's own making, with characters that encodings change. */
const invent = (what) => keep(what, `Tide+pool/${randomBytes(9).toString('hex')} &ü"${what.length}`);

const oauth = (path, form, headers = {}, server = s.server) => server.client().request('POST', `/v1/${path}`, undefined, {
  absolute: true, raw: String(new URLSearchParams(form)), headers: { ...FORM, ...headers },
});
const want = async (status, method, path, body) => {
  const answer = await s.api.request(method, `/v1${path}`, body, { absolute: true });
  assert.equal(answer.status, status, answer.text);
  return answer.body;
};
const json = async (...args) => {
  const { code, stdout, stderr } = await s.slipway(...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
};

before(async () => {
  argv = new Arguments();
  s = await start({ name: 'secrets-grep', workers: 2, instances: 2, env: { SLIPWAY_LOG_LEVEL: 'debug' } });
  keep('the first admin key', s.key);
});
after(() => s?.stop());

describe('secrets are made, used and mistaken', () => {
  test('keys and access tokens', async () => {
    const { key } = await json('key', 'create', '--role', 'admin', '--name', 'grep');
    keep('an API key', key);
    const { token } = await json('key', 'jwt', '--user', 'carol', '--role', 'viewer');
    keep('an access token made by hand', token);
    for (const bearer of [key, token])
      for (const server of s.servers) assert.equal((await server.client(bearer).get('/environments')).status, 200);
    for (const bearer of [`${key.slice(0, -2)}xx`, `${token.slice(0, -4)}AAAA`])
      assert.equal((await s.api.as(keep('a wrong credential', bearer)).get('/environments')).status, 401);
  });

  test('clients, and their tokens', async () => {
    const made = await json('client', 'create', '--name', 'by-command', '--grant', 'client_credentials');
    keep('the secret of a client made by command', made.client_secret);
    const headers = { 'idempotency-key': keep('an Idempotency-Key is as good as one', unique('grep-idempotency')) };
    const one = (await s.api.request('POST', '/v1/oauth/clients', { name: 'ci' }, { absolute: true, headers })).body;
    const again = (await s.api.request('POST', '/v1/oauth/clients', { name: 'ci' }, { absolute: true, headers })).body;
    assert.equal(again.client_secret, keep('the secret of a client', one.client_secret), 'replayed');
    const given = { client_id: one.client_id, client_secret: one.client_secret };
    const basic = { authorization: `Basic ${Buffer.from(`${one.client_id}:${one.client_secret}`).toString('base64')}` };
    for (const [form, extra] of [[given, {}], [{}, basic]]) {
      const { status, text, body } = await oauth('auth/token', { grant_type: 'client_credentials', ...form }, extra);
      assert.equal(status, 200, text);
      keep('the token of a client', body.access_token);
      assert.equal((await oauth('auth/introspect', { token: body.access_token }, basic)).body.active, true);
      assert.equal((await s.api.as(body.access_token).get('/releases')).status, 200);
      assert.equal((await oauth('auth/revoke', { token: body.access_token }, basic)).status, 200);
    }
    assert.equal((await oauth('auth/token', { grant_type: 'client_credentials', ...given, client_secret: invent('a wrong client secret') })).status, 401);
  });

  test('agents and tickets', async () => {
    const token = keep('a registration token', await registrationToken(s.api));
    assert.equal((await s.server.client().post('/agents/register', { name: 'x' }, { headers: { 'x-agent-token': token } })).status, 400);
    const fake = await new FakeAgent(s).register();
    keep('the token of an agent', fake.token);
    keep('the refresh token of an agent', fake.refresh);
    const renewed = await s.server.client().post('/agents/token', { refreshToken: fake.refresh });
    assert.equal(renewed.status, 200, renewed.text);
    keep('a renewed token of an agent', renewed.data.token);
    const { ticket } = await s.api.want(201, 'POST', '/stream-tickets');
    const stream = new SseStream(s.servers[1], '/dashboard/stream', { query: { token: keep('a ticket', ticket) } });
    await stream.frame('synced');
    const again = new SseStream(s.servers[0], '/dashboard/stream', { query: { token: ticket } });
    await again.ended();
    assert.equal(again.status, 401);
  });

  test('a run with secret inputs, that prints them', async () => {
    const agent = await s.addAgent('grep', { labels: { zone: 'grep' } });
    keep('the registration token of an agent program', agent.token);
    for (const file of files(agent.data).filter((name) => fs.readFileSync(name, 'latin1').includes('oken')))
      for (const [, text] of fs.readFileSync(file, 'latin1').matchAll(/"?\w*[tT]oken"?\s*[:= ]\s*"?([\w.~-]{20,})/g)) keep('what an agent program keeps', text);
    const t = await makeTemplate(s.api, [script('say', 'echo "the password is $PASSWORD"; printf %s "$PASSWORD" | base64; echo $PASSWORD >&2', {
      labels: { zone: 'grep' }, env: { PASSWORD: '${{ inputs.password }}' },
    })], [], { inputs: [{ name: 'password', type: 'string' }, { name: 'vault', type: 'secret-ref' }] });
    const inputs = { password: keep('a secret input', `Quiet-Harbour-${randomBytes(6).toString('hex')}`), vault: invent('a secret reference') };
    const run = await s.api.want(201, 'POST', '/workflow-runs', { templateId: t.id, inputs });
    assert.equal((await reaches(s.api, run, 'succeeded', 'failed')).status, 'succeeded');
    const log = await s.api.get(`/workflow-runs/${run.id}/steps/say/logs`);
    assert.match(log.text, /the password is \*\*\*/);
    s.shown = log.text;
  });

  test('people, their passwords and sessions', async () => {
    const password = invent('a password');
    const made = await s.api.request('POST', '/v1/users', { email: 'grep@example.org', name: 'Grep', password }, { absolute: true });
    assert.equal(made.status, 201, made.text);
    const browser = await new Browser(s.server.url).login('grep@example.org', password);
    for (const [name, value] of browser.cookies) keep(`the cookie ${name}`, value);
    assert.equal((await browser.get('/v1/auth/account')).status, 200);
    const wrong = new Browser(s.server.url);
    await wrong.get('/v1/auth/login');
    assert.equal((await wrong.submit({ tenant: 'default', email: 'grep@example.org', password: invent('a mistaken password') })).status, 401);
    const next = invent('a second password');
    assert.equal((await s.api.request('PATCH', `/v1/users/${made.body.id}`, { password: next }, { absolute: true })).status, 200);
    await new Browser(s.servers[1].url).login('grep@example.org', next);
  });
});

describe('clients act for people', () => {
  const back = 'http://127.0.0.1/back';
  const given = (answer) => {
    assert.equal(answer.status, 200, answer.text);
    keep('an access token of a person', answer.body.access_token);
    keep('a refresh token', answer.body.refresh_token);
    return answer.body;
  };

  test('authorization code, refresh, reuse', async () => {
    const password = keep('a password of words', `a long enough sentence ${randomBytes(4).toString('hex')}`);
    await want(201, 'POST', '/users', { email: 'code@example.org', name: 'Code', password, roles: ['release-manager'] });
    const client = await want(201, 'POST', '/oauth/clients', {
      name: 'app', grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [back], token_endpoint_auth_method: 'none',
    });
    const verifier = keep('a code verifier', randomBytes(32).toString('base64url'));
    const browser = await new Browser(s.server.url).login('code@example.org', password);
    const query = { client_id: client.client_id, redirect_uri: back, response_type: 'code', scope: 'projects:read', state: 'x',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256' };
    await browser.get(`/v1/auth/authorize?${new URLSearchParams(query)}`);
    const allowed = await browser.submit({ decision: 'allow' });
    const code = keep('an authorization code', new URL(allowed.headers.location).searchParams.get('code'));
    const form = { grant_type: 'authorization_code', client_id: client.client_id, redirect_uri: back, code, code_verifier: verifier };
    const first = given(await oauth('auth/token', form));
    const refresh = { grant_type: 'refresh_token', client_id: client.client_id };
    const second = given(await oauth('auth/token', { ...refresh, refresh_token: first.refresh_token }, {}, s.servers[1]));
    assert.equal((await s.api.as(second.access_token).get('/releases')).status, 200);
    for (const form2 of [{ ...refresh, refresh_token: first.refresh_token }, form]) assert.equal((await oauth('auth/token', form2)).status, 400, 'reused');
    for (const [name, value] of browser.cookies) keep(`the cookie ${name}`, value);
  });

  test('a device', async () => {
    const grant = 'urn:ietf:params:oauth:grant-type:device_code', password = invent('the password of who has a device');
    await want(201, 'POST', '/users', { email: 'device@example.org', name: 'Device', password });
    const { client_id } = await want(201, 'POST', '/oauth/clients', {
      name: 'tool', token_endpoint_auth_method: 'none', grant_types: [grant, 'refresh_token'], scopes: ['projects:read'],
    });
    const { body: begun } = await oauth('auth/device_authorization', { client_id });
    keep('a device code', begun.device_code);
    const browser = await new Browser(s.server.url).login('device@example.org', password);
    await browser.get('/v1/auth/device');
    await browser.submit({ user_code: begun.user_code });
    await browser.submit({ decision: 'allow' });
    given(await oauth('auth/token', { grant_type: grant, client_id, device_code: begun.device_code }));
  });

  test('keys of every dialect, given out and rotated', async () => {
    for (const prefix of ['sk_proj', 'hks_live', 'slp']) {
      const made = await want(201, 'POST', '/tokens', { name: prefix, prefix });
      assert.equal((await s.api.as(keep(`a key ${prefix}`, made.token)).get('/environments')).status, 200);
      const next = await want(200, 'POST', `/tokens/${made.id}/rotate`, { overlap_seconds: 60 });
      for (const token of [made.token, keep(`a rotated key ${prefix}`, next.token)]) assert.equal((await s.api.as(token).get('/environments')).status, 200);
      await want(204, 'DELETE', `/tokens/${made.id}`);
    }
  });
});

describe('people come by invitation and have a second factor', () => {
  test('invitation, authenticator, recovery codes', async () => {
    const { token } = await want(201, 'POST', '/invitations', { email: 'second@example.org', roles: ['viewer'] });
    const password = invent('the password of who was invited');
    const accepted = await s.api.as(undefined).request('POST', '/v1/invitations/accept', { token: keep('an invitation', token), name: 'Second', password }, { absolute: true });
    assert.equal(accepted.status, 201, accepted.text);
    const browser = await new Browser(s.server.url).login('second@example.org', password);
    const form = (action, fields) => browser.post(action, { ...browser.hidden, ...fields });
    await browser.get('/v1/auth/account');
    const [, secret] = /<code>([A-Z2-7]{32})<\/code>/.exec((await form('/v1/auth/account/totp')).text);
    keep('the secret of an authenticator', secret);
    keep('its bytes', base32(secret));
    const on = await form('/v1/auth/account/totp/confirm', { code: codeOf(secret, Math.floor(Date.now() / 30_000)) });
    const recovery = [...on.text.matchAll(/<li><code>([a-z2-9]{5}-[a-z2-9]{5})<\/code>/g)].map(([, code]) => code);
    assert.equal(recovery.length, 8, on.text);
    for (const code of recovery) keep('a recovery code', code);
    const again = new Browser(s.server.url);
    await again.get('/v1/auth/login');
    await again.get((await again.submit({ tenant: 'default', email: 'second@example.org', password })).headers.location);
    assert.equal((await again.submit({ code: recovery[0] })).status, 303);
    for (const b of [browser, again]) for (const [name, value] of b.cookies) if (value.length >= 12) keep(`the cookie ${name}`, value);
  });
});

/** [where, text] of all that somebody may come to see. */
async function places() {
  const found = [['the arguments of processes', argv.stop()], ['the log of a run', s.shown]];
  for (const running of s.nest.processes) found.push([`the log of ${running.name}`, running.text()]);
  for (const server of s.servers) {
    found.push([`metrics of ${server.name}`, await (await fetch(`${server.url}/metrics`)).text()]);
    found.push([`health of ${server.name}`, await (await fetch(`${server.url}/readyz?verbose`)).text()]);
  }
  found.push(['the audit trail', (await s.api.get('/audit-events/export')).text]);
  found.push(['the newest of the audit trail', (await s.api.get('/audit-events', { query: { pageSize: '100' } })).text]);
  found.push(...await everything(s.redis));
  for (const file of [...files(s.nest.file('redis-aof')), ...s.servers.flatMap((server) => files(server.data))])
    if (!/\/(keyring|admin\.key)$/.test(file)) found.push([file, fs.readFileSync(file, 'latin1')]);
  return found;
}

test('what is looked for would be found', async () => {
  for (const shift of ['', 'a', 'ab'])
    for (const text of ['Tide+pool &ü"1', 'slp_abc'])
      for (const told of [shift + text, Buffer.from(shift + text).toString('base64'), Buffer.from(shift + text).toString('hex'), encodeURIComponent(shift + text),
        String(new URLSearchParams({ x: text })), JSON.stringify({ text })])
        assert.ok(disguises(text).some((d) => Buffer.from(told).toString('latin1').includes(d)), `${text} in ${told}`);
});

test('none of them is anywhere, in any form', async () => {
  const seen = await places();
  const text = (where) => seen.filter(([name]) => name.includes(where)).map(([, value]) => value).join('\n');
  assert.ok(secrets.length >= 20, `${secrets.length} secrets`);
  assert.ok(text('arguments').includes('client_credentials'), 'commands were seen at work');
  assert.ok(text('log of server1').includes('route=/v1/auth/token'), 'the log has the requests');
  assert.ok(text('audit').includes('user.created'), 'the trail has what was done');
  assert.ok(text('redis-aof').includes('grep@example.org'), 'the append-only file has what was stored');
  const leaks = [];
  for (const [what, secret] of secrets)
    for (const form of disguises(secret.slice(-28))) // its end: what holds a part of it is no better
      for (const [where, value] of seen) if (value.includes(form)) leaks.push(`${what} in ${where} as ${form}`);
  assert.deepEqual(leaks, []);
});
