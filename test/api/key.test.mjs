// `slipway key` beside a running server, and without one.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

let s;

before(async () => {
  s = await start({ name: 'key', workers: 2, redis: 'embedded' });
});
after(() => s?.stop());

const ask = (bearer) => s.server.client().get('/environments', { headers: { authorization: `Bearer ${bearer}` } });
const json = async (...args) => {
  const { code, stdout, stderr } = await s.slipway('key', ...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
};

test('a first start writes the admin key for its owner alone, and later ones leave it', async () => {
  const file = `${s.server.data}/admin.key`;
  const { mode, mtimeMs } = fs.statSync(file);
  assert.equal(mode & 0o777, 0o600);
  assert.match(fs.readFileSync(file, 'utf8'), /^slp_[0-9A-Za-z]{36}\n$/);
  assert.equal(fs.statSync(`${s.server.data}/keyring`).mode & 0o777, 0o600);
  assert.equal((await s.server.stop()).code, 0);
  await s.server.start();
  assert.equal(fs.statSync(file).mtimeMs, mtimeMs);
  assert.equal((await ask(s.key)).status, 200);
  assert.equal((await json('list')).length, 1);
});

test('a start that ended between writing the admin key and storing it is taken up by the next one', async () => {
  const t = await start({ name: 'interrupted' });
  after(() => t.stop());
  const file = `${t.server.data}/admin.key`, written = fs.readFileSync(file, 'utf8');
  await t.server.kill();
  await t.redis.command('FLUSHALL'); // nothing was stored
  await t.server.start();
  assert.equal(fs.readFileSync(file, 'utf8'), written);
  assert.equal((await t.api.get('/environments')).status, 200);
});

test('a key shows once what it is, and is listed without its secret', async () => {
  const made = await json('create', '--role', 'operator', '--permissions', 'audit:read', '--name', 'CI', '--tier', 'premium', '--expires', '30d');
  assert.match(made.key, /^slp_/);
  assert.deepEqual([made.name, made.roles, made.permissions, made.tier], ['CI', ['operator'], ['audit:read'], 'premium']);
  assert.ok(Date.parse(made.expires_at) - Date.parse(made.created_at) > 29 * 86400e3);
  const listed = (await json('list')).find((k) => k.id === made.id);
  const { key, ...rest } = made;
  assert.deepEqual(listed, rest);
  assert.equal((await ask(key)).status, 200);
  const plain = await s.slipway('key', 'list');
  assert.match(plain.stdout, new RegExp(`^${made.id} .* operator  CI$`, 'm'));
  assert.ok(!plain.stdout.includes('slp_'));
});

test('keys are made and listed while no server runs', async () => {
  assert.equal((await s.server.stop()).code, 0);
  const made = await json('create', '--role', 'viewer', '--name', 'offline', '--tenant', 'elsewhere');
  assert.equal((await json('list', '--tenant', 'elsewhere')).length, 1);
  await s.server.start();
  assert.equal((await ask(made.key)).status, 200);
});

test('a rotation is taken up by a running server; what was made before still counts', async () => {
  const before = (await json('jwt', '--user', 'carol', '--role', 'viewer')).token;
  assert.equal((await ask(before)).status, 200);
  const old = fs.readFileSync(`${s.server.data}/keyring`);
  const rotated = await s.slipway('key', 'rotate');
  assert.equal(rotated.code, 0, rotated.stderr);
  assert.match(rotated.stdout, /key 2/);
  assert.equal(fs.statSync(`${s.server.data}/keyring`).mode & 0o777, 0o600);
  const after = (await json('jwt', '--user', 'carol', '--role', 'viewer')).token;
  assert.equal(JSON.parse(Buffer.from(after.split('.')[0], 'base64url')).kid, '2');
  await eventually(async () => (await ask(after)).status === 200, 'the new key to be taken up');
  assert.equal((await ask(before)).status, 200);
  assert.equal((await ask(s.key)).status, 200);
  assert.equal(new Signer(s.server.data).kid, '2');

  await s.server.stop();
  const fresh = fs.readFileSync(`${s.server.data}/keyring`);
  fs.writeFileSync(`${s.server.data}/keyring`, old, { mode: 0o600 });
  const refused = await run(SLIPWAY, ['serve', '--listen', '127.0.0.1:0', '--data', s.server.data, '--workers', '1'], {});
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /the keyring is not the one of this data set: its key (seal|sign):2 is missing/);
  fs.writeFileSync(`${s.server.data}/keyring`, fresh, { mode: 0o600 });
  await s.server.start();
  assert.equal((await ask(before)).status, 200);
});

test('wrong usage is refused before anything is opened', async () => {
  for (const [args, want] of [
    [['create'], /--role or --permissions/],
    [['create', '--role', 'viewer', '--permissions', 'x:y'], /no permission 'x:y'/],
    [['create', '--role', 'viewer', 'surplus'], /too many arguments/],
    [['create', '--role', 'viewer', '--tier', 'gold'], /standard, .* or enterprise/],
    [['revoke'], /needs the id/],
    [['revoke', 'not-an-id'], /needs the id/],
    [['jwt', '--role', 'viewer'], /--user/],
    [['fly'], /no `key fly`/],
  ]) {
    const { code, stdout, stderr } = await s.slipway('key', ...args);
    assert.equal(code, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, want);
  }
});

test('making and revoking keys and tokens, and rotating, are entries of the audit trail', async () => {
  const made = await json('create', '--role', 'viewer', '--name', 'watched');
  await json('revoke', made.id);
  const jti = '0192f7a0-0000-7000-8000-0000000000aa';
  await json('revoke', jti);
  assert.equal((await s.slipway('key', 'rotate')).code, 0);
  const auditor = s.server.client(await s.makeKey('--role', 'auditor'));
  const entries = async (query) => (await auditor.want(200, 'GET', '/audit-events', undefined, { query }));
  const [created] = await entries({ action: 'key.created', resourceId: made.id });
  assert.deepEqual([created.actorType, created.actorName, created.after.name], ['system', 'slipway key', 'watched']);
  const [revoked] = await entries({ action: 'key.revoked', resourceId: made.id });
  assert.equal(revoked.before.revoked_at, undefined);
  assert.ok(revoked.after.revoked_at);
  assert.equal((await entries({ action: 'token.revoked', resourceId: jti })).length, 1);
  const [rotated] = await entries({ action: 'keyring.rotated' });
  assert.equal(rotated.resource, 'keyring');
  assert.ok(rotated.metadata.key >= 2);
  assert.equal((await entries({ action: 'key.created', actorName: 'start' })).length, 1);
  assert.ok(!JSON.stringify(await entries({ resource: 'key', pageSize: '100' })).includes(made.key));
  const verified = await eventually(async () => {
    const { data } = await auditor.get('/audit-events/verify');
    return data.unsealed ? false : data;
  }, 'the chain to be sealed');
  assert.equal(verified.valid, true);
});

test('a key of every prefix is made, of a person where it is a person\'s, and bounded by what goes with it', async () => {
  const made = await s.api.request('POST', '/v1/users', { email: 'eva@example.org', name: 'Eva', roles: ['viewer'] }, { absolute: true });
  for (const prefix of ['slp', 'sk_proj', 'hks_live', 'aethex_pat', 'sk_user', 'sk_read']) {
    const personal = !['slp', 'sk_proj', 'hks_live'].includes(prefix);
    const { key, user_id, hint } = await json('create', '--prefix', prefix, '--role', 'viewer', '--name', prefix, ...(personal ? ['--user', made.body.id] : []));
    assert.match(key, new RegExp(`^${prefix}_`));
    assert.ok(key.startsWith(hint));
    assert.equal(user_id, personal ? made.body.id : undefined);
    assert.equal((await ask(key)).status, 200);
  }
  const nobody = await s.slipway('key', 'create', '--prefix', 'sk_user', '--role', 'viewer', '--user', '0192f7a0-0000-7000-8000-0000000000bb');
  assert.match(nobody.stderr, /RES_REFERENCE_UNKNOWN/);
  const more = (await json('create', '--prefix', 'sk_user', '--role', 'admin', '--user', made.body.id)).key; // but Eva is a viewer
  assert.equal((await s.server.client(more).post('/environments', { name: 'no' })).code, 'PERM_DENIED');
  for (const [args, want] of [
    [['--prefix', 'nope', '--role', 'viewer'], /no such --prefix/],
    [['--prefix', 'sk_user', '--role', 'viewer'], /--user/],
    [['--user', 'x', '--role', 'viewer'], /person/],
    [['--prefix', 'sk_read', '--user', 'x', '--role', 'operator'], /more than/],
    [['--role', 'viewer', '--cidrs', '10.0.0.1/8'], /networks/],
  ]) {
    const { code, stderr } = await s.slipway('key', 'create', ...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, want);
  }
});

test('a key is confined to networks, and rotated with an overlap', async () => {
  const near = await json('create', '--role', 'viewer', '--cidrs', '127.0.0.0/8,::1'), far = await json('create', '--role', 'viewer', '--cidrs', '192.0.2.0/24');
  assert.deepEqual(near.cidrs, ['127.0.0.0/8', '::1']);
  assert.equal((await ask(near.key)).status, 200);
  assert.equal((await ask(far.key)).code, 'PERM_NETWORK');
  const rotated = await json('rotate', near.id, '--overlap', '10m');
  assert.deepEqual([rotated.id, rotated.revision, rotated.cidrs], [near.id, 2, near.cidrs]);
  assert.ok(Date.parse(rotated.overlap_ends_at) - Date.parse(rotated.rotated_at) === 600e3);
  for (const key of [near.key, rotated.key]) assert.equal((await ask(key)).status, 200);
  const last = await json('rotate', near.id);
  await eventually(async () => (await ask(rotated.key)).status === 401, 'the text before to be refused');
  assert.equal((await ask(last.key)).status, 200);
  await json('revoke', near.id);
  for (const key of [near.key, last.key]) await eventually(async () => (await ask(key)).code === 'AUTH_TOKEN_REVOKED', 'every text to be refused');
  assert.equal((await s.slipway('key', 'rotate', near.id)).code, 1);
  assert.equal((await s.slipway('key', 'rotate', 'not-an-id')).code, 2);
});

test('by --url keys are made, listed, given another text and taken back through the API', async () => {
  const remote = ['--url', s.server.url, '--key-file', `${s.server.data}/admin.key`];
  const call = async (...args) => {
    const { code, stdout, stderr } = await run(SLIPWAY, ['key', ...args, ...remote]);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const made = JSON.parse(await call('create', '--name', 'by url', '--prefix', 'sk_proj', '--permissions', 'release:read', '--expires', '36h', '--json'));
  assert.match(made.token, /^sk_proj_/);
  assert.deepEqual(made.scopes, ['release:read']);
  assert.equal((await s.server.client(made.token).get('/releases')).status, 200);
  assert.match(await call('list'), new RegExp(`^${made.id} .*by url$`, 'm'));
  const next = await call('rotate', made.id, '--overlap', '1h');
  assert.notEqual(next, made.token);
  assert.equal((await s.server.client(next).get('/releases')).status, 200);
  assert.equal(await call('revoke', made.id), `revoked the key ${made.id}`);
  const wrong = await run(SLIPWAY, ['key', 'create', '--role', 'admin', ...remote]);
  assert.deepEqual([wrong.code, /--permissions/.test(wrong.stderr)], [2, true]);
});
