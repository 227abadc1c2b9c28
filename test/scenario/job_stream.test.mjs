// The stream of a deployment job through two instances, on a real agent: cut anywhere it goes on, on the other one.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { addVersion, jobEnds, jobOf, makeDeployTemplate, makeRelease, makeTargets, promote } from '../lib/release.mjs';
import { Gate, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';

describe('the stream of a deployment job', () => {
  let s, component, order = 0;
  before(async () => {
    s = await start({ name: 'job-stream', instances: 2 });
    await s.addAgent('one');
    component = await s.api.want(201, 'POST', '/components', { name: 'app' });
    await addVersion(s, component, '1.0.0', { 'app.txt': 'one\n' });
  });
  after(() => s?.stop());

  /** A job whose hook runs `text`; answers it with the address of its stream. */
  const deploy = async (text) => {
    const environment = await s.api.want(201, 'POST', '/environments', { name: unique('env'), orderIndex: order++ });
    await makeTargets(s, environment, 1);
    const template = await makeDeployTemplate(s, { hooks: { preDeploy: ['sh', '-c', text] } });
    const promotion = await promote(s, await makeRelease(s, component, '1.0.0'), environment, { templateId: template.id, skipOrderReason: 'a test of its own' });
    const job = await jobOf(s, promotion);
    return { job, path: `/deployment-jobs/${job.id}/stream` };
  };

  test('resumes on the other instance, by since and by Last-Event-ID, without loss or repetition', async () => {
    const { job, path } = await deploy('seq 1 60');
    const whole = new Watcher(s.servers[0], path, { token: s.key });
    await whole.done;
    await jobEnds(s, job);
    const { epoch } = (await new WsStream(s.servers[0], path, { token: s.key }).frame('ready'));
    for (const seen of [1, 5, 20, whole.events.length - 1]) {
      const ws = new WsStream(s.servers[1], path, { token: s.key, query: { since: String(seen) } });
      const sse = new SseStream(s.servers[1], path, { token: s.key, lastEventId: `${epoch}:${seen}` });
      for (const stream of [ws, sse]) {
        await stream.ended();
        assert.deepEqual(stream.events, whole.events.slice(seen), `behind ${seen}`);
      }
    }
  });

  test('a live reader that goes over to the other instance in the middle misses nothing', async () => {
    const gate = new Gate(s.nest);
    const { path } = await deploy(`echo ready; ${gate.shell}; seq 1 500`);
    const first = new WsStream(s.servers[0], path, { token: s.key, query: { since: '0' } });
    await first.frame('task_log', (f) => f.line === 'ready');
    const seen = first.events.at(-1).seq;
    first.close();
    const second = new WsStream(s.servers[1], path, { token: s.key, query: { since: String(seen) } });
    await second.frame('synced');
    gate.open();
    assert.equal((await second.ended()).code, 1000);
    const all = [...first.events.filter((e) => e.seq <= seen), ...second.events].map((e) => e.seq);
    assert.deepEqual(all, all.map((_, i) => i + 1));
    assert.equal(second.events.filter((e) => e.type === 'task_log' && /^\d+$/.test(e.line)).length, 500);
  });
});
