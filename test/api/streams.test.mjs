// The live stream of a workflow run, over WebSocket and server-sent events. Every frame is judged by the served AsyncAPI.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { raw } from '../lib/http.mjs';
import { Gate, chain, holding, reaches, run, script, streamOf, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'streams', instances: 2 });
  api = s.api;
  await s.addAgent();
});
after(() => s?.stop());

const ws = (r, options = {}) => new WsStream(options.server ?? s.server, streamOf(r), { token: s.key, ...options });
const sse = (r, options = {}) => new SseStream(options.server ?? s.server, streamOf(r), { token: s.key, ...options });
const numbers = (events) => events.map((e) => e.seq);
const oneTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

/** A run that ended. */
async function endedRun() {
  const r = await run(api, [wait('a', 0.01), wait('b', 0.01)], chain('a', 'b'));
  await reaches(api, r, 'succeeded');
  return r;
}

describe('from the first event to the last', () => {
  test('a follower sees everything that happens, in order, and then the end', async () => {
    const gate = new Gate(s.nest);
    const r = await run(api, [script('first', `echo one; ${gate.shell}; echo two`), script('second', 'echo three')], chain('first', 'second'));
    const stream = ws(r, { query: { since: '0' } });
    await stream.frame('step_log', (f) => f.line === 'one');
    gate.open();
    assert.deepEqual(await stream.ended(), { code: 1000, reason: 'end' });

    assert.equal(stream.frames[0].type, 'ready');
    assert.equal(stream.frames[0].streamId, `run:${r.id}`);
    assert.equal(stream.frames.at(-1).type, 'end');
    assert.deepEqual(numbers(stream.events), oneTo(stream.events.length));
    assert.equal(stream.events[0].type, 'workflow_started');
    assert.equal(stream.events.at(-1).type, 'workflow_completed');
    assert.equal(stream.events.at(-1).status, 'succeeded');
    for (const nodeId of ['first', 'second']) {
      const types = stream.events.filter((e) => e.nodeId === nodeId).map((e) => e.type);
      assert.equal(types[0], 'step_started');
      assert.equal(types.at(-1), 'step_completed');
      assert.equal(types.at(-2), 'step_log_end');
      assert.equal(types.lastIndexOf('step_log'), types.length - 3);
      const lines = stream.events.filter((e) => e.type === 'step_log' && e.nodeId === nodeId);
      assert.deepEqual(lines.map((l) => l.logSeq), oneTo(lines.length));
    }
    assert.deepEqual(stream.events.filter((e) => e.type === 'step_log').map((e) => e.line), ['one', 'two', 'three']);
  });

  test('server-sent events carry the same events, numbered for a resume', async () => {
    const r = await endedRun();
    const socket = ws(r, { query: { since: '0' } });
    const events = sse(r, { query: { since: '0' } });
    await socket.ended();
    await events.ended();
    assert.deepEqual(events.events, socket.events);
    const { epoch } = events.frames[0];
    assert.deepEqual(events.ids, numbers(events.events).map((n) => `${epoch}:${n}`));
    assert.equal(events.frames.at(-1).type, 'end');
    assert.match(events.response.headers['content-type'], /^text\/event-stream/);
    assert.match(events.response.headers['cache-control'], /no-store/);
    assert.equal(events.response.headers['x-accel-buffering'], 'no');
    assert.ok(events.retry > 0);
    assert.ok(events.response.headers['x-request-id']);
  });

  test('without `since` the present state comes first, and only what follows it', async () => {
    const gate = new Gate(s.nest);
    const r = await run(api, [script('say', `echo before; ${gate.shell}; echo behind`)]);
    const early = ws(r);
    await early.frame('step_log', (f) => f.line === 'before');
    const late = ws(r);
    const snapshot = await late.frame('snapshot');
    assert.equal(snapshot.data.run.id, r.id);
    assert.equal(snapshot.data.run.status, 'running');
    assert.equal(snapshot.data.steps[0].nodeId, 'say');
    assert.equal(snapshot.data.steps[0].status, 'running');
    const synced = await late.frame('synced');
    assert.ok(synced.seq >= snapshot.seq);
    gate.open();
    await late.ended();
    assert.deepEqual(numbers(late.events), oneTo(late.events.at(-1).seq).slice(snapshot.seq));
    assert.ok(!late.events.some((e) => e.line === 'before'));
    assert.ok(late.events.some((e) => e.line === 'behind'));
    early.close();
  });

  test('a run that nothing has happened to yet is waited for', async () => {
    const r = await run(api, [script('say', 'echo here', { labels: { place: 'nowhere-yet' } })]);
    const stream = ws(r, { query: { since: '0' } });
    await stream.frame('synced');
    await s.addAgent('nowhere', { labels: { place: 'nowhere-yet' } });
    await stream.ended();
    assert.deepEqual(stream.events.filter((e) => e.type === 'step_log').map((e) => e.line), ['here']);
  });

  test('after the end a follower gets what it asks for and the end', async () => {
    const r = await endedRun();
    const whole = ws(r, { query: { since: '0' } });
    await whole.ended();
    const last = whole.events.length;
    assert.equal(whole.frames.filter((f) => f.type === 'snapshot').length, 1);
    assert.deepEqual(numbers(whole.events), oneTo(last));

    const state = ws(r);
    assert.deepEqual(await state.ended(), { code: 1000, reason: 'end' });
    assert.deepEqual(state.types, ['ready', 'snapshot', 'synced', 'end']);
    assert.equal(state.frames[1].data.run.status, 'succeeded');

    const tail = ws(r, { query: { since: String(last - 1) } });
    await tail.ended();
    assert.deepEqual(tail.types, ['ready', 'workflow_completed', 'synced', 'end']);
    const nothing = ws(r, { query: { since: String(last) } });
    assert.deepEqual(await nothing.ended(), { code: 1000, reason: 'end' });
    assert.deepEqual(nothing.types, ['ready', 'synced', 'end']);
  });
});

describe('compressed', () => {
  test('a client that offers permessage-deflate gets the same frames in fewer bytes', async () => {
    const gate = new Gate(s.nest);
    const lines = (n) => `i=0; while [ $i -lt ${n} ]; do i=$((i+1)); echo "$i ${'every line is like the one before; '.repeat(40)}"; done`;
    const r = await run(api, [script('say', `${lines(20)}; echo ready; ${gate.shell}; ${lines(20)}`)]);
    const streams = [ws(r, { query: { since: '0' } }), ws(r, { query: { since: '0' }, deflate: true }), ws(r, { query: { since: '0' }, deflate: true })];
    for (const stream of streams) await stream.frame('step_log', (f) => f.line === 'ready');
    gate.open();
    for (const stream of streams) assert.equal((await stream.ended()).code, 1000);
    const [plain, ...packed] = streams;
    for (const stream of packed) {
      assert.equal(stream.socket.extensions, 'permessage-deflate');
      assert.deepEqual(stream.events, plain.events);
      const snapshots = [stream, plain].map((x) => x.frames.find((f) => f.type === 'snapshot').data.run.id);
      assert.equal(snapshots[0], snapshots[1]);
      assert.ok(stream.received < plain.received / 3, `${stream.received} bytes of ${plain.received}`);
    }
    assert.equal(plain.socket.extensions, '');
  });

  test('what a client compresses is understood', async () => {
    const r = await holding(api);
    const stream = ws(r, { deflate: { threshold: 0 } });
    await stream.frame('synced');
    stream.send({ type: 'subscribe', filters: { types: ['workflow_completed', 'step_completed'] } });
    assert.deepEqual((await stream.frame('subscribed')).filters.types, ['workflow_completed', 'step_completed']);
    await r.release();
    assert.equal((await stream.ended()).code, 1000);
    const behind = stream.frames.slice(stream.frames.findIndex((f) => f.type === 'subscribed')); // its start may have been told before
    assert.deepEqual([...new Set(behind.filter((f) => stream.events.includes(f)).map((e) => e.type))].sort(), ['step_completed', 'workflow_completed']);
  });
});

describe('resuming', () => {
  test('a follower cut in the middle goes on at another instance without a hole or a repeat', async () => {
    const gates = [0, 1, 2].map(() => new Gate(s.nest));
    const r = await run(api, [script('count', gates.map((g, i) => `for n in 1 2 3 4 5; do echo ${i}$n; done; ${g.shell}`).join('; '))]);
    for (const open of [ws, sse]) {
      let seq = 0, lastEventId;
      const lines = [];
      for (let i = 0; i < 3; i++) {
        const server = s.servers[i % 2];
        const stream = open(r, open === ws || !lastEventId ? { server, query: { since: String(seq) } } : { server, lastEventId });
        await stream.frame('step_log', (f) => f.line === `${i}5`);
        for (const e of stream.events) {
          assert.equal(e.seq, seq + 1);
          seq = e.seq;
          if (e.type === 'step_log') lines.push(e.line);
          if (e.line === `${i}5`) break;
        }
        lastEventId = stream.ids?.[stream.events.findIndex((e) => e.seq === seq)];
        stream.close();
        gates[i].open();
      }
      assert.deepEqual(lines, [0, 1, 2].flatMap((i) => oneTo(5).map((n) => `${i}${n}`)));
    }
    await reaches(api, r, 'succeeded');
  });

  test('a number from beyond the end or of another data set is a gap and a fresh start', async () => {
    const r = await endedRun();
    const ahead = ws(r, { query: { since: '100000' } });
    await ahead.ended();
    assert.deepEqual(ahead.types, ['ready', 'gap', 'snapshot', 'synced', 'end']);
    assert.equal(ahead.frames[1].reason, 'ahead');
    assert.equal(ahead.frames[1].toSeq, ahead.frames[2].seq);

    const { epoch } = ahead.frames[0];
    const foreign = ws(r, { query: { since: `${epoch + 7}:2` } });
    await foreign.ended();
    assert.deepEqual(foreign.types, ['ready', 'gap', 'snapshot', 'synced', 'end']);
    assert.equal(foreign.frames[1].reason, 'epoch');

    const own = ws(r, { query: { since: `${epoch}:2` } });
    await own.ended();
    assert.equal(own.events[0].seq, 3);
    const rubbish = sse(r, { lastEventId: 'rubbish' });
    await rubbish.ended();
    assert.deepEqual(rubbish.types.slice(0, 3), ['ready', 'gap', 'snapshot']);
  });

  test('many followers at once, each from its own place, all see the same', async () => {
    const r = await run(api, [script('count', 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; done')]);
    const watchers = [];
    for (let i = 0; i < 40; i++) watchers.push(new Watcher(s.servers[i % 2], streamOf(r), { token: s.key, kind: i % 4 ? 'ws' : 'sse' }));
    const seen = await Promise.all(watchers.map((w) => w.done));
    for (const w of seen) {
      assert.deepEqual(w.events, seen[0].events);
      assert.equal(w.lines('count'), oneTo(300).map((n) => `${n}\n`).join(''));
    }
  });
});

describe('filters', () => {
  test('by query: types, nodes and level', async () => {
    const r = await run(api, [script('one', 'echo out; echo err >&2'), script('two', 'echo other')], chain('one', 'two'));
    await reaches(api, r, 'succeeded');
    const see = async (query) => {
      const stream = ws(r, { query: { since: '0', ...query } });
      await stream.ended();
      return stream.events;
    };
    const all = await see({});
    assert.deepEqual(await see({ types: 'step_started,step_completed' }), all.filter((e) => ['step_started', 'step_completed'].includes(e.type)));
    assert.deepEqual(await see({ nodeId: 'two' }), all.filter((e) => !e.nodeId || e.nodeId === 'two'));
    const grave = ['warn', 'error'];
    assert.deepEqual(await see({ level: 'warn' }), all.filter((e) => !e.level || grave.includes(e.level)));
    assert.deepEqual(await see({ types: 'step_log', nodeId: 'one,two' }), all.filter((e) => e.type === 'step_log'));
  });

  test('a filtered feed over SSE is the same', async () => {
    const r = await endedRun();
    const stream = sse(r, { query: { since: '0', types: 'step_completed' } });
    await stream.ended();
    assert.deepEqual(stream.events.map((e) => [e.type, e.nodeId]), [['step_completed', 'a'], ['step_completed', 'b']]);
  });

  test('by message: the last one wins, from the next event on', async () => {
    const gates = [0, 1].map(() => new Gate(s.nest));
    const r = await run(api, [script('say', `echo a; ${gates[0].shell}; echo b`), script('more', `${gates[1].shell}; echo c`)]);
    const stream = ws(r);
    await stream.frame('step_log', (f) => f.line === 'a');
    stream.send({ type: 'subscribe', filters: { types: ['step_completed'] } });
    const first = await stream.frame('subscribed');
    assert.deepEqual(first.filters, { types: ['step_completed'] });
    gates[0].open();
    await stream.frame('step_completed'); // behind `b`, which was not let through
    stream.send({ type: 'subscribe', filters: {} });
    await stream.until((x) => x.frames.filter((f) => f.type === 'subscribed').length === 2, 'the second subscribe to be answered');
    gates[1].open();
    await stream.ended();
    const lines = stream.events.filter((e) => e.type === 'step_log').map((e) => e.line);
    assert.ok(lines.includes('a') && lines.includes('c') && !lines.includes('b'), `lines: ${lines}`);
  });

  test('a filter that is none is refused', async () => {
    const r = await endedRun();
    for (const query of [{ level: 'loud' }, { types: 'UPPER' }, { nodeId: 'a|b' }, { since: '-1' }, { since: '1:2:3' }, { colour: 'red' }]) {
      const answer = await api.get(streamOf(r), { query, headers: { accept: 'text/event-stream' } });
      assert.equal(answer.status, 400, JSON.stringify(query));
    }
    const open = await holding(api);
    for (const filters of [undefined, [], { types: 'x' }, { types: [1] }, { minLevel: 'loud' }, { colour: ['red'] }]) {
      const stream = ws(open);
      await stream.frame('synced');
      stream.send({ type: 'subscribe', filters });
      assert.equal((await stream.ended()).code, 4400, JSON.stringify(filters));
    }
    await open.release();
  });
});

describe('who may follow', () => {
  test('the first message may bring the token', async () => {
    const r = await endedRun();
    const stream = new WsStream(s.server, streamOf(r), { query: { since: '0' } });
    await stream.opened();
    stream.send({ type: 'auth', token: s.key });
    assert.deepEqual(await stream.ended(), { code: 1000, reason: 'end' });
    assert.equal(stream.frames[0].type, 'ready');
    assert.deepEqual(numbers(stream.events), oneTo(stream.events.length));
  });

  test('a first message that will not do is refused with its own code', async () => {
    const r = await endedRun();
    const rows = [
      [{ type: 'auth', token: 'nonsense' }, r.id, 4401],
      [{ type: 'auth' }, r.id, 4401],
      [{ type: 'ping' }, r.id, 4401],
      ['not json', r.id, 4400],
      [[1], r.id, 4400],
      [{ type: 'auth', token: s.key }, '01900000-0000-7000-8000-000000000000', 4404],
    ];
    for (const [message, id, code] of rows) {
      const stream = new WsStream(s.server, `/workflow-runs/${id}/stream`);
      await stream.opened();
      stream.send(message);
      assert.equal((await stream.ended()).code, code, JSON.stringify(message));
      const { retry, code: name } = stream.frames.at(-1);
      assert.equal(stream.frames.at(-1).type, 'error');
      assert.equal(retry, false);
      assert.match(name, /^[A-Z_]+$/);
    }
  });

  test('a short-lived token may come in the query, a key may not', async () => {
    const r = await endedRun();
    const made = await s.slipway('key', 'jwt', '--user', 'u1', '--permissions', 'workflow:read', '--ttl', '60s');
    assert.equal(made.code, 0, made.stderr);
    const stream = new WsStream(s.server, streamOf(r), { query: { token: made.stdout.trim() } });
    assert.equal((await stream.ended()).code, 1000);
    const events = new SseStream(s.server, streamOf(r), { query: { token: made.stdout.trim() } });
    await events.ended();
    assert.equal(events.frames.at(-1).type, 'end');
    const refused = new WsStream(s.server, streamOf(r), { query: { token: s.key } });
    const { status, code } = await refused.refusal();
    assert.equal(status, 401);
    assert.match(code, /^AUTH_/);
    assert.ok(!s.server.process.text().includes(s.key), 'the log shows the key');
    assert.ok(!s.server.process.text().includes(made.stdout.trim()), 'the log shows the token');
  });

  test('over HTTP: 401 without a token, 403 without the permission, 404 for what is not there', async () => {
    const r = await endedRun();
    const none = new SseStream(s.server, streamOf(r));
    await none.ended();
    assert.equal(none.status, 401);
    const weak = await s.makeKey('--permissions', 'environment:read');
    const forbidden = new SseStream(s.server, streamOf(r), { token: weak });
    await forbidden.ended();
    assert.equal(forbidden.status, 403);
    assert.equal(forbidden.refused.code, 'PERM_DENIED');
    const late = new WsStream(s.server, streamOf(r));
    await late.opened();
    late.send({ type: 'auth', token: weak });
    assert.equal((await late.ended()).code, 4403);
    for (const id of ['01900000-0000-7000-8000-000000000000', 'no-uuid']) {
      const unknown = new SseStream(s.server, `/workflow-runs/${id}/stream`, { token: s.key });
      await unknown.ended();
      assert.equal(unknown.status, 404);
    }
    const stranger = await s.makeKey('--tenant', 'stranger', '--role', 'admin');
    const hidden = new SseStream(s.server, streamOf(r), { token: stranger });
    await hidden.ended();
    assert.equal(hidden.status, 404);
  });

  test('a key that is revoked closes its streams', async () => {
    const r = await holding(api);
    const made = await s.slipway('key', 'create', '--role', 'viewer', '--json');
    assert.equal(made.code, 0, made.stderr);
    const { id, key } = JSON.parse(made.stdout);
    const streams = [ws(r, { token: key }), ws(r, { token: key, server: s.servers[1] }), sse(r, { token: key })];
    for (const stream of streams) await stream.frame('synced');
    const revoked = await s.slipway('key', 'revoke', id);
    assert.equal(revoked.code, 0, revoked.stderr);
    for (const stream of streams) await stream.ended();
    assert.equal(streams[0].closed.code, 4401);
    assert.equal(streams[1].closed.code, 4401);
    for (const stream of streams) assert.equal(stream.frames.at(-1).code, 'AUTH_TOKEN_REVOKED');
    await r.release();
  });
});

describe('what a client says', () => {
  let r;
  before(async () => (r = await holding(api)));
  after(() => r.release());

  test('ping is answered by pong, also as a control frame', async () => {
    const stream = ws(r);
    await stream.frame('synced');
    stream.send({ type: 'ping' });
    await stream.frame('pong');
    let ponged;
    stream.socket.once('pong', (data) => (ponged = data.toString()));
    stream.socket.ping('are you there');
    await eventually(() => ponged === 'are you there', 'a pong with the same payload');
    stream.close();
  });

  test('a message that is none is answered by an error and 4400', async () => {
    for (const message of ['{', '[]', '"x"', '{}', '{"type":7}', '{"type":"dance"}', Buffer.from([1, 2, 3])]) {
      const stream = ws(r);
      await stream.frame('synced');
      stream.socket.send(message);
      assert.equal((await stream.ended()).code, 4400, String(message));
      assert.equal(stream.frames.at(-1).type, 'error');
    }
  });

  test('a message too long, or in too many pieces, is 4413', async () => {
    const long = ws(r);
    await long.frame('synced');
    long.send(JSON.stringify({ type: 'ping', x: 'x'.repeat(256 * 1024) }));
    assert.equal((await long.ended()).code, 4413);
    const cut = ws(r);
    await cut.frame('synced');
    for (let i = 0; i < 1100; i++) cut.socket.send(i ? ' ' : '{', { fin: false });
    assert.equal((await cut.ended()).code, 4413);
    const just = ws(r);
    await just.frame('synced');
    just.send(JSON.stringify({ type: 'ping', x: 'x'.repeat(200 * 1024) }));
    await just.frame('pong');
    just.close();
  });

  test('a close is answered', async () => {
    const stream = ws(r);
    await stream.frame('synced');
    stream.socket.close(1000, 'done');
    assert.equal((await stream.ended()).code, 1000);
  });

  test('a fresh token of the same caller prolongs, one of another does not', async () => {
    const jwt = async (user) => (await s.slipway('key', 'jwt', '--user', user, '--permissions', 'workflow:read', '--ttl', '5m')).stdout.trim();
    const stream = ws(r, { token: await jwt('u1') });
    await stream.frame('synced');
    stream.send({ type: 'auth', token: await jwt('u1') });
    stream.send({ type: 'ping' });
    await stream.frame('pong');
    assert.equal(stream.closed, undefined);
    stream.send({ type: 'auth', token: await jwt('u2') });
    assert.equal((await stream.ended()).code, 4403);
  });
});

describe('the handshake', () => {
  test('a plain GET is told what the path speaks', async () => {
    const r = await endedRun();
    const answer = await api.get(streamOf(r));
    assert.equal(answer.status, 426);
    assert.equal(answer.code, 'RES_UPGRADE_REQUIRED');
    assert.equal(answer.headers.upgrade, 'websocket');
  });

  test('a handshake that is none is refused, and the connection stays usable', async () => {
    const r = await endedRun();
    const head = (...fields) =>
      [`GET /api/v1${streamOf(r)} HTTP/1.1`, 'Host: x', `Authorization: Bearer ${s.key}`, 'Upgrade: websocket', 'Connection: Upgrade', ...fields, '', ''].join('\r\n');
    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
    const old = await raw(s.server, head(key, 'Sec-WebSocket-Version: 8'), { until: (t) => t.includes('\r\n\r\n') });
    assert.match(old.text, /^HTTP\/1\.1 426 /);
    assert.match(old.text, /sec-websocket-version: 13/i);
    for (const fields of [['Sec-WebSocket-Version: 13'], ['Sec-WebSocket-Key: short', 'Sec-WebSocket-Version: 13']]) {
      const { text } = await raw(s.server, head(...fields), { until: (t) => t.includes('\r\n\r\n') });
      assert.match(text, /^HTTP\/1\.1 400 /);
    }
    const good = await raw(s.server, head(key, 'Sec-WebSocket-Version: 13'), { until: (t) => t.includes('"ready"') });
    assert.match(good.text, /^HTTP\/1\.1 101 /);
    assert.doesNotMatch(good.text, /sec-websocket-protocol/i);
    const chosen = await raw(s.server, head(key, 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Protocol: other, slipway.v1.json'), { until: (t) => t.includes('"ready"') });
    assert.match(chosen.text, /sec-websocket-protocol: slipway\.v1\.json/i);
    assert.match(good.text, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/i);
  });
});
