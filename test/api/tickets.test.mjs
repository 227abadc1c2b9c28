// One-use tickets for streams: POST /stream-tickets, then `?token=`.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { holding, makeTemplate, startRun, streamOf, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, WsStream } from '../lib/stream.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api, r;

before(async () => {
  s = await start({ name: 'tickets', workers: 2, instances: 2, env: { SLIPWAY_STREAM_TICKET_TTL: '60s', SLIPWAY_STREAM_AUTH_TIMEOUT: '60s' } });
  api = s.api;
  r = await holding(api);
});
after(() => s?.stop());

const ticketOf = async (client = api) => (await client.want(201, 'POST', '/stream-tickets')).ticket;
const ws = (token, server = s.server, of = r) => new WsStream(server, streamOf(of), { query: { token } });
const sse = (token, server = s.server, of = r) => new SseStream(server, streamOf(of), { query: { token } });
const inStep = (stream) => stream.until((x) => x.frames.some((f) => f.type === 'synced'), 'the stream to be in step');
const refused = async (token, server = s.server, of = r) => {
  const answer = await ws(token, server, of).refusal();
  return [answer.status, answer.code];
};

test('a ticket opens one stream, WebSocket or event stream, on any instance', async () => {
  const before = Date.now();
  const made = await api.want(201, 'POST', '/stream-tickets');
  assert.match(made.ticket, /^slt_[0-9A-Za-z]{36}$/);
  const left = Date.parse(made.expiresAt) - before;
  assert.ok(left > 50_000 && left < 70_000, `${left} ms`);
  for (const [open, server] of [[ws, 0], [ws, 1], [sse, 0], [sse, 1]]) {
    const ticket = await ticketOf();
    const stream = open(ticket, s.servers[server]);
    await inStep(stream);
    for (const other of s.servers) assert.deepEqual(await refused(ticket, other), [401, 'AUTH_TOKEN_INVALID']);
    stream.close();
  }
});

test('of many that come at once with one ticket, on both instances, one gets in', async () => {
  const ticket = await ticketOf();
  const streams = Array.from({ length: 12 }, (_, i) => ws(ticket, s.servers[i % 2]));
  const states = await Promise.all(streams.map((x) => eventually(() => x.refused?.status ?? x.frames[0]?.type, 'an answer')));
  assert.deepEqual(states.sort().map(String), [...Array(11).fill('401'), 'ready']);
  for (const stream of streams) stream.close();
});

test('it is good nowhere but in the query of a stream', async () => {
  const ticket = await ticketOf();
  assert.equal((await s.server.client(ticket).get('/environments')).code, 'AUTH_TOKEN_INVALID');
  assert.equal((await s.server.client().get('/environments', { query: { token: ticket } })).code, 'AUTH_TOKEN_MISSING');
  const header = new WsStream(s.server, streamOf(r), { token: ticket });
  assert.equal((await header.refusal()).code, 'AUTH_TOKEN_INVALID');
  const message = new WsStream(s.server, streamOf(r));
  await message.opened();
  message.send({ type: 'auth', token: ticket });
  assert.equal((await eventually(() => message.closed, 'the stream to be closed')).code, 4401);
  await inStep(ws(ticket)); // none of these has used it up
});

test('an API key in a query stays refused', async () => {
  assert.deepEqual(await refused(s.key), [401, 'AUTH_API_KEY_INVALID']);
  assert.deepEqual(await refused('slt_garbage'), [401, 'AUTH_TOKEN_INVALID']);
  assert.deepEqual(await refused(`slt_${'0'.repeat(36)}`), [401, 'AUTH_TOKEN_INVALID']);
});

test('it is over after its time', async () => {
  const short = await s.addServer({ name: 'short', env: { SLIPWAY_STREAM_TICKET_TTL: '1s' } });
  const known = new Set(await s.redis.keys('*:k:*'));
  const ticket = await ticketOf(short.client(s.key));
  const record = (await s.redis.keys('*:k:*')).find((key) => !known.has(key));
  assert.ok(record);
  await eventually(async () => (await s.redis.command('EXISTS', record)) === 0, 'the ticket to be over');
  assert.deepEqual(await refused(ticket, short), [401, 'AUTH_TOKEN_INVALID']);
  assert.deepEqual(await refused(ticket), [401, 'AUTH_TOKEN_INVALID']);
  await short.stop();
});

test('it gives what its maker may do, and no more', async () => {
  const signer = new Signer(s.server.data);
  const { tenantId } = await api.want(201, 'POST', '/environments', { name: 'dev' });
  const token = (claims) => signer.token({ tenant_id: tenantId, roles: [], ...claims });
  const environment = (await api.get('/environments')).data[0];
  const template = await makeTemplate(api, [wait('hold', 3600)]);
  const inDev = await startRun(api, template, { context: { environmentId: environment.id } });
  const cases = [
    [await s.makeKey('--permissions', 'workflow:read'), 'ok', 'ok'],
    [await s.makeKey('--permissions', 'environment:read'), 'PERM_DENIED', 'PERM_DENIED'],
    [await s.makeKey('--permissions', 'workflow:read@dev'), 'PERM_ENVIRONMENT_SCOPE', 'ok'],
    [await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'), 'RES_NOT_FOUND', 'RES_NOT_FOUND'],
    [token({ permissions: ['workflow:read'] }), 'ok', 'ok'],
    [token({ permissions: ['environment:read'] }), 'PERM_DENIED', 'PERM_DENIED'],
    [token({ permissions: ['workflow:read@dev'] }), 'PERM_ENVIRONMENT_SCOPE', 'ok'],
  ];
  for (const [secret, ...expected] of cases)
    for (const [i, of] of [r, inDev].entries()) {
      const ticket = await ticketOf(s.server.client(secret));
      if (expected[i] === 'ok') await inStep(ws(ticket, s.servers[1], of));
      else assert.equal((await refused(ticket, s.servers[1], of))[1], expected[i]);
    }
});

test('it ends with what it was made with', async () => {
  const { tenantId } = (await api.get('/environments')).data[0];
  const key = await s.slipway('key', 'create', '--permissions', 'workflow:read', '--json');
  const { key: secret, id } = JSON.parse(key.stdout);
  const jti = '0192f7a0-0000-7000-8000-0000000000fe';
  const token = new Signer(s.server.data).token({ tenant_id: tenantId, jti, roles: ['viewer'] });
  for (const [credential, name] of [[secret, id], [token, jti]]) {
    const [open, unused] = [await ticketOf(s.server.client(credential)), await ticketOf(s.server.client(credential))];
    const stream = ws(open);
    await inStep(stream);
    assert.equal((await s.slipway('key', 'revoke', name)).code, 0);
    assert.deepEqual(await refused(unused), [401, 'AUTH_TOKEN_REVOKED']);
    assert.equal((await eventually(() => stream.closed, 'the open stream to be closed')).code, 4401);
  }
});

test('nobody without credentials gets one; making one is audited, and its text stands in no log and no store', async () => {
  assert.equal((await s.server.client().post('/stream-tickets')).code, 'AUTH_TOKEN_MISSING');
  const ticket = await ticketOf();
  await inStep(ws(ticket));
  const { data } = await api.get('/audit-events', { query: { action: 'stream-ticket.created' } });
  assert.equal(data[0].actorType, 'user');
  const unused = await ticketOf();
  await eventually(() => s.server.process.text().includes('route=/api/v1/workflow-runs/{id}/stream'), 'the line of the request');
  for (const server of s.servers) for (const text of [ticket, unused]) assert.ok(!server.process.text().includes(text));
  for (const key of await s.redis.keys('*:k:*')) assert.ok(!JSON.stringify([key, await s.redis.command('HGETALL', key)]).includes(unused));
});
