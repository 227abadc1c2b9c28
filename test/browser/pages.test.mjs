// The pages in a real browser, by keyboard alone and with scripts off.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Chromium } from './chromium.mjs';

const PASSWORD = 'a long enough sentence', EMAIL = 'ada@example.org';
let s, browser, app, seen;

const admin = async (path, body) => {
  const answer = await s.api.request('POST', `/v1${path}`, body, { absolute: true });
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
};

before(async () => {
  s = await start({ name: 'pages', workers: 1 });
  await admin('/users', { email: EMAIL, name: 'Ada', password: PASSWORD, roles: ['release-manager'] });
  browser = await Chromium.start();
  seen = [];
  app = http.createServer((request, response) => {
    seen.push(request.url);
    response.setHeader('content-type', 'text/html').end('<h1>The app</h1>');
  }).listen(0, '127.0.0.1');
  await once(app, 'listening');
});
after(async () => {
  app?.closeAllConnections();
  app?.close();
  await browser?.stop();
  await s?.stop();
});

const url = (path) => `${s.server.url}/v1/auth${path}`;
async function signIn(tab, password = PASSWORD) {
  await tab.type('email', EMAIL);
  await tab.type('password', password);
  await tab.key('Enter');
}
function clean(tab, ...others) {
  assert.deepEqual(tab.said, [], 'nothing is against the page\'s own policy');
  for (const sent of tab.sent) assert.ok([s.server.url, ...others].some((origin) => sent.startsWith(`${origin}/`)) || sent === 'about:blank', `sent to ${sent}`);
}

test('somebody signs in by keyboard, and out again; what the browser kept opens nothing', async () => {
  const tab = await browser.tab();
  await tab.open(url('/account'), 'Sign in');
  await signIn(tab, 'not the password');
  await tab.shows('document.querySelector("[role=alert]") !== null', 'what is wrong');
  assert.match(await tab.text(), /not with this password/);
  assert.equal(await tab.eval('document.querySelector("[name=email]").value'), EMAIL);
  await signIn(tab);
  await tab.heading('Your account');
  const session = (await tab.cookies(s.server.url)).find(({ name }) => name === 'slipway-session');
  assert.deepEqual([session.httpOnly, session.sameSite, session.path, session.domain], [true, 'Lax', '/', '127.0.0.1']);
  await tab.press('Sign out');
  await tab.heading('Sign in');
  await tab.back(); // chromium may show the page as it was left
  await tab.shows('document.querySelector("h1") !== null', 'a page');
  if (await tab.eval('document.querySelector("h1").textContent') === 'Your account') await tab.press('Sign out');
  await tab.heading('Sign in');
  await tab.open(url('/account'), 'Sign in');
  clean(tab);
});

test('every field has a label and says what fills it in', async () => {
  const tab = await browser.tab();
  for (const [path, heading] of [['/login', 'Sign in'], ['/invitation', 'You are invited']]) {
    await tab.open(url(path), heading);
    const fields = await tab.eval('[...document.querySelectorAll("input:not([type=hidden])")].map((i) => [i.labels.length, i.autocomplete !== "", i.required])');
    for (const field of fields) assert.deepEqual(field, [1, true, true]);
    assert.equal(await tab.eval('document.documentElement.lang'), 'en');
  }
});

test('a person allows a client, and is sent back to it with a code', async () => {
  const back = `http://127.0.0.1:${app.address().port}/back`;
  const { client_id } = await admin('/oauth/clients', { name: 'The app', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], redirect_uris: [back], scopes: ['projects:read'] });
  const code_verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({ client_id, redirect_uri: back, response_type: 'code', state: 'kept', code_challenge: createHash('sha256').update(code_verifier).digest('base64url'), code_challenge_method: 'S256' });
  const tab = await browser.tab();
  await tab.open(url(`/authorize?${query}`), 'Sign in');
  await signIn(tab);
  await tab.heading('Allow access?');
  assert.match(await tab.text(), /The app asks to act in your name, ada@example\.org/);
  await tab.press('Allow');
  await tab.heading('The app');
  const { searchParams } = new URL(seen.find((path) => path.startsWith('/back?')), back);
  assert.equal(searchParams.get('state'), 'kept');
  const answer = await fetch(`${s.server.url}/v1/auth/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', client_id, redirect_uri: back, code: searchParams.get('code'), code_verifier }) });
  assert.equal(answer.status, 200);
  clean(tab, new URL(back).origin);
});

test('a page of another site cannot sign somebody out, nor show our pages in a frame', async () => {
  const tab = await browser.tab({ scripts: true });
  await tab.open(url('/account'), 'Sign in');
  await signIn(tab);
  await tab.heading('Your account');
  const evil = http.createServer((request, response) => {
    response.setHeader('content-type', 'text/html').end(`<h1>Evil</h1><form method="post" action="${url('/logout')}"><input name="form_token" value="${'0'.repeat(64)}"></form>
      <iframe src="${url('/login')}"></iframe><script>setTimeout(() => document.forms[0].submit(), 500)</script>`);
  }).listen(0, '127.0.0.1');
  try {
    await once(evil, 'listening');
    await tab.open(`http://localhost:${evil.address().port}/`);
    await tab.heading('This did not work');
    assert.match(await tab.text(), /PERM_FORM/);
    await eventually(() => tab.said.some((text) => /frame/.test(text)), 'the browser to refuse the frame');
    await tab.open(url('/account'), 'Your account');
  } finally {
    evil.closeAllConnections();
    evil.close();
  }
});
