// Promotions: what is refused at once, how they move, the line in front of each environment, and freezes. The workflows that
// deploy are made of waits, so no agent is needed. W9, W10 … are the wishes of the specification's list (§15).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HostAgent, makeEstate, makeRelease, promote } from '../lib/deployment.mjs';
import { Product } from '../lib/promote.mjs';
import { makeTemplate, unique, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const GHOST = '0190a5b0-0000-7000-8000-0000000000ab';
let s, api;
before(async () => {
  s = await start({ name: 'promotion' });
  api = s.api;
});
after(() => s?.stop());

const keyOf = async (...permissions) => s.server.client(await s.makeKey('--permissions', permissions.join(','), '--name', unique('key')));
const asker = (...more) => keyOf('promotion:request', 'promotion:read', 'promotion:skip-order', ...more);
const refused = (answer) => [answer.status, answer.error?.code, ...(answer.error?.validationErrors ?? []).map((f) => f.field)];
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const ahead = (seconds) => ago(-seconds);
const get = async (promotion) => (await api.get(`/promotions/${promotion.id}`)).data;
const cancelRun = async (p) => api.want(200, 'POST', `/workflow-runs/${p.workflowRunId}/cancel`, {});
/** A whom an API key calls itself. */
async function idOf(client) {
  const p = new Product(api), e = await p.environment();
  return (await p.promote(await p.release(), e, { skipOrderReason: 'to know the caller' }, client)).requestedBy;
}
/** A slow promotion that has the environment. */
async function deploying(p, environment, more = {}) {
  return p.until(await p.skip(await p.release(), environment, more), 'deploying');
}
async function gates(promotion, ...wanted) {
  return eventually(async () => {
    const now = await get(promotion);
    return [JSON.stringify(now.blockers.map((b) => b.gate)) === JSON.stringify(wanted), now];
  }, `promotion ${promotion.id} to wait for ${wanted}`);
}

describe('what is refused at once, and leaves nothing behind', () => {
  let p, first, second, release;
  before(async () => {
    p = new Product(api);
    [first, second] = [await p.environment(), await p.environment()];
    release = await p.release();
  });
  const nothing = async () => assert.deepEqual((await api.get('/promotions', { query: { releaseId: release.id } })).data, []);

  test('a release or an environment that is not there', async () => {
    assert.deepEqual(refused(await p.ask({ id: GHOST }, second)), [422, 'RES_REFERENCE_UNKNOWN', 'releaseId']);
    assert.deepEqual(refused(await p.ask(release, { id: GHOST })), [422, 'RES_REFERENCE_UNKNOWN', 'targetEnvironmentId']);
    assert.deepEqual(refused(await p.ask(release, second, { skipOrderReason: 'x', templateId: GHOST })), [422, 'RES_REFERENCE_UNKNOWN', 'templateId']);
    await nothing();
  });

  test('a body without a reason, and a strategy that cannot be', async () => {
    assert.deepEqual(refused(await p.ask(release, second, { reason: '' })), [400, 'VAL_FAILED', 'reason']);
    const both = await p.ask(release, second, { skipOrderReason: 'x', strategy: { type: 'rolling', config: { batchSize: 1, batchPercent: 10 } } });
    assert.equal(both.status, 400);
    assert.match(both.error.validationErrors[0].field, /^strategy\.config/);
    await nothing();
  });

  test('a draft, and a deprecated release', async () => {
    const draft = await p.release({ draft: true });
    assert.deepEqual(refused(await p.ask(draft, second, { skipOrderReason: 'x' })), [422, 'REL_NOT_READY']);
    const old = await p.release();
    await api.want(200, 'POST', `/releases/${old.id}/deprecate`, { reason: 'holes' });
    assert.deepEqual(refused(await p.ask(old, second, { skipOrderReason: 'x' })), [422, 'REL_DEPRECATED']);
  });

  test('the order: what is not deployed in the environment before', async () => {
    const answer = await p.ask(release, second);
    assert.deepEqual(refused(answer), [422, 'PROM_SOURCE_NOT_DEPLOYED']);
    assert.equal(answer.error.details.sourceEnvironmentId, first.id);
    await nothing();
  });

  test('W22: the order is passed with a right and a reason only', async () => {
    const plain = await keyOf('promotion:request', 'promotion:read');
    const answer = await p.ask(release, second, { skipOrderReason: 'a hot fix' }, plain);
    assert.deepEqual(refused(answer), [403, 'PERM_DENIED']);
    assert.equal(answer.error.details.required, 'promotion:skip-order');
    assert.match(answer.headers['www-authenticate'], /error="insufficient_scope", scope="promotion:skip-order", resource_metadata="/, 'RFC 6750 §3.1');
    await nothing();
    const made = await p.promote(release, second, { skipOrderReason: 'a hot fix' }, await asker());
    assert.equal(made.skipOrderReason, 'a hot fix');
    await p.until(made, 'deployed');
  });

  test('what is deployed there already, unless it is to be again', async () => {
    const answer = await p.ask(release, second, { skipOrderReason: 'x' });
    assert.deepEqual(refused(answer), [409, 'PROM_ALREADY_DEPLOYED']);
    assert.deepEqual([answer.error.details.currentState, answer.error.details.allowedActions], ['deployed', ['redeploy']]);
    const again = await p.until(await p.skip(release, second, { redeploy: true }), 'deployed');
    assert.equal(again.redeploy, true);
  });

  test('a second promotion of the same release into the same environment', async () => {
    const slow = await p.environment('slow'), r = await p.release();
    const one = await p.until(await p.skip(r, slow), 'deploying');
    const answer = await p.ask(r, slow, { skipOrderReason: 'x' });
    assert.deepEqual(refused(answer), [409, 'PROM_CONFLICTING_ACTIVE']);
    assert.deepEqual(answer.error.details, { currentState: 'deploying', allowedActions: ['cancel-run', 'rollback'], promotionId: one.id });
    await cancelRun(one);
    await p.until(one, 'failed');
    await p.until(await p.skip(r, slow), 'deploying').then(cancelRun); // it is free again
  });

  test('two at once: one is made', async () => {
    const slow = await p.environment('slow'), r = await p.release();
    const answers = await Promise.all(Array.from({ length: 5 }, () => p.ask(r, slow, { skipOrderReason: 'x' })));
    assert.deepEqual(answers.map((a) => a.status).sort(), [201, 409, 409, 409, 409]);
    await p.until(answers.find((a) => a.status === 201).data, 'deploying').then(cancelRun);
  });
});

describe('a freeze', () => {
  let p;
  before(() => {
    p = new Product(api);
  });

  test('refuses promotions while it is on: from its start, up to its end', async () => {
    const e = await p.environment(), r = await p.release();
    await p.freeze(e, { start: ago(7200), end: ago(3600) });
    await p.freeze(e, { start: ahead(3600), end: ahead(7200) });
    await p.deploy(await p.release(), e);
    const on = await p.freeze(e, { reason: 'audit' });
    const answer = await p.ask(r, e, { skipOrderReason: 'x' });
    assert.deepEqual(refused(answer), [422, 'PROMOTION_BLOCKED']);
    assert.equal(answer.error.details.blockers.length, 1);
    const [{ message, ...blocker }] = answer.error.details.blockers;
    assert.ok(message);
    assert.deepEqual(blocker, { gate: 'freeze-window', reason: 'audit', until: on.end, windowId: on.id });
    assert.deepEqual((await api.get('/promotions', { query: { releaseId: r.id } })).data, []);
    await p.thaw(e, on);
    await p.deploy(r, e);
  });

  test('W5: is overridden explicitly, with a reason, by those who may', async () => {
    const e = await p.environment();
    const [named, permitted, other] = [await asker(), await asker('freeze:override'), await asker()];
    const window = await p.freeze(e, { exceptions: [await idOf(named)] });
    const freezeOverride = { windowIds: [window.id], reason: 'the shop is down' };
    for (const client of [named, permitted]) // not by being who they are
      assert.deepEqual(refused(await p.ask(await p.release(), e, { skipOrderReason: 'x' }, client)), [422, 'PROMOTION_BLOCKED']);
    assert.deepEqual(refused(await p.ask(await p.release(), e, { freezeOverride: { windowIds: [window.id] } }, named)),
      [400, 'VAL_FAILED', 'freezeOverride.reason']);
    assert.deepEqual(refused(await p.ask(await p.release(), e, { freezeOverride, skipOrderReason: 'x' }, other)), [422, 'PROMOTION_BLOCKED']);
    assert.deepEqual(refused(await p.ask(await p.release(), e, { freezeOverride: { ...freezeOverride, windowIds: [window.id, GHOST] }, skipOrderReason: 'x' })),
      [422, 'RES_REFERENCE_UNKNOWN', 'freezeOverride.windowIds[1]']);
    for (const client of [named, permitted]) {
      const made = await p.promote(await p.release(), e, { freezeOverride, skipOrderReason: 'x' }, client);
      assert.deepEqual(made.freezeOverride, freezeOverride);
      await p.until(made, 'deployed');
    }
  });

  test('may be overridden, and the order passed, where the right is narrowed to', async () => {
    const [here, there] = [await p.environment(), await p.environment()];
    const narrow = await keyOf('promotion:request', 'promotion:read', `freeze:override@${here.name}`, `promotion:skip-order@${here.id}`);
    for (const [e, expected] of [[here, [201, undefined]], [there, [403, 'PERM_DENIED']]]) {
      const window = await p.freeze(e);
      const freezeOverride = { windowIds: [window.id], reason: 'the shop is down' };
      const answer = await p.ask(await p.release(), e, { freezeOverride, skipOrderReason: 'x' }, narrow);
      assert.deepEqual(refused(answer), expected, answer.text);
    }
    const wide = await keyOf('promotion:request', 'promotion:read', 'promotion:skip-order', `freeze:override@${here.name}`);
    const [window] = (await api.get(`/environments/${there.id}/freeze-windows`)).data;
    const freezeOverride = { windowIds: [window.id], reason: 'the shop is down' };
    assert.deepEqual(refused(await p.ask(await p.release(), there, { freezeOverride, skipOrderReason: 'x' }, wide)), [422, 'PROMOTION_BLOCKED']);
  });

  test('that comes later holds back what is approved, which goes on when it is taken back', async () => {
    const e = await p.environment('slow');
    const one = await deploying(p, e);
    const two = await p.skip(await p.release(), e, { templateId: (await p.workflow('quick')).id });
    const waits = await gates(two, 'environment-busy');
    assert.equal(waits.status, 'approved');
    assert.equal(waits.blockers[0].promotionId, one.id);
    const window = await p.freeze(e);
    await gates(two, 'freeze-window', 'environment-busy');
    await cancelRun(one);
    const frozen = await gates(two, 'freeze-window');
    assert.deepEqual([frozen.status, frozen.blockers[0].windowId, frozen.blockers[0].until], ['approved', window.id, window.end]);
    await p.thaw(e, window);
    const done = await p.until(two, 'deployed');
    assert.deepEqual(done.blockers, []);
  });

  test('W6: lets what deploys come to its end, and what waits go on when it ends by itself', async () => {
    const e = await p.environment('slow'), quick = (await p.workflow('quick')).id;
    const one = await deploying(p, e);
    const two = await p.skip(await p.release(), e, { templateId: quick });
    await gates(two, 'environment-busy');
    const window = await p.freeze(e, { end: ahead(2) });
    assert.equal((await get(one)).status, 'deploying');
    await cancelRun(one);
    const done = await p.until(two, 'deployed');
    assert.ok(done.startedAt >= window.end, `${done.startedAt} is before the end ${window.end}`);
  });

  test('does not hold back those behind it that override it', async () => {
    const e = await p.environment('slow'), quick = (await p.workflow('quick')).id;
    const one = await deploying(p, e);
    const two = await p.skip(await p.release(), e, { templateId: quick });
    await gates(two, 'environment-busy');
    const window = await p.freeze(e);
    const three = await p.skip(await p.release(), e, { templateId: quick, freezeOverride: { windowIds: [window.id], reason: 'a hot fix' } });
    await gates(three, 'environment-busy');
    await cancelRun(one);
    await p.until(three, 'deployed');
    assert.equal((await get(two)).status, 'approved');
    await api.want(200, 'POST', `/promotions/${two.id}/cancel`, {});
  });
});

describe('a promotion', () => {
  let p;
  before(() => {
    p = new Product(api);
  });

  test('goes through its states, and each leaves its time', async () => {
    const [dev, stage] = [await p.environment(), await p.environment()];
    const r = await p.release();
    const first = await p.deploy(r, dev);
    const made = await p.promote(r, stage);
    assert.deepEqual([made.status, made.releaseName, made.sourceEnvironmentId, made.sourceEnvironmentName, made.sourcePromotionId, made.targetEnvironmentName],
      ['pending', r.name, dev.id, dev.name, first.id, stage.name]);
    const done = await p.until(made, 'deployed');
    const times = [done.requestedAt, done.decidedAt, done.startedAt, done.completedAt];
    assert.deepEqual(times, times.toSorted());
    assert.deepEqual([done.error, done.blockers, done.approvals], [null, [], { required: 0, received: 0, remaining: 0 }]);
    const run = (await api.get(`/workflow-runs/${done.workflowRunId}`)).data;
    assert.deepEqual([run.status, run.triggerType, run.triggeredBy, run.context],
      ['succeeded', 'promotion', done.requestedBy, { environmentId: stage.id, releaseId: r.id, promotionId: done.id }]);
    assert.deepEqual(await p.state(stage), { id: r.id, name: r.name, deployedAt: done.completedAt });
  });

  test('is audited with its environment, its release and itself, and told to the dashboard', async () => {
    const e = await p.environment(), r = await p.release();
    const done = await p.deploy(r, e);
    const reader = s.server.client(await s.makeKey('--permissions', 'audit:read'));
    const { data } = await reader.get('/audit-events', { query: { promotionId: done.id, sort: 'timestamp' } });
    assert.deepEqual(data.map((x) => x.action).filter((a) => a.startsWith('promotion.')),
      ['promotion.requested', 'promotion.approved', 'promotion.started', 'promotion.completed']);
    for (const entry of data.filter((x) => x.resource === 'promotion'))
      assert.deepEqual([entry.environmentId, entry.releaseId, entry.resourceId], [e.id, r.id, done.id]);
    const [channel] = await s.redis.keys(`*}:e:${done.tenantId}:dashboard`);
    const text = JSON.stringify(await s.redis.command('XRANGE', channel, '-', '+')).replaceAll('\\"', '"');
    const states = [...text.matchAll(new RegExp(`"type":"promotion_updated","promotionId":"${done.id}","status":"(\\w+)","environmentId":"${e.id}"`, 'g'))].map((m) => m[1]);
    assert.deepEqual(states, ['pending', 'approved', 'deploying', 'deployed']);
  });

  test('is deployed by its own workflow, the environment\'s, the components\', or the built-in one', async () => {
    const nameOf = async (made) => {
      const over = await p.until(made, 'deployed', 'failed');
      return (await api.get(`/workflow-runs/${over.workflowRunId}`)).data.templateName;
    };
    const [own, theirs] = [await makeTemplate(api, [wait('own', 0)]), await makeTemplate(api, [wait('theirs', 0)])];
    const e = await p.environment();
    assert.equal(await nameOf(await p.skip(await p.release(), e, { templateId: own.id })), own.name);
    assert.equal(await nameOf(await p.skip(await p.release(), e)), (await p.workflow('quick')).name);
    const bare = await api.want(201, 'POST', '/environments', { name: unique('bare') });
    await api.want(200, 'PUT', `/components/${(await p.component()).id}`, { deploymentTemplate: theirs.name });
    assert.equal(await nameOf(await p.skip(await p.release(), bare)), theirs.name);
    await api.want(200, 'PUT', `/components/${(await p.component()).id}`, { deploymentTemplate: null });
    const made = await p.skip(await p.release(), bare);
    assert.equal(await nameOf(made), 'default-deploy');
    const { error } = await get(made);
    assert.equal(error.code, 'WF_STEP_FAILED');
    assert.match(error.message, /artifactUrl/, 'it deploys, and there is nothing to be fetched');
  });

  test('is the only way to deploy: a run by hand needs one that was let through, and deploys that', async () => {
    const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: {} }]);
    const e = await p.environment('slow'), r = await p.release(), other = await p.release();
    const run = (context) => api.post('/workflow-runs', { templateId: template.id, context });
    const context = { environmentId: e.id, releaseId: r.id };
    for (const x of [{}, context]) assert.deepEqual(refused(await run(x)), [422, 'PROM_REQUIRED']);
    const one = await p.until(await p.skip(r, e), 'deploying');
    context.promotionId = one.id;
    assert.deepEqual(refused(await run({ ...context, releaseId: other.id })), [422, 'PROM_REQUIRED']);
    assert.equal((await run(context)).status, 201);
    await cancelRun(one);
    await p.until(one, 'failed');
    assert.deepEqual(refused(await run(context)), [422, 'PROM_REQUIRED']);
  });

  test('gives its workflow the inputs it was asked with, which it never shows', async () => {
    const template = await makeTemplate(api, [wait('deploy', 0)], [], { inputs: [{ name: 'ticket', type: 'string', required: true }] });
    const e = await p.environment('quick', { config: { deploymentTemplate: template.name } });
    const made = await p.skip(await p.release(), e, { inputs: { ticket: 'T-17' } });
    assert.ok(!('inputs' in made));
    const done = await p.until(made, 'deployed');
    assert.deepEqual((await api.get(`/workflow-runs/${done.workflowRunId}`)).data.inputs, { ticket: 'T-17' });
    const lacking = await p.until(await p.skip(await p.release(), e), 'rejected');
    assert.deepEqual([lacking.error.code, lacking.blockers[0].gate, lacking.workflowRunId], ['WF_INPUT_MISSING', 'template', null]);
  });

  test('is rejected when the workflow that deploys it is not there, or cannot run', async () => {
    const gone = await p.environment('quick', { config: { deploymentTemplate: 'no such template' } });
    assert.equal((await p.until(await p.skip(await p.release(), gone), 'rejected')).error.code, 'RES_REFERENCE_UNKNOWN');
    const draft = await makeTemplate(api, [wait('deploy', 0)], [], { status: 'draft' });
    const e = await p.environment('quick', { config: { deploymentTemplate: draft.name } });
    assert.equal((await p.until(await p.skip(await p.release(), e), 'rejected')).error.code, 'WF_TEMPLATE_INACTIVE');
  });

  test('fails with its run, and leaves what is deployed there', async () => {
    const e = await p.environment(), good = await p.release();
    await p.deploy(good, e);
    const bad = await p.until(await p.skip(await p.release(), e, { templateId: (await p.workflow('bad')).id }), 'failed');
    assert.ok(bad.completedAt);
    assert.ok(bad.error.code, JSON.stringify(bad.error));
    assert.equal((await p.state(e)).id, good.id);
  });

  test('fails with WF_CANCELLED when its run is cancelled while it deploys', async () => {
    const e = await p.environment('slow');
    const one = await deploying(p, e);
    await cancelRun(one);
    const over = await p.until(one, 'failed');
    assert.equal(over.error.code, 'WF_CANCELLED');
    assert.equal(await p.state(e), null);
  });

  test('is rejected when its release is deprecated while it waits', async () => {
    const e = await p.environment('slow'), r = await p.release();
    const one = await deploying(p, e);
    const two = await p.skip(r, e);
    await gates(two, 'environment-busy');
    await api.want(200, 'POST', `/releases/${r.id}/deprecate`, { reason: 'holes' });
    await cancelRun(one);
    const over = await p.until(two, 'rejected');
    assert.deepEqual([over.error.code, over.blockers.map((b) => b.gate)], ['REL_DEPRECATED', ['release']]);
  });

  test('is rejected when its release was rolled back in the environment before while it waits', async () => {
    const { environment: dev, labels } = await makeEstate(api, 1);
    await new HostAgent(s).serve(labels);
    const stage = await p.environment('slow');
    const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: { strategy: 'all-at-once' } }]);
    const deploy = async (release) => p.until(await promote(api, release, dev, { templateId: template.id }), 'deployed');
    const older = await makeRelease(api), r = await makeRelease(api, older);
    await deploy(older);
    const one = await deploying(p, stage), three = await p.promote(older, stage);
    const source = await deploy(r), two = await p.promote(r, stage);
    await gates(two, 'environment-busy');
    await gates(three, 'environment-busy'); // that a newer one is there now does not matter
    await api.want(201, 'POST', '/rollbacks', { deploymentJobId: source.deploymentJobId, reason: 'it is broken' });
    await eventually(async () => (await get(source)).status === 'rolled_back', 'the promotion to be taken back');
    await cancelRun(one);
    await cancelRun(await p.until(three, 'deploying'));
    const over = await p.until(two, 'rejected');
    assert.deepEqual([over.error.code, over.blockers.map((b) => b.gate)], ['PROM_SOURCE_NOT_DEPLOYED', ['environment-order']]);
  });

  test('is found by status, release, environments and whoever asked for it, in its own tenant only', async () => {
    const [dev, stage] = [await p.environment(), await p.environment()];
    const mine = await asker(), r = await p.release();
    await p.deploy(r, dev);
    const one = await p.until(await p.promote(r, stage, {}, mine), 'deployed');
    const found = async (query, client = api) => (await client.get('/promotions', { query })).data.map((x) => x.id);
    assert.deepEqual(await found({ environmentId: stage.id }), [one.id]);
    assert.deepEqual(await found({ sourceEnvironmentId: dev.id }), [one.id]);
    assert.deepEqual(await found({ requestedBy: one.requestedBy }), [one.id]);
    assert.equal((await found({ releaseId: r.id, status: 'deployed' })).length, 2);
    assert.deepEqual(await found({ releaseId: r.id, status: 'failed' }), []);
    const stranger = s.server.client(await s.makeKey('--tenant', unique('tenant'), '--role', 'admin'));
    assert.deepEqual(await found({ releaseId: r.id }, stranger), []);
    assert.equal((await stranger.get(`/promotions/${one.id}`)).status, 404);
    assert.equal((await stranger.post(`/promotions/${one.id}/cancel`)).status, 404);
    assert.deepEqual(refused(await p.ask(r, stage, {}, stranger)).slice(0, 2), [422, 'RES_REFERENCE_UNKNOWN']);
    const theirs = new Product(stranger), e = await theirs.environment();
    await theirs.until(await theirs.promote(await theirs.release(), e), 'deployed'); // an order of its own
  });

  test('is asked for once, however often with one Idempotency-Key', async () => {
    const e = await p.environment('slow'), r = await p.release();
    const ask = () => api.post('/promotions', p.body(r, e, { skipOrderReason: 'x' }), { headers: { 'idempotency-key': 'once' } });
    const [one, two] = [await ask(), await ask()];
    assert.deepEqual([one.status, two.status, two.headers['idempotency-replayed']], [201, 201, 'true']);
    assert.equal(one.data.id, two.data.id);
    await p.until(one.data, 'deploying').then(cancelRun);
  });
});

describe('cancelling', () => {
  let p;
  before(() => {
    p = new Product(api);
  });
  const cancel = (x, client = api, body = {}) => client.post(`/promotions/${x.id}/cancel`, body);

  test('is for whoever asked, and for promotion:cancel', async () => {
    const e = await p.environment('slow', { requiredApprovals: 1 });
    const [mine, other, strong] = [await asker(), await asker(), await keyOf('promotion:read', 'promotion:cancel')];
    const [one, two] = [await p.skip(await p.release(), e, {}, mine), await p.skip(await p.release(), e, {}, mine)];
    const no = await cancel(one, other);
    assert.deepEqual(refused(no), [403, 'PERM_DENIED']);
    assert.equal(no.error.details.required, 'promotion:cancel');
    const done = await cancel(one, mine, { reason: 'not today' });
    assert.deepEqual([done.status, done.data.status, done.data.cancelledBy, done.data.cancelReason, done.data.blockers],
      [200, 'cancelled', one.requestedBy, 'not today', []]);
    assert.ok(done.data.completedAt);
    assert.equal((await cancel(two, strong)).data.status, 'cancelled');
  });

  test('in each state: done, or refused with the state and what helps', async () => {
    const { id: quick } = await p.workflow('quick'), { id: bad } = await p.workflow('bad');
    const e = await p.environment('slow'), guarded = await p.environment('slow', { requiredApprovals: 2 });
    const awaiting = await p.until(await p.skip(await p.release(), guarded), 'awaiting_approval');
    const current = await deploying(p, e), approved = await p.skip(await p.release(), e);
    await gates(approved, 'environment-busy');
    const free = await p.environment();
    const rejecting = await p.environment('quick', { config: { deploymentTemplate: 'none' } });
    const states = { // pending: pending.test.mjs; rolled_back: the next test
      awaiting_approval: [awaiting, true],
      approved: [approved, true],
      cancelled: [approved, false, []],
      deploying: [current, false, ['cancel-run', 'rollback']],
      deployed: [await p.deploy(await p.release(), free, { templateId: quick }), false, ['rollback']],
      failed: [await p.until(await p.skip(await p.release(), free, { templateId: bad }), 'failed'), false, ['rollback']],
      rejected: [await p.until(await p.skip(await p.release(), rejecting), 'rejected'), false, []],
    };
    for (const [state, [x, allowed, helps]] of Object.entries(states)) {
      assert.equal((await get(x)).status, state);
      const answer = await cancel(x);
      if (allowed) {
        assert.deepEqual([answer.status, answer.data?.status], [200, 'cancelled'], state);
        continue;
      }
      assert.deepEqual(refused(answer), [409, 'RES_INVALID_STATE'], state);
      assert.deepEqual([answer.error.details.currentState, answer.error.details.allowedActions], [state, helps]);
      assert.equal(answer.error.details.workflowRunId, state === 'deploying' ? x.workflowRunId : undefined);
      assert.equal((await get(x)).status, state);
    }
    await cancelRun(current);
  });

  test('one that was rolled back, by its own job or by a rollback: refused', async () => {
    let broken;
    const { environment, labels } = await makeEstate(api, 1);
    await new HostAgent(s).serve(labels, (task) => (task.payload.release?.id === broken
      ? { success: false, error: 'other bytes', errorType: 'digest_mismatch', retriable: false, outputs: {} } : {}));
    const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: { strategy: 'all-at-once', strategyConfig: { failureBehavior: 'rollback' } } }]);
    const one = await makeRelease(api), two = await makeRelease(api, one), three = await makeRelease(api, one);
    const deploy = (release) => promote(api, release, environment, { templateId: template.id });
    await p.until(await deploy(one), 'deployed');
    const second = await p.until(await deploy(two), 'deployed');
    await api.want(201, 'POST', '/rollbacks', { deploymentJobId: second.deploymentJobId, reason: 'it is broken' });
    await eventually(async () => (await get(second)).status === 'rolled_back', 'the promotion to be taken back');
    broken = three.id;
    const byItself = await p.until(await deploy(three), 'rolled_back');
    for (const x of [byItself, second]) {
      const answer = await cancel(x);
      assert.deepEqual(refused(answer), [409, 'RES_INVALID_STATE'], answer.text);
      assert.deepEqual([answer.error.details.currentState, answer.error.details.allowedActions], ['rolled_back', []]);
      assert.equal((await get(x)).status, 'rolled_back');
    }
  });
});

describe('the line in front of an environment', () => {
  let p;
  before(() => {
    p = new Product(api);
  });

  test('W9: a newer one takes the place of the caller\'s own older ones of the same components', async () => {
    const e = await p.environment('slow'), other = new Product(api);
    const [mine, theirs] = [await asker(), await asker()];
    const current = await deploying(p, e);
    const olds = [await p.skip(await p.release(), e, {}, mine), await p.skip(await p.release(), e, {}, mine)];
    const kept = [await p.skip(await p.release(), e, {}, theirs), await other.skip(await other.release(), e, {}, mine)];
    for (const x of [...olds, ...kept]) await gates(x, 'environment-busy');
    const newest = await p.skip(await p.release(), e, { supersede: true }, mine);
    for (const x of olds) {
      const now = await get(x);
      assert.deepEqual([now.status, now.supersededBy, now.cancelledBy], ['cancelled', newest.id, newest.requestedBy]);
    }
    for (const x of kept) assert.equal((await get(x)).status, 'approved');
    assert.equal((await get(current)).status, 'deploying', 'what deploys is not superseded');
    const again = await p.skip({ id: newest.releaseId }, e, { supersede: true }, mine); // even of the same release
    assert.equal((await get(newest)).supersededBy, again.id);
    for (const x of [...kept, again]) await api.want(200, 'POST', `/promotions/${x.id}/cancel`, {});
    await cancelRun(current);
    await p.until(current, 'failed');
  });

  test('W10: cancelling one that waits leaves the line as it is, and the next goes on', async () => {
    const e = await p.environment('slow'), { id: quick } = await p.workflow('quick');
    const current = await deploying(p, e);
    const line = [];
    for (let i = 0; i < 4; i++) {
      line.push(await p.skip(await p.release(), e, { templateId: quick }));
      await gates(line[i], 'environment-busy');
    }
    for (const x of [line[0], line[2]]) await api.want(200, 'POST', `/promotions/${x.id}/cancel`, { reason: 'not needed' });
    await cancelRun(current);
    const [two, four] = [await p.until(line[1], 'deployed'), await p.until(line[3], 'deployed')];
    assert.ok(two.completedAt <= four.startedAt);
    for (const x of [line[0], line[2]]) {
      const now = await get(x);
      assert.deepEqual([now.status, now.startedAt, now.workflowRunId], ['cancelled', null, null]);
    }
  });

  test('W11: they deploy one at a time, in the order they were approved, whatever becomes of the one before', async () => {
    const e = await p.environment('slow'), { id: quick } = await p.workflow('quick'), { id: bad } = await p.workflow('bad');
    const current = await deploying(p, e);
    const line = [];
    for (const templateId of [quick, bad, quick, quick]) {
      line.push(await p.skip(await p.release(), e, { templateId }));
      await gates(line.at(-1), 'environment-busy');
    }
    await cancelRun(current);
    const over = [];
    for (const x of line) over.push(await p.until(x, 'deployed', 'failed'));
    assert.deepEqual(over.map((x) => x.status), ['deployed', 'failed', 'deployed', 'deployed']);
    for (let i = 1; i < over.length; i++) assert.ok(over[i - 1].completedAt <= over[i].startedAt, `${i} waits for the one before`);
  });

  test('W13: one that waits for approval says so, lets nobody in, and keeps nobody out', async () => {
    const e = await p.environment('quick', { requiredApprovals: 2 });
    const one = await p.until(await p.skip(await p.release(), e), 'awaiting_approval');
    assert.deepEqual([one.approvals, one.blockers.map((b) => b.gate), one.startedAt], [{ required: 2, received: 0, remaining: 2 }, ['approval'], null]);
    await api.want(200, 'PUT', `/environments/${e.id}`, { requiredApprovals: 0 });
    await p.deploy(await p.release(), e);
    assert.equal((await get(one)).status, 'awaiting_approval');
    assert.equal((await api.delete(`/environments/${e.id}`)).error.code, 'RES_IN_USE');
    await api.want(200, 'POST', `/promotions/${one.id}/cancel`, {});
    await api.want(204, 'DELETE', `/environments/${e.id}`);
    assert.equal((await get(one)).status, 'cancelled', 'what became of it stays readable');
  });

  test('of an environment with promotions keeps it, and their releases, from being deleted', async () => {
    const e = await p.environment('slow');
    const one = await deploying(p, e);
    assert.equal((await api.delete(`/environments/${e.id}`)).error.code, 'RES_IN_USE');
    assert.equal((await api.delete(`/releases/${one.releaseId}`)).error.code, 'RES_IN_USE');
    await cancelRun(one);
    await p.until(one, 'failed');
    await api.want(204, 'DELETE', `/environments/${e.id}`);
    assert.equal((await api.delete(`/releases/${one.releaseId}`)).error.code, 'RES_IN_USE', 'it was promoted once');
  });
});

describe('an environment that promotes by itself', () => {
  const followers = async (environment, release) =>
    (await api.get('/promotions', { query: { environmentId: environment.id, releaseId: release.id } })).data;
  const only = (environment, release) => eventually(async () => (await followers(environment, release))[0], `a promotion into ${environment.name}`);

  test('takes what was deployed in the one it follows, and hands it on', async () => {
    const p = new Product(api), r = await p.release();
    const dev = await p.environment();
    const stage = await p.environment('quick', { autoPromoteFrom: dev.id });
    const prod = await p.environment('quick', { autoPromoteFrom: stage.id, requiredApprovals: 1 });
    const first = await p.deploy(r, dev);
    const second = await p.until(await only(stage, r), 'deployed');
    assert.deepEqual([second.triggerType, second.requestedBy, second.sourceEnvironmentId, second.sourcePromotionId],
      ['auto', 'system', dev.id, first.id]);
    const third = await p.until(await only(prod, r), 'awaiting_approval');
    assert.equal(third.sourcePromotionId, second.id);
    assert.equal((await p.state(stage)).id, r.id);
    await p.until(await p.skip(r, dev, { redeploy: true }), 'deployed'); // what is there, or on its way, is not asked for again
    assert.equal((await followers(stage, r)).length, 1);
    assert.equal((await followers(prod, r)).length, 1);
  });

  test('never overrides a freeze: it waits', async () => {
    const p = new Product(api), r = await p.release();
    const dev = await p.environment(), stage = await p.environment('quick', { autoPromoteFrom: dev.id });
    const window = await p.freeze(stage, { exceptions: ['system'] });
    await p.deploy(r, dev);
    const waits = await gates(await only(stage, r), 'freeze-window');
    assert.equal(waits.status, 'approved');
    await p.thaw(stage, window);
    await p.until(waits, 'deployed');
  });

  test('takes nothing that failed', async () => {
    const p = new Product(api), r = await p.release();
    const dev = await p.environment('bad'), stage = await p.environment('quick', { autoPromoteFrom: dev.id });
    await p.until(await p.skip(r, dev), 'failed');
    assert.deepEqual(await followers(stage, r), []);
  });
});
