// Idempotency-Key: done once, answered as often as asked.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RedisProxy } from '../lib/proxy.mjs';
import { Server, start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s, order = 0;

before(async () => {
  s = await start({ name: 'idempotency', workers: 2 });
});
after(() => s?.stop());

/** One kind claims a key before its work, the other makes the record in the one commit that it is. */
const KINDS = { environments: 'environment', components: 'component' };
const every = (name, check) => Object.keys(KINDS).forEach((kind) => test(`${kind}: ${name}`, () => check(kind)));

const body = (name, more = {}) => ({ name, orderIndex: ++order, ...more });
const of = (kind, name) => (kind === 'environments' ? body(name) : { name });
const post = (path, sent, key, client = s.api) => client.post(path, sent, { headers: { 'idempotency-key': key } });
const named = async (name, kind = 'environments') => (await s.api.get(`/${kind}`, { query: { name } })).data;

/** The bytes of the answer, but for the time and the id of the request. */
const told = ({ text }) => text.slice(0, text.lastIndexOf(',"meta":'));
/** What the store holds of the one request with this key since `before`. */
async function recordOf(sent) {
  const known = new Set(await s.redis.keys('*:i:*'));
  const answer = await sent();
  const [name] = (await s.redis.keys('*:i:*')).filter((key) => !known.has(key));
  const fields = async () => {
    const flat = await s.redis.command('HGETALL', name);
    return Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => flat.slice(2 * i, 2 * i + 2)));
  };
  return { answer, fields };
}

function replayed(answer, first) {
  assert.equal(answer.headers['idempotency-replayed'], 'true');
  assert.equal(answer.status, first.status);
  assert.equal(told(answer), told(first));
  assert.deepEqual(answer.error, first.error);
  assert.equal(answer.headers.etag, first.headers.etag);
  assert.equal(answer.headers.location, first.headers.location);
}

every('the same key and body are done once and answered the same', async (kind) => {
  const sent = of(kind, 'once');
  const first = await post(`/${kind}`, sent, 'key-1');
  assert.equal(first.status, 201);
  assert.equal(first.headers['idempotency-replayed'], undefined);
  assert.equal(first.headers.location, `/api/v1/${kind}/${first.data.id}`);
  for (let i = 0; i < 3; i++) replayed(await post(`/${kind}`, sent, 'key-1', s.server.client(s.key)), first);
  assert.equal((await named('once', kind)).length, 1);
});

every('an answer stays what it was when the document moves on, or is gone', async (kind) => {
  const sent = of(kind, 'moving');
  const first = await post(`/${kind}`, sent, 'key-moving');
  await s.api.want(200, 'PUT', `/${kind}/${first.data.id}`, { displayName: 'Moved' });
  replayed(await post(`/${kind}`, sent, 'key-moving'), first);
  await s.api.want(204, 'DELETE', `/${kind}/${first.data.id}`);
  replayed(await post(`/${kind}`, sent, 'key-moving'), first);
});

every('a record holds document, revision and status, and the text only once the document moves on', async (kind) => {
  for (const end of ['change', 'delete']) {
    const sent = of(kind, `held-${end}`);
    const { answer: first, fields } = await recordOf(() => post(`/${kind}`, sent, `key-held-${end}`));
    const held = await fields();
    assert.deepEqual([held.kind, held.id, held.revision, held.status], [KINDS[kind], first.data.id, '1', '201']);
    assert.equal(held.data, undefined);
    replayed(await post(`/${kind}`, sent, `key-held-${end}`), first);
    if (end === 'change') await s.api.want(200, 'PUT', `/${kind}/${first.data.id}`, { displayName: 'Moved' });
    else await s.api.want(204, 'DELETE', `/${kind}/${first.data.id}`);
    assert.deepEqual(JSON.parse((await fields()).data), first.data);
    replayed(await post(`/${kind}`, sent, `key-held-${end}`), first);
  }
});

test('the answer of a start, which moves on at once, and of actions', async () => {
  const template = await s.api.want(201, 'POST', '/workflow-templates', {
    name: 'idempotent', status: 'active', nodes: [{ id: 'hold', type: 'wait', config: { seconds: 3600 } }], edges: [],
  });
  const start = { templateId: template.id };
  const first = await post('/workflow-runs', start, 'key-run');
  assert.equal(first.status, 201);
  const paused = await post(`/workflow-runs/${first.data.id}/pause`, {}, 'key-pause');
  assert.equal(paused.status, 200);
  const cancelled = await post(`/workflow-runs/${first.data.id}/cancel`, {}, 'key-cancel');
  assert.equal(cancelled.status, 200);
  replayed(await post('/workflow-runs', start, 'key-run'), first);
  replayed(await post(`/workflow-runs/${first.data.id}/pause`, {}, 'key-pause'), paused);
  replayed(await post(`/workflow-runs/${first.data.id}/cancel`, {}, 'key-cancel'), cancelled);
  assert.equal((await s.api.get('/workflow-runs')).data.length, 1);
});

every('while the first is under way the second is told so; replays and changes at once stay exact', async (kind) => {
  const sent = of(kind, 'racing');
  const first = await post(`/${kind}`, sent, 'key-racing');
  const changes = Array.from({ length: 20 }, (_, i) => s.api.put(`/${kind}/${first.data.id}`, { displayName: `name ${i}` }));
  const replays = Array.from({ length: 20 }, () => post(`/${kind}`, sent, 'key-racing'));
  for (const answer of await Promise.all(replays)) replayed(answer, first);
  await Promise.all(changes);
  replayed(await post(`/${kind}`, sent, 'key-racing'), first);
});

every('another body with the same key is a conflict', async (kind) => {
  const sent = of(kind, 'conflict');
  await post(`/${kind}`, sent, 'key-2');
  const other = await post(`/${kind}`, { ...sent, name: 'conflict-b' }, 'key-2');
  assert.equal(other.status, 409);
  assert.equal(other.code, 'RES_IDEMPOTENCY_CONFLICT');
  assert.deepEqual(await named('conflict-b', kind), []);
});

test('a key belongs to its caller', async () => {
  const other = s.server.client(await s.makeKey('--role', 'admin', '--name', 'other'));
  assert.equal((await post('/environments', body('mine'), 'key-3')).status, 201);
  assert.equal((await post('/environments', body('theirs'), 'key-3', other)).status, 201);
});

every('refusals that depend on the state are kept, faults and refusals of the caller are not', async (kind) => {
  const sent = of(kind, 'taken');
  await s.api.want(201, 'POST', `/${kind}`, sent);
  const first = await post(`/${kind}`, sent, 'key-4');
  assert.equal(first.status, 409);
  const id = (await named('taken', kind))[0].id;
  await s.api.want(204, 'DELETE', `/${kind}/${id}`);
  replayed(await post(`/${kind}`, sent, 'key-4'), first);
  assert.equal((await post(`/${kind}`, { name: 'NO GOOD' }, 'key-5')).status, 400);
  assert.equal((await post(`/${kind}`, of(kind, 'good-now'), 'key-5')).status, 201);
});

every('of many at once exactly one does the work', async (kind) => {
  const sent = of(kind, 'crowd');
  const clients = Array.from({ length: 16 }, () => s.server.client(s.key));
  const answers = await Promise.all(clients.map((c) => post(`/${kind}`, sent, 'key-6', c)));
  const fresh = answers.filter((a) => a.status === 201 && !a.headers['idempotency-replayed']);
  assert.equal(fresh.length, 1);
  for (const answer of answers.filter((a) => a !== fresh[0]))
    if (answer.status === 201) replayed(answer, fresh[0]);
    else {
      assert.equal(answer.status, 409);
      assert.equal(answer.code, 'RES_IDEMPOTENCY_IN_PROGRESS');
      assert.equal(answer.headers['retry-after'], '1');
    }
  assert.equal((await named('crowd', kind)).length, 1);
});

every('a change whose answer from the store was lost is replayed, not refused or made again', async (kind) => {
  const proxy = await new RedisProxy(s.nest, s.redis.socket).start();
  after(() => proxy.stop());
  const behind = new Server(s, 'behind', { args: ['--workers', '1', '--redis', proxy.url] });
  s.servers.push(behind);
  await behind.start();
  const client = behind.client(s.key), sent = of(kind, 'lost-answer');
  const done = proxy.freezeAfter('lost-answer');
  const answer = post(`/${kind}`, sent, 'key-lost', client);
  await done;
  proxy.thaw();
  const lost = await answer;
  assert.equal(lost.status, 503);
  const [made] = await named('lost-answer', kind);
  assert.ok(made, 'the change was not made: nothing was tested');
  const again = await eventually(async () => {
    const answer = await post(`/${kind}`, sent, 'key-lost', client);
    return [answer.status !== 503, answer];
  }, 'the store to be back');
  assert.equal(again.status, 201, again.text);
  assert.equal(again.headers['idempotency-replayed'], 'true');
  assert.equal(again.data.id, made.id);
});

test('malformed keys are faults', async () => {
  for (const key of ['', 'x'.repeat(256)]) {
    const answer = await post('/environments', body('malformed'), key);
    assert.equal(answer.status, 400, JSON.stringify(key));
    assert.equal(answer.error.validationErrors[0].field, 'header.Idempotency-Key');
  }
  assert.equal((await post('/environments', body('longest'), 'x'.repeat(255))).status, 201);
});

test('a secret in an answer is replayed, and never stored in the clear', async () => {
  const first = await post('/admin/agent-tokens', {}, 'key-7');
  assert.equal(first.status, 201);
  replayed(await post('/admin/agent-tokens', {}, 'key-7'), first);
  const ticket = await post('/stream-tickets', {}, 'key-8');
  assert.equal(ticket.status, 201);
  replayed(await post('/stream-tickets', {}, 'key-8'), ticket);
  for (const key of await s.redis.keys('*:i:*')) {
    const record = await s.redis.command('HGETALL', key);
    for (const secret of [first.data.token, ticket.data.ticket]) assert.ok(!JSON.stringify(record).includes(secret), key);
  }
});
