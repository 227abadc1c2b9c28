// The audit trail: what is in it, that it is sealed in order, and that nobody can change it unnoticed.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'audit' });
  api = s.api;
});
after(() => s?.stop());

let count = 0;
const name = () => `env-${++count}`;
const make = (client = api, body = {}) => client.want(201, 'POST', '/environments', { name: name(), ...body });
const events = async (query = {}, client = api) => (await client.get('/audit-events', { query })).body;
const newest = async (query, client) => (await events({ pageSize: '1', ...query }, client)).data[0];
const verify = (client = api, query = {}) => client.want(200, 'GET', '/audit-events/verify', undefined, { query });
const sealed = (client = api) => eventually(async () => {
  const found = await verify(client);
  return [found.unsealed === null, found];
}, 'every entry to be sealed');

/** Canonical JSON (RFC 8785) of what has only strings, whole numbers, booleans and null in it. */
const canonical = (v) => Array.isArray(v) ? `[${v.map(canonical)}]`
  : v && typeof v === 'object' ? `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`)}}`
    : JSON.stringify(v);

async function everything(client = api) {
  const all = [];
  for (let page = 1; ; page++) {
    const body = await events({ pageSize: '100', sort: 'timestamp', page: String(page) }, client);
    all.push(...body.data);
    if (!body.meta.pagination.hasNext) return all;
  }
}

/** A tenant of its own with n entries: its key, then environments made; and its admin. */
async function tenant(n) {
  const client = api.as(await s.makeKey('--tenant', `tenant-${++count}`, '--role', 'admin', '--permissions', 'audit:read'));
  for (let i = 1; i < n; i++) client.tenant = (await make(client)).tenantId;
  await sealed(client);
  const [stream] = await s.redis.keys(`*}:a:${client.tenant}`);
  return { client, stream };
}

describe('what is recorded', () => {
  test('a change: who, what, from where, before and after', async () => {
    const made = await make();
    const created = await newest();
    assert.equal(created.action, 'environment.created');
    assert.equal(created.resource, 'environment');
    assert.equal(created.resourceId, made.id);
    assert.equal(created.environmentId, made.id);
    assert.equal(created.actorType, 'user');
    assert.equal(created.actorId, made.createdBy);
    assert.equal(created.actorIp, '127.0.0.1');
    assert.deepEqual(created.after, made);
    assert.ok(!('before' in created));

    const answer = await api.put(`/environments/${made.id}`, { requiredApprovals: 1 });
    const updated = await newest();
    assert.equal(updated.action, 'environment.updated');
    assert.deepEqual(updated.before, made);
    assert.deepEqual(updated.after, answer.data);
    assert.equal(updated.metadata.requestId, answer.headers['x-request-id']);

    await api.want(204, 'DELETE', `/environments/${made.id}`);
    const deleted = await newest();
    assert.equal(deleted.action, 'environment.deleted');
    assert.deepEqual(deleted.before, answer.data);
    assert.ok(!('after' in deleted));
  });

  test('a refused change of a known caller, once', async () => {
    const made = await make();
    const refusals = [
      [409, 'RES_ALREADY_EXISTS', () => api.post('/environments', { name: made.name })],
      [422, 'ENV_ORDER_VIOLATION', () => api.put(`/environments/${made.id}`, { autoPromoteFrom: made.id })],
      [409, 'RES_VERSION_CONFLICT', () => api.put(`/environments/${made.id}`, {}, { headers: { 'if-match': '"9"' } })],
    ];
    for (const [status, code, refuse] of refusals) {
      const before = (await events()).meta.pagination.totalItems;
      const answer = await refuse();
      assert.equal(answer.status, status);
      const entry = await eventually(async () => {
        const found = await newest({ action: 'request.refused' });
        return found?.metadata.requestId === answer.headers['x-request-id'] && found;
      }, `the refusal ${code} to be recorded`);
      assert.equal(entry.metadata.code, code);
      assert.equal((await events()).meta.pagination.totalItems, before + 1);
    }
  });

  test('what a caller had no right to', async () => {
    const viewer = api.as(await s.makeKey('--role', 'viewer', '--name', 'Look'));
    const answer = await viewer.post('/environments', { name: name() });
    assert.equal(answer.status, 403);
    const entry = await eventually(async () => {
      const found = await newest({ action: 'permission.denied' });
      return found?.metadata.requestId === answer.headers['x-request-id'] && found;
    }, 'the denial to be recorded');
    assert.equal(entry.actorName, 'Look');
    assert.equal(entry.resource, 'environment');
  });

  test('but not reads, faults and what is not there', async () => {
    await sealed();
    const before = (await events()).meta.pagination.totalItems;
    await api.get('/environments');
    await api.post('/environments', {});
    await api.delete('/environments/0190a5b0-0000-7000-8000-0000000000ab');
    await make();
    assert.equal((await events()).meta.pagination.totalItems, before + 1);
  });

  test('a tenant sees its own trail only, and only with the right', async () => {
    const other = api.as(await s.makeKey('--tenant', 'someone', '--role', 'admin', '--permissions', 'audit:read'));
    assert.deepEqual((await events({}, other)).data.map((e) => e.action), ['key.created']); // its own
    const viewer = api.as(await s.makeKey('--role', 'viewer'));
    assert.equal((await viewer.get('/audit-events')).status, 403);
  });
});

describe('the chain', () => {
  test('can be recomputed by anybody from what is served', async () => {
    await Promise.all(Array.from({ length: 20 }, () => make()));
    await sealed();
    let previous = '0'.repeat(64);
    let sequence = 0;
    for (const event of await everything()) {
      const { eventHash, ...rest } = event;
      assert.equal(event.sequence, ++sequence);
      assert.equal(event.previousEventHash, previous);
      assert.equal(createHash('sha256').update(canonical(rest)).digest('hex'), eventHash);
      previous = eventHash;
    }
    assert.ok(sequence > 20);
  });

  test('verifies, and names the tail that is not yet sealed', async () => {
    const found = await verify();
    assert.equal(found.valid, true);
    assert.equal(found.broken, null);
    assert.equal(found.lastSequence - found.sealedSequence, found.unsealed ? found.unsealed.to - found.unsealed.from + 1 : 0);
    const done = await sealed();
    assert.equal(done.checked, done.lastSequence);
    assert.equal(done.complete, true);
  });

  const stored = async (stream) => (await s.redis.command('XRANGE', stream, '-', '+')).map(([id, f]) => ({ id, fields: f }));
  const restore = async (stream, entries) => {
    await s.redis.command('DEL', stream);
    for (const { id, fields } of entries) await s.redis.command('XADD', stream, id, ...fields);
  };
  const brokenAt = async (client, sequence, reason) => {
    const found = await verify(client);
    assert.equal(found.valid, false);
    assert.deepEqual(found.broken, { sequence, reason });
  };

  test('tells a changed entry', async () => {
    const { client, stream } = await tenant(6);
    const entries = await stored(stream);
    entries[3].fields = entries[3].fields.map((f) => f.replace('"environment.created"', '"environment.updated"'));
    await restore(stream, entries);
    await brokenAt(client, 4, 'changed');
  });

  test('tells a removed entry', async () => {
    const { client, stream } = await tenant(6);
    await s.redis.command('XDEL', stream, '3-0');
    await brokenAt(client, 3, 'missing');
  });

  test('tells removed entries at the beginning and at the end', async () => {
    const first = await tenant(4);
    await s.redis.command('XDEL', first.stream, '1-0');
    await brokenAt(first.client, 1, 'missing');
    const last = await tenant(4);
    await s.redis.command('XDEL', last.stream, '4-0');
    await brokenAt(last.client, 4, 'missing');
  });

  test('tells an entry that was removed before it was sealed', async () => {
    const { client, stream } = await tenant(3);
    const [hashes] = await s.redis.keys(`*}:as:${client.tenant}`);
    await s.redis.command('DEL', hashes);
    await s.redis.command('XDEL', stream, '1-0');
    await brokenAt(client, 1, 'missing');
  });

  test('tells entries that changed places', async () => {
    const { client, stream } = await tenant(6);
    const entries = await stored(stream);
    [entries[1].fields, entries[2].fields] = [entries[2].fields, entries[1].fields];
    await restore(stream, entries);
    await brokenAt(client, 2, 'changed');
  });

  test('goes on over a restart of the server, and with a second one beside it', async () => {
    const second = await s.addServer({ name: 'second', args: ['--workers', '1'] });
    await Promise.all(Array.from({ length: 10 }, (_, i) => make(i % 2 ? api : second.client(s.key))));
    await second.kill();
    await make();
    const found = await sealed();
    assert.equal(found.valid, true);
    assert.equal(found.checked, found.lastSequence);
  });
});

test('failed authentications are counted by address, in the first tenant\'s trail', async () => {
  const guarded = await s.addServer({ name: 'guarded', args: ['--workers', '1'] });
  for (let i = 0; i < 5; i++) assert.equal((await guarded.client('slp_nonsense').get('/environments')).status, 401);
  await guarded.stop(); // what was counted is written at the latest then
  const entry = await eventually(() => newest({ action: 'authentication.failed' }), 'the count to be recorded');
  assert.equal(entry.actorType, 'system');
  assert.equal(entry.actorIp, '127.0.0.1');
  assert.equal(entry.metadata.count, 5);
  assert.match(entry.metadata.code, /^AUTH_/);
  assert.equal((await events({ action: 'authentication.failed' })).meta.pagination.totalItems, 1);
});

describe('reading', () => {
  const sequences = (body) => body.data.map((e) => e.sequence);

  test('pages, both ways, with exact totals', async () => {
    const { client } = await tenant(25);
    const first = await events({ pageSize: '10' }, client);
    assert.deepEqual(sequences(first), [25, 24, 23, 22, 21, 20, 19, 18, 17, 16]);
    assert.deepEqual(first.meta.pagination, { page: 1, pageSize: 10, totalItems: 25, totalPages: 3, hasNext: true, hasPrevious: false });
    assert.deepEqual(sequences(await events({ pageSize: '10', page: '3' }, client)), [5, 4, 3, 2, 1]);
    assert.deepEqual(sequences(await events({ pageSize: '10', page: '3', sort: 'sequence' }, client)), [21, 22, 23, 24, 25]);
    assert.deepEqual(sequences(await events({ pageSize: '10', page: '4' }, client)), []);
    assert.deepEqual(sequences(await events({ afterSequence: '3', beforeSequence: '6' }, client)), [5, 4]);
    assert.deepEqual(sequences(await events({ afterSequence: '25' }, client)), []);
  });

  test('filters', async () => {
    const { client } = await tenant(12);
    const { data } = await client.get('/environments', { query: { pageSize: '5', sort: 'createdAt' } });
    for (const one of data) await client.want(204, 'DELETE', `/environments/${one.id}`);
    await sealed(client);
    const gone = await events({ action: 'environment.deleted', pageSize: '2', page: '2' }, client);
    assert.deepEqual(sequences(gone), [15, 14]);
    assert.equal(gone.meta.pagination.totalItems, 5);
    assert.deepEqual(sequences(await events({ resourceId: data[2].id }, client)), [15, 4]);
    const when = (await events({ sort: 'sequence' }, client)).data[8].timestamp;
    const older = await events({ filter: JSON.stringify({ timestamp: { $lte: when } }), sort: 'timestamp', pageSize: '100' }, client);
    assert.ok(sequences(older).includes(9) && older.data.every((e) => e.timestamp <= when));
  });
});

describe('export as lines of JSON', () => {
  const lines = (text) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  const numbers = (entries) => entries.map((e) => e.sequence);

  /** Reads the export as it comes; `seen` grows. */
  async function follow(server, token, query = {}) {
    const tail = { text: '', ended: false, get seen() { return lines(this.text.slice(0, this.text.lastIndexOf('\n') + 1)); } };
    const url = `${server.url}/api/v1/audit-events/export?${new URLSearchParams({ follow: 'true', ...query })}`;
    tail.response = await new Promise((resolve, reject) => http.get(url, { headers: { authorization: `Bearer ${token}` } }, resolve).on('error', reject));
    tail.response.setEncoding('utf8').on('data', (text) => (tail.text += text)).on('end', () => (tail.ended = true)).on('error', () => (tail.ended = true));
    return tail;
  }

  test('every sealed entry is a line that verifies, oldest first', async () => {
    const { client } = await tenant(7);
    await sealed(client);
    const answer = await client.get('/audit-events/export');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'application/x-ndjson');
    const entries = lines(answer.text);
    assert.deepEqual(numbers(entries), [1, 2, 3, 4, 5, 6, 7]);
    let previous = '0'.repeat(64);
    for (const { eventHash, ...event } of entries) {
      assert.equal(event.previousEventHash, previous);
      assert.equal(createHash('sha256').update(canonical(event)).digest('hex'), eventHash);
      previous = eventHash;
    }
    assert.deepEqual(numbers(lines((await client.get('/audit-events/export', { query: { afterSequence: '5' } })).text)), [6, 7]);
    assert.equal((await client.get('/audit-events/export', { query: { afterSequence: '900' } })).text, '');
    assert.equal((await client.request('HEAD', '/audit-events/export')).status, 200);
    assert.equal((await client.get('/audit-events/export', { query: { follow: 'perhaps' } })).status, 400);
  });

  test('a follower gets what comes, from any instance, until its key is revoked', async () => {
    const { client } = await tenant(3);
    const other = await s.addServer({ name: 'follower', args: ['--workers', '1'] });
    const auditor = await s.makeKey('--tenant', client.tenant, '--role', 'auditor');
    const tail = await follow(other, auditor, { afterSequence: '2' });
    await make(client);
    await eventually(() => tail.seen.some((e) => e.action === 'environment.created' && e.sequence > 3), 'the new entry');
    assert.deepEqual(numbers(tail.seen), numbers(tail.seen).map((_, i) => i + 3));
    const keys = JSON.parse((await s.slipway('key', 'list', '--tenant', client.tenant, '--json')).stdout);
    const revoked = await s.slipway('key', 'revoke', keys.at(-1).id, '--tenant', client.tenant);
    assert.equal(revoked.code, 0, revoked.stderr);
    await eventually(() => tail.ended, 'the tail to end');
    await other.stop();
  });

  test('a reader that takes its time gets all of it, whatever the queue of a connection holds', async () => {
    const { client } = await tenant(1);
    const narrow = await s.addServer({ name: 'narrow', args: ['--workers', '1', '--send-queue', '256KiB'] });
    const description = 'x'.repeat(1000);
    const inputs = Array.from({ length: 40 }, (_, i) => ({ name: `i${i}`, type: 'string', description }));
    for (let i = 0; i < 150; i++)
      await client.want(201, 'POST', '/workflow-templates', { name: `t${i}`, nodes: [{ id: 'a', type: 'wait', config: { seconds: 1 } }], inputs });
    await sealed(client);
    const tail = await follow(narrow, client.token);
    tail.response.pause();
    await eventually(async () => narrow.process.exited || (await client.get('/audit-events', { query: { pageSize: '1' } })).status === 200, 'the server to go on');
    tail.response.resume();
    await eventually(() => [tail.seen.length === 151, tail.seen.length], 'all entries');
    assert.deepEqual(numbers(tail.seen), Array.from({ length: 151 }, (_, i) => i + 1));
    await narrow.stop();
    await eventually(() => tail.ended, 'a server that goes to end its tails');
  });
});

test('old entries are trimmed, and a checkpoint vouches for them', async () => {
  const { client, stream } = await tenant(8);
  const brief = await s.addServer({ name: 'brief', args: ['--workers', '1', '--audit-keep', '1s'] });
  const there = brief.client(client.token);
  const first = async () => (await s.redis.command('XRANGE', stream, '-', '+', 'COUNT', '1'))[0]?.[0];
  // Entries older than a second go when another one is sealed.
  await eventually(async () => {
    await make(there);
    return Number.parseInt(await first(), 10) > 8;
  }, 'the first eight entries to be trimmed', { every: 300 });
  await brief.stop();
  await make(client);
  const found = await sealed(client);
  assert.equal(found.valid, true, JSON.stringify(found));
  assert.ok(found.firstSequence > 8);
  assert.ok(found.checkpoints >= 1);
  assert.equal((await events({ sort: 'sequence', pageSize: '1' }, client)).data[0].sequence, found.firstSequence);

  const [checkpoints] = await s.redis.keys(`*}:ac:${client.tenant}`);
  await s.redis.command('DEL', checkpoints);
  const robbed = await verify(client);
  assert.deepEqual(robbed.broken, { sequence: found.firstSequence - 1, reason: 'missing' });
});
