// What a strategy does when one of three targets fails, on a real agent's disk: each strategy with each failure behaviour,
// the fault found by a health check or by one of the deployment's own hooks; and each when nothing fails.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { addVersion, jobEnds, jobOf, jobReaches, makeDeployTemplate, makeRelease, makeTargets, promote, promotionReaches } from '../lib/release.mjs';
import { reaches, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const ALL = { strategy: 'all-at-once' }, ROLLING = { strategy: 'rolling', strategyConfig: { batchSize: 1, order: 'name' } };
const BACK = ['one', 'one', 'one'], DONE = ['two', 'two', 'two'];
/** Runs in the release's folder: the second version does not do where the target is sick. */
const LOOK = ['sh', '-c', 'grep -q one app/app.txt || [ ! -e ../../sick ]'];
/** What may find the fault, and how the sick target's disk is then left: a failed hook switches back by itself. */
const LOOKS = {
  'health check': { sick: 'two', config: { healthCheck: { type: 'command', command: LOOK, retries: 0 } } },
  'health check over HTTP': { sick: 'two', config: { healthCheck: { type: 'http', retries: 0 } } }, // of the target's own port
  'postDeploy hook': { sick: 'one', hooks: { postDeploy: LOOK } },
  'preDeploy hook': { sick: 'one', hooks: { preDeploy: ['sh', '-c', 'case "$SLIPWAY_RELEASE" in app-2*) [ ! -e "$SLIPWAY_ROOT/sick" ] ;; esac'] } },
};

describe('a deployment over three targets, of which the second may fail', { concurrency: true }, () => {
  const sites = [];
  let s, component, order = 0;
  before(async () => {
    s = await start({ name: 'strategies' });
    await s.addAgent('one', { args: ['--max-tasks', '64'] }); // all of them at once: a paused job begins nothing that waits for room
    component = await s.api.want(201, 'POST', '/components', { name: 'app' });
    for (const [tag, text] of [['1.0.0', 'one'], ['2.0.0', 'two']]) await addVersion(s, component, tag, { 'app.txt': text });
  });
  after(async () => {
    for (const { server } of sites) server.close();
    await s?.stop();
  });

  /** What serves a target's folder: badly where it is sick and has the second version. */
  const site = async () => {
    const one = { server: http.createServer((request, response) => {
      const bad = fs.existsSync(`${one.target.connection.path}/sick`) && at(one.target) === 'two';
      response.writeHead(bad ? 503 : 200, { connection: 'close' }).end();
    }).listen(0, '127.0.0.1') };
    await once(one.server, 'listening');
    sites.push(one);
    return one;
  };
  const deploy = async (environment, tag, config) => {
    const { id: templateId } = await makeDeployTemplate(s, config);
    return promote(s, await makeRelease(s, component, tag), environment, { templateId, skipOrderReason: 'a test of its own' });
  };
  const at = (target) => fs.readFileSync(`${target.connection.path}/current/app/app.txt`, 'utf8');

  /** Three targets with the first version on them; then the second. */
  const second = async ({ strategy, strategyConfig }, failureBehavior, { config, hooks }, fault) => {
    const environment = await s.api.want(201, 'POST', '/environments', { name: unique('env').replaceAll('_', '-'), orderIndex: order++ });
    const serving = await Promise.all([site(), site(), site()]);
    const targets = await makeTargets(s, environment, 3, (i) => ({ connection: { port: serving[i - 1].server.address().port } }));
    targets.forEach((target, i) => (serving[i].target = target));
    await promotionReaches(s, await deploy(environment, '1.0.0', ALL), 'deployed');
    const mark = `${targets[1].connection.path}/sick`;
    if (fault) fs.writeFileSync(mark, '');
    const promotion = await deploy(environment, '2.0.0', {
      strategy, strategyConfig: { ...strategyConfig, failureBehavior, ...config }, ...(hooks && { hooks }),
    });
    return { targets, mark, promotion };
  };

  for (const plan of [ALL, ROLLING])
    for (const failureBehavior of ['rollback', 'continue', 'pause'])
      test(`${plan.strategy}, ${failureBehavior}, nothing fails: succeeded`, async () => {
        const { targets, promotion } = await second(plan, failureBehavior, LOOKS['health check'], false);
        assert.equal((await jobEnds(s, await jobOf(s, promotion))).status, 'succeeded');
        assert.deepEqual(targets.map(at), DONE);
        await promotionReaches(s, promotion, 'deployed');
      });

  for (const [look, { sick, ...how }] of Object.entries(LOOKS))
    for (const [plan, failureBehavior, status, disks] of [
      [ALL, 'rollback', 'rolled_back', BACK],
      [ALL, 'continue', 'failed', ['two', sick, 'two']],
      [ALL, 'pause', 'paused', ['two', sick, 'two']],
      [ROLLING, 'rollback', 'rolled_back', BACK],
      [ROLLING, 'continue', 'failed', ['two', sick, 'two']],
      [ROLLING, 'pause', 'paused', ['two', sick, 'one']],
    ])
      test(`${plan.strategy}, ${failureBehavior}, found by a ${look}: ${status}`, async () => {
        const { targets, mark, promotion } = await second(plan, failureBehavior, how, true);
        const job = await jobReaches(s, await jobOf(s, promotion), status);
        if (status === 'paused') // what was under way ends in its own time
          await eventually(() => [targets.map(at).join() === disks.join(), targets.map(at)], `the disks to be at ${disks}`);
        assert.deepEqual(targets.map(at), disks);
        if (status !== 'paused') return promotionReaches(s, promotion, status);
        const { workflowRunId } = await s.api.want(200, 'GET', `/promotions/${promotion.id}`);
        await reaches(s.api, { id: workflowRunId }, 'paused');
        if (look === 'preDeploy hook') { // this one is given up
          await s.api.want(200, 'POST', `/workflow-runs/${workflowRunId}/cancel`, {});
          assert.equal((await jobEnds(s, job)).status, 'cancelled');
          assert.deepEqual(targets.map(at), disks, 'what is deployed stays');
          return promotionReaches(s, promotion, 'failed');
        }
        fs.rmSync(mark);
        await s.api.want(200, 'POST', `/workflow-runs/${workflowRunId}/resume`, {});
        assert.equal((await jobEnds(s, job)).status, 'succeeded');
        assert.deepEqual(targets.map(at), DONE);
        return promotionReaches(s, promotion, 'deployed');
      });

  test('rolling, rollback, a preDeploy hook that lets nothing in, not even the old version: rollback_failed', async () => {
    const never = { hooks: { preDeploy: ['sh', '-c', '[ ! -e "$SLIPWAY_ROOT/sick" ]'] } };
    const { targets, promotion } = await second(ROLLING, 'rollback', never, true);
    await jobReaches(s, await jobOf(s, promotion), 'rollback_failed');
    assert.deepEqual(targets.map(at), BACK, 'it never came in, and the first target is back');
    await promotionReaches(s, promotion, 'failed');
  });
});
