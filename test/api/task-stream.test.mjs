// The task stream's protocol, with agents played by the test: what the server promises to any agent program.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FakeAgent } from '../lib/agent.mjs';
import { makeTemplate, reaches, run, script, startRun, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { Watcher } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';
import { metric } from '../lib/wire.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'task-stream', instances: 2 });
  api = s.api;
});
after(() => s?.stop());

/** An agent that no other test's steps can come to, connected. */
async function agent(body = {}) {
  const zone = unique('zone');
  const made = await new FakeAgent(s).register({ labels: { zone }, ...body });
  made.labels = { zone };
  return made.connect();
}
const step = (a, text = 'true', more = {}) => script('build', text, { labels: a.labels, ...more });
const logs = async (r, node = 'build') => (await api.want(200, 'GET', `/workflow-runs/${r.id}/steps/${node}/logs`)).lines.map((l) => l.line);
const stepOf = async (r) => (await api.want(200, 'GET', `/workflow-runs/${r.id}/steps/build`));
const lines = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => `line ${from + i}`);

async function started(a, r, options) {
  const task = await a.assigned(r, 'build', options);
  assert.equal((await a.tell('task_accepted', { taskId: task.id })).type, 'ack');
  assert.equal((await a.tell('task_started', { taskId: task.id, startedAt: new Date().toISOString(), pid: 4711 })).type, 'ack');
  return task;
}

describe('who may have it', () => {
  test('the agent itself, by header or by a first message; nobody else', async () => {
    const [one, two] = [await agent(), await agent()];
    assert.deepEqual(one.stream.types.slice(0, 2), ['ready', 'config_update']);
    assert.deepEqual(one.stream.frames[1].config, one.config);
    for (const token of [s.key, two.token]) {
      const refusal = await one.open({ token }).refusal();
      assert.deepEqual([refusal.status, refusal.code], [403, 'PERM_DENIED']);
    }
    const late = one.open({ token: undefined });
    await late.opened();
    late.send({ type: 'auth', token: one.token });
    await late.frame('synced');
    const foreign = one.open({ token: undefined });
    await foreign.opened();
    foreign.send({ type: 'auth', token: two.token });
    assert.equal((await foreign.ended()).code, 4403);
  });

  test('over a WebSocket only', async () => {
    const one = await agent();
    const answer = await one.client.get(`/agents/${one.id}/task-stream`, { headers: { accept: 'text/event-stream' } });
    assert.deepEqual([answer.status, answer.code], [426, 'RES_UPGRADE_REQUIRED']);
  });

  test('one connection: a newer one, on any instance, closes the older with 4409', async () => {
    const one = await agent();
    const older = one.stream;
    await one.connect({ server: s.servers[1] });
    assert.equal((await older.ended()).code, 4409);
    await one.connect();
    assert.equal(one.stream.closed, undefined);
  });

  test('not any more once it is revoked or deleted: 4403', async () => {
    for (const leave of [(a) => api.put(`/agents/${a.id}`, { lifecycleState: 'revoked' }), (a) => api.delete(`/agents/${a.id}`)]) {
      const one = await agent();
      assert.ok((await leave(one)).status < 300);
      assert.equal((await one.stream.ended()).code, 4403);
      const refusal = await one.open().refusal();
      assert.deepEqual([refusal.status, refusal.code], [403, 'AGT_REVOKED']);
    }
  });

  test('nonsense is 4400', async () => {
    for (const message of ['nonsense', '[]', '{}', { type: 'fly' }, { type: 'task_accepted', id: 'x', taskId: 'x' },
      { type: 'task_accepted', taskId: `0190a5b0-0000-7000-8000-0000000000ab:build:1` },
      { type: 'task_log', id: 'x', taskId: `0190a5b0-0000-7000-8000-0000000000ab:build:1`, seq: 1, lines: [] },
      { type: 'task_log', id: 'x', taskId: `0190a5b0-0000-7000-8000-0000000000ab:build:1`, seq: 1, lines: [{ line: 'x' }] },
      { type: 'task_refused', id: 'x', taskId: `0190a5b0-0000-7000-8000-0000000000ab:build:1`, reason: 'tired' }]) {
      const one = await agent();
      one.stream.send(message);
      assert.equal((await one.stream.ended()).code, 4400, JSON.stringify(message));
    }
  });
});

describe('a task', () => {
  test('is assigned, accepted, started, told about line by line, and completed', async () => {
    const one = await agent();
    const r = await run(api, [step(one, 'make', { env: { GREETING: 'hello', DB_PASSWORD: 'hunter22' } })]);
    const watcher = new Watcher(s.server, `/workflow-runs/${r.id}/stream`, { token: s.key });
    const task = await started(one, r);
    assert.equal(task.type, 'execute-command');
    assert.deepEqual(task.payload.command, ['sh', '-c', 'make']);
    assert.deepEqual(task.payload.env, { GREETING: 'hello' });
    assert.equal(task.credentials.DB_PASSWORD, 'hunter22');
    assert.equal(task.idempotencyKey, task.id);
    assert.equal((await one.lines(task.id, 1, lines(1, 3))).type, 'ack');
    assert.equal((await one.tell('task_progress', { taskId: task.id, progress: 50, message: 'half' })).type, 'ack');
    assert.equal((await one.lines(task.id, 4, lines(4, 5))).type, 'ack');
    assert.equal((await one.completed(task.id, { lines: 5, outputs: { exitCode: 0, stdoutTail: 'line 5\n' } })).type, 'ack');
    await reaches(api, r, 'succeeded');
    await watcher.done;
    const order = watcher.events.filter((e) => e.nodeId === 'build').map((e) => e.type);
    assert.equal(order.filter((t) => t === 'step_started').length, 1);
    assert.deepEqual(order.filter((t) => t !== 'step_progress'), ['step_started', ...Array(5).fill('step_log'), 'step_log_end', 'step_completed']);
    assert.equal(watcher.lines('build'), lines(1, 5).map((l) => `${l}\n`).join(''));
    assert.equal((await stepOf(r)).outputs.stdoutTail, 'line 5\n');
    assert.equal((await api.want(200, 'GET', `/agents/${one.id}`)).runningTasks, 0);
  });

  test('may say more than is kept of it; it is cut between characters', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const watcher = new Watcher(s.server, `/workflow-runs/${r.id}/stream`, { token: s.key });
    const task = await started(one, r);
    assert.equal((await one.tell('task_progress', { taskId: task.id, progress: 50, message: `x${'😀'.repeat(600)}` })).type, 'ack');
    assert.equal((await one.completed(task.id, { lines: 0 })).type, 'ack');
    await watcher.done;
    assert.equal(watcher.events.find((e) => e.type === 'step_progress' && e.progress === 50).message, `x${'😀'.repeat(511)}`);
  });

  test('said again changes nothing: lines are told apart by their numbers, results by the task', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    for (const [seq, from, to] of [[1, 1, 3], [1, 1, 3], [2, 2, 5], [1, 1, 2], [6, 6, 6]])
      assert.equal((await one.lines(task.id, seq, lines(from, to))).type, 'ack');
    for (let i = 0; i < 2; i++) {
      assert.equal((await one.tell('task_accepted', { taskId: task.id })).type, 'ack');
      assert.equal((await one.completed(task.id, { lines: 6 })).type, 'ack');
    }
    await reaches(api, r, 'succeeded');
    assert.deepEqual(await logs(r), lines(1, 6));
  });

  test('with lines missing is told which is the first; lines that are gone for good can be skipped', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    await one.lines(task.id, 1, lines(1, 2));
    assert.deepEqual(await one.lines(task.id, 5, lines(5, 6)).then(({ type, next }) => [type, next]), ['nack', 3]);
    assert.deepEqual(await one.completed(task.id, { lines: 6 }).then(({ type, next }) => [type, next]), ['nack', 3]);
    assert.equal((await one.lines(task.id, 5, lines(5, 6), { skip: true })).type, 'ack');
    assert.equal((await one.completed(task.id, { lines: 6 })).type, 'ack');
    await reaches(api, r, 'succeeded');
    assert.deepEqual(await logs(r), ['line 1', 'line 2', 'line 5', 'line 6']);
  });

  test('that fails says how', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    await one.completed(task.id, { success: false, error: 'the command ended with exit status 3', errorType: 'exit_code', retriable: true, outputs: { exitCode: 3, stdoutTail: '' } });
    await reaches(api, r, 'failed');
    const shown = await stepOf(r);
    assert.deepEqual([shown.status, shown.error.type, shown.error.message], ['failed', 'exit_code', 'the command ended with exit status 3']);
  });

  test('is sent again to an agent that comes back, and only until it is completed', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await one.assigned(r, 'build');
    one.stream.close();
    await one.connect({ server: s.servers[1] });
    assert.deepEqual(await one.assigned(r, 'build'), task);
    assert.deepEqual((await one.heartbeat({ runningTaskIds: [] })).data.tasks.map((t) => t.id), [task.id]);
    await one.tell('task_accepted', { taskId: task.id });
    await one.completed(task.id);
    one.stream.close();
    await one.connect();
    assert.equal(one.stream.types.includes('task_assigned'), false);
  });

  test('that is refused goes to another agent that fits', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await one.assigned(r, 'build');
    const two = await new FakeAgent(s).register({ labels: one.labels });
    await two.connect();
    await one.tell('task_refused', { taskId: task.id, reason: 'capability_missing' });
    const again = await two.assigned(r, 'build');
    assert.equal(again.idempotencyKey, task.idempotencyKey);
    await two.tell('task_accepted', { taskId: again.id });
    await two.completed(again.id);
    await reaches(api, r, 'succeeded');
    assert.equal((await stepOf(r)).agentId, two.id);
  });

  test('belongs to whoever accepts it first, with all its lines', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await one.assigned(r, 'build');
    await one.tell('task_refused', { taskId: task.id, reason: 'capability_missing' }); // it is no open task of this agent now
    assert.equal((await one.tell('task_accepted', { taskId: task.id })).type, 'ack');
    assert.equal((await one.tell('task_started', { taskId: task.id, startedAt: new Date().toISOString() })).type, 'ack');
    assert.equal((await one.lines(task.id, 1, lines(1, 2))).type, 'ack');
    await one.completed(task.id, { lines: 2 });
    await reaches(api, r, 'succeeded');
    assert.deepEqual(await logs(r), lines(1, 2));
  });

  test('that was refused by a busy agent is offered again a little later', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await one.assigned(r, 'build');
    await one.tell('task_refused', { taskId: task.id, reason: 'busy' });
    await one.completed((await started(one, r, { nth: 1 })).id);
    await reaches(api, r, 'succeeded');
  });

  test('that was refused by a busy agent goes to another one that fits, if there is one', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await one.assigned(r, 'build');
    const two = await (await new FakeAgent(s).register({ labels: one.labels, maxTasks: 1 })).connect(); // never the emptier one
    await one.tell('task_refused', { taskId: task.id, reason: 'busy' });
    const again = await two.assigned(r, 'build');
    await two.completed(again.id);
    await reaches(api, r, 'succeeded');
  });

  test('is for agents that it was given to: another one of the tenant is told to stop', async () => {
    const [one, two] = [await agent(), await agent()];
    const r = await run(api, [step(one)]);
    const task = await one.assigned(r, 'build');
    await two.tell('task_accepted', { taskId: task.id });
    await two.stream.frame('task_cancel', (f) => f.taskId === task.id);
    assert.equal((await two.completed(task.id, { outputs: { exitCode: 0, stdoutTail: 'not mine' } })).type, 'ack');
    assert.deepEqual([(await stepOf(r)).status, (await stepOf(r)).agentId], ['ready', one.id]);
    await one.tell('task_accepted', { taskId: task.id });
    await one.completed(task.id);
    await reaches(api, r, 'succeeded');
    assert.equal((await stepOf(r)).outputs.stdoutTail, '');
  });

  test('of an agent that says it leaves goes to another one at once, unless it has it; the agent is offline', async () => {
    const one = await agent();
    const [kept, given] = [await run(api, [step(one)]), await run(api, [step(one)])];
    const [task, other] = [await started(one, kept), await one.assigned(given, 'build')];
    const two = await (await new FakeAgent(s).register({ labels: one.labels })).connect();
    one.stream.send({ type: 'heartbeat', status: 'offline', runningTaskIds: [task.id] });
    const again = await two.assigned(given, 'build');
    assert.equal(again.id, other.id);
    assert.equal((await api.want(200, 'GET', `/agents/${one.id}`)).status, 'offline');
    await two.completed(again.id);
    await reaches(api, given, 'succeeded');
    await one.completed(task.id);
    await reaches(api, kept, 'succeeded');
    await one.heartbeat({ status: 'online' });
    assert.equal((await api.want(200, 'GET', `/agents/${one.id}`)).status, 'online');
  });

  test('waits for an agent, says why, and is offered when one appears, comes back or is made to fit', async () => {
    const labels = { zone: unique('zone') };
    const waits = async (r) => eventually(async () => {
      const shown = await stepOf(r);
      return [shown.status === 'ready' && shown.blockedBy !== undefined, shown];
    }, 'the step to wait for an agent');
    const first = await run(api, [script('build', 'true', { labels })]);
    await waits(first);
    const one = await (await new FakeAgent(s).register({ labels })).connect(); // appears
    await one.completed((await started(one, first)).id);
    await reaches(api, first, 'succeeded');

    await api.want(200, 'PUT', `/agents/${one.id}`, { lifecycleState: 'inactive' });
    const second = await run(api, [script('build', 'true', { labels })]);
    await waits(second);
    await api.want(200, 'PUT', `/agents/${one.id}`, { lifecycleState: 'active' }); // comes back
    await one.completed((await started(one, second)).id);
    await reaches(api, second, 'succeeded');

    await api.want(200, 'PUT', `/agents/${one.id}`, { labels: { zone: 'elsewhere' } });
    const third = await run(api, [script('build', 'true', { labels })]);
    await waits(third);
    await api.want(200, 'PUT', `/agents/${one.id}`, { labels }); // is made to fit
    await one.completed((await started(one, third)).id);
    await reaches(api, third, 'succeeded');
  });

  test('goes to an agent only while it has room', async () => {
    const one = await agent({ maxTasks: 1 });
    const [r1, r2] = [await run(api, [step(one)]), await run(api, [step(one)])];
    const held = await one.stream.frame('task_assigned');
    const first = held.task.id.startsWith(r1.id) ? r1 : r2;
    const second = first === r1 ? r2 : r1;
    const task = await started(one, first);
    assert.equal((await stepOf(second)).status, 'ready');
    await one.completed(task.id);
    const next = await started(one, second);
    await one.completed(next.id);
    await reaches(api, second, 'succeeded');
  });

  test('is cancelled with its run, and a result that comes late changes nothing', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    await api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, { reason: 'enough' });
    const cancel = await one.stream.frame('task_cancel', (f) => f.taskId === task.id);
    assert.equal(cancel.graceSeconds, 30);
    await one.completed(task.id, { success: false, errorType: 'cancelled', error: 'cancelled: enough' });
    await reaches(api, r, 'cancelled');
    assert.equal((await one.completed(task.id)).type, 'ack');
    assert.equal((await stepOf(r)).status, 'cancelled');
  });

  test('of an agent that is deleted by force fails', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    await started(one, r);
    const refused = await api.delete(`/agents/${one.id}`);
    assert.deepEqual([refused.status, refused.code, refused.error.details], [409, 'RES_IN_USE', { runningTasks: 1 }]);
    assert.equal((await api.delete(`/agents/${one.id}`, { query: { force: 'true' } })).status, 204);
    await reaches(api, r, 'failed');
  });
});

describe('reconciliation', () => {
  test('a task that is over is cancelled where it still runs', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    await api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, {});
    await one.stream.frame('task_cancel');
    one.stream.close();
    await one.connect();
    one.stream.send({ type: 'heartbeat', runningTaskIds: [task.id] });
    const beat = await one.heartbeat({ runningTaskIds: [task.id, '0190a5b0-0000-7000-8000-0000000000ab:build:1'] });
    assert.ok(beat.data.cancelTaskIds.includes('0190a5b0-0000-7000-8000-0000000000ab:build:1'));
    assert.equal((await one.tell('task_accepted', { taskId: '0190a5b0-0000-7000-8000-0000000000ab:build:1' })).type, 'ack');
    await one.stream.frame('task_cancel', (f) => f.reason === 'the run is gone');
  });

  test('a task that the agent should have accepted long ago, and does not know, is lost: the next attempt follows', async () => {
    const one = await agent();
    const r = await run(api, [step(one, 'true', { retry: { maxAttempts: 2, initialDelaySeconds: 0 } })]);
    const task = await started(one, r);
    const [key] = await s.redis.keys(`*:gt:*:${one.id}`);
    await one.heartbeat({ runningTaskIds: [] }); // not lost yet: it may be on its way
    assert.equal((await stepOf(r)).status, 'running');
    const aged = { ...task, assignedAt: new Date(Date.parse(task.assignedAt) - 60e3).toISOString() }; // as half a minute would
    await s.redis.command('HSET', key, task.id, JSON.stringify(aged));
    one.stream.send({ type: 'heartbeat', runningTaskIds: [] });
    const again = await started(one, r, { attempt: 2 });
    await one.completed(again.id);
    await reaches(api, r, 'succeeded');
    assert.equal((await stepOf(r)).attempts[0].error.type, 'agent_lost');
  });

  test('lines of a task that the agent does not have are acknowledged and not kept', async () => {
    const [one, two] = [await agent(), await agent()];
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    await one.lines(task.id, 1, ['mine']);
    assert.equal((await two.lines(task.id, 2, ['yours'])).type, 'ack');
    await one.lines(task.id, 2, ['mine again']);
    await one.completed(task.id, { lines: 2 });
    await reaches(api, r, 'succeeded');
    assert.deepEqual(await logs(r), ['mine', 'mine again']);
  });

  test('another tenant\'s agent finds no such run', async () => {
    const one = await agent();
    const r = await run(api, [step(one)]);
    const task = await started(one, r);
    const elsewhere = s.server.client(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
    const other = await (await new FakeAgent(s, { api: elsewhere }).register()).connect();
    assert.equal((await other.completed(task.id)).type, 'ack');
    await other.stream.frame('task_cancel', (f) => f.reason === 'the run is gone');
    assert.equal((await stepOf(r)).status, 'running');
    await one.completed(task.id);
    await reaches(api, r, 'succeeded');
  });
});

test('a heartbeat on the stream tells new versions and capabilities', async () => {
  const one = await agent();
  one.stream.send({ type: 'heartbeat', version: '9.9.9', capabilities: ['script', 'docker'], resourceUsage: { cpuPercent: 5 } });
  const shown = await eventually(async () => {
    const now = await api.want(200, 'GET', `/agents/${one.id}`);
    return now.version === '9.9.9' && now;
  }, 'the new version to be shown');
  assert.deepEqual([shown.capabilities, shown.resourceUsage], [['script', 'docker'], { cpuPercent: 5 }]);
});

test('new settings are told to the agent', async () => {
  const one = await agent();
  await api.want(200, 'PUT', `/agents/${one.id}`, { config: { logLevel: 'debug' } });
  const update = await one.stream.frame('config_update', (f) => f.seq !== undefined);
  assert.deepEqual(update.config, { heartbeatInterval: 30, logLevel: 'debug', taskPollInterval: 5 });
});

describe('of an agent with more open tasks than wait for one reader', () => {
  const [part, parts] = [32_000, 7];
  const words = ['sh', '-c', 'true', ...Array(parts).fill('${{ inputs.much }}')];
  const whole = ['sh', '-c', 'true', ...Array(parts).fill('x'.repeat(part))];
  let small;
  before(async () => (small = await start({ name: 'task-stream-small', args: ['--send-queue', '64KiB', '--stream-queue', '256KiB'] })));
  after(() => small?.stop());

  /** An agent, and what starts a run with a large task for it and answers the task's id. */
  async function estate() {
    const labels = { zone: unique('zone') };
    const one = await (await new FakeAgent(small).register({ labels, maxTasks: 100 })).connect();
    const template = await makeTemplate(small.api, [{ id: 'build', type: 'script', config: { command: words, labels } }], [],
      { inputs: [{ name: 'much', type: 'string' }] });
    return { one, more: async () => `${(await startRun(small.api, template, { inputs: { much: whole.at(-1) } })).id}:build:1` };
  }
  const tasks = (stream) => stream.frames.filter((f) => f.type === 'task_assigned').map((f) => f.task);
  const ids = (stream) => tasks(stream).map((t) => t.id).sort();

  test('the agent is given all of them when it comes back, at the pace of its reading, and is live then', async () => {
    const { one, more } = await estate();
    const open = [];
    while (open.length < 24) open.push(await more());
    await one.stream.until((x) => tasks(x).length === open.length, 'all tasks to be assigned');
    one.stream.close();
    one.stream = one.open({ pauseReading: true });
    await one.stream.opened();
    const late = await more(); // assigned while the others are still being said
    one.stream.readOn();
    await one.stream.frame('synced');
    await one.stream.until((x) => ids(x).includes(late), 'the late task');
    assert.deepEqual(ids(one.stream), [...open, late]);
    for (const task of tasks(one.stream)) assert.deepEqual(task.payload.command, whole);
    assert.deepEqual(one.stream.types.slice(0, 2), ['ready', 'config_update']);
    assert.equal((await one.tell('task_accepted', { taskId: late })).type, 'ack');
  });

  test('one that stops reading is cut with 4429, and finds all of them when it comes back', async () => {
    const { one, more } = await estate();
    const cut = 'slipway_streams_slow_total', before = await metric(small.server, cut);
    const open = [];
    one.stream.stopReading();
    while ((await metric(small.server, cut)) === before && open.length < 90) open.push(await more());
    one.stream.readOn();
    assert.equal((await one.stream.ended()).code, 4429);
    assert.deepEqual([one.stream.frames.at(-1).type, one.stream.frames.at(-1).retry], ['error', true]);
    const seen = ids(one.stream);
    assert.deepEqual(seen, open.slice(0, seen.length));
    assert.ok(seen.length < open.length, 'nothing was lost with the stream: nothing was tested');
    await one.connect();
    await one.stream.until((x) => ids(x).length >= open.length, 'all tasks'); // the last may be assigned only now
    assert.deepEqual(ids(one.stream), open);
    for (const task of tasks(one.stream)) assert.deepEqual(task.payload.command, whole);
  });
});
