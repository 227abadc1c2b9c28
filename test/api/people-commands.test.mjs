// `slipway user` and `slipway tenant`: beside a running server, without one, and by a server's API.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { Browser } from '../lib/browser.mjs';
import { Nest, SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const PASSWORD = 'a long enough sentence';
let s, file;
before(async () => {
  s = await start({ name: 'people', workers: 1, redis: 'embedded' });
  file = `${s.server.data}/password`;
  fs.writeFileSync(file, `${PASSWORD}\n`);
});
after(() => s?.stop());

const slipway = (...args) => run(SLIPWAY, [...args, '--data', s.server.data]);
const ok = async (...args) => {
  const { code, stdout, stderr } = await slipway(...args);
  assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return stdout.trim();
};
const create = (email, ...rest) => ok('user', 'create', '--email', email, '--password-file', file, ...rest);

test('a person is made beside a running server, and signs in there', async () => {
  const id = await create('Ada@example.org', '--name', 'Ada', '--role', 'admin,auditor');
  const { body } = await s.api.request('GET', `/v1/users/${id}`, undefined, { absolute: true });
  assert.deepEqual([body.email, body.name, body.roles, body.created_by], ['ada@example.org', 'Ada', ['admin', 'auditor'], 'slipway user']);
  await new Browser(s.server.url).login('ada@example.org', PASSWORD);
  assert.match(await ok('user', 'list'), new RegExp(`^${id}  active    admin,auditor  ada@example.org  Ada$`, 'm'));
  assert.equal(JSON.parse(await ok('user', 'list', '--json')).find((user) => user.id === id).email, 'ada@example.org');
});

test('whoever is suspended by a command is signed out everywhere', async () => {
  await create('bob@example.org');
  const b = await new Browser(s.server.url).login('bob@example.org', PASSWORD);
  await ok('user', 'suspend', 'bob@example.org');
  assert.equal((await b.get('/v1/auth/account')).status, 303);
  await ok('user', 'activate', 'bob@example.org');
  await b.login('bob@example.org', PASSWORD);
  fs.writeFileSync(file, 'another long sentence\n');
  await ok('user', 'password', 'bob@example.org', '--password-file', file);
  await new Browser(s.server.url).login('bob@example.org', 'another long sentence');
  fs.writeFileSync(file, `${PASSWORD}\n`);
  await ok('user', 'delete', 'bob@example.org');
  assert.equal((await b.get('/v1/auth/account')).status, 303);
});

test('a list is whole, however long', async () => {
  const group = Array.from({ length: 101 }, (_, i) => `many ${i}`);
  for (const name of group) assert.equal((await s.api.request('POST', '/v1/tokens', { name, prefix: 'slp', permissions: ['release:read'] }, { absolute: true })).status, 201);
  const key = `${s.server.data}/admin.key`;
  const { stdout } = await run(SLIPWAY, ['key', 'list', '--url', s.server.url, '--key-file', key, '--json']);
  const names = JSON.parse(stdout).map(({ name }) => name);
  assert.deepEqual(group.filter((name) => !names.includes(name)), []);
  assert.equal((await run(SLIPWAY, ['key', 'list', '--url', s.server.url, '--key-file', key])).stdout.trim().split('\n').length, names.length);
});

test('Ctrl-C at the question for a password ends the command, and the terminal shows again what is typed', async () => {
  const command = `${SLIPWAY} user password ada@example.org --data ${s.server.data}; echo "exit $?"; stty -a`;
  const script = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] });
  let said = '';
  script.stdout.on('data', (bytes) => {
    const asked = said.includes('12 characters or more: ');
    said += bytes;
    if (!asked && said.includes('12 characters or more: ')) script.stdin.end('half a pass\x03');
  });
  await once(script, 'close');
  assert.match(said, /exit 130/);
  assert.match(said, /[^-]echo /);
  assert.doesNotMatch(said, /half a pass/);
});

test('an invitation is printed for somebody to hand over', async () => {
  const token = await ok('user', 'invite', '--email', 'ida@example.org', '--role', 'approver');
  const answer = await s.api.as(undefined).request('POST', '/v1/invitations/accept', { token, name: 'Ida', password: PASSWORD }, { absolute: true });
  assert.deepEqual([answer.status, answer.body.roles], [201, ['approver']]);
});

test('by --url a key says whose people they are', async () => {
  const key = `${s.server.data}/admin.key`;
  const list = await run(SLIPWAY, ['user', 'list', '--url', s.server.url, '--key-file', key, '--json']);
  assert.equal(list.code, 0, list.stderr);
  assert.ok(JSON.parse(list.stdout).some((user) => user.email === 'ada@example.org'));
});

test('a tenant is made, suspended with all that is in it, and activated again', async () => {
  await ok('tenant', 'create', 'acme');
  await create('eve@example.org', '--tenant', 'acme');
  const b = await new Browser(s.server.url).login('eve@example.org', PASSWORD, 'acme');
  const key = await s.makeKey('--tenant', 'acme', '--role', 'admin');
  const tenant = () => s.api.as(key).request('GET', '/v1/tenant', undefined, { absolute: true });
  assert.equal((await tenant()).body.name, 'acme');
  await ok('tenant', 'suspend', 'acme');
  await eventually(async () => (await tenant()).status === 403, 'the key to be refused');
  assert.equal((await b.get('/v1/auth/account')).status, 303);
  assert.deepEqual(JSON.parse(await ok('tenant', 'list', '--json')).map(({ name, status }) => [name, status]).sort(), [['acme', 'suspended'], ['default', 'active']]);
  await ok('tenant', 'activate', 'acme');
  await eventually(async () => (await tenant()).status === 200, 'the key to be good again');
});

test('by --url a key sees its own tenant, and changes none', async () => {
  const remote = ['--url', s.server.url, '--key-file', `${s.server.data}/admin.key`];
  const { code, stdout, stderr } = await run(SLIPWAY, ['tenant', 'list', '--json', ...remote]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout).map(({ name, status }) => [name, status]), [['default', 'active']]);
  assert.equal((await run(SLIPWAY, ['tenant', 'suspend', 'default', ...remote])).code, 2);
});

test('a tenant has the rates that the operator gives it', async () => {
  await ok('tenant', 'create', 'paying');
  const client = s.api.as(await s.makeKey('--tenant', 'paying', '--role', 'viewer'));
  const limit = async () => (await client.get('/releases')).headers['x-ratelimit-limit'];
  assert.notEqual(await limit(), '300');
  await ok('tenant', 'tier', 'paying', 'pro');
  await eventually(async () => (await limit()) === '300', 'the rates of the tier');
});

test('a tenant says from where it may be used, and does not lock its administrator out', async () => {
  await ok('tenant', 'create', 'walled');
  const client = s.api.as(await s.makeKey('--tenant', 'walled', '--role', 'admin'));
  const tenant = (body) => client.request('PATCH', '/v1/tenant', body, { absolute: true });
  assert.match((await tenant({ cidrs: ['10.0.0.1/8'] })).body.error_description, /10\.0\.0\.1\/8/);
  assert.match((await tenant({ cidrs: ['192.0.2.0/24'] })).body.error_description, /lock you out/);
  const done = await tenant({ cidrs: ['192.0.2.0/24', '127.0.0.0/8'] });
  assert.deepEqual([done.status, done.body.cidrs], [200, ['192.0.2.0/24', '127.0.0.0/8']]);
  assert.equal((await tenant({ cidrs: [] })).status, 200);
});

test('without a server the commands bring their own', async () => {
  const nest = new Nest('people-alone');
  try {
    const data = nest.file('data'), given = nest.file('password');
    fs.writeFileSync(given, PASSWORD);
    const made = await run(SLIPWAY, ['user', 'create', '--email', 'ada@example.org', '--password-file', given, '--data', data, '--json']);
    assert.equal(made.code, 0, made.stderr);
    const list = await run(SLIPWAY, ['user', 'list', '--data', data, '--json']);
    assert.deepEqual(JSON.parse(list.stdout), [JSON.parse(made.stdout)]);
  } finally {
    await nest.remove();
  }
});

test('what cannot be is refused with a reason', async () => {
  const wrong = [
    [['user', 'create'], 2, /needs an --email/], [['user', 'create', '--email', 'x@y'], 2, /--password-file/], [['user', 'suspend'], 2, /needs an email or an id/],
    [['user', 'suspend', 'nobody@example.org'], 1, /nobody with the email/], [['user', 'list', '--tenant', 'nowhere'], 1, /no tenant nowhere/], [['user'], 2, /one of create, invite/],
    [['user', 'create', '--email', 'no-email', '--password-file', file], 1, /email/], [['user', 'invite', '--email', 'z@example.org', '--role', 'king'], 1, /roles/],
    [['tenant', 'create'], 2, /needs the name/], [['tenant', 'create', 'acme'], 1, /there already/], [['tenant', 'suspend', 'nowhere'], 1, /no such tenant/], [['tenant', 'rename'], 2, /no `tenant rename`/], [['tenant', 'tier', 'acme', 'gold'], 2, /tier needs/],
  ];
  for (const [args, status, text] of wrong) {
    const { code, stderr } = await slipway(...args);
    assert.deepEqual([code, text.test(stderr)], [status, true], `${args.join(' ')}: ${stderr}`);
  }
});
