// What users of such systems ask for, each wish by its number in the spec's §15. Those that need no agent are with their
// resources: W9, W10, W11, W13 and W18 in test/api/promotion.test.mjs, W7 and W20 with the rollbacks.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { addVersion, jobEnds, jobOf, jobReaches, makeDeployTemplate, makeRelease, makeTargets, promote, promotionReaches, tasksOf } from '../lib/release.mjs';
import { Gate, reaches, run, script, streamOf, unique, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { Watcher, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

const linesOf = async (s, r, node) => (await s.api.get(`/workflow-runs/${r.id}/steps/${node}/logs`, { headers: { accept: 'text/plain' } })).text;
const numbers = (n) => Array.from({ length: n }, (_, i) => `${i + 1}\n`).join('');

describe('wishes about runs and their logs', { concurrency: true }, () => {
  let s;
  before(async () => {
    s = await start({ name: 'wishes' });
    await s.addAgent('one', { args: ['--max-tasks', '16'] });
  });
  after(() => s?.stop());

  test('W14: live logs lose no line, end per step, and long ones are not cut; who subscribes early waits', async () => {
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('first', `${gate.shell}; seq 1 5000`), script('second', 'echo after')], [{ from: 'first', to: 'second' }]);
    const early = new Watcher(s.server, streamOf(r), { token: s.key });
    await early.until((w) => w.events.length > 0, 'the early subscriber to be served');
    gate.open();
    await early.done;
    assert.equal(early.lines('first'), numbers(5000));
    const at = (type, nodeId) => early.events.findIndex((e) => e.type === type && e.nodeId === nodeId);
    const lastLine = early.events.findLastIndex((e) => e.type === 'step_log' && e.nodeId === 'first');
    assert.ok(lastLine < at('step_log_end', 'first'), 'the end of the log comes after its last line');
    assert.ok(at('step_log_end', 'first') < at('step_started', 'second'), 'and before the next step');
    assert.equal(await linesOf(s, r, 'first'), numbers(5000));
  });

  test('W15: who reconnects anywhere in a stream gets the rest, without gap or repetition', async () => {
    const r = await run(s.api, [script('work', 'seq 1 40')]);
    const whole = new Watcher(s.server, streamOf(r), { token: s.key });
    await whole.done;
    for (const since of [0, 1, 7, 20, whole.events.length - 1]) {
      const stream = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: String(since) } });
      await stream.ended();
      assert.deepEqual(stream.events, whole.events.slice(since), `since ${since}`);
    }
  });

  test('W16: a snapshot names the event it stands for, and what follows starts right behind it', async () => {
    const gate = new Gate(s.nest);
    const r = await run(s.api, [script('work', `echo one; ${gate.shell}; echo two`)]);
    const first = new WsStream(s.server, streamOf(r), { token: s.key, query: { since: '0' } });
    await first.frame('step_log', (f) => f.line === 'one');
    const late = new WsStream(s.server, streamOf(r), { token: s.key });
    const snapshot = await late.frame('snapshot');
    gate.open();
    await late.ended();
    assert.equal(snapshot.data.steps.find((x) => x.nodeId === 'work').status, 'running');
    assert.equal(late.events[0].seq, snapshot.seq + 1);
    assert.ok(!late.events.some((e) => e.line === 'one'), 'nothing stale comes again');
  });

  test('W23: a run whose step does not listen can be cancelled, and so can one that waits for an agent that never comes', async () => {
    const deaf = await run(s.api, [script('deaf', "trap '' TERM; echo deaf; while :; do sleep 0.05; done")]);
    const lonely = await run(s.api, [script('lonely', 'true', { labels: { nobody: 'has-it' } })]);
    const watcher = new Watcher(s.server, streamOf(deaf), { token: s.key });
    await watcher.until((w) => w.lines('deaf') === 'deaf\n', 'the step to run');
    for (const r of [lonely, deaf]) await s.api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, { reason: 'stuck' });
    await reaches(s.api, lonely, 'cancelled');
    const done = await eventually(async () => {
      const now = await s.api.want(200, 'GET', `/workflow-runs/${deaf.id}`);
      return now.status === 'cancelled' ? now : [false, now.status];
    }, 'the deaf run to be cut', { patience: 60_000 });
    assert.ok(done.finishedAt);
  });

  test('W24: a run that was stopped leaves no step behind that is not over', async () => {
    const r = await run(s.api, [script('a', 'exec sleep 1000'), wait('b', 3600), script('c', 'true'), script('d', 'exit 1', { retry: { maxAttempts: 5, initialDelaySeconds: 300 } })],
      [{ from: 'a', to: 'c' }]);
    await eventually(async () => {
      const steps = await s.api.want(200, 'GET', `/workflow-runs/${r.id}/steps`);
      const now = steps.map((x) => x.status).join();
      return now === 'running,waiting,retrying,pending' || now.split(',').sort().join() === 'pending,retrying,running,waiting' || [false, now];
    }, 'the steps to be in four states');
    await s.api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, {});
    await reaches(s.api, r, 'cancelled');
    const steps = await s.api.want(200, 'GET', `/workflow-runs/${r.id}/steps`);
    assert.deepEqual(new Set(steps.map((x) => x.status)), new Set(['cancelled']));
    assert.ok(steps.filter((x) => x.startedAt).every((x) => x.finishedAt));
  });
});

describe('wishes about a server that goes away', () => {
  let s;
  before(async () => {
    s = await start({ name: 'wishes-away' });
    await s.addAgent('one');
  });
  after(() => s?.stop());

  test('W17, W23: the agent works on and keeps its lines while the server is away; the run goes on where it was', async () => {
    const file = s.nest.file('written'), gate = new Gate(s.nest);
    const r = await run(s.api, [script('work', `echo begun; ${gate.shell}; seq 1 2000 | tee '${file}'`), script('next', 'echo next')], [{ from: 'work', to: 'next' }]);
    const watcher = new Watcher(s.server, streamOf(r), { token: s.key });
    await watcher.until((w) => w.lines('work') === 'begun\n', 'the step to run');
    await s.server.kill();
    gate.open();
    await eventually(() => fs.readFileSync(file, 'utf8') === numbers(2000), 'the step to end while nobody listens');
    await s.server.start();
    await watcher.done;
    assert.equal(watcher.lines('work'), `begun\n${numbers(2000)}`);
    assert.equal((await reaches(s.api, r, 'succeeded')).status, 'succeeded');
  });
});

describe('wishes about deployments', () => {
  let s, component, environments = 0;
  before(async () => {
    s = await start({ name: 'wishes-deploy' });
    await s.addAgent('one', { args: ['--max-tasks', '8'] });
    component = await s.api.want(201, 'POST', '/components', { name: 'app' });
    await addVersion(s, component, '1.0.0', { 'app.txt': 'one\n' });
  });
  after(() => s?.stop());

  const environment = () => s.api.want(201, 'POST', '/environments', { name: unique('env').replaceAll('_', '-'), orderIndex: environments++ });
  const release = () => makeRelease(s, component, '1.0.0');
  /** Promotes past the order of environments: each test has one of its own. */
  const out = async (env, config, more = {}) => {
    const template = await makeDeployTemplate(s, config, more);
    const promotion = await promote(s, await release(), env, { templateId: template.id, skipOrderReason: 'a test of its own' });
    return { promotion, template };
  };

  test('W19: a target whose agent is away, and one in maintenance, are skipped and listed; both are part of the next deployment', async () => {
    const env = await environment();
    const other = await s.addAgent('two');
    const targets = await makeTargets(s, env, 3, (i) => [{}, { agentId: other.id }, { maintenance: true }][i - 1]);
    await other.stop();
    await eventually(async () => {
      const { status } = await s.api.want(200, 'GET', `/agents/${other.id}`);
      return status === 'offline' || [false, status];
    }, 'the agent to be offline');
    const first = await out(env, { strategy: 'all-at-once', strategyConfig: { onUnavailableTarget: 'skip' } });
    const job = await jobEnds(s, await jobOf(s, first.promotion));
    assert.deepEqual([job.status, job.completedTargets, job.skippedTargets], ['succeeded', 1, 2]);
    const tasks = (await tasksOf(s, job)).filter((t) => t.type === 'deploy');
    assert.deepEqual(targets.map((t) => tasks.find((x) => x.targetId === t.id).status), ['succeeded', 'skipped', 'skipped']);
    assert.ok(tasks.filter((t) => t.status === 'skipped').every((t) => t.reason), 'each says why');
    const has = (t) => fs.existsSync(`${t.connection.path}/current`);
    assert.deepEqual(targets.map(has), [true, false, false]);
    await promotionReaches(s, first.promotion, 'deployed');

    await s.api.want(200, 'PUT', `/targets/${targets[2].id}`, { maintenance: false });
    await other.start();
    await other.online();
    const second = await out(env, { strategy: 'all-at-once', strategyConfig: { onUnavailableTarget: 'skip' } });
    const again = await jobEnds(s, await jobOf(s, second.promotion));
    assert.deepEqual([again.status, again.completedTargets, again.skippedTargets], ['succeeded', 3, 0]);
    assert.deepEqual(targets.map(has), [true, true, true]);
  });

  test('W26: a rolling deployment stops at the first target that fails; going on keeps to the targets it was given', async () => {
    const env = await environment();
    const targets = await makeTargets(s, env, 4);
    const mended = s.nest.file('mended');
    const hook = `case "$SLIPWAY_TARGET" in t002) [ -e '${mended}' ] || exit 1 ;; esac`;
    const { promotion } = await out(env, {
      strategy: 'rolling', strategyConfig: { batchSize: 1, failureBehavior: 'pause', order: 'name' },
      targets: targets.slice(0, 3).map((t) => t.id), hooks: { preDeploy: ['sh', '-c', hook] },
    });
    let job = await jobReaches(s, await jobOf(s, promotion), 'paused');
    const at = (t) => (fs.existsSync(`${t.connection.path}/current`) ? 'new' : 'none');
    assert.deepEqual(targets.map(at), ['new', 'none', 'none', 'none'], 'stopped at the second');
    const { workflowRunId } = await s.api.want(200, 'GET', `/promotions/${promotion.id}`);
    await reaches(s.api, { id: workflowRunId }, 'paused');
    fs.writeFileSync(mended, '');
    await s.api.want(200, 'POST', `/workflow-runs/${workflowRunId}/resume`, {});
    job = await jobEnds(s, job);
    assert.deepEqual([job.status, job.totalTargets], ['succeeded', 3]);
    assert.deepEqual(targets.map(at), ['new', 'new', 'new', 'none'], 'the target that was left out stays left out');
    const first = (await tasksOf(s, job, { targetId: targets[0].id })).filter((t) => t.type === 'deploy');
    assert.deepEqual(first.map((t) => t.attempt), [1], 'what had gone well is not done again');
    await promotionReaches(s, promotion, 'deployed');
  });
});
