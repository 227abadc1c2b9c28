// The live stream when things go wrong: hints lost, Redis away, readers too slow, tokens over, instances going away.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HostAgent, jobOf, jobReaches, jobStream, makeEstate, makeRelease, promote, runOf } from '../lib/deployment.mjs';
import { RedisProxy } from '../lib/proxy.mjs';
import { Gate, holding, reaches, run, script, streamOf } from '../lib/run.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

const oneTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
const count = (n) => `i=0; while [ $i -lt ${n} ]; do i=$((i+1)); echo $i; done`;
const counted = (n) => oneTo(n).map((i) => `${i}\n`).join('');

describe('with a network that loses things', () => {
  let s, proxy, behind;
  before(async () => {
    s = await start({ name: 'lossy' });
    proxy = await new RedisProxy(s.nest, s.redis.socket).start();
    // A second instance that reaches Redis through the proxy; runs and agents are the first one's.
    behind = new Server(s, 'behind', { args: ['--workers', '2', '--redis', proxy.url] });
    s.servers.push(behind);
    await behind.start();
    await s.addAgent();
  });
  after(async () => {
    proxy?.stop();
    await s?.stop();
  });

  test('lost hints cost time, never events', async () => {
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('count', `echo ready; ${gate.shell}; ${count(200)}`)]);
    const stream = new WsStream(behind, streamOf(r), { token: s.key, query: { since: '0' } });
    await stream.frame('step_log', (f) => f.line === 'ready');
    proxy.deaf = true;
    try {
      gate.open();
      assert.equal((await stream.ended()).code, 1000);
      assert.ok(proxy.lost > 0, 'the proxy lost no hint: nothing was tested');
    } finally {
      proxy.deaf = false;
    }
    assert.deepEqual(stream.events.map((e) => e.seq), oneTo(stream.events.length));
    const lines = stream.events.filter((e) => e.type === 'step_log').map((e) => e.line);
    assert.deepEqual(lines, ['ready', ...oneTo(200).map(String)]);
  });

  test('a link to Redis that is cut again and again costs no event and no stream', async () => {
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('count', `i=0; while [ ! -e '${gate.path}' ]; do i=$((i+1)); echo $i; sleep 0.01; done`)]);
    const stream = new WsStream(behind, streamOf(r), { token: s.key, query: { since: '0' } });
    for (let i = 1; i <= 5; i++) {
      const seen = stream.events.length;
      await stream.until((x) => x.events.length > seen + 20, 'events to go on');
      proxy.cut();
    }
    gate.open();
    assert.equal((await stream.ended()).code, 1000);
    assert.deepEqual(stream.events.map((e) => e.seq), oneTo(stream.events.length));
    assert.ok(!stream.types.includes('gap'));
    await reaches(s.api, r, 'succeeded');
  });

  test('Redis killed and started again: streams stay open, new ones get 503, nothing is lost', async () => {
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('count', `echo ready; ${gate.shell}; ${count(100)}`)]);
    const open = [new WsStream(s.server, streamOf(r), { token: s.key, query: { since: '0' } }), new SseStream(s.server, streamOf(r), { token: s.key, query: { since: '0' } })];
    for (const stream of open) await stream.frame('step_log', (f) => f.line === 'ready');
    await s.redis.kill();
    await eventually(async () => {
      const late = new SseStream(s.server, streamOf(r), { token: s.key });
      await late.ended();
      return late.status === 503 && late.refused.code === 'SYS_STORAGE';
    }, 'a new stream to be refused with 503 while Redis is away');
    for (const stream of open) assert.equal(stream.closed, undefined);
    await s.redis.start();
    gate.open();
    for (const stream of open) {
      await stream.ended();
      assert.equal(stream.frames.at(-1).type, 'end');
      assert.ok(!stream.types.includes('gap'), JSON.stringify(stream.frames.find((f) => f.type === 'gap')));
      assert.deepEqual(stream.events.map((e) => e.seq), oneTo(stream.events.length));
      const lines = stream.events.filter((e) => e.type === 'step_log').map((e) => e.line);
      assert.deepEqual(lines, ['ready', ...oneTo(100).map(String)]);
    }
  });
});

describe('with data from a backup', () => {
  let s;
  before(async () => (s = await start({ name: 'restored', instances: 2 })));
  after(() => s?.stop());

  test('every stream is told so, and starts over from the state that is there', async () => {
    const r = await holding(s.api);
    await eventually(async () => (await s.api.want(200, 'GET', `/workflow-runs/${r.id}`)).status !== 'pending', 'the run to be taken up');
    const act = (action) => s.api.want(200, 'POST', `/workflow-runs/${r.id}/${action}`, {});
    // A 503 may or may not have been done, so the state decides.
    const resume = () =>
      eventually(async () => {
        if ((await s.api.want(200, 'GET', `/workflow-runs/${r.id}`)).status !== 'paused') return true;
        await act('resume');
        return false;
      }, 'the run to be resumed');
    await act('pause');
    const streams = [
      ...s.servers.map((server) => new WsStream(server, streamOf(r), { token: s.key, query: { since: '0' } })),
      new SseStream(s.server, streamOf(r), { token: s.key, query: { since: '0' } }),
    ];
    for (const stream of streams) await stream.frame('workflow_paused');
    await s.redis.kill();
    s.redis.backup();
    await s.redis.start();
    await resume();
    await act('pause');
    const last = await streams[0].until((x) => x.events.filter((e) => e.type === 'workflow_paused')[1], 'the second pause');
    for (const stream of streams) await stream.until((x) => x.events.at(-1).seq === last.seq, 'the second pause');
    const { epoch } = streams[0].frames[0];

    await s.redis.kill();
    s.redis.restore();
    await s.redis.start();
    for (const stream of streams) {
      const gap = await stream.frame('gap');
      const snapshot = await stream.frame('snapshot', (f) => stream.frames.indexOf(f) > stream.frames.indexOf(gap));
      assert.equal(gap.reason, 'reset');
      assert.ok(snapshot.seq < last.seq, `${snapshot.seq} is behind ${last.seq}`);
      assert.equal(gap.toSeq, snapshot.seq);
      assert.equal(snapshot.data.run.status, 'paused');
    }
    await resume();
    for (const stream of streams) {
      const at = stream.types.indexOf('gap');
      await stream.until((x) => x.frames.slice(at).some((f) => f.type === 'workflow_resumed'), 'the resume');
      const snapshot = stream.frames.slice(at).find((f) => f.type === 'snapshot');
      const behind = stream.frames.slice(at).filter((f) => f.type.startsWith('workflow_')).map((f) => f.seq);
      assert.deepEqual(behind, behind.map((_, i) => snapshot.seq + 1 + i));
    }
    const late = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: `${epoch}:2` } });
    assert.equal((await late.frame('gap')).reason, 'epoch');
    assert.notEqual(late.frames[0].epoch, epoch);
  });
});

// With heartbeats far apart: a reader that reads nothing answers none, and must not be cut for that.
describe('with readers that do not read', () => {
  let s;
  before(async () => {
    s = await start({ name: 'slow', args: ['--stream-queue', '256KiB'] });
    await s.addAgent();
  });
  after(() => s?.stop());

  test('a reader too slow is cut with 4429, and resumes where it was', async () => {
    const line = 'x'.repeat(1000);
    const r = await run(s.api, [script('flood', `head -c 9000000 /dev/zero | tr '\\0' x | fold -w 1000`)]);
    const slow = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: '0' }, pauseReading: true });
    await slow.opened();
    await reaches(s.api, r, 'succeeded');
    const quick = new Watcher(s.server, streamOf(r), { token: s.key });
    await quick.done;
    slow.readOn();
    const { code } = await slow.ended();
    // One that was still behind when the flood came was never pushed to, and simply goes on at its own pace.
    assert.ok([4429, 1000, 1006].includes(code), `closed with ${code}`);
    const seen = slow.events.at(-1)?.seq ?? 0;
    assert.deepEqual(slow.events.map((e) => e.seq), oneTo(seen));
    const rest = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: String(seen) } });
    await rest.ended();
    assert.deepEqual([...slow.events, ...rest.events].map((e) => e.seq), quick.events.map((e) => e.seq));
    assert.equal(quick.events.filter((e) => e.line === line).length, 9000);
  });

  test('one that stops reading while it is live is cut with 4429', async () => {
    const gate = new Gate(s.nest), flood = `${gate.shell}; head -c 9500000 /dev/zero | tr '\\0' x | fold -w 1000`;
    const r = await run(s.api, [script('flood', `echo ready; ${flood}`), script('more', flood)]); // more than the kernel holds for both ends
    const slow = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: '0' } });
    await slow.frame('step_log', (f) => f.line === 'ready');
    slow.stopReading();
    gate.open();
    await reaches(s.api, r, 'succeeded');
    slow.readOn();
    assert.equal((await slow.ended()).code, 4429);
    const error = slow.frames.at(-1);
    assert.equal(error.type, 'error');
    assert.equal(error.retry, true);
    const seen = slow.events.at(-1).seq;
    assert.deepEqual(slow.events.map((e) => e.seq), oneTo(seen));
    const rest = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: String(seen) } });
    assert.equal((await rest.ended()).code, 1000);
    assert.equal(rest.events[0].seq, seen + 1);
  });

  test('a job: one that stops reading is cut with 4429, and its rest is there', async () => {
    const line = 'x'.repeat(1000), [batches, each] = [90, 100];
    const { environment, labels } = await makeEstate(s.api, 1);
    let go;
    const started = new Promise((resolve) => (go = resolve));
    const agent = await new HostAgent(s).serve(labels, async (task) => {
      await agent.lines(task.id, 1, ['ready']);
      await started;
      for (let i = 0; i < batches; i++) assert.equal((await agent.lines(task.id, 2 + i * each, Array(each).fill(line))).type, 'ack');
      return { lines: [] };
    });
    const job = await jobOf(s.api, await runOf(s.api, await promote(s.api, await makeRelease(s.api), environment)));
    const slow = new WsStream(s.server, jobStream(job), { token: s.key, query: { since: '0' } });
    await slow.frame('task_log', (f) => f.line === 'ready');
    slow.stopReading();
    go();
    await jobReaches(s.api, job, 'succeeded');
    assert.equal(agent.fault, undefined);
    slow.readOn();
    assert.equal((await slow.ended()).code, 4429);
    assert.deepEqual([slow.frames.at(-1).type, slow.frames.at(-1).retry], ['error', true]);
    const seen = slow.events.at(-1).seq;
    assert.deepEqual(slow.events.map((e) => e.seq), oneTo(seen));
    const rest = new WsStream(s.server, jobStream(job), { token: s.key, query: { since: String(seen) } });
    assert.equal((await rest.ended()).code, 1000);
    const all = [...slow.events, ...rest.events];
    assert.deepEqual(all.map((e) => e.seq), oneTo(all.length));
    assert.equal(all.filter((e) => e.line === line).length, batches * each);
    assert.equal(all.at(-1).type, 'job_completed');
  });
});

describe('with little time', () => {
  let s;
  before(async () => {
    s = await start({
      name: 'hasty',
      args: ['--stream-heartbeat', '500ms', '--stream-comment', '300ms', '--stream-auth-timeout', '300ms', '--stream-expiry-warning', '60s',
        '--stream-queue', '256KiB', '--stream-per-caller', '40', '--stream-drain-window', '1s'],
    });
    await s.addAgent();
  });
  after(() => s?.stop());

  test('heartbeats come, a filtered feed proves how far it is, and one that never answers is cut', async () => {
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('say', `echo a; echo b; ${gate.shell}`)]);
    const whole = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: '0' } });
    await whole.frame('step_log', (f) => f.line === 'b');
    const last = whole.events.at(-1).seq;
    const filtered = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: '0', types: 'workflow_completed' } });
    await filtered.frame('heartbeat', (f) => f.seq >= last);
    assert.equal(filtered.events.length, 0);
    const events = new SseStream(s.server, streamOf(r), { token: s.key, query: { types: 'workflow_completed' } });
    await events.until((x) => x.comments >= 3, 'three comment lines');
    assert.ok(Number(events.lastEventId.split(':')[1]) >= last, `the comment moves the id: ${events.lastEventId}`);
    const mute = new WsStream(s.server, streamOf(r), { token: s.key });
    await mute.opened();
    mute.socket.pong = () => {}; // what ws calls for each ping
    mute.socket._receiver.removeAllListeners('ping');
    await mute.ended();
    assert.notEqual(mute.closed.code, 1000);
    assert.equal(whole.closed, undefined, 'one that answers is kept');
    gate.open();
    assert.equal((await whole.ended()).code, 1000);
  });

  test('a client that does not say who it is has its time', async () => {
    const r = await holding(s.api);
    const stream = new WsStream(s.server, streamOf(r));
    assert.equal((await stream.ended()).code, 4408);
    assert.equal(stream.frames[0].type, 'error');
    await r.release();
  });

  test('a token that ends is announced, and ends the stream unless a fresh one comes', async () => {
    const r = await holding(s.api);
    const jwt = async (ttl) => (await s.slipway('key', 'jwt', '--user', 'u1', '--permissions', 'workflow:read', '--ttl', ttl)).stdout.trim();
    const [dies, lives] = [0, 1].map(async () => new WsStream(s.server, streamOf(r), { token: await jwt('3s') }));
    const long = await jwt('10m');
    const kept = await lives;
    await kept.frame('token_expiring', (f) => f.inSeconds <= 3);
    kept.send({ type: 'auth', token: long });
    const lost = await dies;
    await lost.frame('token_expiring');
    assert.equal((await lost.ended()).code, 4401);
    assert.equal(lost.frames.at(-1).code, 'AUTH_TOKEN_EXPIRED');
    assert.equal(kept.closed, undefined);
    await r.release();
    assert.equal((await kept.ended()).code, 1000);
  });

  test('more streams than a caller may have are 429', async () => {
    const r = await holding(s.api);
    const key = await s.makeKey('--role', 'viewer');
    const open = [];
    let refused;
    for (let i = 0; i < 100 && !refused; i++) {
      const stream = new WsStream(s.server, streamOf(r), { token: key });
      await stream.until((x) => x.refused || x.frames.length > 0, 'an answer');
      if (stream.refused) refused = stream.refused;
      else open.push(stream);
    }
    assert.equal(refused?.status, 429);
    assert.ok(open.length >= 40, `${open.length} were let in`); // the limit holds for each worker
    for (const stream of open) stream.close();
    await r.release();
  });

  test('an instance that goes away tells its streams when to come back, and they go on elsewhere', async () => {
    const other = await s.addServer({ args: ['--workers', '1', '--stream-drain-window', '1s'] });
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('hold', `echo ready; ${gate.shell}; echo done`)]);
    const streams = [new WsStream(other, streamOf(r), { token: s.key, query: { since: '0' } }), new SseStream(other, streamOf(r), { token: s.key, query: { since: '0' } })];
    for (const stream of streams) await stream.frame('step_log', (f) => f.line === 'ready');
    const silent = new WsStream(other, streamOf(r));
    await silent.opened();
    assert.deepEqual(await other.stop(), { code: 0, signal: null });
    for (const stream of streams) {
      await stream.ended();
      const drain = stream.frames.at(-1);
      assert.equal(drain.type, 'drain');
      assert.ok(drain.reconnectInMs >= 0 && drain.reconnectInMs <= 1000);
    }
    assert.equal(streams[0].closed.code, 1012);
    assert.equal(streams[1].retry, streams[1].frames.at(-1).reconnectInMs);
    const seen = streams[0].events.at(-1).seq;
    const on = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: String(seen) } });
    gate.open();
    assert.equal((await on.ended()).code, 1000);
    assert.equal(on.events[0].seq, seen + 1);
  });
});
