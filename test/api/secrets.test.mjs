// What a run is told in confidence stands nowhere in the store as it was told.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { FakeAgent } from '../lib/agent.mjs';
import { disguises, everything, files } from '../lib/disguises.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const SECRET = 'Quiet-Harbour-7c1f9a4e', VAULT = 'deep/Anchor-93b5d2c8', HEADER = 'Bearer-Lantern-51fe77ab';
const SECRETS = [SECRET, VAULT, HEADER];

let s, receiver;
before(async () => {
  receiver = http.createServer((request, response) => {
    receiver.seen = request.headers['x-api-key'];
    request.resume();
    request.on('end', () => response.end(JSON.stringify({ echo: request.headers['x-api-key'] })));
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  s = await start({ name: 'secrets', env: { SLIPWAY_OUTBOUND_ALLOW: '127.0.0.0/8' } });
});
after(async () => {
  receiver?.close();
  await s?.stop();
});

/** Nothing that is kept, in Redis, its append-only file or the data folder, has any of the secrets in it. */
async function nowhere(when, run) {
  const kept = await everything(s.redis);
  assert.ok(kept.length > 20, 'the whole store was read');
  for (const file of [...files(s.nest.file('redis-aof')), ...files(s.server.data)]) kept.push([file, fs.readFileSync(file, 'latin1')]);
  assert.ok(kept.filter(([, value]) => value.includes(run.id)).length > 5, 'and what is looked for would be found');
  for (const secret of SECRETS)
    for (const text of disguises(secret))
      assert.deepEqual(kept.filter(([, value]) => value.includes(text)).map(([key]) => key), [], `${when}: ${text}`);
}

test('the secrets of a run are sealed, whatever it does with them', async () => {
  const a = await new FakeAgent(s).register({ labels: { zone: unique('zone') } });
  await a.connect();
  const labels = (await s.api.want(200, 'GET', `/agents/${a.id}`)).labels;
  const t = await s.api.want(201, 'POST', '/workflow-templates', {
    name: unique('secrets'),
    inputs: [{ name: 'password', type: 'string' }, { name: 'vault', type: 'secret-ref' }, { name: 'auth', type: 'object' }],
    nodes: [
      { id: 'build', type: 'script', config: { labels, command: ['login', '${{ inputs.password }}', '${{ inputs.vault }}'],
        env: { DB_PASSWORD: '${{ inputs.password }}' } } },
      { id: 'call', type: 'http-request', config: { url: `http://127.0.0.1:${receiver.address().port}/`,
        headers: { 'X-Api-Key': '${{ inputs.auth.token }}' } } },
    ],
    edges: [{ from: 'build', to: 'call' }],
    outputs: { told: 'inputs.password', echo: 'steps.call.outputs.body.echo' },
  });
  const r = await s.api.want(201, 'POST', '/workflow-runs', {
    templateId: t.id, inputs: { password: SECRET, vault: VAULT, auth: { token: HEADER } } });

  const live = await a.assigned(r, 'build');
  assert.deepEqual(live.payload.command, ['login', SECRET, VAULT]);
  assert.equal(live.credentials.DB_PASSWORD, SECRET);
  await nowhere('with the task under way', r);

  a.stream.close();
  await a.connect();
  assert.deepEqual(await a.assigned(r, 'build'), live, 'what is told again is what was told');

  const rotated = await s.slipway('key', 'rotate');
  assert.equal(rotated.code, 0, rotated.stderr);
  assert.match(rotated.stdout, /sealing and signing with key 2; 1 of 1 documents/);
  await s.server.stop();
  await s.server.start();
  await a.connect();
  assert.deepEqual((await a.assigned(r, 'build')).payload.command, ['login', SECRET, VAULT], 'sealed under the old key');
  await a.tell('task_accepted', { taskId: live.id });
  await a.tell('task_started', { taskId: live.id, startedAt: new Date().toISOString(), pid: 1 });
  assert.match((await s.slipway('key', 'rotate')).stdout, /key 3; 1 of 1 documents/);
  assert.equal((await a.completed(live.id)).type, 'ack', 'a rotation is taken up by those that run');
  const ended = await eventually(async () => {
    const now = await s.api.want(200, 'GET', `/workflow-runs/${r.id}`);
    return now.finishedAt ? now : [false, now];
  }, 'the run to end');
  assert.equal(ended.status, 'succeeded', JSON.stringify(ended.error));
  assert.equal(receiver.seen, HEADER, 'opened under the newest key');
  assert.deepEqual(ended.inputs, { auth: { token: '***' }, password: '***', vault: '***' });
  assert.equal(ended.outputs.told, '***');
  assert.ok(!JSON.stringify(ended).includes(HEADER));
  await nowhere('after the end', r);
});

test('a run that was stored before there were seals goes on', async () => {
  const labels = { zone: unique('zone') };
  const t = await s.api.want(201, 'POST', '/workflow-templates', {
    name: unique('before'),
    inputs: [{ name: 'password', type: 'string' }],
    nodes: [{ id: 'build', type: 'script', config: { labels, command: ['login', '${{ inputs.password }}'] } }],
  });
  const r = await s.api.want(201, 'POST', '/workflow-runs', { templateId: t.id, inputs: { password: 'sealed-so-far' } });
  const [key] = await s.redis.keys(`*:d:*:run:${r.id}`);
  const origin = JSON.parse(await s.redis.command('HGET', key, 'origin'));
  assert.equal(origin.inputs.password, '***');
  origin.inputs.password = 'as-it-was-once';
  await s.redis.command('HSET', key, 'origin', JSON.stringify(origin));
  await s.redis.command('HDEL', key, 's');
  const a = await new FakeAgent(s).register({ labels }); // until now nobody could have had the step
  await a.connect();
  const task = await a.assigned(r, 'build');
  assert.deepEqual(task.payload.command, ['login', 'as-it-was-once']);
});
