// What happens to tokens, streams and servers when keys rotate, clocks disagree or the keyring is gone: the answers of
// deploy/keys-and-clocks.md, each with the test that shows it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT, SLIPWAY } from '../lib/process.mjs';
import { holding, streamOf } from '../lib/run.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { SseStream, WsStream } from '../lib/stream.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

const FORM = { 'content-type': 'application/x-www-form-urlencoded', authorization: null };

let s, tenant, client;
before(async () => {
  s = await start({ name: 'rotation', workers: 2, instances: 2 });
  [{ tenant_id: tenant }] = JSON.parse((await s.slipway('key', 'list', '--json')).stdout);
  client = (await s.api.post('/v1/oauth/clients', { name: 'rotating', scopes: ['workflow:read'] }, { absolute: true })).body;
});
after(() => s?.stop());

const kidOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid;
const published = async (server) => (await server.client().request('GET', '/.well-known/jwks.json', undefined, { absolute: true })).body.keys.map((k) => k.kid);
const issue = async (server) => {
  const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: client.client_id, client_secret: client.client_secret });
  const answer = await server.client().request('POST', '/v1/auth/token', undefined, { absolute: true, raw: String(form), headers: FORM });
  assert.equal(answer.status, 200, answer.text);
  return answer.body.access_token;
};
const read = async (server, token) => (await server.client(token).get('/workflow-runs')).status;
const signed = (claims) => new Signer(s.server.data).token({ tenant_id: tenant, ...claims });

test('a rotation in mid-flight ends neither tokens nor streams, on any instance', async () => {
  const [one, two] = s.servers;
  const old = await issue(one);
  const run = await holding(s.api);
  const streams = [new WsStream(one, streamOf(run), { token: old }), new SseStream(two, streamOf(run), { token: old })];
  for (const stream of streams) await stream.frame('synced');
  assert.equal((await s.slipway('key', 'rotate')).code, 0);
  for (const server of s.servers) {
    await eventually(async () => (await published(server)).join() === '2,1', 'both keys to be published');
    assert.equal(await read(server, old), 200, 'what the old key signed is good until it expires');
  }
  const fresh = await issue(one);
  assert.deepEqual([kidOf(old), kidOf(fresh)], ['1', '2']);
  for (const server of s.servers) assert.equal(await read(server, fresh), 200);
  await run.release();
  for (const stream of streams) await stream.until((x) => x.events.find((f) => f.type === 'run_cancelled' || f.status === 'cancelled'), 'the streams to go on');
});

test('an instance that did not hear of a rotation takes a token of the new key at once', async () => {
  assert.equal((await s.slipway('key', 'rotate')).code, 0);
  const token = signed({ jti: '0192f7a0-0000-7000-8000-0000000000c1' });
  assert.equal(kidOf(token), '3');
  await eventually(async () => (await read(s.servers[1], token)) === 200, 'the ring to be read again, once a second at most');
});

test('a token of a clock that is less than a minute ahead or behind is good, one of a worse clock is not', async () => {
  const now = Math.floor(Date.now() / 1000);
  const cases = [[{ iat: now + 45 }, 200], [{ iat: now + 300, exp: now + 900 }, 401], [{ nbf: now + 45 }, 200], [{ nbf: now + 300 }, 401],
    [{ iat: now - 600, exp: now - 20 }, 200], [{ iat: now - 600, exp: now - 300 }, 401]];
  for (const [i, [claims, status]] of cases.entries()) {
    const token = signed({ ...claims, jti: `0192f7a0-0000-7000-8000-0000000000d${i}` });
    for (const server of s.servers) assert.equal(await read(server, token), status, JSON.stringify(claims));
  }
});

// Compiled here: a library that moves the wall clock of the process it is loaded into.
const SHIFT = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        t->tv_sec += atoi(getenv("CLOCK_SHIFT_S"));
    return result;
}
`;

/** A library for LD_PRELOAD; undefined where there is no compiler, or the server is of a kind that takes none. */
async function clockShifter() {
  if (fs.readFileSync(SLIPWAY).includes('__asan_init')) return undefined; // which wants to be loaded first
  const source = s.nest.file('shift.c'), library = s.nest.file('shift.so');
  fs.writeFileSync(source, SHIFT);
  try {
    await promisify(execFile)('cc', ['-shared', '-fPIC', '-o', library, source, '-ldl']);
    return library;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

test('instances whose clocks are most of a minute apart agree on tokens, keys and rates: what is stored goes by the clock of Redis', async (t) => {
  const library = await clockShifter();
  if (!library) return t.skip('no compiler, or a sanitizer in the way');
  const ahead = await s.addServer({ args: ['--workers', '2'], env: { LD_PRELOAD: library, CLOCK_SHIFT_S: '50' } });
  const head = await ahead.client(s.key).get('/workflow-runs');
  const drift = (Date.parse(head.headers.date) - Date.now()) / 1000;
  assert.ok(drift > 25, `the clock is shifted: ${drift} s`);
  for (const [from, to] of [[ahead, s.server], [s.server, ahead]]) assert.equal(await read(to, await issue(from)), 200);

  const made = await s.slipway('key', 'create', '--role', 'viewer', '--name', 'short', '--expires', '45s', '--json');
  assert.equal(made.code, 0, made.stderr);
  const { key } = [JSON.parse(made.stdout)].flat()[0];
  assert.equal(await read(ahead, key), 200, 'by the clock of the instance it would be over');
  const left = async (server) => Number((await server.client(key).get('/workflow-runs')).headers['x-ratelimit-reset']);
  assert.equal(await left(ahead), await left(s.server), 'one window');
  await ahead.kill();
});

test('a server or command that lost its keyring refuses, and says which key is missing', async () => {
  const lost = new Server(s, 'lost', {});
  fs.mkdirSync(lost.data);
  const started = s.nest.start('lost', SLIPWAY, ['serve', '--listen', '127.0.0.1:0', '--data', lost.data, '--redis', s.redisUrl]);
  const { code } = await started.exit;
  assert.equal(code, 1);
  assert.match(started.tail(), /the keyring is not the one of this data set: its key \w+:1 is missing or another; give the right file with --keyring/);
  assert.ok(!fs.existsSync(`${lost.data}/listen`));
  for (const server of s.servers.slice(0, 2)) assert.equal(await read(server, s.key), 200, 'those that have it go on');
});

test('the page names tests that there are', () => {
  const page = fs.readFileSync(path.join(ROOT, 'deploy/keys-and-clocks.md'), 'utf8');
  const named = [...page.matchAll(/`(test\/[\w./-]+)`:\s+"([^"]+)"/g)];
  assert.ok(named.length >= 8, `${named.length} tests are named`);
  for (const [, file, name] of named)
    assert.ok(fs.readFileSync(path.join(ROOT, file), 'utf8').includes(name), `${file} has no test "${name}"`);
});
