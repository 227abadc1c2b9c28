// Signing in at a browser: forms, cookies, and who gets no further. Redirects are looked at, not followed.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Browser } from '../lib/browser.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { codeOf } from '../lib/totp.mjs';

const PASSWORD = 'a long enough sentence';
let s;
before(async () => {
  s = await start({ name: 'login', workers: 1 });
  const made = await s.api.request('POST', '/v1/users', { email: 'ada@example.org', name: 'Ada <3', password: PASSWORD }, { absolute: true });
  assert.equal(made.status, 201, made.text);
});
after(() => s?.stop());

const page = (answer) => {
  assert.equal(answer.headers['content-type'], 'text/html; charset=utf-8');
  assert.match(answer.headers['content-security-policy'], /^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'$/);
  assert.equal(answer.headers['cache-control'], 'no-store');
  return answer.text;
};

test('who is signed in sees the account; who is not is led to the login and back', async () => {
  const b = new Browser(s.server.url);
  const away = await b.get('/v1/auth/account');
  assert.deepEqual([away.status, away.headers.location], [303, '/v1/auth/login?return_to=%2Fv1%2Fauth%2Faccount']);
  page(await b.get(away.headers.location));
  const there = await b.submit({ email: 'Ada@example.org', password: PASSWORD });
  assert.deepEqual([there.status, there.headers.location], [303, '/v1/auth/account']);
  assert.match(page(await b.get('/v1/auth/account')), /Ada &lt;3<\/strong>, ada@example.org/);
});

test('RFC 6265 §4.1.2: the session is a cookie that no script reads, sent to this host only', async () => {
  const b = await new Browser(s.server.url).login('ada@example.org', PASSWORD);
  const line = b.lines.find((cookie) => cookie.startsWith('slipway-session='));
  assert.match(line, /^slipway-session=sls_[0-9A-Za-z]{36}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=43200$/);
});

test('by https the cookie is bound to this host, and never sent without TLS', async () => {
  const url = 'https://ship.example:8443', other = await start({ name: 'login-https', workers: 1, args: ['--public-url', url] });
  try {
    assert.equal((await other.api.request('POST', '/v1/users', { email: 'ada@example.org', name: 'Ada', password: PASSWORD }, { absolute: true })).status, 201);
    const b = new Browser(other.server.url);
    await b.get('/v1/auth/login');
    const fields = { ...b.hidden, email: 'ada@example.org', password: PASSWORD };
    assert.equal((await b.post(b.action, fields, { origin: other.server.url })).status, 403, 'the public URL is the origin');
    assert.equal((await b.post(b.action, fields, { origin: url })).status, 303);
    assert.match(b.lines.at(-1), /^__Host-slipway-(session|known)=[^;]+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+; Secure$/);
    assert.ok(b.cookies.has('__Host-slipway-session'));
  } finally {
    await other.stop();
  }
});

test('a wrong password, an unknown person and an unknown organisation are told apart by nothing', async () => {
  const b = new Browser(s.server.url);
  const texts = [];
  for (const fields of [{ email: 'ada@example.org', password: 'x' }, { email: 'eve@example.org', password: 'x' }, { email: 'ada@example.org', password: PASSWORD, tenant: 'nowhere' }]) {
    await b.get('/v1/auth/login');
    const answer = await b.submit(fields);
    assert.equal(answer.status, 401);
    texts.push(page(answer).replaceAll(/value="[^"]*"/g, ''));
  }
  assert.equal(new Set(texts).size, 1);
  assert.equal(b.cookies.has('slipway-session'), false);
});

test('signing out ends the session, also for who kept its cookie', async () => {
  const b = await new Browser(s.server.url).login('ada@example.org', PASSWORD);
  const kept = new Browser(s.server.url);
  for (const [name, value] of b.cookies) kept.cookies.set(name, value);
  await b.get('/v1/auth/account');
  assert.equal((await b.submit()).headers.location, '/v1/auth/login');
  assert.equal((await b.get('/v1/auth/account')).status, 303);
  assert.equal((await kept.get('/v1/auth/account')).status, 303);
});

test('a suspended person is signed out at once, and does not get in again', async () => {
  const { body: { id } } = await s.api.request('POST', '/v1/users', { email: 'bob@example.org', name: 'Bob', password: PASSWORD }, { absolute: true });
  const b = await new Browser(s.server.url).login('bob@example.org', PASSWORD);
  assert.equal((await b.get('/v1/auth/account')).status, 200);
  assert.equal((await s.api.request('PATCH', `/v1/users/${id}`, { status: 'suspended' }, { absolute: true })).status, 200);
  const away = await b.get('/v1/auth/account');
  assert.equal(away.status, 303);
  await b.get(away.headers.location);
  assert.equal((await b.submit({ email: 'bob@example.org', password: PASSWORD })).status, 401);
});

test('a form that another site sends is refused', async () => {
  const b = await new Browser(s.server.url).login('ada@example.org', PASSWORD);
  await b.get('/v1/auth/account');
  const refused = async (fields, headers) => {
    const answer = await b.post('/v1/auth/logout', fields, headers);
    assert.equal(answer.status, 403);
    assert.match(page(answer), /PERM_FORM/);
  };
  await refused({});
  await refused({ form_token: '0'.repeat(64) });
  await refused(b.hidden, { origin: 'https://evil.example' });
  await refused(b.hidden, { 'sec-fetch-site': 'cross-site' });
  assert.equal((await b.get('/v1/auth/account')).status, 200);
});

test('a login leads to paths of this server only', async () => {
  for (const bad of ['https://evil.example/', '//evil.example/', '/\\evil.example', 'javascript:alert(1)']) {
    const b = new Browser(s.server.url);
    await b.get(`/v1/auth/login?return_to=${encodeURIComponent(bad)}`);
    assert.equal((await b.submit({ email: 'ada@example.org', password: PASSWORD })).headers.location, '/v1/auth/account', bad);
  }
});

test('a session opens no API', async () => {
  const b = await new Browser(s.server.url).login('ada@example.org', PASSWORD);
  assert.equal((await b.get('/api/v1/environments')).status, 401);
  assert.equal((await b.get('/v1/users')).status, 401);
});

const step = () => Math.floor(Date.now() / 30_000);
const form = (b, action, fields) => b.post(action, { ...b.hidden, ...fields });

/** Somebody with an authenticator; the code of the step before was used for it. */
async function withSecondFactor(email) {
  const made = await s.api.request('POST', '/v1/users', { email, name: 'Careful', password: PASSWORD }, { absolute: true });
  assert.equal(made.status, 201);
  const b = await new Browser(s.server.url).login(email, PASSWORD);
  await b.get('/v1/auth/account');
  const shown = page(await form(b, '/v1/auth/account/totp'));
  const [, secret] = /<code>([A-Z2-7]{32})<\/code>/.exec(shown);
  assert.match(shown, new RegExp(`otpauth://totp/Slipway:${email}\\?secret=${secret}&amp;issuer=Slipway`));
  const wrong = await form(b, '/v1/auth/account/totp/confirm', { code: 'abcdef' });
  assert.equal(wrong.status, 401);
  const on = page(await form(b, '/v1/auth/account/totp/confirm', { code: codeOf(secret, step() - 1) }));
  const recovery = [...on.matchAll(/<li><code>([a-z2-9]{5}-[a-z2-9]{5})<\/code>/g)].map(([, code]) => code);
  assert.equal(recovery.length, 8);
  return { b, secret, recovery };
}
const half = async (email) => {
  const b = new Browser(s.server.url);
  await b.get('/v1/auth/login?return_to=%2Fv1%2Fauth%2Faccount%3Fx');
  const there = await b.submit({ email, password: PASSWORD });
  assert.match(there.headers.location, /^\/v1\/auth\/login\/code\?return_to=/);
  await b.get(there.headers.location);
  return b;
};

test('RFC 6238: with a second factor the password alone opens nothing, and a code leads on', async () => {
  const { secret } = await withSecondFactor('cara@example.org');
  const b = await half('cara@example.org');
  assert.equal((await b.get('/v1/auth/account')).status, 303);
  await b.get('/v1/auth/login/code?return_to=%2Fv1%2Fauth%2Faccount%3Fx');
  assert.equal((await b.submit({ code: '000000' })).status, 401);
  assert.equal((await b.submit({ code: codeOf(secret, step()) })).headers.location, '/v1/auth/account?x');
  assert.match(page(await b.get('/v1/auth/account')), /It is on/);
});

test('RFC 6238 §5.2: a code counts once', async () => {
  const { secret } = await withSecondFactor('dora@example.org');
  const code = codeOf(secret, step()), first = await half('dora@example.org'), second = await half('dora@example.org');
  const both = await Promise.all([first.submit({ code }), second.submit({ code })]);
  assert.deepEqual(both.map((answer) => answer.status).sort(), [303, 401]);
});

test('after five wrong codes the password is asked for again', async () => {
  await withSecondFactor('emil@example.org');
  const b = await half('emil@example.org');
  for (let i = 0; i < 5; i++) assert.equal((await b.submit({ code: 'wrong!' })).status, 401);
  const away = await b.submit({ code: 'wrong!' });
  assert.deepEqual([away.status, away.headers.location], [303, '/v1/auth/login']);
});

test('a recovery code signs in once, and may turn the second factor off', async () => {
  const { recovery } = await withSecondFactor('fred@example.org');
  const b = await half('fred@example.org');
  assert.equal((await b.submit({ code: recovery[0].toUpperCase() })).status, 303);
  assert.equal((await (await half('fred@example.org')).submit({ code: recovery[0] })).status, 401);
  await b.get('/v1/auth/account');
  assert.equal((await form(b, '/v1/auth/account/totp/off', { code: recovery[0] })).status, 401);
  assert.equal((await form(b, '/v1/auth/account/totp/off', { code: recovery[1] })).status, 303);
  await new Browser(s.server.url).login('fred@example.org', PASSWORD);
});

test('whoever changes the password stays, and every other session is over', async () => {
  const email = 'pia@example.org', next = 'another long sentence';
  assert.equal((await s.api.request('POST', '/v1/users', { email, name: 'Pia', password: PASSWORD }, { absolute: true })).status, 201);
  const here = await new Browser(s.server.url).login(email, PASSWORD), there = await new Browser(s.server.url).login(email, PASSWORD);
  await here.get('/v1/auth/account');
  const change = (fields) => form(here, '/v1/auth/account/password', fields);
  assert.equal((await change({ password: 'not this one', new_password: next })).status, 401);
  assert.match(page(await change({ password: PASSWORD, new_password: 'short' })), /shorter than 12/);
  assert.equal((await change({ password: PASSWORD, new_password: next })).status, 303);
  assert.equal((await here.get('/v1/auth/account')).status, 200);
  assert.equal((await there.get('/v1/auth/account')).status, 303);
  await new Browser(s.server.url).login(email, next);
});

test('logins are in the audit trail, wrong ones counted by address', async () => {
  const guarded = await s.addServer({ name: 'guarded', args: ['--workers', '1'] });
  const b = new Browser(guarded.url);
  for (let i = 0; i < 3; i++) {
    await b.get('/v1/auth/login');
    assert.equal((await b.submit({ email: 'gus@example.org', password: 'wrong' })).status, 401);
  }
  await guarded.stop(); // what was counted is written at the latest then
  const find = async (query) => (await s.api.want(200, 'GET', '/audit-events', undefined, { query }))[0];
  const { metadata } = await eventually(() => find({ action: 'authentication.failed' }), 'the count to be recorded');
  assert.deepEqual([metadata.code, metadata.count], ['AUTH_LOGIN_FAILED', 3]);
  await new Browser(s.server.url).login('ada@example.org', PASSWORD);
  const { actorType, actorName } = await find({ action: 'user.login', sort: '-sequence' });
  assert.deepEqual([actorType, actorName], ['user', 'Ada <3']);
});
