// `slipway login`, `whoami`, `logout`: the real command, a person at a browser, and commands that act in their name.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { Browser } from '../lib/browser.mjs';
import { SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const PASSWORD = 'a long enough sentence', EMAIL = 'ada@example.org';
let s, home;
before(async () => {
  s = await start({ name: 'login-command', workers: 1, redis: 'embedded' });
  home = s.nest.file('config');
  const made = await s.api.request('POST', '/v1/users', { email: EMAIL, name: 'Ada', password: PASSWORD, roles: ['admin'] }, { absolute: true });
  assert.equal(made.status, 201, made.text);
});
after(() => s?.stop());

const slipway = (...args) => run(SLIPWAY, args, { env: { XDG_CONFIG_HOME: home }, cwd: s.nest.dir });
const file = () => `${home}/slipway/login.json`;
const kept = () => JSON.parse(fs.readFileSync(file(), 'utf8'));

async function login(decision) {
  const running = s.nest.start(`login-${decision}`, SLIPWAY, ['login', '--url', s.server.url], { env: { XDG_CONFIG_HOME: home } });
  const [, code] = await eventually(() => /enter the code {2}([A-Z]{4}-[A-Z]{4})/.exec(fs.readFileSync(running.log, 'utf8')), 'the code');
  const b = await new Browser(s.server.url).login(EMAIL, PASSWORD);
  await b.get('/v1/auth/device');
  await b.submit({ user_code: code });
  assert.equal((await b.submit({ decision })).status, 200);
  return eventually(() => running.exited, 'the command to end');
}

test('who is signed in asks a server without a key', async () => {
  assert.match((await slipway('user', 'list', '--url', s.server.url)).stderr, /nobody is signed in/);
  assert.equal((await slipway('whoami')).code, 1);
  const { code } = await login('allow');
  assert.equal(code, 0);
  assert.equal(fs.statSync(file()).mode & 0o777, 0o600);
  assert.equal((await slipway('whoami')).stdout.trim(), `Ada (${EMAIL}) at ${s.server.url}`);
  const list = await slipway('user', 'list', '--url', s.server.url, '--json');
  assert.equal(list.code, 0, list.stderr);
  assert.deepEqual(JSON.parse(list.stdout).map((user) => user.email), [EMAIL]);
});

test('a token that is over is renewed on the way, also by commands beside each other', async () => {
  const before = kept();
  fs.writeFileSync(file(), JSON.stringify({ ...before, expires_at: 0 }));
  const both = await Promise.all([slipway('whoami', '--json'), slipway('whoami', '--json')]);
  for (const { code, stdout, stderr } of both) {
    assert.equal(code, 0, stderr);
    assert.equal(JSON.parse(stdout).email, EMAIL);
  }
  assert.notEqual(kept().refresh_token, before.refresh_token);
});

test('who is signed in watches a stream, with a token that is renewed when it is over', async () => {
  fs.writeFileSync(file(), JSON.stringify({ ...kept(), expires_at: 0 }));
  const watching = s.nest.start('watch', SLIPWAY, ['watch', 'dashboard', '--url', s.server.url, '--json'], { env: { XDG_CONFIG_HOME: home }, cwd: s.nest.dir });
  await eventually(() => /"type":"snapshot"/.test(fs.readFileSync(watching.log, 'utf8')), 'the dashboard');
  watching.signal('SIGTERM');
  assert.deepEqual(await watching.ended(), { code: 128 + 15, signal: null });
});

test('after a logout the login opens nothing, here and at the server', async () => {
  const before = kept();
  assert.equal((await slipway('logout')).code, 0);
  assert.equal(fs.existsSync(file()), false);
  await eventually(async () => (await s.api.as(before.access_token).get('/releases')).code === 'AUTH_TOKEN_REVOKED', 'the token to be refused');
  assert.equal((await slipway('logout')).code, 1);
});

test('a person who refuses signs nobody in', async () => {
  const { code } = await login('deny');
  assert.equal(code, 1);
  assert.equal(fs.existsSync(file()), false);
});
