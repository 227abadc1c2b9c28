// Workflows as a client sees them: templates and their faults, runs and what may be done to them in each state, steps that
// the server carries out itself, timers that outlive it.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s, receiver;
let count = 0;

const unique = (prefix) => `${prefix}-${++count}`;
const wait = (id, seconds, more = {}) => ({ id, type: 'wait', config: { seconds }, ...more });
const call = (id, path, more = {}, config = {}) => ({ id, type: 'http-request', config: { url: receiver.url(path), ...config }, ...more });
const edge = (from, to, more = {}) => ({ from, to, ...more });

/** A receiver of what steps send. It answers /status/N with N, /flaky/N with 500 until asked N times, /repeat
 * with the headers it got, /hang never. */
async function receive() {
  const seen = [];
  const held = [];
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const [, what, n] = request.url.split('/');
      seen.push({ url: request.url, method: request.method, headers: request.headers, body: Buffer.concat(chunks).toString() });
      const times = seen.filter((one) => one.url === request.url).length;
      if (what === 'hang') {
        held.push(response);
        return;
      }
      if (what === 'repeat') {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify(request.headers));
        return;
      }
      const status = what === 'status' ? Number(n) : what === 'flaky' && times < Number(n.split('-')[0]) ? 500 : 200;
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ times }));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    seen,
    at: (path) => seen.filter((one) => one.url === path),
    url: (path) => `http://127.0.0.1:${server.address().port}${path}`,
    release: () => held.splice(0).forEach((response) => response.end('{}')),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

const template = (definition) => s.api.want(201, 'POST', '/workflow-templates', { name: unique('t'), ...definition });
const run = (t, body = {}) => s.api.want(201, 'POST', '/workflow-runs', { templateId: t.id, ...body });
const read = (r) => s.api.want(200, 'GET', `/workflow-runs/${r.id}`);
const steps = async (r) => Object.fromEntries((await s.api.want(200, 'GET', `/workflow-runs/${r.id}/steps`)).map((one) => [one.nodeId, one]));
const until = (r, ...states) => eventually(async () => {
  const now = await read(r);
  return states.includes(now.status) ? now : [false, now];
}, `run ${r.id} to be ${states.join(' or ')}`);
const act = (r, action, body) => s.api.post(`/workflow-runs/${r.id}/${action}`, body);
const play = async (definition, body) => until(await run(await template(definition), body), 'succeeded', 'failed', 'cancelled');

before(async () => {
  receiver = await receive();
  s = await start({ name: 'workflow', env: { SLIPWAY_OUTBOUND_ALLOW: '127.0.0.0/8' } });
});
after(async () => {
  receiver?.close();
  await s?.stop();
});

// --- step types and templates ---

test('step types say how they are configured', async () => {
  const types = await s.api.want(200, 'GET', '/step-types');
  const names = types.map((t) => t.type);
  assert.deepEqual(names, names.toSorted());
  for (const name of ['deploy', 'health-check', 'http-request', 'notify', 'rollback', 'script', 'wait']) assert.ok(names.includes(name), name);
  assert.deepEqual((await s.api.get('/step-types', { query: { category: 'control' } })).data.map((t) => t.type), ['wait']);
  const one = await s.api.want(200, 'GET', '/step-types/script');
  assert.ok(one.configSchema.properties.command);
  assert.deepEqual(one.configSchema.required, ['command']);
  assert.equal((await s.api.get('/step-types/magic')).code, 'RES_NOT_FOUND');
});

test('an active template is checked, and every fault is told', async () => {
  const bad = {
    name: unique('bad'),
    nodes: [wait('a', 1), wait('b', 1), { id: 'c', type: 'magic' }, { id: 'd', type: 'wait', config: { seconds: '${{ inputs.nope }}' } }],
    edges: [edge('a', 'b'), edge('b', 'a')],
  };
  const answer = await s.api.post('/workflow-templates', bad);
  assert.equal(answer.status, 422);
  assert.equal(answer.code, 'WF_TEMPLATE_INVALID');
  const codes = answer.error.details.errors.map((e) => e.code);
  for (const code of ['WF_CYCLE', 'WF_STEP_TYPE_UNKNOWN', 'WF_INPUT_UNKNOWN']) assert.ok(codes.includes(code), `${code} in ${codes}`);
  const cycle = answer.error.details.errors.find((e) => e.code === 'WF_CYCLE');
  assert.match(cycle.message, /a -> b -> a|b -> a -> b/);
  const draft = await s.api.want(201, 'POST', '/workflow-templates', { ...bad, status: 'draft' });
  assert.equal((await s.api.put(`/workflow-templates/${draft.id}`, { status: 'active' })).code, 'WF_TEMPLATE_INVALID');
  assert.equal((await s.api.post('/workflow-runs', { templateId: draft.id })).code, 'WF_TEMPLATE_INACTIVE');
});

test('validate reports on what is stored or on what is sent', async () => {
  const t = await template({ nodes: [wait('a', 1), wait('b', 5), wait('c', 2), wait('d', 1)], edges: [edge('a', 'b'), edge('a', 'c'), edge('b', 'd'), edge('c', 'd')] });
  const fine = await s.api.want(200, 'POST', `/workflow-templates/${t.id}/validate`);
  assert.deepEqual([fine.valid, fine.errors, fine.plan], [true, [], [['a'], ['b', 'c'], ['d']]]);
  assert.equal(fine.criticalPath.length, 3);
  const candidate = await s.api.want(200, 'POST', `/workflow-templates/${t.id}/validate`, { nodes: [{ id: 'X', type: 'wait', config: { seconds: -1 } }], edges: 7 });
  assert.equal(candidate.valid, false);
  assert.ok(candidate.errors.some((e) => e.path === 'nodes[0].id' && e.code === 'VAL_INVALID_FORMAT'));
  assert.ok(candidate.errors.some((e) => e.path === 'edges' && e.code === 'VAL_INVALID_TYPE'));
  assert.equal((await s.api.post('/workflow-templates/0190a0b0-0000-7000-8000-000000000000/validate', {})).code, 'RES_NOT_FOUND');
});

test('a version counts changes of the definition alone, and runs keep theirs', async () => {
  const t = await template({ nodes: [wait('a', 0)] });
  assert.equal(t.version, 1);
  assert.equal((await s.api.want(200, 'PUT', `/workflow-templates/${t.id}`, { description: 'x' })).version, 1);
  const changed = await s.api.want(200, 'PUT', `/workflow-templates/${t.id}`, { nodes: [wait('a', 0), wait('b', 0)] });
  assert.deepEqual([changed.version, changed.revision], [2, 3]);
  const first = await until(await run(t, { version: 1 }), 'succeeded');
  assert.deepEqual([first.templateVersion, Object.keys(await steps(first))], [1, ['a']]);
  const second = await until(await run(t), 'succeeded');
  assert.deepEqual([second.templateVersion, Object.keys(await steps(second))], [2, ['a', 'b']]);
  assert.equal((await s.api.post('/workflow-runs', { templateId: t.id, version: 9 })).code, 'RES_REFERENCE_UNKNOWN');
});

test('a template with an active run stays', async () => {
  const t = await template({ nodes: [wait('a', 3600)] });
  const r = await run(t);
  await until(r, 'waiting');
  assert.equal((await s.api.delete(`/workflow-templates/${t.id}`)).code, 'RES_IN_USE');
  await act(r, 'cancel');
  await until(r, 'cancelled');
  assert.equal((await s.api.delete(`/workflow-templates/${t.id}`)).status, 204);
  assert.equal((await read(r)).status, 'cancelled');
});

test('a template that an environment deploys with stays', async () => {
  const t = await template({ nodes: [wait('a', 0)] });
  const e = await s.api.want(201, 'POST', '/environments', { name: unique('env'), config: { deploymentTemplate: t.name } });
  const refused = await s.api.delete(`/workflow-templates/${t.id}`);
  assert.deepEqual([refused.code, refused.error.details.usedBy], ['RES_IN_USE', [{ id: e.id, kind: 'environment' }]]);
  await s.api.want(200, 'PUT', `/environments/${e.id}`, { config: { deploymentTemplate: null } });
  assert.equal((await s.api.delete(`/workflow-templates/${t.id}`)).status, 204);
});

test('a run may be about an environment, and expressions see it', async () => {
  const e = await s.api.want(201, 'POST', '/environments', { name: unique('env') });
  const t = await template({ nodes: [wait('a', 0)], outputs: { name: 'context.environment.name' } });
  const r = await until(await run(t, { context: { environmentId: e.id } }), 'succeeded');
  assert.deepEqual([r.outputs, r.environmentId, r.context], [{ name: e.name }, e.id, { environmentId: e.id }]);
  assert.deepEqual((await s.api.get('/workflow-runs', { query: { environmentId: e.id } })).data.map((one) => one.id), [r.id]);
});

// --- starting ---

test('a run needs an active template and fitting inputs', async () => {
  const t = await template({
    inputs: [{ name: 'version', type: 'string', required: true }, { name: 'count', type: 'number', default: 2 }, { name: 'colour', type: 'string', enum: ['red'] }],
    nodes: [wait('a', 0)],
  });
  const post = (body) => s.api.post('/workflow-runs', body);
  assert.equal((await post({})).code, 'VAL_FAILED');
  assert.equal((await post({ templateId: t.id, templateName: t.name })).code, 'VAL_FAILED');
  assert.equal((await post({ templateName: 'nobody' })).code, 'RES_REFERENCE_UNKNOWN');
  assert.equal((await post({ templateId: '0190a0b0-0000-7000-8000-000000000000' })).code, 'RES_REFERENCE_UNKNOWN');
  const missing = await post({ templateId: t.id });
  assert.deepEqual([missing.status, missing.code], [422, 'WF_INPUT_MISSING']);
  assert.deepEqual(missing.error.details.missing, ['version']);
  const wrong = await post({ templateId: t.id, inputs: { version: 1, colour: 'blue', extra: true } });
  assert.deepEqual(wrong.error.validationErrors.map((e) => e.field).sort(), ['inputs.colour', 'inputs.extra', 'inputs.version']);
  const gone = await post({ templateId: t.id, inputs: { version: 'x' }, context: { environmentId: '0190a0b0-0000-7000-8000-000000000000' } });
  assert.deepEqual([gone.status, gone.code], [422, 'RES_REFERENCE_UNKNOWN']);
  const r = await s.api.want(201, 'POST', '/workflow-runs', { templateName: t.name, inputs: { version: 'x' }, labels: { team: 'blue' } });
  assert.deepEqual(r.inputs, { count: 2, version: 'x' });
  assert.deepEqual(r.labels, { team: 'blue' });
  await until(r, 'succeeded');
});

test('the same key starts one run', async () => {
  const t = await template({ nodes: [wait('a', 0)] });
  const headers = { 'idempotency-key': unique('key') };
  const first = await s.api.post('/workflow-runs', { templateId: t.id }, { headers });
  const again = await s.api.post('/workflow-runs', { templateId: t.id }, { headers });
  assert.equal(again.headers['idempotency-replayed'], 'true');
  assert.equal(again.data.id, first.data.id);
  await until(first.data, 'succeeded');
});

test('what is named like a secret is masked in runs and steps', async () => {
  const t = await template({
    inputs: [{ name: 'apiToken', type: 'string' }, { name: 'db', type: 'object' }],
    nodes: [call('a', '/repeat/secret', {}, { headers: { Authorization: 'Bearer ${{ inputs.apiToken }}', 'X-Db': '${{ inputs.db.password }}' } })],
  });
  const r = await until(await run(t, { inputs: { apiToken: 'hunter22', db: { user: 'me', password: 'hunter33' } } }), 'succeeded');
  assert.deepEqual(r.inputs, { apiToken: '***', db: { password: '***', user: 'me' } });
  assert.doesNotMatch(JSON.stringify(await steps(r)), /hunter/);
  assert.equal(receiver.at('/repeat/secret')[0].headers.authorization, 'Bearer hunter22');
  assert.equal(receiver.at('/repeat/secret')[0].headers['x-db'], 'hunter33');
});

// --- what may be done in which state ---

const finalWait = { nodes: [wait('a', 3600), wait('z', 3600)], finally: ['z'] };
const reach = {
  running: async () => until(await run(await template({ nodes: [call('a', '/hang')] })), 'running'),
  waiting: async () => until(await run(await template({ nodes: [wait('a', 3600)] })), 'waiting'),
  paused: async () => {
    const r = await until(await run(await template({ nodes: [wait('a', 3600)] })), 'waiting');
    return (await act(r, 'pause')).data;
  },
  cancelling: async () => {
    const r = await until(await run(await template(finalWait)), 'waiting');
    return (await act(r, 'cancel')).data;
  },
  succeeded: () => play({ nodes: [wait('a', 0)] }),
  failed: () => play({ nodes: [call('a', '/status/500')] }),
  cancelled: async () => {
    const r = await until(await run(await template({ nodes: [wait('a', 3600)] })), 'waiting');
    return (await act(r, 'cancel', { reason: 'enough' })).data;
  },
};
const becomes = { // state -> action -> state, or nothing: refused
  running: { pause: 'paused', cancel: 'cancelled' },
  waiting: { pause: 'paused', cancel: 'cancelled' },
  paused: { resume: 'waiting', cancel: 'cancelled' },
  cancelling: { cancel: 'cancelling' },
  succeeded: {},
  failed: {},
  cancelled: {},
};

for (const [state, allowed] of Object.entries(becomes))
  for (const action of ['pause', 'resume', 'cancel'])
    test(`${action} while ${state}: ${allowed[action] ?? 'refused'}`, async () => {
      const r = await reach[state]();
      assert.equal(r.status, state);
      const answer = await act(r, action, { reason: 'a test' });
      if (allowed[action]) {
        assert.equal(answer.status, 200);
        assert.equal(answer.data.status, allowed[action]);
      } else {
        assert.deepEqual([answer.status, answer.code, answer.error.details.currentState], [409, 'RES_INVALID_STATE', state]);
        assert.deepEqual(answer.error.details.allowedActions, Object.keys(allowed).filter((a) => allowed[a] !== state));
      }
      const now = await read(r);
      if (!['succeeded', 'failed', 'cancelled'].includes(now.status) && now.status !== 'cancelling') await act(r, 'cancel');
    });

test('actions are told with who and why, and end in the audit trail', async () => {
  const r = await reach.waiting();
  const paused = (await act(r, 'pause', { reason: 'lunch' })).data;
  assert.deepEqual([paused.pauseReason, paused.pausedBy], ['lunch', r.triggeredBy]);
  assert.deepEqual((await steps(r)).a.blockedBy.map((b) => b.type), ['pause', 'timer']);
  const resumed = (await act(r, 'resume')).data;
  assert.deepEqual([resumed.pauseReason, resumed.pausedBy], [undefined, undefined]);
  const cancelled = (await act(r, 'cancel', { reason: 'enough' })).data;
  assert.deepEqual([cancelled.cancelReason, cancelled.cancelledBy, cancelled.finishedAt !== undefined], ['enough', r.triggeredBy, true]);
  assert.equal((await act({ id: '0190a0b0-0000-7000-8000-000000000000' }, 'pause')).code, 'RES_NOT_FOUND');
  const { data } = await s.api.get('/audit-events', { query: { filter: JSON.stringify({ resourceId: r.id }), pageSize: '50' } });
  const actions = data.map((e) => e.action);
  for (const action of ['run.created', 'run.paused', 'run.resumed', 'run.cancelled', 'run.completed']) assert.ok(actions.includes(action), `${action} in ${actions}`);
});

test('a wait stands still while the run is paused', async () => {
  const r = await reach.waiting();
  const [timers] = await s.redis.keys('{p??}:t');
  const due = async () => Number(await s.redis.command('ZSCORE', timers, `${r.tenantId}:run:${r.id}`));
  const before = await due();
  assert.ok(before > 0);
  await act(r, 'pause');
  assert.equal(await due(), 0); /* nothing will wake it */
  assert.equal((await steps(r)).a.status, 'waiting');
  await act(r, 'resume');
  assert.ok(await due() > before);
  await act(r, 'cancel');
});

// --- how steps go ---

test('http-request sends what it is told and keeps what comes back', async () => {
  const r = await play({
    nodes: [
      call('a', '/echo', {}, { method: 'PUT', headers: { 'X-One': '1' }, body: { run: '${{ context.run.id }}', n: 1 } }),
      call('b', '/next/${{ steps.a.outputs.body.times }}', { condition: 'steps.a.outputs.status == 200' }),
    ],
    edges: [edge('a', 'b')],
    outputs: { times: '${{ steps.a.outputs.body.times }}', last: 'steps.b.status' },
  });
  assert.deepEqual([r.status, r.outputs, r.progress], ['succeeded', { last: 'succeeded', times: 1 }, 100]);
  const [sent] = receiver.at('/echo');
  assert.deepEqual([sent.method, sent.headers['x-one'], JSON.parse(sent.body)], ['PUT', '1', { run: r.id, n: 1 }]);
  assert.equal(sent.headers['idempotency-key'], `${r.id}:a:1`);
  assert.equal(receiver.at('/next/1').length, 1);
});

test('a failing step is tried again, and each attempt is shown', async () => {
  const r = await play({ nodes: [call('a', '/flaky/3', { retry: { maxAttempts: 3, initialDelaySeconds: 0.05 } })] });
  assert.equal(r.status, 'succeeded');
  const { a } = await steps(r);
  assert.deepEqual(a.attempts.map((one) => [one.attempt, one.status, one.error?.type]), [[1, 'failed', 'http_status'], [2, 'failed', 'http_status'], [3, 'succeeded', undefined]]);
  assert.deepEqual([a.attempt, a.maxAttempts, a.error], [3, 3, undefined]);
  const keys = receiver.at('/flaky/3').map((one) => one.headers['idempotency-key']);
  assert.equal(new Set(keys).size, 3);
});

test('only errors that retryOn names are retried', async () => {
  const r = await play({ nodes: [call('a', '/status/503', { retry: { maxAttempts: 3, initialDelaySeconds: 0, retryOn: ['connect'] } })] });
  assert.equal(r.status, 'failed');
  assert.deepEqual(r.error, { code: 'WF_STEP_FAILED', message: "the answer's status is 503", nodeId: 'a' });
  assert.equal((await steps(r)).a.attempts.length, 1);
});

test('what the time-out of a step ends has timed out', async () => {
  const r = await play({ nodes: [call('a', '/hang', { timeoutSeconds: 1 })] });
  assert.equal(r.status, 'failed');
  const { a } = await steps(r);
  assert.deepEqual([a.status, a.error.type], ['timed_out', 'timeout']);
});

test('addresses that are not allowed are refused', async () => {
  for (const url of ['http://10.0.0.1/', 'http://169.254.169.254/latest', 'http://[::1]:1/', 'http://192.168.1.1/']) {
    const r = await play({ nodes: [{ id: 'a', type: 'http-request', config: { url }, retry: { maxAttempts: 3 } }] });
    const { a } = await steps(r);
    assert.deepEqual([r.status, a.attempts.length, a.error.type, a.error.retriable], ['failed', 1, 'refused', false], url);
  }
});

test('notify delivers its message', async () => {
  const r = await play({
    inputs: [{ name: 'who', type: 'string' }],
    nodes: [{ id: 'tell', type: 'notify', config: { url: receiver.url('/hook'), message: 'hello ${{ inputs.who }}' } }],
  }, { inputs: { who: 'world' } });
  assert.equal(r.status, 'succeeded');
  assert.equal((await steps(r)).tell.outputs.delivered, true);
  const body = JSON.parse(receiver.at('/hook')[0].body);
  assert.deepEqual([body.text, body.runId, body.nodeId, body.templateName], ['hello world', r.id, 'tell', r.templateName]);
});

test('a condition skips, a skip spreads, a join goes on', async () => {
  const r = await play({
    inputs: [{ name: 'deploy', type: 'boolean', default: false }],
    nodes: [wait('a', 0), wait('b', 0, { condition: '${{ inputs.deploy }}' }), wait('b2', 0), wait('c', 0), wait('d', 0)],
    edges: [edge('a', 'b'), edge('b', 'b2'), edge('a', 'c'), edge('b2', 'd'), edge('c', 'd')],
  });
  assert.equal(r.status, 'succeeded');
  const all = await steps(r);
  assert.deepEqual(Object.values(all).map((one) => [one.nodeId, one.status]), [['a', 'succeeded'], ['b', 'skipped'], ['c', 'succeeded'], ['b2', 'skipped'], ['d', 'succeeded']]);
  assert.equal(all.b.reason, 'its condition is false');
});

test('goto jumps over what lies between', async () => {
  const r = await play({
    nodes: [call('a', '/status/500', { onFailure: 'goto:c' }), wait('b', 0), wait('c', 0)],
    edges: [edge('a', 'b'), edge('b', 'c')],
  });
  const all = await steps(r);
  assert.deepEqual([r.status, all.a.status, all.b.status, all.c.status], ['succeeded', 'failed', 'skipped', 'succeeded']);
});

test('finally runs after a failure and sees how it came to it', async () => {
  const r = await play({
    nodes: [call('a', '/status/500'), wait('b', 0), call('z', '/final/${{ steps.a.status }}')],
    edges: [edge('a', 'b')], finally: ['z'],
  });
  const all = await steps(r);
  assert.deepEqual([r.status, all.a.status, all.b.status, all.z.status], ['failed', 'failed', 'skipped', 'succeeded']);
  assert.equal(receiver.at('/final/failed').length, 1);
});

test('rollback undoes in reverse order', async () => {
  const r = await play({
    onFailure: 'rollback',
    nodes: [wait('a', 0), wait('b', 0), call('c', '/status/500'), call('ua', '/undo/a', { compensates: 'a' }), call('ub', '/undo/b', { compensates: 'b' })],
    edges: [edge('a', 'b'), edge('b', 'c')],
  });
  assert.equal(r.status, 'failed');
  assert.deepEqual(receiver.seen.filter((one) => one.url.startsWith('/undo/')).map((one) => one.url), ['/undo/b', '/undo/a']);
});

test('onFailure pause hands the run to a person, who resumes it for another attempt', async () => {
  const r = await until(await run(await template({ nodes: [call('a', '/flaky/2-pause', { onFailure: 'pause' })] })), 'paused');
  assert.match(r.pauseReason, /^step a failed/);
  assert.equal(r.pausedBy, 'engine');
  await act(r, 'resume');
  await until(r, 'succeeded');
  assert.equal((await steps(r)).a.attempt, 2);
});

test('a script waits for an agent and says so', async () => {
  const r = await run(await template({ nodes: [{ id: 'a', type: 'script', config: { command: ['true'] } }] }));
  const blocked = await eventually(async () => {
    const { a } = await steps(r);
    return a.blockedBy.some((b) => b.type === 'agent' && b.reason) && a;
  }, 'the step to be blocked by an agent');
  assert.deepEqual([blocked.status, (await read(r)).status], ['ready', 'running']);
  assert.deepEqual((await act(r, 'cancel')).data.status, 'cancelled');
  assert.equal((await steps(r)).a.status, 'cancelled');
});

// --- reading ---

test('steps have pages and filters, logs and artifacts of a silent step are empty', async () => {
  const r = await play({ nodes: [wait('a', 0), call('b', '/status/500'), wait('c', 0)], onFailure: 'continue' });
  const page = await s.api.get(`/workflow-runs/${r.id}/steps`, { query: { pageSize: '2', page: '2' } });
  assert.equal(page.body.meta.pagination.totalItems, 3);
  assert.equal(page.data.length, 1);
  const failed = await s.api.get(`/workflow-runs/${r.id}/steps`, { query: { status: 'failed' } });
  assert.deepEqual(failed.data.map((one) => one.nodeId), ['b']);
  assert.equal((await s.api.get(`/workflow-runs/${r.id}/steps/zz`)).code, 'RES_NOT_FOUND');
  assert.equal((await s.api.get(`/workflow-runs/${r.id}/steps/zz/logs`)).code, 'RES_NOT_FOUND');
  assert.deepEqual(await s.api.want(200, 'GET', `/workflow-runs/${r.id}/steps/a/logs`), { lines: [], nextSeq: 1, complete: true, truncated: false });
  assert.equal((await s.api.get(`/workflow-runs/${r.id}/steps/a/logs`, { headers: { accept: 'text/plain' } })).text, '');
  assert.deepEqual(await s.api.want(200, 'GET', `/workflow-runs/${r.id}/steps/a/artifacts`), []);
});

test('runs are found by status, template and label', async () => {
  const t = await template({ nodes: [wait('a', 0)] });
  const one = await until(await run(t, { labels: { team: 'x' } }), 'succeeded');
  const two = await until(await run(t), 'succeeded');
  const list = async (query) => (await s.api.get('/workflow-runs', { query })).data.map((r) => r.id).sort();
  assert.deepEqual(await list({ templateId: t.id }), [one.id, two.id].sort());
  assert.deepEqual(await list({ templateId: t.id, status: 'running' }), []);
  assert.deepEqual(await list({ templateId: t.id, filter: JSON.stringify({ 'labels.team': 'x' }) }), [one.id]);
  assert.deepEqual((await s.api.get('/workflow-runs', { query: { templateId: t.id, sort: '-finishedAt' } })).data.map((r) => r.id), [two.id, one.id]);
});

test('many actions at once leave one outcome, and everybody sees the state that was', async () => {
  const r = await until(await run(await template({ nodes: [wait('a', 3600)] })), 'waiting');
  const answers = await Promise.all(Array.from({ length: 8 }, () => act(r, 'pause')));
  assert.ok(answers.some((a) => a.status === 200));
  for (const a of answers) assert.ok(a.status === 200 || a.code === 'RES_INVALID_STATE', a.text);
  for (const a of answers) assert.equal(a.status === 200 ? a.data.status : a.error.details.currentState, 'paused');
  const cancels = await Promise.all(Array.from({ length: 8 }, () => act(r, 'cancel')));
  for (const a of cancels) assert.ok(a.status === 200 ? a.data.status === 'cancelled' : a.error.details.currentState === 'cancelled', a.text);
});

// --- the server goes away ---

test('timers, retries and work under way outlive the server', async () => {
  const t = await template({
    nodes: [wait('w', 2), call('f', '/flaky/2-restart', { retry: { maxAttempts: 2, initialDelaySeconds: 5 } }), wait('end', 0)],
    edges: [edge('w', 'end'), edge('f', 'end')],
  });
  const r = await run(t);
  await eventually(async () => (await steps(r)).f.status === 'retrying', 'the step to be between two attempts');
  await s.server.kill();
  await s.server.start();
  const ended = await until(r, 'succeeded', 'failed');
  assert.equal(ended.status, 'succeeded');
  assert.ok(ended.duration >= 5);
});

test('templates go from each status to each other; only active ones run', async () => {
  const { id } = await template({ nodes: [wait('a', 0)] });
  for (const from of ['draft', 'active', 'archived'])
    for (const to of ['draft', 'active', 'archived']) {
      for (const status of [from, to])
        assert.equal((await s.api.want(200, 'PUT', `/workflow-templates/${id}`, { status })).status, status, `${from} to ${to}`);
      const started = await s.api.post('/workflow-runs', { templateId: id });
      assert.equal(started.status, to === 'active' ? 201 : 422, `${to}: ${started.text}`);
    }
});
