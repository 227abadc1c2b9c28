// The command line: where settings come from, what is said about wrong ones, and that no secret is printed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Nest, ROOT, SLIPWAY, run } from '../lib/process.mjs';

let nest;

/** Bounds that no client meets, and why. */
const INTERNAL = {
  PK_RSA_BITS_MAX: 'keys that nobody has',
  ID_KEY_MAX: 'room for a secret that we make',
  LOG_TEXT_MAX: "the server's own log",
  WS_HEAD_MAX: 'what RFC 6455 allows',
  FILTER_FACET_MAX: 'longer values are indexed by their hash',
  PERMISSION_PLACE_MAX: 'the longest name an environment can have',
  FILE_MAX: "the agent's own files",
  SPOOL_RECORD_MAX: "the agent's own files",
  CHOOSE_MAX_TASKS: 'tasks of an agent that does not say how many it takes',
  JOB_COMPONENTS_MAX: 'release.components, as the engine sees it',
  FIGURES_MOST: 'places for the rows of a table of ours',
};

before(() => {
  nest = new Nest('config');
});
after(() => nest?.remove());

const slipway = (args, env = {}) => run(SLIPWAY, args, { env, cwd: nest.dir });
const settings = async (args = [], env = {}) => {
  const { code, stdout, stderr } = await slipway(['config', '--json', ...args], env);
  assert.equal(code, 0, stderr);
  return Object.fromEntries(JSON.parse(stdout).map((row) => [row.name, row]));
};

test('flags outrank the environment, which outranks the file, which outranks the default', async () => {
  const file = nest.file('slipway.conf');
  fs.writeFileSync(file, '# ours\nworkers = 3\nbody-max = 64KiB\n');
  assert.equal((await settings()).workers.source, 'default');
  const fromFile = await settings(['--config', file]);
  assert.equal(fromFile.workers.value, '3');
  assert.equal(fromFile.workers.source, `${file}:2`);
  const env = { SLIPWAY_CONFIG: file, SLIPWAY_WORKERS: '4' };
  assert.deepEqual([(await settings([], env)).workers.value, (await settings([], env)).workers.source], ['4', 'environment SLIPWAY_WORKERS']);
  assert.deepEqual((await settings(['--workers', '5'], env)).workers, { name: 'workers', source: 'flag --workers', value: '5' });
  assert.equal((await settings(['--workers', '5'], env))['body-max'].value, '64KiB');
});

test('a wrong value is named with its source and what is allowed', async () => {
  for (const [args, env, want] of [
    [['--workers', '900'], {}, /flag --workers: '900' is not allowed; workers takes a whole number from 0 to 256/],
    [[], { SLIPWAY_BODY_MAX: 'huge' }, /environment SLIPWAY_BODY_MAX: 'huge' is not allowed/],
    [['--nothing'], {}, /no option --nothing/],
    [['--config', '/nonexistent'], {}, /\/nonexistent/],
    [['surplus'], {}, /unexpected 'surplus'/],
  ]) {
    const { code, stdout, stderr } = await slipway(['config', ...args], env);
    assert.equal(code, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, want);
  }
});

test('a variable that is no setting is warned of, by its name alone', async () => {
  const { code, stderr } = await slipway(['config'], { SLIPWAY_WORKRES: 'hunter2', SLIPWAY_WORKERS: '2', SLIPWAY_TEST_ANY: '1' });
  assert.equal(code, 0);
  assert.equal(stderr, 'slipway config: environment SLIPWAY_WORKRES: there is no such setting, it has no effect\n');
});

test('every limit has a name, a default and the code it answers with', async () => {
  const { stdout } = await slipway(['config', '--limits', '--json']);
  const limits = JSON.parse(stdout);
  assert.ok(limits.length > 10);
  for (const [name, code] of [['head-max', 'RES_HEADERS_TOO_LARGE'], ['body-rate-min', 'RES_REQUEST_TIMEOUT'], ['idle-timeout', '-'], ['send-queue', '-'], ['send-timeout', '-']])
    assert.equal(limits.find((l) => l.name === name)?.code, code, name);
  for (const limit of limits) {
    assert.match(limit.name, /^[a-z][a-z0-9.-]+$/);
    assert.match(limit.code, /^([A-Z0-9_]+|-|none)$/); // `-`: the connection ends; `none`: nothing is refused
    if (/^[A-Z]/.test(limit.code)) assert.ok(limit.status >= 400, `${limit.name}: ${limit.code} is no code`);
    assert.notEqual(limit.default, '');
    assert.match(limit.doc, /^[A-Z].*\.$/s);
  }
  assert.equal(new Set(limits.map((l) => l.name)).size, limits.length);
});

test('a limit that the papers name has a row, with that value', async () => {
  const limits = JSON.parse((await slipway(['config', '--limits', '--json'])).stdout);
  const promised = {
    'request.id': '128', 'filter.length': '4KiB', 'filter.depth': '5', 'filter.leaves': '50', 'filter.values': '100',
    'list.page-size': '100', 'list.sort-fields': '3', 'idempotency.key': '255', 'expression.length': '1KiB', 'log.answer-lines': '5000',
    'log.step': '10MiB', 'agent.lines': '100', 'agent.accept': '30s', 'agent.grace': '30s', 'token.jwt': '8KiB', 'query.pairs': '100',
    'body-max': '1MiB', 'rate-standard': '1000', 'rate-standard-burst': '100', 'rate-premium': '5000', 'rate-premium-burst': '500',
    'request-timeout': '10s', 'redis-timeout': '1.5s', 'list-examined': '20000', 'stream.message-max': '256KiB', 'stream.fragments-max': '1024',
    'stream.queue': '1MiB', 'stream.auth-timeout': '10s', 'stream.ticket-ttl': '30s',
  };
  for (const [name, value] of Object.entries(promised)) assert.equal(limits.find((l) => l.name === name)?.default, value, name);
  const known = await settings();
  for (const limit of limits) assert.equal(limit.configurable, limit.name in known, limit.name);
});

test('the threat model names each limit that can be set, and no other value than its default', async () => {
  const limits = JSON.parse((await slipway(['config', '--limits', '--json'])).stdout);
  const text = fs.readFileSync(path.join(ROOT, 'deploy/threat-model.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([a-z0-9.-]+)` \| (\S+) \| (.+) \|$/gm)].map(([, name, value, beyond]) => ({ name, value, beyond }));
  const of = (code, status) => ({ '-': 'the connection ends', none: 'cut to it' })[code] ?? `${status} \`${code}\``;
  const known = new Map(limits.map((l) => [l.name, { name: l.name, value: l.default, beyond: of(l.code, l.status) }]));
  for (const row of rows) assert.deepEqual(row, known.get(row.name), `deploy/threat-model.md, ${row.name}`);
  const missing = limits.filter((l) => l.configurable && !rows.some((row) => row.name === l.name)).map((l) => `| \`${l.name}\` | ${l.default} | ${of(l.code, l.status)} |`);
  assert.deepEqual(missing, [], 'rows that deploy/threat-model.md lacks');
});

test('a constant that bounds something in a header has a row, or a reason', async () => {
  const text = fs.readFileSync(path.join(ROOT, 'server/limits.c'), 'utf8');
  const headers = ['lib', 'proto', 'server'].flatMap((dir) => fs.readdirSync(path.join(ROOT, dir), { recursive: true })
    .filter((name) => name.endsWith('.h')).map((name) => path.join(ROOT, dir, name)));
  const bounds = headers.flatMap((name) => [...fs.readFileSync(name, 'utf8').matchAll(/\b([A-Z][A-Z0-9]*_[A-Z0-9_]*(?:MAX|MOST)(?:_[A-Z]+)?) = /g)].map((m) => m[1]));
  assert.ok(bounds.length > 20);
  const missing = bounds.filter((name) => !new RegExp(`\\b${name}\\b`).test(text) && !(name in INTERNAL));
  assert.deepEqual(missing, [], 'each wants a row in server/limits.c, or a reason in INTERNAL');
  for (const name of Object.keys(INTERNAL)) assert.ok(bounds.includes(name), `${name} is gone`);
});

test('secrets in settings are not printed', async () => {
  const { stdout } = await slipway(['config', '--redis', 'redis://joe:hunter2@db:6379/1']);
  assert.ok(!stdout.includes('hunter2') && !stdout.includes('joe'));
  assert.match(stdout, /redis:\/\/\(secret\)@db:6379\/1/);
});

test('every command explains itself, and an unknown one is refused', async () => {
  const { code, stdout } = await slipway(['help']);
  assert.equal(code, 0);
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map((m) => m[1]);
  for (const command of commands) {
    const help = await slipway([command, '--help']);
    assert.equal(help.code, 0, command);
    assert.ok(help.stdout.length > 0, command);
  }
  const unknown = await slipway(['fly']);
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /no command 'fly'/);
  assert.equal((await slipway([])).code, 2);
  assert.match((await slipway(['--version'])).stdout, /^slipway \d+\.\d+\.\d+$/m);
});

test('the keyring is made once, for its owner alone, and a key file others may read is refused', async () => {
  const data = nest.file('data');
  const jwt = (...args) => slipway(['key', 'jwt', '--data', data, '--user', 'alice', '--role', 'viewer', ...args]);
  assert.equal((await jwt()).code, 1, 'signing never makes a keyring');
  fs.mkdirSync(data, { recursive: true });
  const seeds = ['seal', 'sign', 'pepper', 'evidence'].map((use, i) => `${use} 1 ${Buffer.alloc(32, i + 1).toString('base64url')}`);
  fs.writeFileSync(`${data}/keyring`, `slipway-keyring 1\n${seeds.join('\n')}\n`, { mode: 0o644 });
  const open = await jwt();
  assert.equal(open.code, 1);
  assert.match(open.stderr, /chmod 600/);
  fs.chmodSync(`${data}/keyring`, 0o600);
  const made = await jwt('--ttl', '5m', '--json');
  assert.equal(made.code, 0, made.stderr);
  const claims = JSON.parse(Buffer.from(JSON.parse(made.stdout).token.split('.')[1], 'base64url'));
  assert.equal(claims.exp - claims.iat, 300);
  assert.deepEqual(claims.roles, ['viewer']);
  assert.equal((await slipway(['key', 'jwt', '--data', data, '--role', 'viewer'])).code, 2, 'no user');
  assert.equal((await slipway(['key', 'fly', '--data', data])).code, 2);
  assert.equal((await slipway(['key'])).code, 2);
});
