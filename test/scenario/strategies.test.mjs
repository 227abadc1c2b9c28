// What a strategy does when one of three targets fails, on a real agent's disk: each strategy with each failure behaviour,
// the fault found by a health check or by the deployment's own hook.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { addVersion, jobEnds, jobOf, jobReaches, makeDeployTemplate, makeRelease, makeTargets, promote, promotionReaches } from '../lib/release.mjs';
import { reaches, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const ALL = { strategy: 'all-at-once' }, ROLLING = { strategy: 'rolling', strategyConfig: { batchSize: 1, order: 'name' } };
const BACK = ['one', 'one', 'one'], DONE = ['two', 'two', 'two'];
/** Runs in the release's folder: the second version does not do where the target is sick. */
const LOOK = ['sh', '-c', 'grep -q one app/app.txt || [ ! -e ../../sick ]'];

describe('a deployment whose second target of three fails', { concurrency: true }, () => {
  let s, component, order = 0;
  before(async () => {
    s = await start({ name: 'strategies' });
    await s.addAgent('one', { args: ['--max-tasks', '16'] });
    component = await s.api.want(201, 'POST', '/components', { name: 'app' });
    for (const [tag, text] of [['1.0.0', 'one'], ['2.0.0', 'two']]) await addVersion(s, component, tag, { 'app.txt': text });
  });
  after(() => s?.stop());

  const deploy = async (environment, tag, config) => {
    const { id: templateId } = await makeDeployTemplate(s, config);
    return promote(s, await makeRelease(s, component, tag), environment, { templateId, skipOrderReason: 'a test of its own' });
  };
  const at = (target) => fs.readFileSync(`${target.connection.path}/current/app/app.txt`, 'utf8');

  for (const [look, sick] of [['health check', 'two'], ['hook', 'one']]) // a failed hook switches back by itself
    for (const [plan, failureBehavior, status, disks] of [
      [ALL, 'rollback', 'rolled_back', BACK],
      [ALL, 'continue', 'failed', ['two', sick, 'two']],
      [ALL, 'pause', 'paused', ['two', sick, 'two']],
      [ROLLING, 'rollback', 'rolled_back', BACK],
      [ROLLING, 'continue', 'failed', ['two', sick, 'two']],
      [ROLLING, 'pause', 'paused', ['two', sick, 'one']],
    ])
      test(`${plan.strategy}, ${failureBehavior}, found by a ${look}: ${status}`, async () => {
        const environment = await s.api.want(201, 'POST', '/environments', { name: unique('env').replaceAll('_', '-'), orderIndex: order++ });
        const targets = await makeTargets(s, environment, 3);
        await promotionReaches(s, await deploy(environment, '1.0.0', ALL), 'deployed');
        const mark = `${targets[1].connection.path}/sick`;
        fs.writeFileSync(mark, '');
        const healthCheck = { type: 'command', command: LOOK, retries: 0 };
        const promotion = await deploy(environment, '2.0.0', {
          strategy: plan.strategy,
          strategyConfig: { ...plan.strategyConfig, failureBehavior, ...(look === 'hook' ? {} : { healthCheck }) },
          ...(look === 'hook' && { hooks: { postDeploy: LOOK } }),
        });
        const job = await jobReaches(s, await jobOf(s, promotion), status);
        if (status === 'paused') // what was under way ends in its own time
          await eventually(() => [targets.map(at).join() === disks.join(), targets.map(at)], `the disks to be at ${disks}`);
        assert.deepEqual(targets.map(at), disks);
        if (status !== 'paused') return promotionReaches(s, promotion, status);
        const { workflowRunId } = await s.api.want(200, 'GET', `/promotions/${promotion.id}`);
        await reaches(s.api, { id: workflowRunId }, 'paused');
        fs.rmSync(mark);
        await s.api.want(200, 'POST', `/workflow-runs/${workflowRunId}/resume`, {});
        assert.equal((await jobEnds(s, job)).status, 'succeeded');
        assert.deepEqual(targets.map(at), DONE);
        return promotionReaches(s, promotion, 'deployed');
      });
});
