// Probes and figures, with Redis alive, frozen and gone; starts that cannot be; listening on a unix socket.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Nest, SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Wire } from '../lib/wire.mjs';

const ask = (wire, path) => wire.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).answer();

test('who comes while an instance starts waits for it, and is not refused', async () => {
  const s = await start({ name: 'doors', workers: 2, args: ['--drain-wait', '0'] });
  try {
    for (let turn = 0; turn < 3; turn++) {
      assert.deepEqual(await s.server.stop(), { code: 0, signal: null });
      const started = s.server.start();
      const answer = await eventually(async () => {
        try {
          return await s.api.get('/environments');
        } catch (error) {
          if (error.code === 'ECONNREFUSED') return false;
          throw error;
        }
      }, 'the port to be there');
      assert.equal(answer.status, 200, answer.text);
      await started;
    }
  } finally {
    await s.stop();
  }
});

describe('probes', () => {
  let s;
  let wire;
  before(async () => {
    s = await start({ name: 'health', workers: 2 });
    wire = await Wire.open(s.server);
  });
  after(() => s?.stop());

  test('a healthy instance lives, is started, and is ready', async () => {
    for (const [path, status] of [['/livez', 'ok'], ['/startupz', 'started'], ['/readyz', 'ready']]) {
      const answer = await ask(wire, path);
      assert.deepEqual([answer.status, answer.body], [200, { status }]);
      assert.equal(answer.headers['cache-control'], 'no-store');
    }
  });

  test('a frozen Redis makes it unready within two seconds, never dead', async () => {
    s.redis.process.signal('SIGSTOP');
    try {
      const asked = Date.now();
      const answer = await ask(wire, '/readyz');
      assert.equal(answer.status, 503);
      assert.equal(answer.body.error.code, 'SYS_STORAGE');
      assert.ok(answer.headers['retry-after']);
      assert.ok(Date.now() - asked < 5000, 'it answers although Redis does not');
      assert.equal((await ask(wire, '/livez')).status, 200);
      assert.equal((await ask(wire, '/startupz')).status, 200);
    } finally {
      s.redis.process.signal('SIGCONT');
    }
    await eventually(async () => (await ask(wire, '/readyz')).status === 200, 'the instance to be ready again');
  });

  test('a Redis that is gone makes it unready, never dead, and it comes back', async () => {
    await s.redis.kill();
    await eventually(async () => (await ask(wire, '/readyz')).status === 503, 'the instance to be unready');
    assert.equal((await ask(wire, '/livez')).status, 200);
    const { status, body } = await ask(wire, '/api/v1/environments');
    assert.deepEqual([status, body.success], [401, false], 'who asks without credentials needs no Redis to be refused');
    await s.redis.start();
    await eventually(async () => (await ask(wire, '/readyz')).status === 200, 'the instance to be ready again');
  });

  test('figures are in the text format of Prometheus and add up over the workers', async () => {
    await ask(wire, '/nowhere');
    const answer = await ask(wire, '/metrics');
    assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    const types = new Map();
    const values = new Map();
    let helped;
    for (const line of answer.text.trimEnd().split('\n')) {
      const help = /^# HELP (slipway_[a-z0-9_]+) (.+\.)$/.exec(line);
      const type = /^# TYPE (slipway_[a-z0-9_]+) (counter|gauge|histogram)$/.exec(line);
      const value = /^(slipway_[a-z0-9_]+?)(?:_bucket|_sum|_count)?(\{[a-z]+="[^"]*"\})? ([0-9.]+)$/.exec(line);
      if (help) helped = help[1];
      else if (type) {
        assert.equal(type[1], helped);
        assert.ok(!types.has(type[1]), `${type[1]} comes in one piece`);
        types.set(type[1], type[2]);
      } else {
        assert.ok(value, line);
        assert.ok(types.has(value[1]) || types.has(line.split(/[ {]/)[0]), line);
        values.set(line.slice(0, line.lastIndexOf(' ')), Number(value[3]));
      }
    }
    for (const [name, type] of types) assert.equal(name.endsWith('_total'), type === 'counter', name);
    assert.ok(values.get('slipway_connections') >= 1);
    assert.ok(values.get('slipway_http_requests_total{class="4xx"}') >= 1);
    const buckets = [...values].filter(([name]) => name.startsWith('slipway_http_request_seconds_bucket')).map(([, n]) => n);
    assert.deepEqual(buckets, [...buckets].sort((a, b) => a - b), 'buckets are cumulative');
    assert.equal(buckets.at(-1), values.get('slipway_http_request_seconds_count'));
  });
});

describe('a Redis that is dangerous', () => {
  let s, wire;
  before(async () => {
    s = await start({ name: 'hazards', workers: 2 });
    wire = await Wire.open(s.server);
  });
  after(() => s?.stop());

  const warnings = (answer) => (answer.body.warnings ?? answer.body.error.details.warnings).map((w) => w.hazard);
  const told = () => s.server.process.text().split('\n').filter((l) => l.includes('store.dangerous')).map((l) => /hazard=(\S+)/.exec(l)[1]);
  const settled = (status, ...hazards) => eventually(async () => {
    const answer = await ask(wire, '/readyz?verbose');
    return [answer.status === status && warnings(answer).join() === hazards.join(), answer.text];
  }, `/readyz to answer ${status} with ${hazards}`);

  test('is none of: all is well', async () => {
    const { status, body } = await ask(wire, '/readyz?verbose');
    assert.deepEqual([status, body.status, body.warnings], [200, 'ready', []]);
    assert.match(body.redisVersion, /^\d+\.\d+\.\d+$/);
    assert.deepEqual((await ask(wire, '/readyz')).body, { status: 'ready' });
    assert.deepEqual(told(), []);
  });

  test('because it writes its file late, or not at all, is told once in the log and by /readyz?verbose', async () => {
    await s.redis.kill();
    await s.redis.start('--appendfsync', 'everysec', '--no-appendfsync-on-rewrite', 'yes');
    await settled(200, 'redis-fsync', 'redis-rewrite');
    await s.redis.kill();
    await s.redis.start('--appendonly', 'no');
    await settled(200, 'redis-persistence');
    await eventually(() => told().length === 3, 'the log to tell all');
    assert.deepEqual(told().sort(), ['redis-fsync', 'redis-persistence', 'redis-rewrite'], 'once, not by each worker');
  });

  test('because it was told to evict makes the instance unready at once, and ready again when that is mended', async () => {
    await s.redis.kill();
    await s.redis.start();
    await settled(200);
    await s.redis.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    await settled(503, 'redis-eviction');
    assert.equal((await ask(wire, '/livez')).status, 200);
    await s.redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await settled(200);
  });
});

describe('a start', () => {
  let nest;
  before(() => (nest = new Nest('start')));
  after(() => nest.remove());

  const serve = (...args) => run(SLIPWAY, ['serve', '--data', nest.file('data'), '--redis', `unix:${nest.file('none.sock')}`, ...args], { env: { SLIPWAY_TEST_NEST: nest.dir } });

  test('on an address that is taken fails, with a sentence', async () => {
    const taken = http.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const at = `127.0.0.1:${taken.address().port}`;
    const { code, stderr } = await serve('--listen', at);
    taken.close();
    assert.equal(code, 1);
    assert.ok(stderr.includes(`slipway: ${at}: `), stderr);
  });

  test('on what is no address fails, with a sentence', async () => {
    const { code, stderr } = await serve('--listen', '127.0.0.1:99999');
    assert.equal(code, 1);
    assert.match(stderr, /^slipway: 127\.0\.0\.1:99999: /);
  });

  test('with a Redis URL that is none fails, with a sentence', async () => {
    const { code, stderr } = await serve('--listen', '127.0.0.1:0', '--redis', 'ftp://x');
    assert.equal(code, 1);
    assert.match(stderr, /slipway: redis: /);
  });

  test('with a Redis that is too old lives, is not ready, and says why', async () => {
    const path = nest.file('old.sock');
    const info = 'redis_version:6.2.14\r\nrole:master\r\n';
    const old = net.createServer((link) => link.on('error', () => {}).on('data', (bytes) => {
      for (const [, name] of bytes.toString('latin1').matchAll(/^\*\d+\r\n\$\d+\r\n(\w+)\r\n/gm))
        link.write(name === 'INFO' ? `$${info.length}\r\n${info}\r\n` : name === 'PING' ? '+PONG\r\n' : '-ERR unknown command\r\n');
    })).listen(path);
    try {
      const server = nest.start('modern', SLIPWAY, ['serve', '--listen', nest.file('modern.sock'), '--data', nest.file('modern'), '--workers', '1', '--redis', `unix:${path}`]);
      const get = (at) => new Promise((resolve, reject) => {
        http.get({ socketPath: nest.file('modern.sock'), path: at, agent: false }, async (answer) => {
          let text = '';
          for await (const piece of answer) text += piece;
          resolve({ status: answer.statusCode, text });
        }).on('error', reject);
      });
      const answer = await eventually(async () => {
        const got = await get('/readyz?verbose');
        return [/too old/.test(got.text), got];
      }, 'the instance to say why it is not ready');
      const { error } = JSON.parse(answer.text);
      assert.deepEqual([answer.status, error.code, error.details.redisVersion], [503, 'SYS_STORAGE', '6.2.14']);
      assert.ok(error.details.warnings.some((w) => w.hazard === 'redis-version'));
      assert.equal((await get('/livez')).status, 200);
      assert.match(server.text(), /store\.dangerous hazard=redis-version/);
      await server.kill();
    } finally {
      old.close();
    }
  });

  test('without a Redis it lives, is not ready, and ends in order', async () => {
    const socket = nest.file('http.sock');
    const server = nest.start('lonely', SLIPWAY, ['serve', '--listen', socket, '--data', nest.file('lonely'), '--workers', '2', '--redis', `unix:${nest.file('none.sock')}`]);
    const get = (path) => new Promise((resolve, reject) => {
      http.get({ socketPath: socket, path, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      }).on('error', reject);
    });
    await eventually(async () => (await get('/livez')) === 200, 'the server to live');
    assert.equal(await get('/readyz'), 503);
    assert.equal(await get('/startupz'), 503);
    assert.ok(!fs.existsSync(nest.file('lonely', 'listen')), 'it does not say that it can serve');
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assert.ok(!fs.existsSync(socket), 'the socket is gone');
  });
});
