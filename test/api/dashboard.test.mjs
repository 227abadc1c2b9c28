// The dashboard's stream: figures counted from what is stored, and events as they come.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { figures } from '../lib/figures.mjs';
import { Product } from '../lib/promote.mjs';
import { holding, reaches, unique } from '../lib/run.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { SseStream, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

const PATH = '/dashboard/stream';
const oneTo = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

const reach = (stream, group, wanted) =>
  stream.until((s) => {
    const now = figures(s)?.[group];
    return now && Object.entries(wanted).every(([name, n]) => now[name] === n);
  }, `${group} to be ${JSON.stringify(wanted)}, is ${JSON.stringify(figures(stream)?.[group])}`);
const card = (stream, environment) => figures(stream)?.environments.find((e) => e.environmentId === environment.id);

/** A tenant of its own: what others do is not counted. */
async function tenant(s) {
  const key = await s.makeKey('--tenant', unique('tenant'), '--role', 'admin');
  const api = s.server.client(key);
  return { key, api, product: new Product(api), open: (query, server = s.server) => new WsStream(server, PATH, { token: key, query }) };
}

async function addTarget(api, environment) {
  return api.want(201, 'POST', '/targets', { environmentId: environment.id, name: unique('host'), type: 'host', connection: { path: '/srv/site' } });
}

describe('the stream', () => {
  let s;
  before(async () => {
    s = await start({ name: 'dashboard', workers: 2 });
  });
  after(() => s?.stop());

  test('begins with the figures, goes on with events, and tells the figures that changed', async () => {
    const t = await tenant(s), { api, product: p } = t;
    const first = t.open();
    const ready = await first.frame('ready');
    assert.equal(ready.streamId, 'dashboard');
    const empty = await first.frame('snapshot');
    assert.deepEqual(empty.data, {
      releaseOperations: { inFlight: 0, queued: 0, pendingApproval: 0, completedToday: 0, failedLast24h: 0 },
      deployments: { running: 0, paused: 0, rollingBack: 0 },
      runs: { running: 0, waiting: 0, paused: 0 },
      estate: { agentsOnline: 0, agentsDegraded: 0, agentsOffline: 0, targetsTotal: 0, targetsHealthy: 0, targetsUnhealthy: 0, targetsDrifted: 0 },
      environments: [],
    });
    await first.frame('synced');
    const quick = await p.environment('quick'), slow = await p.environment('slow'), r = await p.release();
    await addTarget(api, quick);
    const done = await p.deploy(r, quick);
    const flying = await p.until(await p.skip(r, slow), 'deploying');
    await first.frame('promotion_updated', (f) => f.promotionId === flying.id && f.status === 'deploying' && f.environmentId === slow.id);
    await reach(first, 'releaseOperations', { inFlight: 1, completedToday: 1, failedLast24h: 0 });
    await first.until((x) => card(x, quick)?.currentRelease, 'the card to have a release');
    const shown = card(first, quick);
    assert.deepEqual([shown.name, shown.currentRelease, shown.deployedAt, shown.deployedBy, shown.targetsTotal, shown.targetsHealthy, shown.freezeActive],
      [quick.name, { id: r.id, name: r.name }, done.completedAt, done.requestedBy, 1, 0, false]);
    assert.deepEqual(first.events.map((e) => e.seq), oneTo(1, first.events.length));
    const second = t.open(); // the same figures, from the present state
    await second.frame('synced');
    await first.until((x) => JSON.stringify(figures(x).releaseOperations) === JSON.stringify(figures(second).releaseOperations), 'both to agree');
    assert.deepEqual(card(second, quick), card(first, quick));
    assert.equal(second.events.length, 0);
    await api.want(200, 'POST', `/workflow-runs/${flying.workflowRunId}/cancel`, {});
    await reach(second, 'releaseOperations', { inFlight: 0 });
    const stamps = first.frames.filter((f) => f.type === 'metrics_updated').map((f) => Date.parse(f.timestamp));
    for (let i = 1; i < stamps.length; i++) assert.ok(stamps[i] - stamps[i - 1] >= 800, `at most one a second: ${stamps}`);
  });

  test('resumes behind an event, over both ways, and says when it cannot', async () => {
    const t = await tenant(s), { product: p } = t;
    const e = await p.environment('quick');
    for (let i = 0; i < 3; i++) await p.deploy(await p.release(), e);
    const all = t.open({ since: '0' });
    const { seq: last } = await all.frame('synced');
    assert.ok(last >= 12);
    assert.deepEqual(all.events.map((x) => x.seq), oneTo(1, last));
    const rest = t.open({ since: '5' });
    await rest.frame('synced');
    assert.deepEqual(rest.events.map((x) => x.seq), oneTo(6, last));
    assert.ok(rest.types.includes('snapshot'), 'figures have no number: every connection begins with them');
    const sse = new SseStream(s.server, PATH, { token: t.key, lastEventId: '7' });
    await sse.frame('synced');
    assert.deepEqual(sse.events.map((x) => x.seq), oneTo(8, last));
    await p.deploy(await p.release(), e);
    const done = await sse.frame('promotion_updated', (f) => f.seq > last && f.status === 'deployed');
    assert.ok(sse.lastEventId.endsWith(`:${sse.events.at(-1).seq}`));
    await all.until((x) => x.events.some((f) => f.seq === done.seq), 'the other to see it as well');
    await sse.frame('metrics_updated');
    const [channel] = await s.redis.keys(`*}:e:${(await t.api.want(200, 'GET', `/environments/${e.id}`)).tenantId}:dashboard`);
    await s.redis.command('XTRIM', channel, 'MINID', '8-0');
    for (const server of [s.server]) { // a worker that has the tail may still serve it: both are right
      const late = t.open({ since: '2' }, server);
      await late.frame('synced');
      if (late.types.includes('gap')) {
        assert.equal((await late.frame('gap')).fromSeq, 3);
        assert.ok(late.types.lastIndexOf('snapshot') > late.types.indexOf('gap'));
        assert.equal(late.events.length, 0);
      } else {
        assert.deepEqual(late.events.map((x) => x.seq), oneTo(3, late.events.at(-1).seq));
      }
    }
  });

  test('a reader that comes back after what it lacks was taken away is told of the gap', async () => {
    const t = await tenant(s), { product: p } = t;
    const e = await p.environment('quick');
    await p.deploy(await p.release(), e);
    const [channel] = await s.redis.keys(`*}:e:${e.tenantId}:dashboard`);
    await s.redis.command('XTRIM', channel, 'MAXLEN', '1');
    const late = t.open({ since: '1' });
    const gap = await late.frame('gap');
    assert.deepEqual([gap.fromSeq, gap.reason], [2, 'reset']);
    await late.frame('synced');
    assert.ok(late.types.lastIndexOf('snapshot') > late.types.indexOf('gap'));
  });

  test('what is older than ten minutes is taken away as later events come, and numbers go on', async () => {
    const t = await tenant(s), { product: p } = t;
    const e = await p.environment('quick');
    await p.deploy(await p.release(), e);
    const [channel] = await s.redis.keys(`*}:e:${e.tenantId}:dashboard`);
    const entries = await s.redis.command('XRANGE', channel, '-', '+');
    const [id, [, first, , body]] = entries.at(-1);
    await s.redis.command('DEL', channel);
    await s.redis.command('XADD', channel, id, 'f', first, 'b', body.replaceAll(/"timestamp":"\d{4}/g, '"timestamp":"2020'));
    const live = t.open();
    await live.frame('synced');
    await p.deploy(await p.release(), e);
    const next = await live.frame('promotion_updated');
    assert.equal(next.seq, Number(id.split('-')[0]) + 1);
    assert.ok(!(await s.redis.command('XRANGE', channel, '-', '+')).some(([x]) => x === id), 'the old entry is gone');
  });

  test('tells of freezes when they start and end, whoever wrote them', async () => {
    const t = await tenant(s), { product: p } = t;
    const e = await p.environment('quick');
    const live = t.open();
    await live.frame('synced');
    const at = (ms) => new Date(Date.now() + ms).toISOString();
    const soon = await p.freeze(e, { start: at(300), end: at(1500) });
    const started = await live.frame('freeze_started', (f) => f.windowId === soon.id);
    assert.equal(started.environmentId, e.id);
    const ended = await live.frame('freeze_ended', (f) => f.windowId === soon.id);
    assert.ok(Date.parse(ended.timestamp) >= Date.parse(soon.end));
    assert.ok(Date.parse(started.timestamp) >= Date.parse(soon.start));
    const now = await p.freeze(e);
    await live.frame('freeze_started', (f) => f.windowId === now.id);
    await live.until((x) => card(x, e)?.freezeActive, 'the card to be frozen');
    await p.thaw(e, now);
    await live.frame('freeze_ended', (f) => f.windowId === now.id);
    await live.until((x) => card(x, e)?.freezeActive === false, 'the card to be free');
    assert.equal(live.events.filter((f) => f.type.startsWith('freeze_')).length, 4, 'each is told once');
  });

  test('shows a tenant nothing of another', async () => {
    const [mine, theirs] = [await tenant(s), await tenant(s)];
    const stream = theirs.open();
    await stream.frame('synced');
    const e = await mine.product.environment('quick');
    await mine.product.deploy(await mine.product.release(), e);
    const own = mine.open();
    await reach(own, 'releaseOperations', { completedToday: 1 });
    const marker = await theirs.product.environment('quick');
    await theirs.product.deploy(await theirs.product.release(), marker);
    await reach(stream, 'releaseOperations', { completedToday: 1 });
    assert.deepEqual(figures(stream).environments.map((x) => x.environmentId), [marker.id]);
    assert.ok(stream.events.every((x) => x.environmentId === marker.id));
  });

  test('needs the permission; narrowed to an environment it shows that one and no figure of the tenant\'s', async () => {
    const api = s.api, p = new Product(api);
    const [mine, other] = [await p.environment('quick'), await p.environment('quick')];
    const none = new WsStream(s.server, PATH, { token: await s.makeKey('--permissions', 'release:read') });
    assert.equal((await none.refusal()).code, 'PERM_DENIED');
    const key = await s.makeKey('--permissions', `dashboard:read@${mine.name}`);
    const lost = await s.makeKey('--permissions', 'dashboard:read@nowhere');
    const header = new WsStream(s.server, PATH, { token: key });
    const login = new WsStream(s.server, PATH);
    await login.opened();
    login.send({ type: 'auth', token: key });
    const sse = new SseStream(s.server, PATH, { token: key });
    const blind = new SseStream(s.server, PATH, { token: lost });
    const chosen = new WsStream(s.server, PATH, { token: key, query: { environmentId: `${mine.id},${other.id}` } });
    const elsewhere = new WsStream(s.server, PATH, { token: key, query: { environmentId: other.id } });
    const streams = [header, login, sse, chosen], all = [...streams, blind, elsewhere];
    for (const stream of all) await stream.frame('synced');
    for (const stream of [...streams, elsewhere]) {
      const { data } = await stream.frame('snapshot');
      assert.deepEqual(Object.keys(data), ['environments']);
      assert.deepEqual(data.environments.map((x) => x.environmentId), [mine.id]);
    }
    assert.deepEqual((await blind.frame('snapshot')).data, { environments: [] });
    header.send({ type: 'subscribe', filters: { environmentIds: [other.id, mine.id], types: ['promotion_updated', 'metrics_updated'] } });
    await header.frame('subscribed');
    const r = await p.release();
    await p.deploy(r, other);
    await p.deploy(r, mine);
    for (const stream of streams) {
      await stream.frame('promotion_updated', (f) => f.environmentId === mine.id && f.status === 'deployed');
      await stream.until((x) => card(x, mine)?.currentRelease?.id === r.id, 'the card to change');
      assert.ok(stream.events.every((x) => x.environmentId === mine.id), JSON.stringify(stream.events));
      assert.ok(stream.frames.filter((f) => f.type === 'metrics_updated').every((f) => !f.releaseOperations && f.environments.every((x) => x.environmentId === mine.id)));
    }
    assert.deepEqual([blind.events, elsewhere.events], [[], []]);
    assert.deepEqual(figures(blind), { environments: [] });
  });

  test('counts what has no events, too: runs, targets, environments', async () => {
    const t = await tenant(s), { api } = t;
    const live = t.open();
    await live.frame('synced');
    const e = await api.want(201, 'POST', '/environments', { name: 'dev' });
    const target = await addTarget(api, e);
    await reach(live, 'estate', { targetsTotal: 1 });
    await live.until((x) => card(x, e)?.targetsTotal === 1, 'the card to have a target');
    const held = await holding(api);
    await reaches(api, held, 'running', 'waiting');
    await live.until((x) => figures(x).runs.running + figures(x).runs.waiting === 1, 'the run to be counted');
    await held.release();
    await reach(live, 'runs', { running: 0, waiting: 0 });
    await api.want(204, 'DELETE', `/targets/${target.id}`);
    await api.want(204, 'DELETE', `/environments/${e.id}`);
    await reach(live, 'estate', { targetsTotal: 0 });
    await live.until((x) => figures(x).environments.length === 0, 'the card to go');
    assert.equal(live.events.length, 0);
  });

  test('a filter by types holds for the figures, too', async () => {
    const t = await tenant(s), { product: p } = t;
    const [events, numbers] = [t.open({ types: 'promotion_updated' }), t.open({ types: 'metrics_updated' })];
    await Promise.all([events.frame('synced'), numbers.frame('synced')]);
    await p.deploy(await p.release(), await p.environment('quick'));
    await reach(numbers, 'releaseOperations', { completedToday: 1 });
    await events.frame('promotion_updated', (f) => f.status === 'deployed');
    assert.equal(numbers.events.length, 0);
    assert.ok(!events.types.includes('metrics_updated'));
  });
});

describe('in trouble', () => {
  let s, two;
  before(async () => {
    s = await start({ name: 'dashboard-trouble', args: ['--stream-queue', '256KiB'] });
    two = new Server(s, 'two');
    s.servers.push(two);
    await two.start();
  });
  after(() => s?.stop());

  test('figures are right on two instances, and after a server and Redis were killed', async () => {
    const t = await tenant(s), { api, product: p } = t;
    const slow = await p.environment('slow'), bad = await p.environment('bad'), r = await p.release();
    const far = t.open(undefined, two);
    await far.frame('synced');
    const flying = await p.until(await p.skip(r, slow), 'deploying');
    await p.until(await p.skip(r, bad), 'failed');
    const wanted = { inFlight: 1, failedLast24h: 1, completedToday: 0 };
    await reach(far, 'releaseOperations', wanted);
    await s.server.kill();
    await s.server.start();
    const near = t.open();
    await near.frame('synced');
    await reach(near, 'releaseOperations', wanted);
    await s.redis.kill();
    await s.redis.start();
    await eventually(async () => (await api.get('/environments')).status === 200, 'the server to have its Redis again');
    await eventually(async () => (await api.post(`/workflow-runs/${flying.workflowRunId}/cancel`, {})).status < 300, 'the run to be cancelled');
    for (const stream of [far, near])
      await reach(stream, 'releaseOperations', { inFlight: 0 }).catch((error) => {
        if (stream.closed?.code !== 1013) throw error; // told to try again later, while Redis was away
      });
    for (const server of [s.server, two]) {
      const fresh = t.open(undefined, server);
      await fresh.frame('synced');
      await reach(fresh, 'releaseOperations', { inFlight: 0 });
    }
  });

  test('a reader too slow is cut with 4429, and resumes', async () => {
    const t = await tenant(s), { product: p } = t;
    const e = await p.environment('quick');
    const slow = t.open();
    await slow.frame('synced');
    slow.stopReading();
    // A flood straight into the channel: more than sockets and the queue hold.
    const [prefix] = (await s.redis.keys(`*}:d:${e.tenantId}:environment:${e.id}`))[0].split(':');
    const channel = `${prefix}:e:${e.tenantId}:dashboard`, counter = `${prefix}:es:${e.tenantId}:dashboard`;
    const windowId = e.id, entry = (seq) =>
      `{"seq":${seq},"timestamp":"${new Date().toISOString()}","type":"freeze_ended","environmentId":"${e.id}","windowId":"${windowId}"}`;
    let seq = Number((await s.redis.command('GET', counter)) ?? 0);
    await eventually(async () => {
      const body = Array.from({ length: 2000 }, (_, i) => entry(seq + 1 + i)).join('\n'), first = seq + 1;
      seq += 2000;
      await s.redis.command('XADD', channel, `${seq}-0`, 'f', String(first), 'b', body);
      await s.redis.command('SET', counter, String(seq));
      await s.redis.command('PUBLISH', channel, `${first} ${seq}\n${body}`);
      const { text } = await s.server.client().request('GET', '/metrics', undefined, { absolute: true, judge: false });
      return /^slipway_streams_slow_total [1-9]/m.test(text);
    }, 'the reader to be cut');
    slow.readOn();
    assert.equal((await slow.ended()).code, 4429);
    const seen = slow.events.at(-1)?.seq ?? 0;
    const rest = t.open({ since: String(seen) });
    await rest.until((x) => x.events.at(-1)?.seq === seq, 'the rest');
    assert.deepEqual(rest.events.map((x) => x.seq), oneTo(seen + 1, seq));
  });
});
