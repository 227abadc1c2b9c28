// A deployment of many targets over many agents, in one go: it finishes, and its stream is complete.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { addVersion, jobEnds, jobOf, makeDeployTemplate, makeRelease, makeTargets, promote, promotionReaches, tasksOf } from '../lib/release.mjs';
import { Agent, start } from '../lib/slipway.mjs';
import { Watcher } from '../lib/stream.mjs';

const TARGETS = 200, AGENTS = 20, BATCH = 50;

describe(`a deployment of ${TARGETS} targets over ${AGENTS} agents`, () => {
  let s, environment, targets, release, promotion, job, watchers;
  before(async () => {
    s = await start({ name: 'fleet' });
    const agents = Array.from({ length: AGENTS }, (_, i) => new Agent(s, `fleet-${i}`, { args: ['--max-tasks', '4'] }));
    s.agents.push(...agents);
    for (const agent of agents) await agent.start();
    for (const agent of agents) await agent.online();
    environment = await s.api.want(201, 'POST', '/environments', { name: 'fleet', orderIndex: 0 });
    targets = await makeTargets(s, environment, TARGETS);
    const component = await s.api.want(201, 'POST', '/components', { name: 'app' });
    await addVersion(s, component, '1.0.0', { 'app.txt': 'one\n' });
    release = await makeRelease(s, component, '1.0.0');
    const template = await makeDeployTemplate(s, { strategy: 'rolling', strategyConfig: { batchSize: BATCH } });
    promotion = await promote(s, release, environment, { templateId: template.id });
    job = await jobOf(s, promotion);
    watchers = ['ws', 'sse'].map((kind) => new Watcher(s.server, `/deployment-jobs/${job.id}/stream`, { token: s.key, kind }));
  });
  after(() => s?.stop());

  test('finishes, with every target at the release', async () => {
    await Promise.all(watchers.map((w) => w.done));
    job = await jobEnds(s, job);
    assert.deepEqual([job.status, job.totalTargets, job.completedTargets, job.failedTargets], ['succeeded', TARGETS, TARGETS, 0]);
    for (const target of targets)
      assert.equal(fs.readFileSync(`${target.connection.path}/current/app/app.txt`, 'utf8'), 'one\n', target.name);
    await promotionReaches(s, promotion, 'deployed');
  });

  test('its stream is complete and the same for everyone', () => {
    const [ws, sse] = watchers.map((w) => w.events);
    assert.deepEqual(ws, sse);
    const count = (type, where = () => true) => ws.filter((e) => e.type === type && where(e)).length;
    assert.equal(count('task_completed', (e) => e.status === 'succeeded'), TARGETS);
    assert.equal(new Set(ws.filter((e) => e.type === 'task_completed').map((e) => e.targetId)).size, TARGETS);
    assert.equal(count('batch_started'), TARGETS / BATCH);
    assert.equal(count('batch_completed'), TARGETS / BATCH);
    assert.equal(ws.at(-1).type, 'job_completed');
    const assigned = ws.filter((e) => e.type === 'task_assigned');
    assert.ok(new Set(assigned.map((e) => e.agentId)).size >= AGENTS / 2, 'many agents took part');
  });

  test('no batch begins before the one before it has ended', () => {
    let open = 0;
    for (const e of watchers[0].events) {
      if (e.type === 'batch_started') assert.equal(open++, 0, `batch ${e.batch}`);
      if (e.type === 'batch_completed') open--;
    }
  });

  test('its tasks are listed, each done once', async () => {
    const tasks = (await tasksOf(s, job)).filter((t) => t.type === 'deploy');
    assert.equal(tasks.length, TARGETS);
    assert.ok(tasks.every((t) => t.status === 'succeeded' && t.attempt === 1), JSON.stringify(tasks.find((t) => t.attempt !== 1)));
  });
});
