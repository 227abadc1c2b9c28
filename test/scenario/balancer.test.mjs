// Two and three instances on one Redis behind Debian's HAProxy and nginx, by the recipes in deploy/: round robin, nothing
// sticky. Any instance serves any request and resumes any stream, and all are restarted in turn without anybody noticing.
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Haproxy, Nginx } from '../lib/balancer.mjs';
import { judgeAnswer } from '../lib/contract.mjs';
import { Gate, makeTemplate, reaches, script, startRun, streamOf, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';
import { metric } from '../lib/wire.mjs';

const OCTETS = 'application/octet-stream';
const digestOf = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const isEvent = (f) => f.seq !== undefined && !['snapshot', 'synced', 'heartbeat'].includes(f.type);

for (const instances of [2, 3]) describe(`${instances} instances behind HAProxy and nginx`, () => {
  let s, balancers;

  before(async () => {
    s = await start({ name: `balanced${instances}`, instances });
    balancers = await Promise.all([Haproxy, Nginx].map((Kind) => new Kind(s).start()));
    await s.addAgent('agent1');
  });
  after(() => s?.stop());

  /** A run that prints numbered lines until it is told to end. */
  async function chatter() {
    const file = s.nest.file(unique('lines'));
    const gate = new Gate(s.nest);
    const text = `i=0; while [ ! -e '${gate.path}' ]; do i=$((i+1)); echo "line $i"; sleep 0.02; done | tee '${file}'`;
    const r = await startRun(s.api, await makeTemplate(s.api, [script('count', text)]));
    return { r, gate, written: () => fs.readFileSync(file, 'utf8') };
  }

  const streams = (server) => metric(server, 'slipway_connections_upgraded');

  /** Requests for what is not there tell who was asked: nobody else makes them. */
  const asked = (server) => metric(server, 'slipway_http_requests_total{class="4xx"}');
  async function ask(balancer, times = 4 * instances) {
    const api = balancer.client(s.key);
    for (let i = 0; i < times; i++) await api.want(404, 'GET', `/environments/${randomUUID()}`);
  }

  test('requests go round all instances', async () => {
    for (const balancer of balancers) {
      const before = await Promise.all(s.servers.map(asked));
      await ask(balancer);
      const now = await Promise.all(s.servers.map(asked));
      now.forEach((n, i) => assert.ok(n - before[i] >= 2, `${balancer.name} sends to instance ${i + 1}: ${before} ${now}`));
    }
  });

  for (const kind of ['ws', 'sse'])
    test(`a client that comes back over ${kind} lands elsewhere and goes on where it was`, async () => {
      const { r, gate, written } = await chatter();
      for (const balancer of balancers) {
        const places = new Set(), seen = [];
        let lastEventId;
        for (let visit = 0; visit < 2 * instances || places.size < instances; visit++) {
          assert.ok(visit < 8 * instances, `${balancer.name} leads to all instances, not only to ${[...places]}`);
          const before = await Promise.all(s.servers.map(streams));
          const stream = kind === 'ws'
            ? new WsStream(balancer, streamOf(r), { token: s.key, query: { since: String(seen.at(-1)?.seq ?? 0) } })
            : new SseStream(balancer, streamOf(r), { token: s.key, ...(lastEventId ? { lastEventId } : { query: { since: '0' } }) });
          await stream.until((x) => x.frames.filter(isEvent).length >= 3, 'three more events');
          const place = (await Promise.all(s.servers.map(streams))).findIndex((n, i) => n > before[i]);
          assert.ok(place >= 0, 'an instance has one stream more');
          places.add(place);
          stream.close();
          await stream.judged;
          assert.ok(!stream.types.includes('gap'), 'no gap');
          seen.push(...stream.frames.filter(isEvent));
          lastEventId = stream.lastEventId;
          await eventually(async () => (await streams(s.servers[place])) === before[place], 'the instance to see it go');
        }
        assert.deepEqual(seen.map((e) => e.seq), seen.map((_, i) => i + 1), `${balancer.name}: every event once, in order`);
      }
      gate.open();
      await reaches(s.api, r, 'succeeded');
      assert.match(written(), /^line 1\n/);
    });

  test('an artifact goes up through one balancer and down through the other', async () => {
    const component = await s.api.want(201, 'POST', '/components', { name: unique('part') });
    for (const [i, up] of balancers.entries()) {
      const down = balancers[1 - i];
      const bytes = randomBytes(3 << 20);
      const version = await up.client(s.key).want(201, 'POST', `/components/${component.id}/versions`, { tag: unique('v'), digest: digestOf(bytes) });
      const at = `/components/${component.id}/versions/${version.id}/artifact`;
      const put = await up.client(s.key).request('PUT', at, undefined, { raw: bytes, headers: { 'content-type': OCTETS } });
      assert.ok([200, 201, 204].includes(put.status), `${put.status} ${put.text}`);
      const answer = await fetch(`${down.url}/api/v1${at}`, { headers: { authorization: `Bearer ${s.key}` } });
      assert.equal(answer.status, 200);
      const came = Buffer.from(await answer.arrayBuffer());
      await judgeAnswer(down, 'GET', `/api/v1${at}`, { status: answer.status, headers: Object.fromEntries(answer.headers), text: came.toString('latin1') });
      assert.equal(digestOf(came), digestOf(bytes));
    }
  });

  test('every instance is restarted in turn: no request fails, no stream loses an event', async (t) => {
    const { r, gate, written } = await chatter();
    const watchers = balancers.flatMap((b) => ['ws', 'sse'].map((kind) => new Watcher(b, streamOf(r), { token: s.key, kind })));
    await Promise.all(watchers.map((w) => w.until(() => w.events.some((e) => e.type === 'step_log'), 'the first line')));
    const load = { on: true, done: 0 };
    const clients = balancers.flatMap((b) => [reading(b, load), writing(b, load)]);
    const failed = Promise.all(clients).then(() => undefined, (error) => error);
    for (const server of s.servers) {
      const how = await Promise.race([server.stop(), failed]);
      assert.deepEqual(how, { code: 0, signal: null });
      await server.start();
    }
    const { done } = load;
    await eventually(() => load.done > done + 20, 'requests to go on');
    load.on = false;
    assert.equal(await failed, undefined);
    gate.open();
    await Promise.all(watchers.map((w) => w.done));
    for (const w of watchers) {
      assert.equal(w.lines('count'), written(), `the lines over ${w.kind} through ${w.server.name}`);
      assert.ok(w.cuts >= 1, `the stream over ${w.kind} through ${w.server.name} was cut`);
      assert.equal(w.events.at(-1).status, 'succeeded');
    }
    t.diagnostic(`${load.done} requests, ${watchers.map((w) => w.cuts)} cuts`);
  });

  test('readiness takes an instance out before it stops', async () => {
    const [haproxy, nginx] = balancers;
    const leaving = s.servers.at(-1);
    await eventually(() => !haproxy.said(leaving)?.includes(' is DOWN'), 'HAProxy to use the instance');
    await leaving.kill();
    await eventually(() => haproxy.said(leaving)?.includes(' is DOWN'), 'HAProxy to see that the instance is gone');
    Object.assign(leaving.env, { SLIPWAY_DRAIN_WAIT: '10m', SLIPWAY_DRAIN_TIMEOUT: '10m' });
    await leaving.start();
    await eventually(() => haproxy.said(leaving)?.includes(' is UP'), 'HAProxy to take the instance back');
    leaving.process.signal('SIGTERM');
    await eventually(() => haproxy.said(leaving)?.includes('DOWN, reason: Layer7 wrong status, code: 503'), 'HAProxy to see that it leaves');
    assert.equal(leaving.process.exited, undefined);
    const before = await asked(leaving);
    await ask(haproxy);
    assert.equal(await asked(leaving), before, 'HAProxy sends it nothing any more');
    await eventually(async () => {
      await ask(nginx);
      return (await asked(leaving)) > before;
    }, 'nginx, which does not ask, to send it requests, and be answered');
    await leaving.kill();
    for (const balancer of balancers) await ask(balancer);
  });

  async function reading(balancer, load) {
    const api = balancer.client(s.key);
    for (; load.on; load.done++) await api.want(200, 'GET', '/environments', undefined, { query: { pageSize: '5' } });
  }

  async function writing(balancer, load) {
    const api = balancer.client(s.key);
    for (; load.on; load.done++) await api.want(201, 'POST', '/environments', { name: unique('load') });
  }
});
