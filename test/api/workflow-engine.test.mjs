// What holds the runs together: several instances at one Redis, leases, channels without holes, and the end of what is
// kept.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const ENDED = ['succeeded', 'failed', 'cancelled'];

/** Answers everything at once. */
async function receive() {
  const seen = [];
  const server = http.createServer((request, response) => {
    seen.push(request.headers['idempotency-key']);
    request.resume();
    request.on('end', () => response.end('{}'));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { seen, url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Everything a run's channel holds, in order. */
async function events(s, run) {
  const [key] = await s.redis.keys(`*:e:*:run:${run}`);
  const entries = await s.redis.command('XRANGE', key, '-', '+');
  return entries.flatMap(([, fields]) => fields[fields.indexOf('b') + 1].split('\n')).map((text) => JSON.parse(text));
}

let s, receiver;

before(async () => {
  receiver = await receive();
  s = await start({ name: 'engine', instances: 2, env: { SLIPWAY_OUTBOUND_ALLOW: '127.0.0.0/8' } });
});
after(async () => {
  receiver?.close();
  await s?.stop();
});

const call = (id, more = {}) => ({ id, type: 'http-request', config: { url: receiver.url }, ...more });

test('two instances move many runs at once, each step once and no event lost', async () => {
  const clients = s.servers.map((server) => server.client(s.key));
  const t = await s.api.want(201, 'POST', '/workflow-templates', {
    name: 'fan',
    nodes: [call('a'), call('b'), call('c'), call('d'), { id: 'e', type: 'wait', config: { seconds: 0 } }],
    edges: ['b', 'c', 'd'].flatMap((n) => [{ from: 'a', to: n }, { from: n, to: 'e' }]),
  });
  const runs = await Promise.all(Array.from({ length: 40 }, async (_, i) => (await clients[i % 2].post('/workflow-runs', { templateId: t.id })).data));
  await Promise.all(runs.map(async (r, i) => { /* clicks from both sides while it moves */
    if (i % 4 !== 0) return;
    await Promise.all([clients[0].post(`/workflow-runs/${r.id}/pause`), clients[1].post(`/workflow-runs/${r.id}/pause`)]);
    await clients[i % 8 === 0 ? 0 : 1].post(`/workflow-runs/${r.id}/resume`);
  }));
  for (const [i, r] of runs.entries()) {
    const ended = await eventually(async () => {
      const now = await clients[(i + 1) % 2].want(200, 'GET', `/workflow-runs/${r.id}`);
      return ENDED.includes(now.status) ? now : [false, now];
    }, `run ${i} to end`);
    assert.equal(ended.status, 'succeeded');
    const all = await events(s, r.id);
    assert.deepEqual(all.map((e) => e.seq), all.map((_, k) => k + 1));
    assert.equal(all[0].type, 'workflow_started');
    assert.equal(all.at(-1).type, 'workflow_completed');
    const done = all.filter((e) => e.type === 'step_completed').map((e) => `${e.nodeId} ${e.status}`).sort();
    assert.deepEqual(done, ['a', 'b', 'c', 'd', 'e'].map((n) => `${n} succeeded`));
  }
  assert.equal(new Set(receiver.seen).size, 160);
  assert.deepEqual(await s.redis.keys('{p??}:in:*'), []);
});

test('when one instance dies the other goes on where it stood', async () => {
  const [first, second] = s.servers;
  const t = await s.api.want(201, 'POST', '/workflow-templates', {
    name: 'survivor',
    nodes: [{ id: 'a', type: 'wait', config: { seconds: 1.5 } }, call('b'), { id: 'c', type: 'wait', config: { seconds: 0.5 } }],
    edges: [{ from: 'a', to: 'b' }, { from: 'b', to: 'c' }],
  });
  const runs = [];
  for (let i = 0; i < 10; i++) runs.push((await first.client(s.key).post('/workflow-runs', { templateId: t.id })).data);
  await first.kill();
  const other = second.client(s.key);
  for (const r of runs)
    await eventually(async () => (await other.want(200, 'GET', `/workflow-runs/${r.id}`)).status === 'succeeded', `run ${r.id} to succeed`);
  await first.start();
});

test('a run is kept for run-keep after its end, then nothing of it is left', async () => {
  const brief = await start({ name: 'retention', env: { SLIPWAY_RUN_KEEP: '1s' } });
  try {
    const t = await brief.api.want(201, 'POST', '/workflow-templates', { name: 'brief', nodes: [{ id: 'a', type: 'wait', config: { seconds: 0 } }] });
    const r = await brief.api.want(201, 'POST', '/workflow-runs', { templateId: t.id });
    await eventually(async () => (await brief.api.get(`/workflow-runs/${r.id}`)).status === 404, 'the run to be removed');
    assert.equal((await brief.api.get('/workflow-runs')).body.meta.pagination.totalItems, 0);
    const left = (await brief.redis.keys(`*${r.id}*`)).filter((key) => !key.includes(':le:')); /* the lease ends by itself */
    assert.deepEqual(left, []);
    for (const key of ['dirty', 't', 'q']) {
      for (const set of await brief.redis.keys(`{p??}:${key}`))
        assert.deepEqual((await brief.redis.command('ZRANGE', set, '0', '-1')).filter((member) => member.includes(r.id)), []);
    }
  } finally {
    await brief.stop();
  }
});

test('what is no event is told and left out, and the run goes on', async () => {
  const t = await s.api.want(201, 'POST', '/workflow-templates', { name: 'garbled', edges: [], nodes: [{ id: 'hold', type: 'wait', config: { seconds: 3600 } }] });
  const r = await s.api.want(201, 'POST', '/workflow-runs', { templateId: t.id });
  const [document] = await s.redis.keys(`*:d:*:run:${r.id}`);
  await s.redis.command('RPUSH', document.replace(':d:', ':in:').replace(':run:', ':'), 'no %s event', '{"event":"none"}');
  await s.api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`);
  await eventually(async () => (await s.api.want(200, 'GET', `/workflow-runs/${r.id}`)).status === 'cancelled', 'the run to be cancelled');
  const told = s.servers.map((server) => server.process.tail(100)).join('\n').split('\n').filter((line) => line.includes(`run=${r.id}`));
  assert.deepEqual(told.map((line) => line.replace(/^.*run\.entry /, '').replace(/ suppressed=.*/, '')), [
    `kind=run run=${r.id} entry="no %s event"`, `kind=run run=${r.id} entry="{\\"event\\":\\"none\\"}"`]);
});
