// What holds over all instances: a caller's limit, a revocation; and the work of one that is killed goes on at another.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { Proxy } from '../lib/proxy.mjs';
import { chain, makeTemplate, reaches, script, startRun, streamOf, unique, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

const LIMIT = 24;
const PROMISED = 5000; // ms from the kill until its work goes on
const SLACK = 2; // for machines that do much else

/** Holds every request until it is told to answer; notes when each came, and under which key. */
class Receiver {
  async start() {
    this.came = [];
    this.held = [];
    this.server = http.createServer((request, response) => {
      this.came.push({ key: request.headers['idempotency-key'], at: performance.now() });
      this.held.push(response);
      if (this.open) this.answer();
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/`;
    return this;
  }

  answer() {
    this.open = true;
    for (const response of this.held.splice(0)) response.end('{}');
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

describe('two instances on one Redis', () => {
  let s, receiver;
  before(async () => {
    receiver = await new Receiver().start();
    s = await start({
      name: 'instances', instances: 2, workers: 2,
      env: { SLIPWAY_OUTBOUND_ALLOW: '127.0.0.0/8', SLIPWAY_RATE_STANDARD: String(LIMIT), SLIPWAY_RATE_STANDARD_BURST: String(LIMIT) },
    });
    s.api.token = await s.makeKey('--role', 'admin', '--tier', 'premium', '--name', 'test');
  });
  after(async () => {
    receiver?.stop();
    await s?.stop();
  });

  async function viewer() {
    const { stdout } = await s.slipway('key', 'create', '--role', 'viewer', '--name', unique('viewer'), '--json');
    return JSON.parse(stdout);
  }

  test('a caller has one limit, however its requests are spread', async () => {
    const { key } = await viewer();
    const clients = s.servers.map((server) => server.client(key));
    const passed = [0, 0];
    let refused;
    for (let i = 0; i < 2 * LIMIT; i++) {
      const answer = await clients[i % 2].get('/environments');
      if (answer.status === 200) passed[i % 2]++;
      else refused ??= answer;
    }
    assert.equal(refused?.code, 'RATE_LIMIT_EXCEEDED');
    assert.ok(passed[0] > 0 && passed[1] > 0, `both served: ${passed}`);
    assert.ok(passed[0] + passed[1] >= LIMIT && passed[0] + passed[1] <= LIMIT + 1, `${passed} of ${LIMIT}`); // a second may refill one
  });

  test('a revoked key is refused by every instance at its next request, and its streams are closed', async () => {
    const { key, id } = await viewer();
    const r = await startRun(s.api, await makeTemplate(s.api, [wait('hold', 3600)]));
    const clients = s.servers.map((server) => server.client(key));
    const streams = s.servers.flatMap((server) => [new WsStream(server, streamOf(r), { token: key }), new SseStream(server, streamOf(r), { token: key })]);
    for (const stream of streams) await stream.frame('synced');
    for (const client of clients) assert.equal((await client.get('/environments')).status, 200);
    assert.equal((await s.slipway('key', 'revoke', id)).code, 0);
    for (const client of clients) assert.equal((await client.get('/environments')).status, 401);
    for (const stream of streams) await stream.ended('the stream of a revoked key to end');
    await s.api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, {});
  });

  test('requests, timers and tasks of an instance that is killed go on at the other within five seconds', async (t) => {
    const [first, second] = s.servers;
    let leads = first;
    const way = await new Proxy(() => ({ host: leads.host, port: leads.port })).start();
    try {
      await s.addAgent('one', { server: { url: `http://127.0.0.1:${way.port}` } });
      const call = { id: 'call', type: 'http-request', config: { url: receiver.url } };
      const at = s.servers[1].client(s.api.token);
      const [calls, waits, tasks] = await Promise.all([
        makeTemplate(s.api, [call]), makeTemplate(s.api, [wait('a', 1), wait('b', 1)], chain('a', 'b')),
        makeTemplate(s.api, [script('a', 'sleep 1'), script('b', 'echo done')], chain('a', 'b')),
      ]);
      const runs = await Promise.all([calls, waits, tasks].flatMap((template) => [1, 2, 3].map(() => startRun(s.api, template))));
      const watchers = runs.map((r) => new Watcher(second, streamOf(r), { token: s.api.token }));
      await eventually(() => receiver.came.length >= 3, 'the requests to be sent');
      const sent = receiver.came.length;
      await Promise.all(watchers.slice(6).map((w) => w.until(() => w.events.some((e) => e.type === 'step_started'), 'the task to be begun')));
      const killed = performance.now();
      leads = second;
      await first.kill();
      way.cut();
      // those that the second instance had begun itself go on unnoticed; of the first one's each is sent again, under its key
      const ended = watchers.slice(3).map((w) => w.done.then(() => performance.now() - killed));
      const mine = receiver.held.filter((response) => response.destroyed || response.socket?.destroyed).length;
      if (mine > 0) await eventually(() => receiver.came.length >= sent + mine, `${mine} requests to be sent again`);
      const again = Math.max(0, ...receiver.came.slice(sent).map((c) => c.at - killed));
      const keys = new Set(receiver.came.slice(0, sent).map((c) => c.key));
      for (const { key } of receiver.came.slice(sent)) assert.ok(keys.has(key), 'it is the same request');
      receiver.answer();
      const times = await Promise.all(ended);
      for (const r of runs) await reaches(at, r, 'succeeded');
      t.diagnostic(`requests sent again after ${Math.round(again)} ms (${mine} of 3); runs that had two seconds of work left ended after ${times.map(Math.round)} ms`);
      assert.ok(again <= PROMISED * SLACK, `requests after ${again} ms`);
      for (const ms of times) assert.ok(ms <= 2000 + PROMISED * SLACK, `a run after ${ms} ms`);
    } finally {
      way.stop();
    }
  });
});
