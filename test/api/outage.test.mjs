// The store fails: every request gets an honest 503, and everything works again once the store does.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RedisProxy } from '../lib/proxy.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s;

before(async () => {
  s = await start({ name: 'outage', workers: 2 });
  await s.api.want(201, 'POST', '/environments', { name: 'kept', orderIndex: 1 });
});
after(() => s?.stop());

function unavailable(answer) {
  assert.equal(answer.status, 503, answer.text);
  assert.equal(answer.code, 'SYS_STORAGE');
  assert.ok(Number(answer.headers['retry-after']) >= 1);
}

const works = async () => (await s.api.get('/environments')).status === 200;

test('a store without memory refuses changes that grow with 503, and takes them again', async () => {
  const used = Number(/used_memory:(\d+)/.exec(await s.redis.command('INFO', 'memory'))[1]);
  const again = { name: 'again', orderIndex: 5 }, key = { headers: { 'idempotency-key': 'again' } };
  await s.redis.command('CONFIG', 'SET', 'maxmemory', String(Math.floor(used / 2)));
  try {
    const answer = await eventually(async () => {
      const got = await s.api.post('/environments', { name: 'too-much', orderIndex: 2 });
      return got.status === 503 && got;
    }, 'the store to refuse');
    unavailable(answer);
    unavailable(await s.api.post('/environments', again, key));
  } finally {
    await s.redis.command('CONFIG', 'SET', 'maxmemory', '0');
  }
  assert.equal((await s.api.post('/environments', again, key)).status, 201, 'what was refused can be asked for again at once');
  await eventually(works, 'the store to take reads again');
  await eventually(async () => (await s.api.post('/environments', { name: 'enough-again', orderIndex: 3 })).status === 201, 'the store to take changes again');
});

for (const [what, break_, mend] of [
  ['lacks its replicas', ['CONFIG', 'SET', 'min-replicas-to-write', '1'], ['CONFIG', 'SET', 'min-replicas-to-write', '0']],
  ['became a replica', ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
])
  test(`a store that ${what} answers 503, and takes changes again`, async () => {
    const name = what.replaceAll(' ', '-');
    await s.redis.command(...break_);
    try {
      unavailable(await s.api.post('/environments', { name, orderIndex: 50 }));
      assert.equal((await s.server.client().get('/livez', { absolute: true })).status, 200);
    } finally {
      await s.redis.command(...mend);
    }
    const made = await eventually(async () => {
      const got = await s.api.post('/environments', { name });
      return got.status === 201 && got;
    }, 'the store to take changes again');
    assert.equal(made.data.name, name);
  });

test('a store that is gone answers 503, liveness stays, and it comes back without a restart', async () => {
  await s.redis.kill();
  unavailable(await eventually(async () => {
    const got = await s.api.get('/environments');
    return got.status === 503 && got;
  }, 'the loss to be noticed'));
  for (let i = 0; i < 20; i++) unavailable(await s.server.client(s.key).get('/environments'));
  unavailable(await s.api.post('/environments', { name: 'never', orderIndex: 4 }));
  const alive = await s.server.client().get('/livez', { absolute: true });
  assert.equal(alive.status, 200);
  const ready = await s.server.client().get('/readyz', { absolute: true });
  assert.equal(ready.status, 503);
  await s.redis.start();
  await eventually(works, 'the store to be back');
  const names = (await s.api.get('/environments')).data.map((e) => e.name);
  assert.ok(names.includes('kept'));
  assert.ok(!names.includes('never'));
});

test('a change that was lost on its way to Redis can be asked for again within seconds, by its key', async () => {
  const proxy = await new RedisProxy(s.nest, s.redis.socket, 'forgetful').start();
  const behind = new Server(s, 'behind', { args: ['--workers', '1', '--redis', proxy.url] });
  s.servers.push(behind);
  await behind.start();
  try {
    const post = () => behind.client(s.key).post('/environments', { name: 'lost', orderIndex: 90 }, { headers: { 'idempotency-key': 'lost' } });
    proxy.loses = (piece) => piece.includes('commit_1'); // the claim has been made by then
    unavailable(await post());
    proxy.loses = undefined;
    const refused = Date.now();
    await eventually(async () => {
      const answer = await post();
      return [answer.status === 201, `${answer.status} ${answer.code}`];
    }, 'the change to be made', { every: 250 });
    assert.ok(Date.now() - refused < 8000, `made after ${Date.now() - refused} ms`);
    assert.equal((await s.api.get('/environments', { query: { name: 'lost' } })).data.length, 1);
  } finally {
    proxy.stop();
    await behind.kill();
  }
});

test('another keyring is refused at the start, with a reason', async () => {
  const { default: fs } = await import('node:fs');
  const other = s.nest.file('other-data');
  fs.mkdirSync(other);
  const started = s.nest.start('stranger', (await import('../lib/process.mjs')).SLIPWAY,
    ['serve', '--listen', '127.0.0.1:0', '--data', other, '--redis', s.redisUrl, '--workers', '1']);
  const { code } = await eventually(() => started.exited, 'the stranger to refuse');
  assert.equal(code, 1);
  assert.match(started.tail?.() ?? fs.readFileSync(s.nest.file('stranger.log'), 'utf8'), /keyring/);
});
