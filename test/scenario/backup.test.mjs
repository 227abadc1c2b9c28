// A backup of a server at work, and the server that comes back from it: nothing that was acknowledged before is missing,
// what was under way goes on, and clients of streams learn that it is another history.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { addVersion } from '../lib/release.mjs';
import { Gate, reaches, run as startRun, script, streamOf, unique } from '../lib/run.mjs';
import { SLIPWAY, run } from '../lib/process.mjs';
import { Redis } from '../lib/redis.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';

const tool = (...args) => run(SLIPWAY, args);

describe('a backup', () => {
  let s, agent, component, held, gate, version, epoch, seen, folder;
  let acknowledged = [];

  before(async () => {
    s = await start({ name: 'backup', redis: 'embedded' });
    agent = await s.addAgent();
    component = await s.api.want(201, 'POST', '/components', { name: unique('site') });
    version = await addVersion(s, component, 'one', { 'index.html': randomBytes(300_000).toString('base64') });
    gate = new Gate(s.nest);
    held = await startRun(s.api, [script('hold', `echo begun; ${gate.shell}; echo over`)]);
    const stream = new WsStream(s.server, streamOf(held), { token: s.key, query: { since: '0' } });
    await stream.frame('step_log', (f) => f.line === 'begun');
    epoch = stream.frames[0].epoch;
    seen = stream.events.at(-1).seq;
    stream.close();
    folder = s.nest.file('backup');
  });
  after(() => s?.stop());

  test('is taken while the server is written to, and holds what was acknowledged before', async () => {
    let writing = true;
    const made = [];
    const writer = (async () => {
      while (writing) made.push((await s.api.want(201, 'POST', '/environments', { name: unique('env') })).id);
    })();
    while (made.length < 20) await new Promise((resolve) => setImmediate(resolve));
    acknowledged = [...made];
    const done = await tool('backup', '--data', s.server.data, '--to', folder, '--with-keyring');
    writing = false;
    await writer;
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stdout, /of Redis, 1 blobs of/);
    assert.deepEqual(fs.readdirSync(folder).sort(), ['blobs', 'keyring', 'manifest.json', 'redis.rdb']);
    assert.equal(fs.statSync(folder).mode & 0o777, 0o700);
    assert.ok(!fs.existsSync(`${folder}.partial`));
    const entries = (await s.api.get('/audit-events', { query: { action: 'data.backed_up' } })).data;
    assert.equal(entries?.length, 1);
  });

  test('is refused where something is already, and where it cannot be whole', async () => {
    const again = await tool('backup', '--data', s.server.data, '--to', folder);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /is there already/);
    assert.equal((await tool('backup', '--data', s.server.data)).code, 2);

    const broken = s.nest.file('broken');
    fs.cpSync(folder, broken, { recursive: true });
    fs.appendFileSync(`${broken}/redis.rdb`, 'x');
    const restored = await tool('restore', '--data', s.nest.file('other'), '--from', broken);
    assert.deepEqual([restored.code, /damaged/.test(restored.stderr)], [1, true], restored.stderr);
    fs.rmSync(`${broken}/manifest.json`);
    const unfinished = await tool('restore', '--data', s.nest.file('other'), '--from', broken);
    assert.match(unfinished.stderr, /not finished: it has no manifest.json/);
    assert.ok(!fs.existsSync(s.nest.file('other')), 'a refused restore leaves nothing');
  });

  test('a store that holds something is not written over', async () => {
    const refused = await tool('restore', '--data', s.server.data, '--from', folder);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /not empty/);
  });

  test('without its keyring it is refused before anything is touched', async () => {
    const bare = s.nest.file('bare');
    fs.cpSync(folder, bare, { recursive: true });
    fs.rmSync(`${bare}/keyring`);
    const manifest = JSON.parse(fs.readFileSync(`${bare}/manifest.json`, 'utf8'));
    fs.writeFileSync(`${bare}/manifest.json`, JSON.stringify({ ...manifest, keyring: false }));
    const refused = await tool('restore', '--data', s.nest.file('bare-data'), '--from', bare);
    assert.match(refused.stderr, /has no keyring: put the one/);
    assert.ok(!fs.existsSync(s.nest.file('bare-data')));
  });

  test('a damaged blob is noticed', async () => {
    const hurt = s.nest.file('hurt');
    fs.cpSync(folder, hurt, { recursive: true });
    const blob = fs.readdirSync(`${hurt}/blobs`, { recursive: true, withFileTypes: true }).find((e) => e.isFile());
    fs.appendFileSync(`${blob.parentPath ?? blob.path}/${blob.name}`, 'x');
    const refused = await tool('restore', '--data', s.nest.file('hurt-data'), '--from', hurt);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /1 blobs of the backup are damaged/);
  });

  test('brings back a server with all of it, and work under way goes on', async () => {
    await Promise.all([s.server.kill(), agent.kill()]);
    const back = new Server(s, 'restored', { args: ['--workers', '2'] });
    const restored = await tool('restore', '--data', back.data, '--from', folder);
    assert.equal(restored.code, 0, restored.stderr);
    assert.match(restored.stdout, /begin a new epoch, [1-9]\d* leases are fenced/);
    s.servers.push(back);
    await back.start();
    const api = back.client(s.key);

    const there = new Set();
    for (let page = 1; ; page++) {
      const { body } = await api.get('/environments', { query: { pageSize: '100', page: String(page) } });
      for (const environment of body.data) there.add(environment.id);
      if (!body.meta.pagination.hasNext) break;
    }
    assert.deepEqual(acknowledged.filter((id) => !there.has(id)), [], 'acknowledged before the backup');

    const artifact = await fetch(`${back.url}/api/v1/components/${component.id}/versions/${version.id}/artifact`, { headers: { authorization: `Bearer ${s.key}` } });
    assert.equal(artifact.status, 200);
    assert.equal(`sha256:${Buffer.from(await crypto.subtle.digest('SHA-256', await artifact.arrayBuffer())).toString('hex')}`, version.digest);

    const stream = new WsStream(back, streamOf(held), { token: s.key, query: { since: `${epoch}:${seen}` } });
    assert.equal((await stream.frame('gap')).reason, 'epoch');
    await stream.frame('snapshot');

    await agent.start({ server: back });
    gate.open();
    await reaches(api, held, 'succeeded');
    const verdict = await api.want(200, 'GET', '/audit-events/verify');
    assert.equal(verdict.valid, true, JSON.stringify(verdict));
    const entries = (await api.get('/audit-events', { query: { action: 'data.restored' } })).data;
    assert.equal(entries.length, 1);
  });

  test('goes into a Redis of yours as well', async () => {
    const redis = await new Redis(s.nest, 'target').start();
    const data = s.nest.file('yours');
    const blobs = s.nest.file('shared-blobs');
    const wrong = await tool('restore', '--data', data, '--redis', redis.url, '--from', folder);
    assert.match(wrong.stderr, /name a folder for them by --blobs/);
    const restored = await tool('restore', '--data', data, '--redis', redis.url, '--blobs', blobs, '--from', folder);
    assert.equal(restored.code, 0, restored.stderr);
    assert.ok(Number(await redis.command('DBSIZE')) > 40);

    const blind = await run(SLIPWAY, ['backup', '--data', data, '--redis', redis.url, '--blobs', blobs, '--to', s.nest.file('second')], { env: { PATH: '/nowhere' } });
    assert.deepEqual([blind.code, /no program redis-cli/.test(blind.stderr)], [1, true], blind.stderr);
    assert.ok(!fs.existsSync(s.nest.file('second.partial')), 'a backup that failed leaves nothing');
  });
});
