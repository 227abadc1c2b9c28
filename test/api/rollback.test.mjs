// Rollbacks: what is taken back, what is refused, and who is told. Agents are played by the test.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HostAgent, jobOf, jobReaches, makeEstate, makeRelease, promote, runOf } from '../lib/deployment.mjs';
import { makeTemplate, startRun } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { spaceOf } from '../lib/target.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api;
before(async () => {
  s = await start({ name: 'rollback', instances: 2 });
  api = s.api;
});
after(() => s?.stop());

const get = (at) => api.want(200, 'GET', at);
const reaches = (at, ...states) => eventually(async () => {
  const now = await get(at);
  return [states.includes(now.status), now];
}, `${at} to be ${states}`);
const current = async (environment) => (await get(`/environments/${environment.id}?includeState=true`)).currentRelease;
const begin = (body, client = api) => client.post('/rollbacks', { reason: 'it is broken', ...body });
const ended = (rollback) => reaches(`/rollbacks/${rollback.id}`, 'succeeded', 'failed');

/** An environment of `n` targets; `play` says what its agent does with a task. */
async function estate(n = 1, play) {
  const made = await makeEstate(api, n);
  made.agent = await new HostAgent(s).serve(made.labels, play);
  made.deploy = async (release, more) => {
    const promotion = await promote(api, release, made.environment, more);
    await reaches(`/promotions/${promotion.id}`, 'deployed', 'failed', 'rolled_back');
    const now = await get(`/promotions/${promotion.id}`);
    return { ...now, job: { id: now.deploymentJobId } };
  };
  return made;
}

/** Two releases, one after the other. */
async function twice(n, play) {
  const made = await estate(n, play);
  const one = await makeRelease(api), two = await makeRelease(api, one);
  return { ...made, one, two, first: await made.deploy(one), second: await made.deploy(two) };
}

async function settled(target, release) {
  return eventually(async () => {
    const now = await get(`/targets/${target.id}`);
    return [(now.currentRelease?.id ?? null) === (release?.id ?? null), now];
  }, `target ${target.name} to have ${release?.name}`);
}

describe('what is taken back', () => {
  test('W7: a rollback goes back at once: no approval, no freeze, no pause is waited for', async () => {
    const { environment, targets, one, two, second, agent } = await twice(2);
    await api.want(200, 'PUT', `/environments/${environment.id}`, { requiredApprovals: 2 });
    const [from, to] = [-60_000, 3600_000].map((ms) => new Date(Date.now() + ms).toISOString());
    await api.want(201, 'POST', `/environments/${environment.id}/freeze-windows`, { start: from, end: to, reason: 'holidays' });
    const { status, data: made } = await begin({ deploymentJobId: second.job.id });
    assert.equal(status, 201);
    assert.deepEqual([made.status, made.strategy, made.environmentId, made.releaseId, made.toReleaseId, made.deploymentJobId],
      ['running', 'redeploy_previous', environment.id, two.id, one.id, second.job.id]);
    assert.deepEqual(made.plan.steps.map((x) => [x.order, x.targetName, x.fromRelease.id, x.toRelease.id]), [[1, 'a', two.id, one.id], [2, 'b', two.id, one.id]]);
    assert.deepEqual([made.plan.partial, made.plan.warnings], [false, []]);
    const done = await ended(made);
    assert.equal(done.status, 'succeeded', JSON.stringify(done.error));
    assert.ok(done.finishedAt >= done.createdAt);
    for (const target of targets) await settled(target, one);
    assert.equal(agent.tasks.at(-1).payload.release.id, one.id);
    assert.equal((await current(environment)).id, one.id);
  });

  test('W20: history tells a rollback from a deployment, with its reason', async () => {
    const { environment, second, two, one } = await twice(1);
    const { data: made } = await begin({ environmentId: environment.id, reason: 'checkout fails' });
    await ended(made);
    const old = await jobReaches(api, second.job, 'rolled_back');
    assert.equal(old.rolledBackBy, made.id);
    const job = await get(`/deployment-jobs/${made.newDeploymentJobId}`);
    assert.deepEqual([job.rollbackOf, job.rollbackId, job.promotionId ?? null], [second.job.id, made.id, null]);
    await reaches(`/promotions/${second.id}`, 'rolled_back');
    assert.equal((await get(`/rollbacks/${made.id}`)).reason, 'checkout fails');
    const { data: events } = await api.get('/audit-events', { query: { environmentId: environment.id, pageSize: '100', sort: 'sequence' } });
    const actions = events.map((e) => e.action);
    for (const action of ['deployment.rollback_started', 'deployment.rolled_back', 'promotion.rolled_back'])
      assert.equal(actions.filter((a) => a === action).length, 1, `${action} in ${actions}`);
    assert.equal(events.find((e) => e.action === 'deployment.rollback_started').after.reason, 'checkout fails');
    for (const query of [{ environmentId: environment.id }, { releaseId: two.id }, { toReleaseId: one.id }, { status: 'succeeded', deploymentJobId: second.job.id }])
      assert.deepEqual((await api.get('/rollbacks', { query })).data.map((r) => r.id), [made.id], JSON.stringify(query));
    assert.deepEqual((await api.get('/rollbacks', { query: { environmentId: environment.id, status: 'failed' } })).data, []);
  });

  test('hooks and health checks are those of the deployment; what took itself back does not hide what was before', async () => {
    let sick;
    const { environment, targets: [target], agent } = await estate(1, (task) => (task.type === 'health-check' && sick
      ? { success: false, error: '500', errorType: 'unhealthy', retriable: false, outputs: { healthy: false, latencyMs: 1, samples: [] } } : {}));
    const hooks = { postDeploy: ['site/bin/serve'] }, healthCheck = { type: 'tcp', port: 8080 };
    const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: { hooks, strategy: 'all-at-once', strategyConfig: { healthCheck } } }]);
    const deploy = async (release, status) => reaches(`/promotions/${(await promote(api, release, environment, { templateId: template.id })).id}`, status);
    const one = await makeRelease(api), two = await makeRelease(api, one);
    await deploy(one, 'deployed');
    await deploy(two, 'deployed');
    sick = true;
    await deploy(await makeRelease(api, one), 'rolled_back');
    sick = false;
    await settled(target, two);
    const from = agent.tasks.length, { data: made, text } = await begin({ environmentId: environment.id });
    assert.equal(made?.toReleaseId, one.id, text);
    assert.equal((await ended(made)).status, 'succeeded');
    const [put, check] = agent.tasks.slice(from);
    assert.deepEqual([put.payload.release.id, put.payload.hooks.postDeploy, check.type, check.payload.port], [one.id, hooks.postDeploy, 'health-check', 8080]);
    await settled(target, one);
  });

  test('W7: a deployment can be taken back by its job, also after a later one took itself back, and after a sticker was written anew', async () => {
    let bad;
    const { environment, targets, one, two, first, second, deploy } = await twice(2, (task) => (task.type === 'deploy' && bad && task.payload.target.name === 'b'
      ? { success: false, error: 'other bytes', errorType: 'digest_mismatch', retriable: false, outputs: {} } : {}));
    bad = true;
    for (let i = 0; i < 2; i++) assert.equal((await deploy(await makeRelease(api, one))).status, 'rolled_back');
    bad = false;
    for (const target of targets) await settled(target, two);
    const anew = await startRun(api, await makeTemplate(api, [{ id: 'write', type: 'write-sticker', config: {} }]), { context: { environmentId: environment.id } });
    await reaches(`/workflow-runs/${anew.id}`, 'succeeded');

    const dry = await begin({ deploymentJobId: second.job.id, dryRun: true });
    assert.equal(dry.status, 200, dry.text);
    assert.deepEqual([dry.data.plan.fromReleaseId, dry.data.plan.toReleaseId, dry.data.plan.partial, dry.data.plan.affectedTargets.map((t) => t.name)],
      [two.id, one.id, false, ['a', 'b']]);
    const older = await begin({ deploymentJobId: first.job.id });
    assert.deepEqual([older.status, older.code], [422, 'DEPLOY_NO_PREVIOUS_RELEASE'], 'what is not there any more cannot be taken back');
    const { data: made, text } = await begin({ deploymentJobId: second.job.id });
    assert.equal(made?.status, 'running', text);
    assert.equal((await ended(made)).status, 'succeeded');
    for (const target of targets) await settled(target, one);
    await jobReaches(api, second.job, 'rolled_back');
  });

  test('a rollback can be taken back as well, and the next promotion goes its way', async () => {
    const { environment, targets, one, two, deploy } = await twice(1);
    await ended((await begin({ environmentId: environment.id })).data);
    await settled(targets[0], one);
    const again = (await begin({ environmentId: environment.id })).data;
    assert.equal(again.toReleaseId, two.id);
    assert.equal((await ended(again)).status, 'succeeded');
    await settled(targets[0], two);
    const three = await makeRelease(api, one);
    assert.equal((await deploy(three)).status, 'deployed');
    await settled(targets[0], three);
  });

  test('what failed goes back where it was touched', async () => {
    let bad;
    const { environment, targets, one, deploy } = await (async () => {
      const made = await estate(2, (task) => (bad && task.payload.release?.id === bad.id && task.payload.target.name === 'b'
        ? { success: false, error: 'no room', errorType: 'unpack_failed', retriable: false, outputs: undefined } : {}));
      const first = await makeRelease(api);
      await made.deploy(first);
      return { ...made, one: first };
    })();
    bad = await makeRelease(api, one);
    const failed = await deploy(bad, { strategy: { type: 'all-at-once', config: { failureBehavior: 'continue' } } });
    assert.equal(failed.status, 'failed');
    await settled(targets[0], bad);
    const { status, data: made, text } = await begin({ deploymentJobId: failed.job.id });
    assert.equal(status, 201, text);
    assert.deepEqual(made.plan.affectedTargets.map((t) => t.name), ['a']);
    assert.match(made.plan.warnings.join(), /b is left out/);
    assert.equal((await ended(made)).status, 'succeeded');
    await settled(targets[0], one);
    await jobReaches(api, failed.job, 'rolled_back');
    await reaches(`/promotions/${failed.id}`, 'rolled_back');
    assert.equal((await current(environment)).id, one.id);
  });

  test('of an environment: what a failed deployment has left behind, before what is deployed there', async () => {
    let bad, worse;
    const made = await estate(2, ({ payload: { release, target } }) => {
      if (release?.id === bad?.id && target.name === 'b') return { success: false, error: 'no room', errorType: 'unpack_failed', retriable: false, outputs: undefined };
      return release && release.id === worse?.id ? { success: false, error: 'no room', errorType: 'unpack_failed', retriable: false, outputs: undefined } : {};
    });
    const { environment, targets: [a, b], deploy } = made;
    const zero = await makeRelease(api), one = await makeRelease(api, zero);
    await deploy(zero);
    await deploy(one);
    bad = await makeRelease(api, zero);
    const strategy = { type: 'all-at-once', config: { failureBehavior: 'continue' } };
    const failed = await deploy(bad, { strategy });
    await settled(a, bad);
    const { data: undo } = await begin({ environmentId: environment.id });
    assert.deepEqual([undo.deploymentJobId, undo.releaseId, undo.plan.affectedTargets.map((t) => t.name)], [failed.job.id, bad.id, ['a']]);
    assert.equal((await ended(undo)).status, 'succeeded');
    for (const target of [a, b]) await settled(target, one);
    assert.equal((await current(environment)).id, one.id);

    worse = await makeRelease(api, zero); // fails everywhere, and so leaves nothing behind
    assert.equal((await deploy(worse, { strategy })).status, 'failed');
    const { data: back } = await begin({ environmentId: environment.id, toReleaseId: zero.id });
    assert.deepEqual([back.releaseId, back.toReleaseId], [one.id, zero.id], JSON.stringify(back));
    assert.equal((await ended(back)).status, 'succeeded');
    assert.equal((await current(environment)).id, zero.id);
  });

  test('a rollback that fails says so, frees the environment, and can be tried again', async () => {
    let broken = false;
    const { environment, targets, one, second } = await twice(1, () =>
      (broken ? { success: false, error: 'the disk is full', errorType: 'target_unusable', retriable: false, outputs: undefined } : {}));
    broken = true;
    const { data: made } = await begin({ deploymentJobId: second.job.id });
    const done = await ended(made);
    assert.equal(done.status, 'failed');
    assert.ok(done.error.code && done.error.message);
    assert.equal((await jobReaches(api, second.job, 'rollback_failed')).rolledBackBy, made.id);
    assert.equal((await get(`/promotions/${second.id}`)).status, 'deployed');
    broken = false;
    const again = await begin({ deploymentJobId: second.job.id });
    assert.equal(again.status, 201, again.text);
    assert.equal((await ended(again.data)).status, 'succeeded');
    await jobReaches(api, second.job, 'rolled_back');
    await settled(targets[0], one);
    assert.equal((await current(environment)).id, one.id);
  });

  test('targets that are chosen: only they, and what is said of the whole stays', async () => {
    const { environment, targets, one, two, second } = await twice(2);
    const { data: made } = await begin({ deploymentJobId: second.job.id, targetIds: [targets[1].id] });
    assert.deepEqual([made.plan.partial, made.plan.affectedTargets.map((t) => t.name)], [true, ['b']]);
    assert.equal((await ended(made)).status, 'succeeded');
    await settled(targets[1], one);
    await settled(targets[0], two);
    assert.equal((await get(`/deployment-jobs/${second.job.id}`)).status, 'succeeded');
    assert.equal((await get(`/promotions/${second.id}`)).status, 'deployed');
    assert.equal((await current(environment)).id, two.id);
  });

  test('of an environment: every target that has its release, and no other', async () => {
    const { environment, targets: [a, b], one, two, deploy } = await twice(2);
    await api.want(200, 'PUT', `/targets/${b.id}`, { maintenance: true });
    const three = await makeRelease(api, one);
    await deploy(three);
    await api.want(200, 'PUT', `/targets/${b.id}`, { maintenance: false });
    const { data: made } = await begin({ environmentId: environment.id });
    assert.deepEqual([made.plan.affectedTargets.map((t) => t.name), made.plan.partial], [['a'], false]);
    assert.match(made.plan.warnings.join(), /b is left out: it has another release/);
    assert.equal((await ended(made)).status, 'succeeded');
    for (const target of [a, b]) await settled(target, two);
    for (const release of [one, two, three]) {
      const [state] = (await get(`/releases/${release.id}/state`)).environments.filter((e) => e.environmentId === environment.id);
      assert.equal(state.state === 'deployed', release === two, `${release.name} ${JSON.stringify(state)}`);
    }
  });

  test('to an earlier release: one that was there once, and no other', async () => {
    const { environment, targets, one, two, deploy } = await twice(1);
    const three = await makeRelease(api, one), never = await makeRelease(api, one);
    await deploy(three);
    await settled(targets[0], three);
    const refused = await begin({ environmentId: environment.id, toReleaseId: never.id });
    assert.deepEqual([refused.status, refused.code], [422, 'DEPLOY_ROLLBACK_NOT_POSSIBLE']);
    const { status, data: made, text } = await begin({ environmentId: environment.id, toReleaseId: one.id });
    assert.equal(status, 201, text);
    assert.deepEqual([made.releaseId, made.toReleaseId], [three.id, one.id]);
    assert.equal((await ended(made)).status, 'succeeded');
    await settled(targets[0], one);
    assert.deepEqual([(await current(environment)).id, two.id !== one.id], [one.id, true]);
  });
});

describe('what is only said', () => {
  for (const [what, body] of [['dryRun', { dryRun: true }], ['the strategy manual', { strategy: 'manual' }]])
    test(`${what}: the plan, and nothing is done`, async () => {
      const { environment, targets, two, one, second } = await twice(1);
      const { status, data } = await begin({ deploymentJobId: second.job.id, ...body });
      assert.equal(status, 200);
      assert.deepEqual([data.plan.fromReleaseId, data.plan.toReleaseId, data.plan.steps.length], [two.id, one.id, 1]);
      assert.deepEqual((await api.get('/rollbacks', { query: { environmentId: environment.id } })).data, []);
      assert.equal((await get(`/deployment-jobs/${second.job.id}`)).status, 'succeeded');
      await settled(targets[0], two);
    });
});

describe('what is refused', () => {
  test('a first deployment has nothing before it: 422', async () => {
    const { environment, deploy } = await estate();
    const first = await deploy(await makeRelease(api));
    for (const body of [{ deploymentJobId: first.job.id }, { environmentId: environment.id }]) {
      const answer = await begin(body);
      assert.deepEqual([answer.status, answer.code], [422, 'DEPLOY_NO_PREVIOUS_RELEASE'], answer.text);
    }
    const { environment: empty } = await makeEstate(api, 1);
    const answer = await begin({ environmentId: empty.id });
    assert.deepEqual([answer.status, answer.code], [422, 'DEPLOY_NO_PREVIOUS_RELEASE']);
  });

  test('a release that is deprecated, unless it is allowed', async () => {
    const { one, second } = await twice(1);
    await api.want(200, 'POST', `/releases/${one.id}/deprecate`, { reason: 'a hole in it' });
    const answer = await begin({ deploymentJobId: second.job.id });
    assert.deepEqual([answer.status, answer.code], [422, 'REL_DEPRECATED']);
    const allowed = await begin({ deploymentJobId: second.job.id, allowDeprecated: true });
    assert.equal(allowed.status, 201, allowed.text);
    assert.equal((await ended(allowed.data)).status, 'succeeded');
  });

  test('during a freeze that blocks rollbacks, too', async () => {
    const { environment, second } = await twice(1);
    const [from, to] = [-60_000, 3600_000].map((ms) => new Date(Date.now() + ms).toISOString());
    const window = await api.want(201, 'POST', `/environments/${environment.id}/freeze-windows`, { start: from, end: to, reason: 'audit', blockRollbacks: true });
    const answer = await begin({ deploymentJobId: second.job.id });
    assert.deepEqual([answer.status, answer.code, answer.error.details.windowIds], [422, 'ENV_FREEZE_ACTIVE', [window.id]]);
    await api.want(204, 'DELETE', `/environments/${environment.id}/freeze-windows/${window.id}`);
    assert.equal((await begin({ deploymentJobId: second.job.id })).status, 201);
  });

  test('what cannot be done honestly: snapshots, single components, unknown names, both or neither', async () => {
    const { environment, second } = await twice(1);
    for (const [body, status, code] of [
      [{ deploymentJobId: second.job.id, strategy: 'restore_snapshot' }, 422, 'DEPLOY_ROLLBACK_NOT_POSSIBLE'],
      [{ deploymentJobId: second.job.id, componentNames: ['api'] }, 422, 'DEPLOY_ROLLBACK_NOT_POSSIBLE'],
      [{ deploymentJobId: crypto.randomUUID() }, 422, 'RES_REFERENCE_UNKNOWN'],
      [{ environmentId: crypto.randomUUID() }, 422, 'RES_REFERENCE_UNKNOWN'],
      [{ deploymentJobId: second.job.id, targetIds: [crypto.randomUUID()] }, 422, 'RES_REFERENCE_UNKNOWN'],
      [{ deploymentJobId: second.job.id, environmentId: environment.id }, 400, 'VAL_FAILED'],
      [{}, 400, 'VAL_FAILED'],
      [{ deploymentJobId: second.job.id, reason: '' }, 400, 'VAL_FAILED'],
    ]) {
      const answer = await begin(body);
      assert.deepEqual([answer.status, answer.code], [status, code], `${JSON.stringify(body)} ${answer.text}`);
    }
    assert.deepEqual((await api.get('/rollbacks', { query: { environmentId: environment.id } })).data, []);
  });

  test('of an older job, what another has done since', async () => {
    const { first, second } = await twice(1);
    const answer = await begin({ deploymentJobId: first.job.id });
    assert.equal(answer.status, 422, answer.text);
    assert.ok(['DEPLOY_NO_TARGET', 'DEPLOY_NO_PREVIOUS_RELEASE'].includes(answer.code));
    assert.equal((await begin({ deploymentJobId: second.job.id, dryRun: true })).status, 200);
  });

  test('while a promotion or another rollback has the environment: 409', async () => {
    let hold;
    const { environment, one, second, deploy } = await twice(1, () => hold?.promise);
    const held = {};
    held.promise = new Promise((go) => (held.go = go));
    hold = held;
    const both = await Promise.all([1, 2, 3].map((i) => begin({ deploymentJobId: second.job.id }, s.servers[i % 2].client(s.key))));
    assert.deepEqual(both.map((a) => a.status).sort(), [201, 409, 409], both.map((a) => a.text).join('\n'));
    const made = both.find((a) => a.status === 201).data;
    const loser = await begin({ environmentId: environment.id });
    assert.deepEqual([loser.status, loser.code, loser.error.details.currentState, loser.error.details.rollbackId], [409, 'RES_INVALID_STATE', 'rolling_back', made.id]);
    const waiting = await promote(api, await makeRelease(api, one), environment);
    await eventually(async () => (await get(`/promotions/${waiting.id}`)).blockers.some((b) => b.rollbackId === made.id), 'the promotion to wait for the rollback');
    hold = undefined;
    held.go({});
    assert.equal((await ended(made)).status, 'succeeded');
    await reaches(`/promotions/${waiting.id}`, 'deployed');

    const next = {};
    next.promise = new Promise((go) => (next.go = go));
    hold = next;
    const deploying = await promote(api, await makeRelease(api, one), environment);
    await jobReaches(api, await jobOf(api, await runOf(api, deploying)), 'running');
    const busy = await begin({ environmentId: environment.id });
    assert.deepEqual([busy.status, busy.code, busy.error.details.currentState, busy.error.details.promotionId], [409, 'RES_INVALID_STATE', 'deploying', deploying.id]);
    assert.ok(busy.error.message.includes(deploying.id), busy.error.message);
    hold = undefined;
    next.go({});
    await reaches(`/promotions/${deploying.id}`, 'deployed');
    assert.equal((await deploy(await makeRelease(api, one))).status, 'deployed');
  });
});

/** A promise to be kept from outside. */
function promised() {
  const p = {};
  p.kept = new Promise((keep) => (p.keep = keep));
  return p;
}
const FAULT = { success: false, error: 'other bytes', errorType: 'digest_mismatch', retriable: false, outputs: {} };

test('a rollback in each status: what a second one meets, of the job and of the environment', async () => {
  let answer;
  const { environment, one, two, second } = await twice(1, () => answer);
  const again = async (dryRun) => Promise.all([{ deploymentJobId: second.job.id }, { environmentId: environment.id }].map((body) => begin({ ...body, dryRun })));
  const seen = (a) => [a.status, a.code, a.error?.details?.currentState, a.data?.plan?.toReleaseId];

  // One that fails leaves the job as it was: it can be taken back once more.
  const held = promised();
  answer = held.kept;
  const first = (await begin({ deploymentJobId: second.job.id })).data;
  assert.equal(first.status, 'running');
  for (const a of await again(false)) {
    assert.deepEqual(seen(a), [409, 'RES_INVALID_STATE', 'rolling_back', undefined], a.text);
    if (a.error.details.rollbackId) assert.equal(a.error.details.rollbackId, first.id);
  }
  held.keep(FAULT);
  answer = FAULT;
  assert.equal((await ended(first)).status, 'failed');
  for (const a of await again(true)) assert.deepEqual(seen(a), [200, undefined, undefined, one.id], a.text);

  // One that succeeds: the job is taken back already; the environment can go back to what the rollback took away.
  answer = {};
  const more = await begin({ deploymentJobId: second.job.id });
  assert.equal(more.status, 201, more.text);
  assert.equal((await ended(more.data)).status, 'succeeded');
  await eventually(async () => (await get(`/deployment-jobs/${second.job.id}`)).status === 'rolled_back', 'the job to be as its rollback left it');
  const [ofJob, ofEnvironment] = await again(true);
  assert.deepEqual(seen(ofJob), [409, 'RES_INVALID_STATE', 'rolled_back', undefined], ofJob.text);
  assert.deepEqual(seen(ofEnvironment), [200, undefined, undefined, two.id], ofEnvironment.text);
  assert.deepEqual((await api.get('/rollbacks', { query: { environmentId: environment.id, sort: 'createdAt' } })).data.map((r) => r.status), ['failed', 'succeeded']);
});

// The whole table; `pending`, which lasts until the instance that made the job moves it on, is in pending.test.mjs.
test('a job in each state: what a rollback of it meets', async () => {
  let play = () => ({}); // what becomes of target b; a takes every release
  const { environment, one, second } = await twice(2, (task) => (task.payload.target.name === 'b' || task.type === 'rollback' ? play(task) : {}));
  const launch = async (failureBehavior) => {
    const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: { strategy: 'all-at-once', strategyConfig: { failureBehavior } } }]);
    const promotion = await promote(api, await makeRelease(api, one), environment, { templateId: template.id });
    const run = await runOf(api, promotion);
    return { promotion, run, job: await jobOf(api, run) };
  };
  const cancel = ({ run }) => api.want(200, 'POST', `/workflow-runs/${run.id}/cancel`, {});
  /** helps: what may be done instead; nothing: it can be taken back. */
  const meets = async ({ run, job }, state, helps) => {
    assert.equal((await jobReaches(api, job, state)).status, state);
    for (const dryRun of helps ? [true, false] : [true]) {
      const answer = await begin({ deploymentJobId: job.id, dryRun });
      assert.deepEqual([answer.status, answer.code], helps ? [409, 'RES_INVALID_STATE'] : [200, undefined], `${state}: ${answer.text}`);
      if (helps)
        assert.deepEqual(answer.error.details, { currentState: state, allowedActions: helps, ...(helps.length && { workflowRunId: run.id }) });
    }
    assert.equal((await get(`/deployment-jobs/${job.id}`)).status, state);
  };
  await meets({ job: second.job }, 'succeeded');

  let held = promised();
  play = () => held.kept;
  let made = await launch('pause');
  await meets(made, 'running', ['cancel-run']);
  held.keep(FAULT);
  await meets(made, 'paused', ['cancel-run']);
  await cancel(made);
  await reaches(`/promotions/${made.promotion.id}`, 'failed');
  await meets(made, 'cancelled');

  held = promised();
  made = await launch('continue');
  await jobReaches(api, made.job, 'running');
  await cancel(made);
  await meets(made, 'cancelling', []); // its agent is still at it
  held.keep(FAULT);
  await reaches(`/promotions/${made.promotion.id}`, 'failed');

  play = () => FAULT;
  made = await launch('continue');
  await reaches(`/promotions/${made.promotion.id}`, 'failed');
  await meets(made, 'failed');

  held = promised();
  play = (task) => (task.type === 'rollback' ? held.kept : FAULT);
  made = await launch('rollback');
  await meets(made, 'rolling_back', []);
  held.keep({});
  await reaches(`/promotions/${made.promotion.id}`, 'rolled_back');
  await meets(made, 'rolled_back', []);

  play = () => FAULT;
  made = await launch('rollback');
  await reaches(`/promotions/${made.promotion.id}`, 'failed');
  await meets(made, 'rollback_failed');
});

test('the same request with the same key begins one rollback', async () => {
  const { environment, second } = await twice(1);
  const headers = { 'idempotency-key': 'rollback-once' };
  const body = { deploymentJobId: second.job.id, reason: 'once' };
  const one = await api.post('/rollbacks', body, { headers });
  assert.equal(one.status, 201, one.text);
  const two = await api.post('/rollbacks', body, { headers });
  assert.deepEqual([two.status, two.data.id, two.headers['idempotency-replayed']], [201, one.data.id, 'true']);
  await ended(one.data);
  assert.equal((await api.get('/rollbacks', { query: { environmentId: environment.id } })).data.length, 1);
});

test('who may: deployment:rollback, in that environment; another tenant finds nothing', async () => {
  const { environment, second } = await twice(1);
  const reader = api.as(await s.makeKey('--permissions', 'deployment:read'));
  assert.equal((await begin({ deploymentJobId: second.job.id }, reader)).code, 'PERM_DENIED');
  const elsewhere = api.as(await s.makeKey('--permissions', 'deployment:rollback@somewhere-else'));
  for (const body of [{ deploymentJobId: second.job.id }, { environmentId: environment.id }])
    assert.deepEqual([(await begin(body, elsewhere)).status], [403]);
  const here = api.as(await s.makeKey('--permissions', `deployment:rollback@${environment.name}`));
  const { status, data: made, text } = await begin({ deploymentJobId: second.job.id }, here);
  assert.equal(status, 201, text);
  const other = api.as(await s.makeKey('--tenant', 'another', '--role', 'admin'));
  assert.equal((await other.get(`/rollbacks/${made.id}`)).status, 404);
  assert.equal((await begin({ deploymentJobId: second.job.id }, other)).code, 'RES_REFERENCE_UNKNOWN');
  assert.deepEqual((await other.get('/rollbacks')).data, []);
});
