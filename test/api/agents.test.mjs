// Agents as the server sees them: tokens, registration, changes, heartbeats, silence. The task stream is next door.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FakeAgent, register, registrationToken } from '../lib/agent.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'agents' });
  api = s.api;
});
after(() => s?.stop());

const unknown = '0190a5b0-0000-7000-8000-0000000000ab';
const faults = (answer) => answer.error.validationErrors.map((f) => `${f.field} ${f.code}`).sort();
const agent = (body) => new FakeAgent(s).register(body);
const get = (id) => api.want(200, 'GET', `/agents/${id}`);

describe('registration tokens', () => {
  test('are shown once, for a day', async () => {
    const { status, data } = await api.post('/admin/agent-tokens', { name: 'rack 7' });
    assert.equal(status, 201);
    assert.match(data.token, /^reg_[0-9A-Za-z]{36}$/);
    assert.equal(data.name, 'rack 7');
    const hours = (Date.parse(data.expiresAt) - Date.now()) / 3600e3;
    assert.ok(hours > 23.9 && hours <= 24.1, `${hours} hours`);
  });

  test('need agent:register-token', async () => {
    const viewer = s.server.client(await s.makeKey('--tenant', 'default', '--role', 'viewer'));
    const answer = await viewer.post('/admin/agent-tokens', {});
    assert.equal(answer.status, 403);
    assert.deepEqual(answer.error.details, { required: 'agent:register-token' });
    const operator = s.server.client(await s.makeKey('--tenant', 'default', '--role', 'operator'));
    assert.equal((await operator.post('/admin/agent-tokens', {})).status, 201);
  });

  test('are no bearer tokens', async () => {
    const answer = await s.server.client(await registrationToken(api)).get('/agents');
    assert.equal(answer.status, 401);
  });

  test('that are taken back register nobody; agents that came with them stay', async () => {
    const [one, two] = [await api.want(201, 'POST', '/admin/agent-tokens', {}), await api.want(201, 'POST', '/admin/agent-tokens', {})];
    const made = await register(s.server.client(), two.token);
    assert.equal(made.status, 201, made.text);
    for (const { id } of [one, two]) await api.want(204, 'DELETE', `/admin/agent-tokens/${id}`);
    for (const { token } of [one, two]) {
      const refused = await register(s.server.client(), token);
      assert.deepEqual([refused.status, refused.code], [401, 'AUTH_TOKEN_INVALID']);
    }
    assert.equal((await api.get(`/agents/${made.data.agentId}`)).status, 200);
    for (const id of [one.id, unknown, 'nonsense'])
      assert.equal((await api.delete(`/admin/agent-tokens/${id}`)).status, 404);
    const elsewhere = s.server.client(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
    const three = await api.want(201, 'POST', '/admin/agent-tokens', {});
    assert.equal((await elsewhere.delete(`/admin/agent-tokens/${three.id}`)).status, 404);
    assert.equal((await register(s.server.client(), three.token)).status, 201);
  });

  test('with an Idempotency-Key are made once', async () => {
    const headers = { 'idempotency-key': unique('key') };
    const [one, two] = [await api.post('/admin/agent-tokens', {}, { headers }), await api.post('/admin/agent-tokens', {}, { headers })];
    assert.equal(two.status, 201);
    assert.equal(two.headers['idempotency-replayed'], 'true');
    assert.equal(two.data.token, one.data.token);
  });
});

describe('registering', () => {
  test('answers who the agent is, its tokens and its settings', async () => {
    const name = unique('agent');
    const answer = await register(s.server.client(), await registrationToken(api), { name, labels: { zone: 'a' }, maxTasks: 2 });
    assert.equal(answer.status, 201);
    assert.deepEqual(answer.data.config, { heartbeatInterval: 30, logLevel: 'info', taskPollInterval: 5 });
    assert.equal(answer.data.expiresIn, 3600);
    assert.match(answer.data.refreshToken, /^agt_[0-9A-Za-z]{36}$/);
    const claims = JSON.parse(Buffer.from(answer.data.token.split('.')[1], 'base64url'));
    assert.equal(claims.agent_id, answer.data.agentId);
    const made = await get(answer.data.agentId);
    assert.equal(made.name, name);
    assert.equal(made.status, 'online');
    assert.equal(made.lifecycleState, 'active');
    assert.deepEqual(made.labels, { zone: 'a' });
    assert.deepEqual(made.capabilities, ['script']);
    assert.equal(made.maxTasks, 2);
    assert.equal(made.runningTasks, 0);
  });

  test('is refused without a token, and with one that is none of ours', async () => {
    const anybody = s.server.client();
    const missing = await anybody.post('/agents/register', { name: 'x', version: '1', capabilities: [] });
    assert.deepEqual([missing.status, missing.code], [401, 'AUTH_TOKEN_MISSING']);
    for (const token of ['reg_', 'nonsense', `reg_${'0'.repeat(36)}`, s.key]) {
      const answer = await register(anybody, token);
      assert.deepEqual([answer.status, answer.code], [401, 'AUTH_TOKEN_INVALID'], token);
    }
    const token = await registrationToken(api);
    const changed = token.slice(0, 10) + (token[10] === 'a' ? 'b' : 'a') + token.slice(11);
    assert.equal((await register(anybody, changed)).code, 'AUTH_TOKEN_INVALID');
  });

  test('works once with a token, also when two try at once', async () => {
    const token = await registrationToken(api);
    const answers = await Promise.all(Array.from({ length: 4 }, () => register(s.server.client(), token)));
    assert.deepEqual(answers.map((a) => a.status).sort(), [201, 409, 409, 409]);
    for (const a of answers) if (a.status === 409) assert.equal(a.code, 'AGT_TOKEN_USED');
  });

  test('with a name that is taken leaves the token good', async () => {
    const name = unique('agent');
    await agent({ name });
    const token = await registrationToken(api);
    const taken = await register(s.server.client(), token, { name });
    assert.deepEqual([taken.status, taken.code], [409, 'RES_ALREADY_EXISTS']);
    assert.equal((await register(s.server.client(), token)).status, 201);
  });

  test('names every fault at once', async () => {
    const answer = await register(s.server.client(), await registrationToken(api), {
      name: 'not a name', version: '', capabilities: ['flying', 'script', 'script'], labels: { a: 1 }, maxTasks: 0, protocol: { min: 1 }, more: 1,
    });
    assert.equal(answer.status, 400);
    const seen = faults(answer);
    for (const field of ['name', 'version', 'capabilities[0]', 'labels.a', 'maxTasks', 'protocol.max', 'more'])
      assert.ok(seen.some((f) => f.startsWith(`${field} `)), `${field} in ${seen}`);
  });

  test('is in the audit trail', async () => {
    const made = await agent();
    const found = await eventually(async () =>
      (await api.get('/audit-events', { query: { resourceId: made.id } })).data?.find((e) => e.action === 'agent.registered'),
      'the audit entry');
    assert.equal(found.resource, 'agent');
    assert.ok(!JSON.stringify(found).includes(made.refresh));
  });
});

describe('an access token of an agent', () => {
  test('opens the agent\'s own door and no other', async () => {
    const [one, two] = [await agent(), await agent()];
    assert.equal((await one.heartbeat()).status, 200);
    assert.deepEqual((await one.client.post(`/agents/${two.id}/heartbeat`, {})).status, 403);
    assert.equal((await one.client.get('/agents')).status, 403);
    assert.equal((await one.client.post('/admin/agent-tokens', {})).status, 403);
    assert.equal((await api.post(`/agents/${one.id}/heartbeat`, {})).status, 403);
  });

  test('is renewed with the refresh token, which is exchanged as well', async () => {
    const made = await agent();
    const renew = (refreshToken) => s.server.client().post('/agents/token', { refreshToken });
    const first = await renew(made.refresh);
    assert.equal(first.status, 200);
    assert.equal(first.data.agentId, made.id);
    assert.equal((await s.server.client(first.data.token).post(`/agents/${made.id}/heartbeat`, {})).status, 200);

    const again = await renew(made.refresh); // the answer was lost: ask again
    assert.equal(again.status, 200);
    assert.equal((await renew(first.data.refreshToken)).status, 401); // and what was lost is good for nobody
    const next = await renew(again.data.refreshToken);
    assert.equal(next.status, 200);
    assert.equal((await renew(made.refresh)).status, 401); // its successor was used
  });

  test('cannot be renewed with anything else', async () => {
    for (const refreshToken of ['x', `agt_${'0'.repeat(36)}`, await registrationToken(api), s.key])
      assert.equal((await s.server.client().post('/agents/token', { refreshToken })).status, 401);
  });
});

describe('agents', () => {
  test('are found by status, capability and label', async () => {
    const zone = unique('zone');
    const [one, two] = [await agent({ labels: { zone }, capabilities: ['script', 'docker'] }), await agent({ labels: { zone }, capabilities: ['script'] })];
    const filter = JSON.stringify({ 'labels.zone': zone });
    const ids = async (query) => (await api.get('/agents', { query: { filter, ...query } })).data.map((a) => a.id).sort();
    assert.deepEqual(await ids({}), [one.id, two.id].sort());
    assert.deepEqual(await ids({ capability: 'docker' }), [one.id]);
    assert.deepEqual(await ids({ status: 'offline' }), []);
    assert.equal((await api.get('/agents', { query: { capability: 'flying' } })).status, 400);
    assert.equal((await api.get('/agents', { query: { colour: 'red' } })).status, 400);
  });

  test('that are unknown or another tenant\'s are 404', async () => {
    const made = await agent();
    const other = s.server.client(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
    for (const [client, id] of [[api, unknown], [api, 'x'], [other, made.id]]) {
      assert.equal((await client.get(`/agents/${id}`)).status, 404);
      assert.equal((await client.put(`/agents/${id}`, { labels: {} })).status, 404);
      assert.equal((await client.delete(`/agents/${id}`)).status, 404);
    }
  });

  test('can be renamed, labelled and configured; the rest stays', async () => {
    const made = await agent({ labels: { a: '1', b: '2' } });
    const name = unique('renamed');
    const changed = await api.want(200, 'PUT', `/agents/${made.id}`, { name, labels: { b: null, c: '3' }, config: { heartbeatInterval: 60 }, status: 'offline' });
    assert.equal(changed.name, name);
    assert.deepEqual(changed.labels, { a: '1', c: '3' });
    assert.deepEqual(changed.config, { heartbeatInterval: 60, logLevel: 'info', taskPollInterval: 5 });
    assert.equal(changed.status, 'online'); // read-only
    assert.equal(changed.revision, 2);
    const stale = await api.put(`/agents/${made.id}`, { labels: {} }, { headers: { 'if-match': '"1"' } });
    assert.deepEqual([stale.status, stale.code], [409, 'RES_VERSION_CONFLICT']);
  });

  test('go through their lifecycle: active and inactive, and revoked for good', async () => {
    const made = await agent();
    const to = (lifecycleState) => api.put(`/agents/${made.id}`, { lifecycleState });
    for (const state of ['active', 'inactive', 'inactive', 'active', 'inactive', 'revoked']) {
      const answer = await to(state);
      assert.deepEqual([answer.status, answer.data?.lifecycleState], [200, state]);
    }
    for (const state of ['active', 'inactive', 'revoked']) {
      const answer = await to(state);
      const { currentState, allowedActions } = answer.error.details;
      assert.deepEqual([answer.status, answer.code, currentState, allowedActions], [409, 'RES_INVALID_STATE', 'revoked', ['delete']]);
    }
    const fromActive = await api.put(`/agents/${(await agent()).id}`, { lifecycleState: 'revoked' });
    assert.deepEqual([fromActive.status, fromActive.data?.lifecycleState], [200, 'revoked']);
    const beat = await made.heartbeat();
    assert.deepEqual([beat.status, beat.code], [403, 'AGT_REVOKED']);
    const renewal = await s.server.client().post('/agents/token', { refreshToken: made.refresh });
    assert.deepEqual([renewal.status, renewal.code], [403, 'AGT_REVOKED']);
  });

  test('can be revoked while they are active', async () => {
    const made = await agent();
    assert.equal((await api.put(`/agents/${made.id}`, { lifecycleState: 'revoked' })).data.lifecycleState, 'revoked');
  });

  test('that are deleted leave their name, and their tokens open nothing', async () => {
    const name = unique('agent');
    const made = await agent({ name });
    assert.equal((await api.delete(`/agents/${made.id}`)).status, 204);
    assert.equal((await api.get(`/agents/${made.id}`)).status, 404);
    const beat = await made.heartbeat();
    assert.deepEqual([beat.status, beat.code], [403, 'AGT_REVOKED']);
    assert.equal((await s.server.client().post('/agents/token', { refreshToken: made.refresh })).status, 403);
    await agent({ name });
  });
});

describe('heartbeats', () => {
  test('are answered with time, settings and tasks, and shown', async () => {
    const made = await agent();
    const answer = await made.heartbeat({ version: '1.0.0', resourceUsage: { cpuPercent: 12.5, memoryPercent: 40, diskPercent: 7 }, runningTaskIds: [] });
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.data.tasks, []);
    assert.deepEqual(answer.data.cancelTaskIds, []);
    assert.deepEqual(answer.data.config, made.config);
    const shown = await get(made.id);
    assert.ok(Math.abs(Date.parse(shown.lastHeartbeat) - Date.parse(answer.data.serverTime)) < 1000, shown.lastHeartbeat);
    assert.deepEqual(shown.resourceUsage, { cpuPercent: 12.5, diskPercent: 7, memoryPercent: 40 });
    assert.equal(shown.revision, 1); // a heartbeat is no change
  });

  test('tell new versions and capabilities, which are changes', async () => {
    const made = await agent();
    await made.heartbeat({ version: '2.0.0', capabilities: ['script', 'docker'] });
    const shown = await get(made.id);
    assert.deepEqual([shown.version, shown.capabilities, shown.revision], ['2.0.0', ['script', 'docker'], 2]);
    assert.deepEqual((await made.heartbeat({ capabilities: ['flying'] })).status, 400);
  });

  test('are not charged', async () => {
    const made = await agent();
    const answer = await made.heartbeat();
    assert.equal(answer.headers['x-ratelimit-remaining'], undefined);
  });
});

describe('silence', () => {
  let quiet;
  before(async () => {
    quiet = await start({ name: 'silence', env: { SLIPWAY_AGENT_HEARTBEAT: '1s', SLIPWAY_AGENT_REGISTRATION_TTL: '1s' } });
  });
  after(() => quiet?.stop());

  test('makes an agent degraded, then offline; a heartbeat brings it back, and the gap is audited', async () => {
    const made = await new FakeAgent(quiet).register();
    await quiet.api.want(200, 'PUT', `/agents/${made.id}`, { config: { heartbeatInterval: 4 } }); // seconds between the two
    const status = async () => (await quiet.api.want(200, 'GET', `/agents/${made.id}`)).status;
    await eventually(async () => [(await status()) === 'degraded', await status()], 'the agent to be degraded');
    await eventually(async () => [(await status()) === 'offline', await status()], 'the agent to be offline');
    assert.equal((await made.heartbeat()).status, 200);
    assert.equal(await status(), 'online');
    const actions = await eventually(async () => {
      const { data } = await quiet.api.get('/audit-events', { query: { resourceId: made.id, sort: 'timestamp' } });
      return data?.some((e) => e.action === 'agent.online') && data.map((e) => e.action);
    }, 'the audit entries');
    assert.deepEqual(actions.filter((a) => /degraded|offline|online/.test(a)), ['agent.degraded', 'agent.offline', 'agent.online']);
  });

  test('until its token is over is too long for a registration', async () => {
    const token = await registrationToken(quiet.api);
    await eventually(async () => (await register(quiet.server.client(), token, { name: 'Not/A/Name' })).code !== undefined, 'an answer');
    const client = quiet.server.client();
    const answer = await eventually(async () => {
      const name = `late-${Date.now()}`;
      const got = await client.post('/agents/register', { name, version: '1', capabilities: [] }, { headers: { 'x-agent-token': token } });
      return got.status !== 201 && got;
    }, 'the token to be over', { every: 1500 });
    assert.ok(['AUTH_TOKEN_EXPIRED', 'AGT_TOKEN_USED'].includes(answer.code), answer.code);
  });
});
