// The bytes of versions: up and down, over real sockets, in both places where they may be kept.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { judgeAnswer } from '../lib/contract.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Wire } from '../lib/wire.mjs';

const MIB = 1 << 20;
const OCTETS = 'application/octet-stream';
const digestOf = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const serial = () => `a-${(serial.n = (serial.n ?? 0) + 1)}`;
const field = (answer) => [answer.status, answer.code ?? answer.body?.error?.code];

/** Files below a folder, as paths within it. */
function files(folder) {
  const found = [];
  for (const entry of fs.readdirSync(folder, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) found.push(path.join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1));
  return found;
}

for (const backend of ['files', 'redis']) describe(`artifacts kept in ${backend}`, () => {
  let s, api, folder, component;
  const args = () => ['--blobs', backend === 'redis' ? 'redis' : folder, '--artifact-max', '4MiB', '--blob-quota', '64MiB', '--blob-check', '200ms'];

  before(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'slipway-artifacts-'));
    s = await start({ name: `artifact-${backend}`, args: args() });
    api = s.api;
    component = (await api.want(201, 'POST', '/components', { name: serial() })).id;
  });
  after(async () => {
    await s?.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  /** A version whose digest is that of `bytes`; answers the path of its artifact. */
  async function version(bytes, of = component, client = api) {
    const made = await client.want(201, 'POST', `/components/${of}/versions`, { tag: serial(), digest: digestOf(bytes) });
    return `/components/${of}/versions/${made.id}/artifact`;
  }
  const put = (at, bytes, { client = api, headers } = {}) =>
    client.request('PUT', at, undefined, { raw: bytes, headers: { 'content-type': OCTETS, ...headers } });
  async function download(at, headers = {}, token = s.key) {
    const answer = await fetch(`${s.server.url}/api/v1${at}`, { headers: { authorization: `Bearer ${token}`, ...headers } });
    const bytes = Buffer.from(await answer.arrayBuffer());
    await judgeAnswer(s.server, 'GET', `/api/v1${at}`, {
      status: answer.status, headers: Object.fromEntries(answer.headers), text: bytes.toString('latin1'),
    });
    return { status: answer.status, headers: answer.headers, bytes };
  }
  const head = (at, more = '', token = s.key) =>
    `PUT /api/v1${at} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: ${OCTETS}\r\n${more}\r\n`;
  const books = async () => (await s.redis.command('KEYS', '*:bm:*')).length;
  /** What is kept: contents with bytes, and uploads that are not whole. */
  async function kept() {
    if (backend === 'redis') return { whole: (await s.redis.command('KEYS', '*:bc:*')).length, partial: 0 };
    const all = files(folder);
    const partial = all.filter((name) => name.startsWith('new/')).length;
    return { whole: all.length - partial, partial };
  }
  /** How many contents the books have; empty ones take no pieces in Redis. */
  async function expected() {
    const names = await s.redis.command('KEYS', '*:bm:*');
    if (backend === 'files') return names.length;
    const sizes = await Promise.all(names.map((name) => s.redis.command('HGET', name, 'size')));
    return sizes.filter((size) => size !== '0').length;
  }
  const settled = async () => {
    const [{ whole, partial }, wanted] = [await kept(), await expected()];
    return [whole === wanted && partial === 0, { whole, partial, wanted }];
  };

  test('come back as they went', async () => {
    const bytes = randomBytes(3 * MIB + 17);
    const at = await version(bytes);
    assert.deepEqual(field(await api.get(at)), [404, 'RES_NOT_FOUND']);
    const up = await put(at, bytes);
    assert.equal(up.status, 201, up.text);
    assert.deepEqual([up.data.size, up.data.contentHash, up.data.contentType], [bytes.length, digestOf(bytes), OCTETS]);
    const shown = await api.want(200, 'GET', at.replace('/artifact', ''));
    assert.deepEqual(shown.artifact, up.data);
    assert.equal(shown.size, bytes.length);
    const down = await download(at);
    assert.equal(down.status, 200);
    assert.equal(down.headers.get('etag'), `"${digestOf(bytes)}"`);
    assert.equal(down.headers.get('content-type'), OCTETS);
    assert.equal(down.headers.get('content-length'), String(bytes.length));
    assert.ok(down.bytes.equals(bytes));
    const same = await download(at, { 'if-none-match': `"${digestOf(bytes)}"` });
    assert.deepEqual([same.status, same.bytes.length], [304, 0]);
    const only = await api.request('HEAD', at);
    assert.deepEqual([only.status, only.headers['content-length'], only.text], [200, String(bytes.length), '']);
  });

  test('empty ones and those of exactly a piece, too', async () => {
    for (const size of [0, 1, 256 * 1024, 512 * 1024]) {
      const bytes = randomBytes(size);
      const at = await version(bytes);
      assert.equal((await put(at, bytes)).status, 201);
      const down = await download(at);
      assert.equal(down.status, 200, String(size));
      assert.ok(down.bytes.equals(bytes), String(size));
    }
  });

  test('the same bytes again change nothing', async () => {
    const bytes = randomBytes(MIB);
    const at = await version(bytes);
    await put(at, bytes);
    const before = await api.want(200, 'GET', at.replace('/artifact', ''));
    const wrote = await kept();
    const again = await put(at, bytes);
    assert.equal(again.status, 200, again.text);
    assert.deepEqual(again.data, before.artifact);
    assert.deepEqual(await api.want(200, 'GET', at.replace('/artifact', '')), before);
    assert.deepEqual(await kept(), wrote);
    assert.deepEqual(field(await put(at, randomBytes(MIB))), [422, 'REL_DIGEST_MISMATCH']);
    assert.ok((await download(at)).bytes.equals(bytes));
  });

  test('other bytes than the digest says are refused, with both digests, and not kept', async () => {
    const at = await version('what it should be');
    const wrong = randomBytes(600 * 1024);
    const answer = await put(at, wrong);
    assert.deepEqual(field(answer), [422, 'REL_DIGEST_MISMATCH']);
    assert.deepEqual(answer.error.details, { expected: digestOf('what it should be'), actual: digestOf(wrong), size: wrong.length });
    assert.equal((await api.get(at)).status, 404);
    await eventually(settled, 'nothing of it to be left');
    assert.equal((await put(at, 'what it should be')).status, 201);
  });

  test('what is longer than the limit is refused before it is sent, or when it is found out', async () => {
    const at = await version('x');
    const wire = await Wire.open(s.server);
    wire.send(head(at, `Expect: 100-continue\r\nContent-Length: ${4 * MIB + 1}\r\n`));
    assert.deepEqual(field(await wire.answer()), [413, 'RES_BODY_TOO_LARGE']); // and no 100 before it
    await wire.closed();
    const chunked = await Wire.open(s.server);
    chunked.send(head(at, 'Transfer-Encoding: chunked\r\n'));
    const piece = Buffer.alloc(256 * 1024);
    for (let i = 0; i < 17; i++) chunked.send(`${piece.length.toString(16)}\r\n`, piece, '\r\n');
    assert.deepEqual(field(await chunked.answer()), [413, 'RES_BODY_TOO_LARGE']);
    chunked.close();
    await eventually(settled, 'nothing of it to be left');
  });

  test('chunks of any size make one body, after a 100', async () => {
    const bytes = randomBytes(300 * 1024);
    const at = await version(bytes);
    const wire = await Wire.open(s.server);
    wire.send(head(at, 'Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n'));
    assert.equal((await wire.answer()).status, 100);
    for (let at = 0, step = 1; at < bytes.length; at += step, step = Math.min(step * 3, 100_000)) {
      const piece = bytes.subarray(at, at + step);
      wire.send(`${piece.length.toString(16)}\r\n`, piece, '\r\n');
    }
    wire.send('0\r\n\r\n', `GET /api/v1${at} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${s.key}\r\n\r\n`);
    assert.equal((await wire.answer()).status, 201);
    const down = await wire.answer(); // the next request on the connection
    assert.equal(down.status, 200);
    assert.equal(Number(down.headers['content-length']), bytes.length);
    wire.close();
  });

  test('a client that goes away leaves nothing', async () => {
    const bytes = randomBytes(2 * MIB);
    const at = await version(bytes);
    const wire = await Wire.open(s.server);
    wire.send(head(at, `Content-Length: ${bytes.length}\r\n`), bytes.subarray(0, MIB));
    await eventually(async () => {
      const { whole, partial } = await kept();
      return partial > 0 || whole > await expected();
    }, 'the upload to be under way');
    wire.close();
    await eventually(settled, 'it to be gone');
    assert.equal((await api.get(at)).status, 404);
  });

  test('a client that sends nothing for long is told so', async () => {
    const bytes = randomBytes(2 * MIB);
    const at = await version(bytes);
    const wire = await Wire.open(s.server);
    wire.send(head(at, `Content-Length: ${bytes.length}\r\n`), bytes.subarray(0, MIB)); // what came fast buys no time
    assert.deepEqual(field(await wire.answer()), [408, 'RES_REQUEST_TIMEOUT']);
    await wire.closed();
    await eventually(settled, 'it to be gone');
  });

  test('many at once of one content end with one of it', async () => {
    const bytes = randomBytes(700 * 1024);
    const used = Number(await usage()) || 0;
    const places = await Promise.all(Array.from({ length: 6 }, () => version(bytes)));
    const answers = await Promise.all([...places, ...places].map((at) => put(at, bytes)));
    assert.deepEqual(answers.map((a) => a.status).filter((status) => status !== 201 && status !== 200), []);
    for (const at of places) assert.ok((await download(at)).bytes.equals(bytes));
    await eventually(settled, 'one of it to be left');
    assert.equal(Number(await usage()) - used, bytes.length);
  });

  test('many at once of different contents are all counted', async () => {
    const used = Number(await usage()) || 0;
    const all = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
      const bytes = randomBytes(1000 + i);
      return { bytes, at: await version(bytes) };
    }));
    const answers = await Promise.all(all.map(({ at, bytes }) => put(at, bytes)));
    assert.deepEqual(answers.map((a) => a.status), all.map(() => 201));
    assert.equal(Number(await usage()) - used, all.reduce((sum, { bytes }) => sum + bytes.length, 0));
  });

  async function usage() {
    const [key] = await s.redis.command('KEYS', '*:bu:*');
    return key && s.redis.command('HGET', key, 'bytes');
  }

  test('who may not is told before the body is asked for', async () => {
    const at = await version('y');
    const reader = await s.makeKey('--tenant', 'default', '--role', 'viewer');
    const wire = await Wire.open(s.server);
    wire.send(head(at, 'Expect: 100-continue\r\nContent-Length: 1\r\n', reader));
    assert.deepEqual(field(await wire.answer()), [403, 'PERM_DENIED']);
    const stranger = await Wire.open(s.server);
    stranger.send(head(at, 'Expect: 100-continue\r\nContent-Length: 1\r\n', 'slp_none'));
    assert.equal((await stranger.answer()).status, 401);
    wire.close();
    stranger.close();
    assert.equal((await put(at, 'y')).status, 201);
    assert.equal((await download(at, {}, reader)).status, 200);
    const other = await s.makeKey('--tenant', 'default', '--permissions', 'component:read');
    assert.equal((await download(at, {}, other)).status, 403);
    assert.deepEqual(field(await put(at, 'y', { headers: { 'content-type': 'text/plain' } })), [415, 'RES_UNSUPPORTED_MEDIA_TYPE']);
  });

  test('agents may download them', async () => {
    const at = await version('for an agent');
    await put(at, 'for an agent');
    const { token } = await api.want(201, 'POST', '/admin/agent-tokens', {});
    const agent = await api.want(201, 'POST', '/agents/register', { name: serial(), version: '1.0.0', capabilities: ['host'] },
      { headers: { 'x-agent-token': token, authorization: null } });
    const down = await download(at, {}, agent.token);
    assert.deepEqual([down.status, down.bytes.toString()], [200, 'for an agent']);
  });

  test('tenants neither see nor share them', async () => {
    const bytes = randomBytes(5000);
    const other = api.as(await s.makeKey('--tenant', `other-${backend}`, '--role', 'admin'));
    const at = await version(bytes);
    await put(at, bytes);
    assert.equal((await other.get(at)).status, 404);
    assert.equal((await put(at, bytes, { client: other })).status, 404);
    const before = await kept();
    const theirs = (await other.want(201, 'POST', '/components', { name: serial() })).id;
    const mine = await version(bytes, theirs, other);
    assert.equal((await put(mine, bytes, { client: other })).status, 201);
    assert.equal((await kept()).whole, before.whole + 1);
    assert.ok((await download(mine, {}, other.token)).bytes.equals(bytes));
    assert.equal((await api.get(mine)).status, 404);
  });

  test('a tenant keeps no more than its quota', async () => {
    const small = await s.addServer({ args: ['--workers', '1', ...args(), '--blob-quota', '1MiB'] });
    const tenant = await s.makeKey('--tenant', `small-${backend}`, '--role', 'admin');
    const client = small.client(tenant);
    const own = (await client.want(201, 'POST', '/components', { name: serial() })).id;
    const [one, two] = [randomBytes(700 * 1024), randomBytes(700 * 1024)];
    assert.equal((await put(await version(one, own, client), one, { client })).status, 201);
    const at = await version(two, own, client);
    assert.deepEqual(field(await put(at, two, { client })), [422, 'RES_QUOTA_EXCEEDED']);
    const wire = await Wire.open(small); // who does not say how long it is finds out at the end
    wire.send(head(at, 'Transfer-Encoding: chunked\r\n', tenant), `${two.length.toString(16)}\r\n`, two, '\r\n0\r\n\r\n');
    assert.deepEqual(field(await wire.answer()), [422, 'RES_QUOTA_EXCEEDED']);
    wire.close();
    await eventually(settled, 'nothing of it to be left');
    await small.stop();
  });

  test('what nobody refers to any more is removed, and only that', async () => {
    const bytes = randomBytes(4000);
    const [one, two] = [await version(bytes), await version(bytes)];
    await put(one, bytes);
    await put(two, bytes);
    const id = (at) => at.split('/').at(-2);
    const count = await books();
    await s.redis.command('DEL', (await s.redis.command('KEYS', `*:d:*:version:${id(one)}`))[0]);
    const book = (await s.redis.command('KEYS', `*:bm:*:${digestOf(bytes).slice(7)}`))[0];
    await eventually(async () => (await s.redis.command('HEXISTS', book, `r:version:${id(one)}`)) === 0, 'the first to be forgotten');
    assert.ok((await download(two)).bytes.equals(bytes));
    await s.redis.command('DEL', (await s.redis.command('KEYS', `*:d:*:version:${id(two)}`))[0]);
    await eventually(async () => (await books()) === count - 1, 'the content to be removed');
    await eventually(settled, 'its bytes to be gone');
    const again = await version(bytes); // and it can come back
    assert.equal((await put(again, bytes)).status, 201);
    assert.ok((await download(again)).bytes.equals(bytes));
  });

  test('bytes that were lost can be brought again', async () => {
    const bytes = randomBytes(9000);
    const at = await version(bytes);
    await put(at, bytes);
    const book = (await s.redis.command('KEYS', `*:bm:*:${digestOf(bytes).slice(7)}`))[0];
    const id = await s.redis.command('HGET', book, 'id');
    if (backend === 'redis') await s.redis.command('DEL', (await s.redis.command('KEYS', `*:bc:*:${id}`))[0]);
    else fs.rmSync(path.join(folder, files(folder).find((name) => name.endsWith(id))));
    assert.deepEqual(field(await api.get(at)), [404, 'RES_NOT_FOUND']);
    assert.equal((await put(at, bytes)).status, 201);
    assert.ok((await download(at)).bytes.equals(bytes));
  });

  test('a reader that is slow gets it all, and the next answer behind it', async () => {
    const bytes = randomBytes(4 * MIB);
    const at = await version(bytes);
    await put(at, bytes);
    const wire = await Wire.open(s.server);
    wire.socket.pause();
    const get = `GET /api/v1${at} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${s.key}\r\n\r\n`;
    wire.send(get, get.replace(at, '/components'));
    await eventually(() => api.get('/components'), 'another answer meanwhile');
    wire.socket.resume();
    const end = await wire.until(() => (wire.bytes.indexOf('\r\n\r\n') > 0 ? wire.bytes.indexOf('\r\n\r\n') + 4 : undefined), 'a head');
    wire.take(end);
    wire.asked.next(); // read by hand
    assert.ok((await wire.read(bytes.length)).equals(bytes));
    assert.equal((await wire.answer()).status, 200);
    wire.close();
  });

  test('they outlive a restart; what was on its way is finished first', async () => {
    const bytes = randomBytes(2 * MIB);
    const at = await version(bytes);
    const wire = await Wire.open(s.server);
    wire.send(head(at, `Content-Length: ${bytes.length}\r\n`), bytes.subarray(0, MIB));
    await eventually(async () => !(await settled())[0], 'the upload to be under way');
    const ended = s.server.stop();
    wire.send(bytes.subarray(MIB));
    assert.equal((await wire.answer()).status, 201);
    await ended;
    await s.server.start();
    assert.ok((await download(at)).bytes.equals(bytes));
  });

  test('a server that is killed in the middle of one leaves no half of it', async () => {
    const bytes = randomBytes(2 * MIB);
    const at = await version(bytes);
    const wire = await Wire.open(s.server);
    wire.send(head(at, `Content-Length: ${bytes.length}\r\n`), bytes.subarray(0, MIB));
    await eventually(async () => !(await settled())[0], 'the upload to be under way');
    await s.server.kill();
    await wire.closed();
    await s.server.start();
    assert.deepEqual(field(await api.get(at)), [404, 'RES_NOT_FOUND']);
    assert.equal((await put(at, bytes)).status, 201);
    assert.ok((await download(at)).bytes.equals(bytes));
  });

  if (backend === 'files') test('a file that no book names is removed after an hour', async () => {
    const [tenant] = files(folder).find((name) => !name.startsWith('new/')).split('/');
    const digits = digestOf('nobody').slice(7);
    const at = path.join(folder, tenant, digits.slice(0, 2), `${digits}.0190a5b0-0000-7000-8000-0000000000ab`);
    fs.mkdirSync(path.dirname(at), { recursive: true });
    fs.writeFileSync(at, 'nobody');
    const hours = new Date(Date.now() - 2 * 3600 * 1000);
    fs.utimesSync(at, hours, hours);
    const count = files(folder).length;
    await eventually(() => !fs.existsSync(at), 'the orphan to be removed');
    assert.equal(files(folder).length, count - 1);
  });
});

describe('a version that only says where its artifact is', () => {
  let s, api, site, component;
  before(async () => {
    s = await start({ name: 'artifact-url', args: ['--outbound-allow', '127.0.0.0/8', '--artifact-max', '1MiB'] });
    api = s.api;
    site = http.createServer((request, response) => {
      if (request.url === '/gone') response.writeHead(404);
      response.end(request.url === '/large' ? Buffer.alloc(2 * MIB) : 'a small web site');
    });
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
    component = (await api.want(201, 'POST', '/components', { name: serial() })).id;
  });
  after(async () => {
    site?.close();
    await s?.stop();
  });
  const at = (name) => `http://127.0.0.1:${site.address().port}/${name}`;
  const add = (body) => api.post(`/components/${component}/versions`, { tag: serial(), ...body });

  test('gets its digest from there', async () => {
    const made = await add({ artifactUrl: at('site.tar') });
    assert.equal(made.status, 201, made.text);
    const bytes = 'a small web site';
    assert.deepEqual([made.data.digest, made.data.size, made.data.artifactUrl], [digestOf(bytes), bytes.length, at('site.tar')]);
    assert.equal(made.data.reference, `${made.data.tag}@${digestOf(bytes)}`);
    assert.equal(made.data.artifact, undefined);
  });

  test('is refused when it cannot be had, is too large, or is nowhere', async () => {
    for (const name of ['gone', 'large']) assert.deepEqual(field(await add({ artifactUrl: at(name) })), [422, 'REL_ARTIFACT_UNREACHABLE'], name);
    assert.deepEqual(field(await add({ artifactUrl: 'http://10.0.0.1/guarded' })), [422, 'REL_ARTIFACT_UNREACHABLE']);
    assert.deepEqual(field(await add({})), [400, 'VAL_FAILED']);
  });
});
