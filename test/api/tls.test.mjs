// The TLS listener: what it speaks and what it refuses, beside stalled handshakes, across a new certificate.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { freePort } from '../lib/balancer.mjs';
import { makeCertificate } from '../lib/certificate.mjs';
import { Client } from '../lib/http.mjs';
import { Nest, SLIPWAY } from '../lib/process.mjs';
import { Redis } from '../lib/redis.mjs';
import { holding, reaches, run, script, streamOf } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';
import { eventually, within } from '../lib/wait.mjs';

const HANDSHAKE_MS = 3000;

let s, files, first, port, secure;

/** The server as TLS clients see it that trust in `certificates`. */
const seenBy = (...certificates) =>
  Object.create(s.server, { port: { value: port }, tls: { value: { ca: certificates.map((c) => c.pem) } }, url: { value: `https://127.0.0.1:${port}` } });

before(async () => {
  files = new Nest('tls-files');
  first = await makeCertificate(files, 'server');
  s = await start({
    name: 'tls', workers: 2,
    args: ['--tls-listen', '127.0.0.1:0', '--tls-cert', first.cert, '--tls-key', first.key, '--tls-handshake-timeout', `${HANDSHAKE_MS}ms`, '--test-endpoints'],
  });
  port = Number(fs.readFileSync(`${s.server.data}/listen.tls`, 'utf8').trim().split(':').at(-1));
  secure = seenBy(first);
});
after(async () => {
  await s?.stop();
  await files?.remove();
});

/** A TLS connection; rejects when the handshake fails. */
async function connect(options = {}) {
  const socket = tls.connect({ host: '127.0.0.1', port, ca: first.pem, ...options });
  socket.on('error', () => {}); // who waits is told; what comes later is no matter
  await within(new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  }), 'a TLS handshake');
  return socket;
}

const refused = async (options, what) => assert.rejects(connect(options), (error) => error.name !== 'Unmet', what);
const figure = async (name) => Number(new RegExp(`^slipway_${name.replace(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec((await s.api.request('GET', '/metrics', undefined, { absolute: true, unjudged: 'text' })).text)?.[1]);

describe('what it speaks', () => {
  test('REST and streams go over TLS as they do without', async () => {
    const api = new Client(secure, s.key);
    const made = await api.want(201, 'POST', '/environments', { name: 'over-tls' });
    assert.deepEqual(await s.api.want(200, 'GET', `/environments/${made.id}`), made);
    const r = await holding(api);
    const stream = new WsStream(secure, streamOf(r), { token: s.key });
    await stream.frame('synced');
    await r.release();
    assert.equal((await stream.frame('workflow_completed')).status, 'cancelled');
    await stream.ended();
  });

  test('a large body comes back as it was sent', async () => {
    const text = randomBytes(450_000).toString('hex');
    const answer = await new Client(secure).request('POST', '/_test/http', undefined, { absolute: true, raw: text, headers: { 'content-type': 'text/plain' }, unjudged: 'an echo' });
    assert.equal(answer.status, 200);
    assert.ok(answer.text === text);
  });

  test('TLS 1.2 with ECDHE and AEAD, http/1.1', async () => {
    const socket = await connect({ ALPNProtocols: ['h2', 'http/1.1'] });
    assert.match(socket.getProtocol(), /^TLSv1\.[23]$/);
    assert.match(socket.getCipher().standardName, /^TLS_(ECDHE_ECDSA_WITH_)?(AES_128_GCM|AES_256_GCM|CHACHA20_POLY1305)_SHA/);
    assert.equal(socket.alpnProtocol, 'http/1.1');
    socket.destroy();
  });

  test('a ticket resumes a session at whichever worker', async () => {
    const socket = await connect({ maxVersion: 'TLSv1.2' });
    const session = socket.getSession();
    assert.equal(socket.isSessionReused(), false);
    socket.destroy();
    for (let i = 0; i < 8; i++) {
      const again = await connect({ maxVersion: 'TLSv1.2', session });
      assert.equal(again.isSessionReused(), true);
      again.destroy();
    }
  });

  test('nobody is told to come by TLS alone while public-url is not https', async () => {
    assert.equal((await new Client(secure, s.key).get('/environments')).headers['strict-transport-security'], undefined);
  });

  test('an agent and a watcher work through it, with the certificate they are given alone', async () => {
    const agent = await s.addAgent('tls-agent', { args: ['--url', secure.url, '--ca', first.cert] });
    const r = await run(s.api, [script('build', 'mkdir artifacts; printf built > artifacts/out.txt; echo done')]);
    const key = s.nest.file('key');
    fs.writeFileSync(key, s.key, { mode: 0o600 });
    const watch = (name, ca) => s.nest.start(name, SLIPWAY, ['watch', 'run', r.id, '--url', secure.url, '--ca', ca, '--key-file', key]);
    const watching = watch('watch', first.cert);
    assert.equal((await watching.ended()).code, 0, watching.text());
    assert.match(watching.text(), /^build +\| done$/m);
    await reaches(s.api, r, 'succeeded');
    const left = await s.api.want(200, 'GET', `/workflow-runs/${r.id}/steps/build/artifacts`);
    assert.deepEqual(left.map((f) => [f.name, f.size]), [['out.txt', 5]]); // brought by the task's own process
    const stranger = await makeCertificate(files, 'stranger');
    const distrusting = watch('distrust', stranger.cert);
    await eventually(() => distrusting.text().includes('of nobody we trust'), 'the watcher to say why it does not connect');
    await distrusting.kill();
    await agent.stop();
  });
});

describe('what it refuses', () => {
  const old = 'DEFAULT:@SECLEVEL=0';

  test('older versions, other suites, other protocols', async () => {
    await refused({ minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: old }, 'TLS 1.0');
    await refused({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: old }, 'TLS 1.1');
    for (const ciphers of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES128-CCM', 'AES128-GCM-SHA256', 'DHE-RSA-AES128-GCM-SHA256'])
      await refused({ maxVersion: 'TLSv1.2', ciphers }, ciphers);
    await refused({ ALPNProtocols: ['h2'] }, 'HTTP/2 alone');
  });

  test('renegotiation, and goes on with others', async () => {
    const socket = await connect({ maxVersion: 'TLSv1.2' });
    const told = new Promise((resolve) => socket.once('error', resolve));
    socket.renegotiate({}, () => {});
    assert.equal((await within(told, 'an answer to renegotiation')).code, 'ERR_SSL_NO_RENEGOTIATION');
    socket.destroy();
    (await connect()).destroy();
  });

  const answerTo = async (bytes) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    let got = '';
    socket.on('data', (piece) => (got += piece));
    socket.write(bytes);
    const [failed] = await within(once(socket, 'close'), 'the plain connection to be closed');
    assert.equal(failed, false);
    return got;
  };

  test('HTTP without TLS, in its own words', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/livez`);
    assert.equal(answer.status, 400);
    assert.match(answer.headers.get('content-type'), /^text\/plain/);
    assert.match(await answer.text(), /^This port speaks HTTP over TLS alone: use https:.*\n$/);
    assert.match(await answerTo('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc'), /^HTTP\/1\.1 400 /);
  });

  test('anything else, with a clean end', async () => {
    assert.equal(await answerTo('\x80\x2e\x01\x00\x02'), '');
    assert.equal(await answerTo('\r\n\r\n'), '');
  });
});

test('a hundred stalled handshakes delay nobody and are cut at the deadline', async () => {
  const before = await figure('tls_handshakes_total{result="late"}');
  const began = Date.now();
  const stalled = await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    if (i % 2) socket.write(Buffer.from([0x16, 3, 1, 0, 200, 1])); // the beginning of a ClientHello
    return once(socket.resume(), 'close').then(() => Date.now() - began);
  }));
  const times = [];
  for (let i = 0; i < 3; i++) {
    const asked = Date.now();
    (await connect()).destroy();
    times.push(Date.now() - asked);
  }
  assert.ok(Math.min(...times) < 1000, `handshakes beside stalled ones took ${times} ms`);
  const ends = await within(Promise.all(stalled), 'the stalled handshakes to be cut');
  assert.ok(Math.min(...ends) > HANDSHAKE_MS / 2, `cut after ${Math.min(...ends)} ms`);
  await eventually(async () => (await figure('tls_handshakes_total{result="late"}')) - before === 100, 'the figure of late handshakes');
});

describe('a new certificate', () => {
  const shown = async (ca) => {
    const socket = await connect({ ca });
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  const reload = () => s.server.process.signal('SIGHUP');
  const log = () => s.server.process.text();

  test('is taken on SIGHUP by new connections while a stream goes on with the old one', async () => {
    const r = await holding(s.api);
    const stream = new WsStream(secure, streamOf(r), { token: s.key });
    await stream.frame('synced');
    const second = await makeCertificate(files, 'second', { days: 3 });
    const both = [first.pem, second.pem];
    fs.copyFileSync(second.cert, first.cert);
    fs.copyFileSync(second.key, first.key);
    fs.chmodSync(first.key, 0o644);
    reload();
    await eventually(async () => (await shown(both)) === second.fingerprint, 'the new certificate to be shown');
    assert.match(log(), /tls\.key_open .*everybody on this host can read the key/);
    assert.match(log(), /tls\.expires .*days=[23]\b/);
    await eventually(async () => Math.abs((await figure('tls_certificate_expiry_seconds')) - Date.now() / 1000 - 3 * 86400) < 3600, 'the figure of its end');

    fs.writeFileSync(first.cert, 'no certificate');
    reload();
    await eventually(() => /tls\.refused .*certificate cannot be read/.test(log()), 'the bad certificate to be refused in the log');
    fs.copyFileSync(second.cert, first.cert);
    fs.copyFileSync(files.file('stranger.key'), first.key);
    reload();
    await eventually(() => /tls\.refused .*key is not the certificate's/.test(log()), 'the wrong key to be refused in the log');
    assert.equal(await shown(both), second.fingerprint);
    assert.ok(!log().includes('PRIVATE'));

    await r.release();
    assert.equal((await stream.frame('workflow_completed')).status, 'cancelled');
    await stream.ended();
  });

  test('and an orderly end tells streams over TLS as it tells others', async () => {
    const r = await holding(s.api);
    const second = { pem: fs.readFileSync(files.file('second.crt'), 'utf8') };
    const stream = new WsStream(seenBy(second), streamOf(r), { token: s.key });
    await stream.frame('synced');
    const ended = s.server.stop();
    await stream.frame('drain');
    assert.equal((await stream.ended()).code, 1012);
    assert.deepEqual(await ended, { code: 0, signal: null });
  });
});

describe('two instances of one keyring', () => {
  let pair;
  after(() => pair?.stop());

  test('resume each other\'s sessions, across a restart too', async () => {
    const made = await makeCertificate(files, 'pair');
    const args = ['--tls-listen', '127.0.0.1:0', '--tls-cert', made.cert, '--tls-key', made.key, '--public-url', 'https://127.0.0.1', '--tls-hsts', '2h'];
    pair = await start({ name: 'tls-pair', workers: 1, instances: 2, args });
    const at = (server) => Number(fs.readFileSync(`${server.data}/listen.tls`, 'utf8').trim().split(':').at(-1));
    const to = (server, session) => connect({ port: at(server), ca: made.pem, maxVersion: 'TLSv1.2', session });
    const socket = await to(pair.servers[0]);
    const session = socket.getSession();
    socket.destroy();
    const resumes = async (server) => {
      const again = await to(server, session);
      const reused = again.isSessionReused();
      again.destroy();
      return reused;
    };
    assert.equal(await resumes(pair.servers[1]), true);
    await pair.servers[1].kill();
    await pair.servers[1].start();
    assert.equal(await resumes(pair.servers[1]), true);
  });

  test('tell those that come by TLS, and them alone, to come by TLS again', async () => {
    const [server] = pair.servers;
    const said = async (as) => (await new Client(as, pair.key).get('/environments')).headers['strict-transport-security'];
    const over = Object.create(server, { port: { value: Number(fs.readFileSync(`${server.data}/listen.tls`, 'utf8').trim().split(':').at(-1)) }, tls: { value: { ca: [fs.readFileSync(files.file('pair.crt'), 'utf8')] } } });
    assert.equal(await said(over), 'max-age=7200');
    assert.equal(await said(server), undefined);
  });
});

describe('a start', () => {
  const begin = (...args) => {
    const program = files.start(`start-${args.length}`, SLIPWAY, ['serve', '--listen', '127.0.0.1:0', '--data', files.file('data'), '--redis', `unix:${files.file('none')}`, ...args]);
    return program.ended().then(({ code }) => [code, program.text()]);
  };

  test('without certificate or with a bad one says so and ends', async () => {
    const [code, text] = await begin('--tls-listen', '127.0.0.1:0');
    assert.equal(code, 1);
    assert.match(text, /--tls-listen wants --tls-cert and --tls-key/);
    const [other, why] = await begin('--tls-listen', '127.0.0.1:0', '--tls-cert', files.file('none.crt'), '--tls-key', files.file('server.key'));
    assert.equal(other, 1);
    assert.match(why, /none\.crt.*No such file/);
  });
});

test('Redis may be spoken to over TLS, if it is to be trusted', async () => {
  const { cert, key } = await makeCertificate(files, 'redis');
  const stranger = await makeCertificate(files, 'no-redis');
  let redis, port;
  for (let up = false; !up;) { // until nobody else has the port
    port = await freePort();
    redis = new Redis(files, `redis-${port}`);
    const started = redis.start('--tls-port', String(port), '--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert, '--tls-auth-clients', 'no');
    up = await Promise.race([started.then(() => true), redis.process.exit.then(() => false)]);
    started.catch(() => {});
  }
  const other = await start({ name: 'rediss', workers: 1, redis: `rediss://localhost:${port}/0?ca=${cert}` });
  try {
    const made = await other.api.want(201, 'POST', '/environments', { name: 'in-redis-over-tls' });
    const r = await holding(other.api);
    const stream = new WsStream(other.server, streamOf(r), { token: other.key });
    await stream.frame('synced');
    await r.release();
    await stream.frame('workflow_completed'); // heard by the subscriber's connection
    assert.equal((await other.api.want(200, 'GET', `/environments/${made.id}`)).name, 'in-redis-over-tls');
  } finally {
    await other.stop();
  }
  const distrusting = files.start('distrusting', SLIPWAY, ['serve', '--listen', '127.0.0.1:0', '--data', files.file('distrusting-data'), '--redis', `rediss://localhost:${port}/0?ca=${stranger.cert}`]);
  await eventually(() => distrusting.text().includes('of nobody we trust'), 'the server to say why it does not talk to Redis');
  await distrusting.kill();
});
