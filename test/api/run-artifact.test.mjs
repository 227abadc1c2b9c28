// The files of deployment jobs, which are made when they are read, and those that steps leave behind.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { judgeAnswer } from '../lib/contract.mjs';
import { FakeAgent } from '../lib/agent.mjs';
import { HostAgent, jobOf, jobReaches, makeEstate, makeRelease, promote, runOf } from '../lib/deployment.mjs';
import { reaches, run, script, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const OCTETS = 'application/octet-stream';
const digestOf = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

let s, api;
before(async () => {
  s = await start({ name: 'run-artifact', args: ['--blobs', 'redis', '--blob-check', '200ms'] });
  api = s.api;
});
after(() => s?.stop());

const fetched = async (path, { token = s.key, headers = {} } = {}) => {
  const answer = await fetch(`${s.server.url}/api/v1${path}`, { headers: { authorization: `Bearer ${token}`, ...headers } });
  const bytes = Buffer.from(await answer.arrayBuffer());
  await judgeAnswer(s.server, 'GET', `/api/v1${path}`, { status: answer.status, headers: Object.fromEntries(answer.headers), text: bytes.toString('latin1') });
  return { status: answer.status, headers: answer.headers, text: bytes.toString('utf8'), bytes };
};

describe('a deployment job', () => {
  const at = (job, name = '') => `/deployment-jobs/${job.id}/artifacts${name && `/${name}`}`;
  const NAMES = ['compose.lock.yml', 'deploy.log', 'manifest.json', 'version.json'];
  let job, release, environment, targets;

  before(async () => {
    let labels;
    ({ environment, targets, labels } = await makeEstate(api, 2, { variables: { API_TOKEN: 'hush-hush' } }));
    await new HostAgent(s).serve(labels, (task) => ({ lines: [`unpacking for ${task.payload.target.name}`] }));
    release = await makeRelease(api);
    const promotion = await promote(api, release, environment, { strategy: { type: 'rolling', config: { batchSize: 1 } } });
    job = await jobOf(api, await runOf(api, promotion));
    job = await jobReaches(api, job, 'succeeded');
  });

  test('has its four files, each with its hash', async () => {
    const list = await api.want(200, 'GET', at(job));
    assert.deepEqual(list.map((f) => f.name), NAMES);
    assert.deepEqual(list.map((f) => f.type), ['compose_lock', 'log', 'manifest', 'sticker']);
    for (const file of list) {
      assert.equal(file.jobId, job.id);
      for (const name of [file.id, file.name]) {
        const answer = await api.get(at(job, name));
        assert.deepEqual(answer.data, file);
        assert.equal(answer.headers.etag, `"${file.contentHash}"`);
      }
      const down = await fetched(`${at(job, file.id)}?download=true`);
      assert.equal(down.status, 200);
      assert.equal(down.headers.get('content-type'), file.contentType);
      assert.equal(down.headers.get('etag'), `"${file.contentHash}"`);
      assert.match(down.headers.get('content-disposition'), new RegExp(file.name));
      assert.equal(Buffer.byteLength(down.text), file.size);
      assert.equal(digestOf(down.text), file.contentHash);
      const accepted = await api.get(at(job, file.id), { headers: { accept: file.contentType } });
      assert.equal(accepted.text, down.text);
      const known = await fetched(`${at(job, file.id)}?download=true`, { headers: { 'if-none-match': `"${file.contentHash}"` } });
      assert.equal(known.status, 304);
      assert.ok(!down.text.includes('hush-hush'));
    }
    const only = await api.want(200, 'GET', at(job), undefined, { query: { type: 'sticker' } });
    assert.deepEqual(only.map((f) => f.name), ['version.json']);
  });

  test('pins every component in its lock file, whose last line is the hash of the rest', async () => {
    const { text } = await fetched(`${at(job, 'compose.lock.yml')}?download=true`);
    const [component] = release.components;
    assert.ok(text.includes(`    image: "${component.name}@${component.digest}" # "${release.version.tag}"\n`), text);
    for (const [label, value] of Object.entries({
      'component.id': component.componentId, 'release.id': release.id, 'release.name': release.name, digest: component.digest,
    })) assert.ok(text.includes(`      slipway.${label}: "${value}"\n`), `${label} in ${text}`);
    assert.ok(text.includes(`id: "${environment.id}"`) && text.includes(`id: "${job.id}"`) && text.includes(`startedAt: "${job.startedAt}"`));
    const lines = text.trimEnd().split('\n');
    const last = `${lines.pop()}\n`;
    assert.equal(last, `  checksum: "${digestOf(text.slice(0, -last.length))}"\n`);
  });

  test('says in the sticker and the manifest what went where', async () => {
    const sticker = JSON.parse((await fetched(`${at(job, 'version.json')}?download=true`)).text);
    assert.equal(sticker.version, '1.0');
    assert.deepEqual(sticker.deployment, { id: job.id, startedAt: job.startedAt });
    assert.equal(sticker.release.components[0].digest, release.components[0].digest);
    const manifest = JSON.parse((await fetched(`${at(job, 'manifest.json')}?download=true`)).text);
    assert.deepEqual(manifest.targets.map((t) => [t.id, t.batch, t.release.id, t.previous]), targets.map((t, i) => [t.id, i + 1, release.id, null]));
    const list = await api.want(200, 'GET', at(job));
    for (const file of manifest.files) assert.equal(file.contentHash, list.find((f) => f.name === file.name).contentHash);
  });

  test('tells in its log what happened, in order', async () => {
    const { text } = await fetched(`${at(job, 'deploy.log')}?download=true`);
    const said = text.trimEnd().split('\n').map((line) => line.replace(/^\S+Z /, '').replace(/^\S+Z: /, ''));
    const places = ['* job_started', '1-deploy a: unpacking for a', '1-deploy a: * task_completed', '2-deploy b: * task_assigned',
      '2-deploy b: unpacking for b', '* job_completed status=succeeded'].map((what) => said.findIndex((line) => line.startsWith(what)));
    assert.deepEqual(places, places.toSorted((a, b) => a - b), text);
    assert.ok(places.every((i) => i >= 0), text);
    assert.equal(places.at(-1), said.length - 1);
  });

  test('has no log before its end, nothing before its start, and nothing for others', async () => {
    const estate = await makeEstate(api, 1);
    const waiting = await jobOf(api, await runOf(api, await promote(api, await makeRelease(api), estate.environment)));
    await eventually(async () => (await api.want(200, 'GET', at(waiting))).length === 3, 'the job to have begun');
    assert.equal((await api.get(at(waiting, 'deploy.log'))).status, 404);
    assert.equal((await api.get(at(waiting, 'nothing'))).status, 404);
    const other = api.as(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
    for (const name of ['', NAMES[0]]) assert.equal((await other.get(at(job, name))).status, 404);
  });
});

describe('a step', () => {
  let agent, label;
  before(async () => {
    label = unique('zone');
    agent = await new FakeAgent(s).register({ labels: { zone: label } });
    await agent.connect();
  });
  const at = (r, name = '', step = 'build') => `/workflow-runs/${r.id}/steps/${step}/artifacts${name && `/${name}`}`;
  const leave = (r, name, bytes, client = agent.client, step) =>
    client.request('PUT', at(r, name, step), undefined, { raw: bytes, headers: { 'content-type': OCTETS } });
  async function begun() {
    const r = await run(api, [script('build', 'make', { labels: { zone: label } }), script('late', 'true', { labels: { zone: label } })],
      [{ from: 'build', to: 'late' }]);
    const task = await agent.assigned(r, 'build');
    await agent.tell('task_accepted', { taskId: task.id });
    await agent.tell('task_started', { taskId: task.id, startedAt: new Date().toISOString(), pid: 4711 });
    return { r, task };
  }

  test('keeps the files that its agent leaves, until it ends', async () => {
    const { r, task } = await begun();
    assert.deepEqual(await api.want(200, 'GET', at(r)), []);
    const report = randomBytes(400_000);
    const made = await leave(r, 'report.bin', report);
    assert.equal(made.status, 201, made.text);
    assert.deepEqual([made.data.size, made.data.contentHash, made.data.attempt], [report.length, digestOf(report), 1]);
    await leave(r, 'log.txt', 'short');
    const again = await leave(r, 'log.txt', 'longer');
    assert.deepEqual((await api.want(200, 'GET', at(r))).map((f) => [f.name, f.contentType, f.size]),
      [['log.txt', 'text/plain', 6], ['report.bin', OCTETS, report.length]]);
    for (const name of [again.data.id, 'log.txt']) {
      assert.deepEqual((await api.get(at(r, name))).data, again.data);
      assert.equal((await fetched(`${at(r, name)}?download=true`)).text, 'longer');
    }
    assert.ok((await fetched(at(r, 'report.bin'), { headers: { accept: OCTETS } })).bytes.equals(report));
    assert.equal((await api.get(at(r, 'none'))).status, 404);
    assert.deepEqual(await api.want(200, 'GET', at(r, '', 'late')), []);
    await agent.completed(task.id);
    await agent.assigned(r, 'late');
    const late = await leave(r, 'late.txt', 'late');
    assert.deepEqual([late.status, late.code, late.error.details.currentState], [409, 'RES_INVALID_STATE', 'succeeded']);
  });

  test('takes files from nobody else, and of no odd name', async () => {
    const { r, task } = await begun();
    const other = await new FakeAgent(s).register({});
    assert.equal((await leave(r, 'a.txt', 'a', other.client)).code, 'RES_INVALID_STATE');
    assert.equal((await leave(r, 'a.txt', 'a', api)).status, 403);
    assert.equal((await leave(r, 'a.txt', 'a', agent.client, 'late')).code, 'RES_INVALID_STATE');
    assert.equal((await leave(r, 'a.txt', 'a', agent.client, 'nothing')).status, 404);
    for (const name of ['.hidden', 'a%20b', 'x'.repeat(129)]) assert.equal((await leave(r, name, 'a')).code, 'VAL_FAILED', name);
    assert.deepEqual(await api.want(200, 'GET', at(r)), []);
    await agent.completed(task.id);
    const stranger = api.as(await s.makeKey('--tenant', 'elsewhere', '--role', 'admin'));
    assert.equal((await stranger.get(at(r))).status, 404);
  });

  test('takes its files with it when the run goes', async () => {
    const { r, task } = await begun();
    await leave(r, 'gone.txt', unique('gone'));
    const [{ contentHash }] = await api.want(200, 'GET', at(r));
    await agent.completed(task.id);
    const late = await agent.assigned(r, 'late');
    for (const type of ['task_accepted', 'task_started']) await agent.tell(type, { taskId: late.id, startedAt: new Date().toISOString(), pid: 1 });
    await agent.completed(late.id);
    await reaches(api, r, 'succeeded');
    const books = () => s.redis.keys(`*:bm:*:${contentHash.slice(7)}`);
    assert.equal((await books()).length, 1);
    await s.redis.command('DEL', ...(await s.redis.keys(`*:d:*:${r.id}`)));
    await eventually(async () => (await books()).length === 0, 'the bytes to be removed');
  });
});

test('a real agent leaves what a script put into artifacts/, also when the script fails', async () => {
  const label = unique('zone');
  await s.addAgent(unique('agent'), { labels: { zone: label } });
  const text = 'mkdir artifacts; cd artifacts; printf hello >hello.txt; head -c 700000 /dev/zero >zeros.bin; : >empty; printf x >.hidden;'
    + ' printf x >"odd name"; ln -s /etc/passwd link; mkdir folder; exit 3';
  const r = await reaches(api, await run(api, [script('build', text, { labels: { zone: label } })]), 'failed');
  const path = `/workflow-runs/${r.id}/steps/build`;
  const list = await api.want(200, 'GET', `${path}/artifacts`);
  assert.deepEqual(list.map((f) => [f.name, f.size]), [['empty', 0], ['hello.txt', 5], ['zeros.bin', 700_000]]);
  assert.equal(list[2].contentHash, digestOf(Buffer.alloc(700_000)));
  assert.equal((await fetched(`${path}/artifacts/hello.txt?download=true`)).text, 'hello');
  const { lines } = await api.want(200, 'GET', `${path}/logs`);
  const said = lines.filter((l) => l.stream === 'system').map((l) => l.line).join('\n');
  assert.match(said, /left artifacts\/hello.txt, 5 bytes/);
  assert.match(said, /other characters/);
});
