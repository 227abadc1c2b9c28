// Deployment jobs: how they come about, what they show, and how they are followed. What a job does in each state is the
// engine's affair (test/unit, test/sim); here an agent played by the test carries it out.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HostAgent, jobOf, jobReaches, jobStream, makeEstate, makeRelease, promote, runOf, tasksOf } from '../lib/deployment.mjs';
import { chain, makeTemplate, reaches, startRun } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'deployment', instances: 2 });
  api = s.api;
});
after(() => s?.stop());

const rolling = (config = {}) => ({ type: 'rolling', config });
const fault = (answer) => (answer.error.validationErrors ?? []).map((f) => f.field);
const stepOf = (run, node = 'deploy') => api.want(200, 'GET', `/workflow-runs/${run.id}/steps/${node}`);
const words = (tasks) => tasks.map((t) => `${t.id} ${t.status}`);

/** An estate with an agent that serves it; `play` answers its tasks. */
async function served(targets, play, config) {
  const estate = await makeEstate(api, targets, config);
  estate.agent = await new HostAgent(s).serve(estate.labels, play);
  return estate;
}

/** Promotes, and waits for the job and its run. */
async function deploy(estate, release, more) {
  const run = await runOf(api, await promote(api, release, estate.environment, more));
  return { run, job: await jobOf(api, run) };
}

/** The run of a promotion of a template of its own. */
async function runWith(estate, nodes, { edges = [], template = {}, ...more } = {}) {
  const { id: templateId } = await makeTemplate(api, nodes, edges, template);
  return runOf(api, await promote(api, more.release ?? await makeRelease(api), estate.environment, { templateId, redeploy: true }));
}
const deployNode = (config = {}, more = {}) => ({ id: 'deploy', type: 'deploy', config, ...more });

describe('strategies', () => {
  const cases = [
    [{ type: 'canary', config: {} }, 'type'],
    [{ type: 'blue-green' }, 'type'],
    [{ config: {} }, 'type'],
    [rolling({ batchSize: 0 }), 'config.batchSize'],
    [rolling({ batchSize: 1, batchPercent: 50 }), 'config.batchPercent'],
    [rolling({ order: 'size' }), 'config.order'],
    [rolling({ healthCheck: { type: 'command' } }), 'config.healthCheck.command'],
    [{ type: 'all-at-once', config: { batchSize: 2 } }, 'config.batchSize'],
    [{ type: 'all-at-once', config: { failureBehavior: 'pray' } }, 'config.failureBehavior'],
    [{ type: 'all-at-once', config: { healthCheck: { port: 0 } } }, 'config.healthCheck.port'],
  ];
  test('what does not hold is a fault of the promotion, at its place', async () => {
    const [{ environment }, release] = [await makeEstate(api, 1), await makeRelease(api)];
    for (const [strategy, place] of cases) {
      const answer = await api.post('/promotions', { releaseId: release.id, targetEnvironmentId: environment.id, reason: 'a test', strategy });
      assert.equal(answer.status, 400, JSON.stringify(strategy));
      assert.deepEqual(fault(answer), [`strategy.${place}`], JSON.stringify(strategy));
    }
  });

  test('what a template says is checked as far as it is known', async () => {
    for (const [config, place] of [
      [{ strategy: 'canary' }, 'strategy'],
      [{ strategyConfig: { maxConcurrent: -1 }, strategy: 'all-at-once' }, 'strategyConfig.maxConcurrent'],
      [{ healthCheck: { type: 'guess' } }, 'healthCheck.type'],
      [{ targets: ['a'] }, 'targets'],
      [{ hooks: { preDeploy: 'true' } }, 'hooks.preDeploy'],
      [{ strategyConfig: { batchSize: 2 } }, ''],
      [{ strategy: 'all-at-once', strategyConfig: { order: 'name' } }, ''],
    ]) {
      const answer = await api.post('/workflow-templates', { name: 'no', status: 'active', nodes: [deployNode(config)], edges: [] });
      assert.ok([400, 422].includes(answer.status), `${JSON.stringify(config)}: ${answer.status}`);
      assert.ok(answer.text.includes(place), answer.text);
    }
  });

  test('every default is filled in, and the promotion comes before the template', async () => {
    const estate = await served(3);
    const { id: templateId } = await makeTemplate(api, [deployNode({ strategy: 'all-at-once', strategyConfig: { maxConcurrent: 7 } })]);
    const plain = await deploy(estate, await makeRelease(api), { templateId });
    assert.equal((await jobReaches(api, plain.job, 'succeeded')).strategyConfig.maxConcurrent, 7);
    await reaches(api, plain.run, 'succeeded');
    const own = await deploy(estate, await makeRelease(api), { templateId, strategy: rolling({ batchPercent: 50 }) });
    const job = await jobReaches(api, own.job, 'succeeded');
    assert.equal(job.strategy, 'rolling');
    assert.deepEqual(job.strategyConfig, {
      batchPercent: 50, failureBehavior: 'rollback', maxConcurrent: 0, maxFailures: 0, onUnavailableTarget: 'wait',
      order: 'name', orderLabel: 'order', pauseBetweenBatchesSeconds: 0,
    });
    assert.equal(job.totalBatches, 2);
  });

  test("the environment's health check counts when it says where", async () => {
    const estate = await served(1, undefined, { healthCheckConfig: { type: 'tcp', port: 4711, timeout: 2, retries: 0, interval: 1 } });
    const { job } = await deploy(estate, await makeRelease(api));
    await jobReaches(api, job, 'succeeded');
    const check = estate.agent.tasks.find((t) => t.type === 'health-check');
    assert.deepEqual({ ...check.payload, root: undefined }, {
      host: '127.0.0.1', intervalSeconds: 1, path: '/health', port: 4711, retries: 0, timeoutSeconds: 2, type: 'tcp', root: undefined,
    });
  });
});

describe('who may deploy', () => {
  test('a run by hand needs a promotion that was let through: PROM_REQUIRED', async () => {
    const [estate, release, other] = [await makeEstate(api, 1), await makeRelease(api), await makeRelease(api)];
    const template = await makeTemplate(api, [deployNode()]);
    const back = await makeTemplate(api, [{ id: 'back', type: 'rollback', config: {} }]);
    const promotion = await promote(api, release, estate.environment);
    await runOf(api, promotion);
    const context = { environmentId: estate.environment.id, releaseId: release.id };
    for (const [templateId, without] of [[template.id, {}], [template.id, context], [back.id, context],
      [template.id, { ...context, releaseId: other.id, promotionId: promotion.id }]]) {
      const answer = await api.post('/workflow-runs', { templateId, context: without });
      assert.deepEqual([answer.status, answer.code], [422, 'PROM_REQUIRED']);
    }
    const run = await startRun(api, template, { context: { ...context, promotionId: promotion.id } });
    assert.equal((await jobOf(api, run)).promotionId, promotion.id);
  });
});

describe('a deployment', () => {
  test('rolling: one batch after the other, a check behind each, the result in the step', async () => {
    const estate = await served(3, () => ({ lines: ['one', 'two'] }));
    const release = await makeRelease(api);
    const { run, job: early } = await deploy(estate, release, { strategy: rolling({ healthCheck: { type: 'tcp', port: 80 } }) });
    const watcher = new Watcher(s.servers[1], jobStream(early), { token: s.key });
    const job = await jobReaches(api, early, 'succeeded');
    await watcher.done;
    assert.equal(estate.agent.fault, undefined);
    assert.deepEqual([job.totalTargets, job.completedTargets, job.failedTargets, job.skippedTargets, job.progress], [3, 3, 0, 0, 100]);
    assert.deepEqual([job.environmentId, job.releaseId, job.workflowRunId, job.workflowNodeId], [estate.environment.id, release.id, run.id, 'deploy']);
    assert.deepEqual(words(await tasksOf(api, job)), ['1-deploy', '1-health-check', '2-deploy', '2-health-check', '3-deploy', '3-health-check'].map((id) => `${id} succeeded`));
    await reaches(api, run, 'succeeded');
    const step = await stepOf(run);
    assert.deepEqual(step.outputs, { completed: 3, deploymentJobId: job.id, failed: 0, skipped: 0, status: 'succeeded', targets: 3 });

    const types = watcher.events.map((e) => e.type);
    assert.deepEqual([types[0], types.at(-1)], ['job_started', 'job_completed']);
    const batches = watcher.events.filter((e) => e.type.startsWith('batch_')).map((e) => `${e.type} ${e.batch}`);
    assert.deepEqual(batches, [1, 2, 3].flatMap((n) => [`batch_started ${n}`, `batch_completed ${n}`]));
    const first = watcher.events.filter((e) => e.taskId === '1-deploy').map((e) => e.line ?? e.type);
    assert.deepEqual(first, ['task_assigned', 'task_started', 'one', 'two', 'task_completed']);
  });

  test('each task is told all it needs', async () => {
    const estate = await served(1, undefined, { variables: { COLOUR: 'blue', API_TOKEN: 'hush-hush' } });
    const release = await makeRelease(api);
    const hooks = { preDeploy: ['true'], postDeploy: ['echo', 'done'], timeoutSeconds: 7 };
    const run = await runWith(estate, [deployNode({ hooks })], { release });
    await reaches(api, run, 'succeeded');
    const job = await jobOf(api, run);
    const [task] = estate.agent.tasks;
    assert.deepEqual(task.payload, {
      deployment: { id: job.id, startedAt: job.startedAt },
      environment: { id: estate.environment.id, name: estate.environment.name },
      graceSeconds: 30,
      hooks,
      keep: 3,
      release: {
        id: release.id, name: release.name, createdAt: release.createdAt,
        components: [{
          artifactUrl: 'http://artifacts.invalid/site.tar', componentId: release.component.id, digest: release.version.digest,
          name: release.component.name, role: 'primary', tag: release.version.tag, versionId: release.version.id,
        }],
      },
      root: estate.targets[0].connection.path,
      target: { id: estate.targets[0].id, name: 'a' },
      variables: { COLOUR: 'blue' },
    });
    assert.equal(task.credentials.API_TOKEN, 'hush-hush');
  });

  test('only some targets, and none that is in maintenance', async () => {
    const estate = await served(3);
    await api.want(200, 'PUT', `/targets/${estate.targets[2].id}`, { maintenance: true });
    const run = await runWith(estate, [deployNode({ targets: [estate.targets[2].id, estate.targets[0].id] })]);
    await reaches(api, run, 'succeeded');
    const job = await jobOf(api, run);
    assert.deepEqual([job.totalTargets, job.completedTargets, job.skippedTargets], [2, 1, 1]);
    assert.deepEqual(job.skipped.map((k) => [k.targetId, k.targetName]), [[estate.targets[2].id, 'c']]);
    assert.ok(job.skipped[0].reason.includes('maintenance'));
  });

  test('what cannot be deployed fails the step, for good and with a reason', async () => {
    const [empty, estate, other] = [await makeEstate(api, 0), await makeEstate(api, 1), await makeEstate(api, 1)];
    const resting = await makeEstate(api, 1);
    await api.want(200, 'PUT', `/targets/${resting.targets[0].id}`, { maintenance: true });
    for (const [where, config, type, release] of [
      [empty, {}, 'DEPLOY_NO_TARGET'],
      [resting, {}, 'DEPLOY_NO_TARGET'],
      [estate, { targets: [other.targets[0].id] }, 'RES_REFERENCE_UNKNOWN'],
      [estate, {}, 'DEPLOY_ARTIFACT_MISSING', await makeRelease(api, { url: null })],
      [estate, { strategy: 'rolling', strategyConfig: { batchSize: 1, batchPercent: 1 } }, 'VAL_FAILED'],
      [estate, { healthCheck: { type: 'tcp' } }, 'VAL_FAILED'],
    ]) {
      const run = await runWith(where, [deployNode(config, { retry: { maxAttempts: 3 } })], { release });
      await reaches(api, run, 'failed');
      const step = await stepOf(run);
      assert.deepEqual([step.error.type, step.error.retriable, step.attempt], [type, false, 1]);
      assert.ok(step.error.message.length > 10, step.error.message);
    }
  });

  test('the health check that fails takes the release back, and the step fails', async () => {
    let broken = false;
    const estate = await served(2, (task) => (broken && task.type === 'health-check' && task.payload.root.endsWith('/1')
      ? { success: false, errorType: 'unhealthy', error: 'no answer', retriable: false, outputs: { healthy: false, latencyMs: 1, samples: [] } } : {}));
    const strategy = rolling({ healthCheck: { type: 'tcp', port: 80 } });
    const good = await makeRelease(api);
    await reaches(api, (await deploy(estate, good, { strategy })).run, 'succeeded');
    broken = true;
    const bad = await makeRelease(api, { component: good.component });
    const { run, job } = await deploy(estate, bad, { strategy });
    const ended = await jobReaches(api, job, 'rolled_back');
    assert.equal(ended.previousReleaseId, good.id);
    await reaches(api, run, 'failed');
    const step = await stepOf(run);
    assert.equal(step.error.type, 'deployment_rolled_back');
    assert.deepEqual([step.outputs.status, step.outputs.failed], ['rolled_back', 1]);
    const back = estate.agent.tasks.filter((t) => t.type === 'rollback');
    assert.deepEqual(back.map((t) => [t.payload.target.name, t.payload.release.id]).sort(), [['a', good.id], ['b', good.id]]);
    assert.deepEqual(words((await tasksOf(api, job)).filter((t) => t.type === 'rollback')).sort(), ['1-rollback succeeded', '2-rollback succeeded']);
    const events = new Watcher(s.server, jobStream(job), { token: s.key });
    await events.done;
    assert.ok(events.events.some((e) => e.type === 'rollback_started' && e.rollbackId === job.id));
  });

  test('W26: a further attempt keeps to the chosen targets, and does only what failed', async () => {
    let faults = 1;
    const estate = await served(3, (task) => (task.payload.target.name === 'b' && faults-- > 0
      ? { success: false, errorType: 'digest_mismatch', error: 'other bytes', retriable: false, outputs: {} } : {}));
    const [a, b] = estate.targets;
    const run = await runWith(estate, [deployNode({ targets: [a.id, b.id], strategy: 'all-at-once', strategyConfig: { failureBehavior: 'continue' } },
      { retry: { maxAttempts: 2, initialDelaySeconds: 0 } })]);
    await reaches(api, run, 'succeeded');
    const jobs = await api.want(200, 'GET', `/deployment-jobs?workflowRunId=${run.id}&sort=createdAt`);
    assert.deepEqual(jobs.map((j) => [j.status, j.totalTargets, j.completedTargets, j.failedTargets, j.skippedTargets]),
      [['failed', 2, 1, 1, 0], ['succeeded', 2, 1, 0, 1]]);
    assert.deepEqual(estate.agent.tasks.map((t) => t.payload.target.name).sort(), ['a', 'b', 'b']);
    assert.deepEqual(jobs[1].skipped.map((k) => k.targetName), ['a']);
  });

  test('a cancelled run cancels its job', async () => {
    const estate = await makeEstate(api, 1); // no agent: it waits
    const { run, job } = await deploy(estate, await makeRelease(api));
    await api.want(200, 'POST', `/workflow-runs/${run.id}/cancel`, {});
    await reaches(api, run, 'cancelled');
    await jobReaches(api, job, 'cancelled');
  });
});

describe('a rollback step', () => {
  const back = { id: 'back', type: 'rollback', config: { strategy: 'rolling' } };

  test('brings back what its own run replaced', async () => {
    const estate = await served(2);
    const good = await makeRelease(api);
    await reaches(api, (await deploy(estate, good)).run, 'succeeded');
    const run = await runWith(estate, [deployNode(), back], { edges: chain('deploy', 'back'), release: await makeRelease(api) });
    await reaches(api, run, 'succeeded');
    const jobs = await api.want(200, 'GET', `/deployment-jobs?workflowRunId=${run.id}&sort=createdAt`);
    assert.deepEqual(jobs.map((j) => [j.workflowNodeId, j.status, j.strategy]), [['deploy', 'succeeded', 'all-at-once'], ['back', 'succeeded', 'rolling']]);
    assert.equal(jobs[1].releaseId, undefined);
    assert.deepEqual(estate.agent.tasks.slice(-2).map((t) => t.payload.release.id), [good.id, good.id]);
    assert.equal((await stepOf(run, 'back')).outputs.deploymentJobId, jobs[1].id);
  });

  test('as compensation of a deployment whose run fails later', async () => {
    const estate = await served(1);
    const good = await makeRelease(api);
    await reaches(api, (await deploy(estate, good)).run, 'succeeded');
    const failing = { id: 'check', type: 'http-request', config: { url: 'http://127.0.0.1:1/' } };
    const run = await runWith(estate, [deployNode(), failing, { ...back, compensates: 'deploy' }],
      { edges: chain('deploy', 'check'), template: { onFailure: 'rollback' } });
    await reaches(api, run, 'failed');
    assert.equal((await stepOf(run, 'back')).status, 'succeeded');
    assert.equal(estate.agent.tasks.at(-1).payload.release.id, good.id);
  });

  test('to a release that is named', async () => {
    const estate = await served(1);
    const [good, stranger] = [await makeRelease(api), await makeRelease(api)];
    await reaches(api, (await deploy(estate, good)).run, 'succeeded');
    const to = (id) => runWith(estate, [deployNode(), { ...back, config: { to: id } }], { edges: chain('deploy', 'back') });
    await reaches(api, await to(good.id), 'succeeded');
    assert.equal(estate.agent.tasks.at(-1).payload.release.id, good.id);
    const around = await to(stranger.id); // which was never promoted
    await reaches(api, around, 'failed');
    assert.equal((await stepOf(around, 'back')).error.type, 'DEPLOY_NO_PREVIOUS_RELEASE');
  });

  test('fails where nothing was before', async () => {
    const estate = await served(1);
    const run = await runWith(estate, [deployNode(), back], { edges: chain('deploy', 'back') });
    await reaches(api, run, 'failed');
    assert.equal((await stepOf(run, 'back')).error.type, 'DEPLOY_NO_PREVIOUS_RELEASE');
  });
});

describe('a write-sticker step', () => {
  const sticker = { id: 'sticker', type: 'write-sticker', config: {} };

  test('writes anew what each target has, without a promotion, and keeps the way back', async () => {
    const estate = await served(2);
    const good = await makeRelease(api), better = await makeRelease(api);
    await reaches(api, (await deploy(estate, good)).run, 'succeeded');
    await reaches(api, (await deploy(estate, better)).run, 'succeeded');
    const run = await startRun(api, await makeTemplate(api, [sticker]), { context: { environmentId: estate.environment.id } });
    await reaches(api, run, 'succeeded');
    assert.deepEqual(estate.agent.tasks.slice(-2).map((t) => [t.type, t.payload.release.id]), [['deploy', better.id], ['deploy', better.id]]);
    const { deploymentJobId, stickerIds } = (await stepOf(run, 'sticker')).outputs;
    await eventually(async () => {
      const current = await api.want(200, 'GET', `/version-stickers?environmentId=${estate.environment.id}&status=current`);
      return current.length === 2 && current.every((k) => k.deploymentJobId === deploymentJobId && k.releaseId === better.id && stickerIds.includes(k.id));
    }, 'the stickers to be those of the job');
    assert.deepEqual(await Promise.all(stickerIds.map(async (id) => (await api.want(200, 'GET', `/version-stickers/${id}`)).targetId)), estate.targets.map((t) => t.id));
    const after = await runWith(estate, [{ id: 'back', type: 'rollback', config: {} }]);
    await reaches(api, after, 'succeeded');
    assert.deepEqual(estate.agent.tasks.slice(-2).map((t) => t.payload.release.id), [good.id, good.id]);
  });

  test('fails where nothing is deployed', async () => {
    const estate = await makeEstate(api, 1);
    const run = await startRun(api, await makeTemplate(api, [sticker]), { context: { environmentId: estate.environment.id } });
    await reaches(api, run, 'failed');
    assert.equal((await stepOf(run, 'sticker')).error.type, 'DEPLOY_NO_TARGET');
  });
});

describe('a health-check step', () => {
  test('is carried out by an agent with its labels', async () => {
    let healthy = true;
    const estate = await served(0, () => (healthy ? {} : { success: false, errorType: 'unhealthy', error: 'no answer', retriable: false, outputs: { healthy: false, latencyMs: 1, samples: [] } }));
    const node = { id: 'check', type: 'health-check', config: { url: 'http://127.0.0.1:8080/', expectBody: 'hello', labels: estate.labels } };
    const template = await makeTemplate(api, [node]);
    const good = await startRun(api, template);
    await reaches(api, good, 'succeeded');
    assert.equal((await stepOf(good, 'check')).outputs.healthy, true);
    const [task] = estate.agent.tasks;
    assert.deepEqual([task.type, task.payload.url, task.payload.expectBody, task.payload.timeoutSeconds], ['health-check', 'http://127.0.0.1:8080/', 'hello', 30]);
    healthy = false;
    const bad = await startRun(api, template);
    await reaches(api, bad, 'failed');
    assert.equal((await stepOf(bad, 'check')).error.type, 'unhealthy');
  });
});

describe('what is shown', () => {
  let estate, job, release;
  before(async () => {
    estate = await served(2, () => ({ lines: ['first', 'second', 'third'] }));
    release = await makeRelease(api);
    ({ job } = await deploy(estate, release, { strategy: rolling({ healthCheck: { type: 'tcp', port: 80 } }) }));
    job = await jobReaches(api, job, 'succeeded');
  });

  test('jobs by status, environment, release, promotion, run and strategy', async () => {
    for (const member of ['status', 'environmentId', 'releaseId', 'promotionId', 'workflowRunId', 'strategy']) {
      const found = await api.want(200, 'GET', `/deployment-jobs?${member}=${job[member]}&environmentId=${estate.environment.id}`);
      assert.deepEqual(found.map((j) => j.id), [job.id], member);
    }
    assert.deepEqual(await api.want(200, 'GET', `/deployment-jobs?environmentId=${estate.environment.id}&status=failed`), []);
  });

  test('tasks by status, target and type; those of a rollback that never was are not there', async () => {
    const of = async (query) => words(await api.want(200, 'GET', `/deployment-jobs/${job.id}/tasks?${query}`));
    assert.deepEqual(await of(`targetId=${estate.targets[1].id}`), ['2-deploy succeeded', '2-health-check succeeded']);
    assert.deepEqual(await of('type=health-check'), ['1-health-check succeeded', '2-health-check succeeded']);
    assert.deepEqual(await of('status=failed'), []);
    assert.equal((await of('status=succeeded&sort=-position'))[0], '2-health-check succeeded');
    const task = await api.want(200, 'GET', `/deployment-jobs/${job.id}/tasks/2-deploy`);
    assert.deepEqual([task.jobId, task.targetName, task.agentId, task.batch, task.attempt, task.result.releaseId],
      [job.id, 'b', estate.agent.id, 2, 1, release.id]);
    for (const at of ['/1-rollback', '/9-deploy', '/deploy', '/1-rollback/logs', '/9-deploy/logs'])
      assert.equal((await api.get(`/deployment-jobs/${job.id}/tasks${at}`)).status, 404, at);
  });

  test('logs of a task, as lines and as text', async () => {
    const at = `/deployment-jobs/${job.id}/tasks/1-deploy/logs`;
    const log = await api.want(200, 'GET', at);
    assert.deepEqual(log.lines.map((l) => [l.seq, l.line]), [[1, 'first'], [2, 'second'], [3, 'third']]);
    assert.deepEqual([log.complete, log.truncated, log.nextSeq], [true, false, 4]);
    assert.deepEqual((await api.want(200, 'GET', `${at}?tail=1`)).lines.map((l) => l.line), ['third']);
    assert.equal((await api.get(at, { headers: { accept: 'text/plain' } })).text, 'first\nsecond\nthird\n');
  });

  test('nothing to another tenant', async () => {
    const other = api.as(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
    for (const at of ['', '/tasks', '/tasks/1-deploy', '/tasks/1-deploy/logs'])
      assert.equal((await other.get(`/deployment-jobs/${job.id}${at}`)).status, 404, at);
    assert.equal((await new WsStream(s.server, jobStream(job), { token: other.token }).refusal()).status, 404);
    assert.deepEqual(await other.want(200, 'GET', '/deployment-jobs'), []);
    assert.deepEqual((await other.get(`/deployment-jobs?environmentId=${estate.environment.id}`)).data, []);
  });

  test('a stream of an ended job: the state, with since=0 all that was, the end', async () => {
    for (const Kind of [WsStream, SseStream]) {
      const late = new Kind(s.servers[1], jobStream(job), { token: s.key });
      await late.frame('end');
      assert.deepEqual(late.types, ['ready', 'snapshot', 'synced', 'end']);
      const { data } = late.frames[1];
      assert.deepEqual(data.job, job);
      assert.deepEqual(data.tasks, await tasksOf(api, job));
      const all = new Kind(s.server, jobStream(job), { token: s.key, query: { since: '0' } });
      await all.frame('end');
      assert.deepEqual(all.events.map((e) => e.seq), all.events.map((_, i) => i + 1));
      assert.equal(all.events.at(-1).type, 'job_completed');
    }
  });

  test('a stream filtered by task, type and level', async () => {
    const stream = (query) => new WsStream(s.server, jobStream(job), { token: s.key, query: { since: '0', ...query } });
    const ofTask = stream({ taskId: '2-deploy', types: 'task_started,task_log,task_completed' });
    await ofTask.frame('end');
    assert.deepEqual(ofTask.events.map((e) => `${e.taskId} ${e.line ?? e.type}`),
      ['task_started', 'first', 'second', 'third', 'task_completed'].map((what) => `2-deploy ${what}`));
    const grave = stream({ level: 'error', types: 'task_log' });
    await grave.frame('end');
    assert.deepEqual(grave.events, []);
    const refused = await api.get(jobStream(job), { query: { nodeId: 'a' }, headers: { accept: 'text/event-stream' } });
    assert.deepEqual([refused.status, fault(refused)], [400, ['query.nodeId']]);
  });
});

test('a stream of a job under way goes on with what happens, and a client chooses tasks by a message', async () => {
  const estate = await makeEstate(api, 2);
  const { job } = await deploy(estate, await makeRelease(api));
  const [stream, sse] = [new WsStream(s.server, jobStream(job), { token: s.key }), new SseStream(s.servers[1], jobStream(job), { token: s.key })];
  await Promise.all([stream.frame('synced'), sse.frame('synced')]);
  const { data } = await stream.frame('snapshot');
  assert.deepEqual(data.tasks.map((t) => t.id), ['1-deploy', '2-deploy']);
  stream.send({ type: 'subscribe', filters: { nodeIds: ['1-deploy'] } });
  assert.equal((await stream.ended()).code, 4400);
  const chosen = new WsStream(s.server, jobStream(job), { token: s.key });
  await chosen.frame('synced');
  chosen.send({ type: 'subscribe', filters: { taskIds: ['1-deploy'] } });
  assert.deepEqual((await chosen.frame('subscribed')).filters, { taskIds: ['1-deploy'] });
  await new HostAgent(s).serve(estate.labels);
  await Promise.all([chosen.frame('end'), sse.frame('end')]);
  assert.deepEqual([...new Set(chosen.events.map((e) => e.taskId).filter(Boolean))], ['1-deploy']);
  assert.ok(sse.events.some((e) => e.taskId === '2-deploy' && e.type === 'task_completed'));
});

test('slipway watch job shows it and ends as it does', async () => {
  const estate = await served(1, () => ({ lines: ['hello from the hook'] }));
  const { job } = await deploy(estate, await makeRelease(api));
  const shown = await s.slipway('watch', 'job', job.id, '--url', s.server.url, '--key-file', `${s.server.data}/admin.key`);
  assert.equal(shown.code, 0, shown.stderr);
  for (const word of ['job started: all-at-once', '1-deploy', 'hello from the hook', 'job succeeded'])
    assert.ok(shown.stdout.includes(word), shown.stdout);
});

test('a stream of a job is resumed at the other instance, by since and by Last-Event-ID, without loss', async () => {
  let go;
  const gone = new Promise((resolve) => (go = resolve));
  const estate = await served(1, async (task) => {
    await estate.agent.lines(task.id, 1, ['one', 'two']);
    await gone;
    await estate.agent.lines(task.id, 3, ['three', 'four']);
  });
  const { job } = await deploy(estate, await makeRelease(api));
  const [here, there] = s.servers;
  const first = [
    new WsStream(here, jobStream(job), { token: s.key, query: { since: '0' } }),
    new SseStream(here, jobStream(job), { token: s.key, query: { since: '0' } }),
  ];
  for (const stream of first) {
    await stream.frame('task_log', (f) => f.line === 'two');
    stream.close();
  }
  const [ws, sse] = first;
  const seen = first.map((stream) => [...stream.events]);
  go();
  await jobReaches(api, job, 'succeeded');
  const rest = [
    new WsStream(there, jobStream(job), { token: s.key, query: { since: `${ws.frames[0].epoch}:${ws.events.at(-1).seq}` } }),
    new SseStream(there, jobStream(job), { token: s.key, lastEventId: sse.lastEventId }),
  ];
  for (const [i, stream] of rest.entries()) {
    await stream.frame('end');
    assert.ok(!stream.types.includes('gap'));
    const all = [...seen[i], ...stream.events];
    assert.deepEqual(all.map((e) => e.seq), all.map((_, n) => n + 1));
    assert.deepEqual(all.filter((e) => e.type === 'task_log').map((e) => e.line), ['one', 'two', 'three', 'four']);
    assert.equal(all.at(-1).type, 'job_completed');
  }
  assert.equal(estate.agent.fault, undefined);
});
