// Deployments on real agents: what is on disk when all goes well, and when a digest is wrong, a hook fails, somebody
// cancels, or a process is killed in the middle. test/unit/deploy_test.c cuts a deployment at each of its steps.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { jobOf, jobReaches, promote, runOf, tasksOf } from '../lib/deployment.mjs';
import { alive } from '../lib/process.mjs';
import { Proxy } from '../lib/proxy.mjs';
import { Gate, makeTemplate, reaches, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s, api, artifacts, proxy;
const served = new Map(); // path -> bytes

/** The bytes of a tarball of one file. */
function tarball(text, name = 'index.html') {
  const folder = fs.mkdtempSync(s.nest.file('tar-'));
  fs.writeFileSync(path.join(folder, name), text);
  return execFileSync('tar', ['-czf', '-', '-C', folder, name], { maxBuffer: 1 << 26 });
}

/** A release whose component says `text`. */
async function release(component, text, { digest } = {}) {
  const bytes = tarball(text), url = `/${unique('artifact')}.tar.gz`;
  served.set(url, bytes);
  digest ??= `sha256:${crypto.createHash('sha256').update(bytes).digest('hex')}`;
  const version = await api.want(201, 'POST', `/components/${component.id}/versions`, {
    tag: unique('v'), digest, artifactUrl: `http://127.0.0.1:${artifacts.address().port}${url}`,
  });
  return api.want(201, 'POST', '/releases', { name: unique('r'), components: [{ componentId: component.id, versionId: version.id }] });
}

/** An environment with targets on this host, deployed to by a step with these hooks. */
async function estate({ targets = 1, hooks, labels, strategyConfig } = {}) {
  const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: { ...(hooks && { hooks }), ...(strategyConfig && { strategy: 'all-at-once', strategyConfig }) } }]);
  const environment = await api.want(201, 'POST', '/environments', {
    name: unique('env'), config: { deploymentTemplate: template.name, variables: { COLOUR: 'blue' }, ...(labels && { agentLabels: labels }) },
  });
  const made = [];
  for (let i = 0; i < targets; i++) {
    const root = s.nest.file(unique('root'));
    made.push({ ...await api.want(201, 'POST', '/targets', { environmentId: environment.id, name: `t${i}`, type: 'host', connection: { path: root } }), root });
  }
  return { environment, targets: made, root: made[0].root };
}

const component = () => api.want(201, 'POST', '/components', { name: unique('site') });
const site = (root, c) => {
  try {
    return fs.readFileSync(path.join(root, 'current', c.name, 'index.html'), 'utf8');
  } catch {
    return null;
  }
};
const sticker = (root) => JSON.parse(fs.readFileSync(path.join(root, 'version.json'), 'utf8'));

async function begin(r, where, more = {}) {
  const run = await runOf(api, await promote(api, r, where.environment, more));
  return { run, job: await jobOf(api, run) };
}

async function deployed(r, where, more = {}) {
  const { run, job } = await begin(r, where, more);
  await jobReaches(api, job, 'succeeded');
  await reaches(api, run, 'succeeded');
  return job;
}

const deployTask = async (job, attempt) => eventually(async () => {
  const task = (await tasksOf(api, job)).find((t) => t.type === 'deploy' && (attempt === undefined || t.attempt === attempt));
  return task;
}, 'the deploy task');

/** A hook that says that it runs, and waits; `touch` names the file. */
const stuck = (nest, gate) => {
  const file = nest.file(unique('in-hook'));
  return { file, argv: ['/bin/sh', '-c', `echo in the hook; echo $$ > '${file}'; ${gate ? gate.shell : 'while :; do sleep 0.05; done'}`] };
};
const pidIn = (file) => eventually(() => (fs.existsSync(file) && Number(fs.readFileSync(file, 'utf8'))) || false, `a pid in ${file}`);

before(async () => {
  s = await start({ name: 'agent-deploy' });
  api = s.api;
  artifacts = http.createServer((request, response) => {
    const bytes = served.get(request.url);
    response.writeHead(bytes ? 200 : 404).end(bytes);
  });
  await new Promise((resolve) => artifacts.listen(0, '127.0.0.1', resolve));
  await s.addAgent('one', { args: ['--outbound-allow', '127.0.0.0/8', '--max-tasks', '16', '--label', 'on=one'] });
});
after(async () => {
  artifacts?.close();
  try { // in order, so that a sanitizer says what they leave behind
    for (const agent of s?.agents ?? []) assert.deepEqual(await agent.stop(), { code: 0, signal: null });
    assert.deepEqual(await s?.server.stop(), { code: 0, signal: null });
  } finally {
    await s?.stop();
    proxy?.stop();
  }
});

describe('a deployment on a real agent', { concurrency: true }, () => {
  test('puts the release there, tells what it does, and leaves its sticker', async () => {
    const c = await component();
    const where = await estate({ targets: 2, labels: ['on=one'], hooks: { postDeploy: ['/bin/sh', '-c', 'echo $COLOUR > $SLIPWAY_ROOT/hook; echo said by the hook'] } });
    const [one, two] = [await release(c, 'first'), await release(c, 'second')];
    await deployed(one, where);
    const job = await deployed(two, where);
    for (const { root } of where.targets) {
      assert.equal(site(root, c), 'second');
      assert.deepEqual(sticker(root).release.id, two.id);
      assert.equal(sticker(root).deployment.id, job.id);
      assert.equal(fs.readFileSync(path.join(root, 'hook'), 'utf8'), 'blue\n');
      assert.ok(fs.existsSync(path.join(root, 'releases', one.name)), 'the old one is kept');
    }
    const task = await deployTask(job);
    const { lines } = await api.want(200, 'GET', `/deployment-jobs/${job.id}/tasks/${task.id}/logs`);
    const said = lines.map((l) => `${l.stream}: ${l.line}`);
    assert.ok(said.includes(`system: switched from ${one.name} to ${two.name}`), said.join('\n'));
    assert.ok(said.some((l) => /^system: site-.*: \d+ bytes, sha256:/.test(l)), said.join('\n'));
    assert.ok(said.includes('stdout: said by the hook'), said.join('\n'));
  });

  test('with another digest than the version says is refused, and changes nothing', async () => {
    const c = await component();
    const where = await estate({ labels: ['on=one'], strategyConfig: { failureBehavior: 'continue' } });
    const one = await release(c, 'good');
    await deployed(one, where);
    const before = fs.readdirSync(where.root, { recursive: true }).sort();
    const { job, run } = await begin(await release(c, 'evil', { digest: `sha256:${'0'.repeat(64)}` }), where);
    await jobReaches(api, job, 'failed');
    await reaches(api, run, 'failed');
    const task = await deployTask(job);
    assert.deepEqual([task.status, task.error.type, task.attempt], ['failed', 'digest_mismatch', 1]);
    assert.deepEqual(fs.readdirSync(where.root, { recursive: true }).sort(), before);
    assert.equal(site(where.root, c), 'good');
  });

  test('is compared with what is really there: drift', async () => {
    const c = await component();
    const where = await estate({ labels: ['on=one'] });
    const one = await release(c, 'good');
    await deployed(one, where);
    const [target] = where.targets;
    const drift = async () => {
      const { hasDrift, differences } = await api.want(200, 'GET', `/targets/${target.id}/drift`);
      return [hasDrift, differences.map((d) => d.kind).sort()];
    };
    assert.deepEqual(await drift(), [false, []]);
    const folder = path.join(target.root, 'releases', one.name);
    fs.renameSync(path.join(folder, c.name), path.join(folder, 'somewhere-else'));
    fs.rmSync(path.join(target.root, 'version.json'));
    assert.deepEqual(await drift(), [true, ['missing', 'sticker_missing', 'unexpected']]);
    await deployed(one, where, { redeploy: true }); // deploying it once more puts it right
    assert.equal(site(target.root, c), 'good');
    assert.deepEqual(await drift(), [false, []]);
  });

  test('whose hook fails leaves the old release and its sticker', async () => {
    const c = await component();
    const where = await estate({
      labels: ['on=one'], strategyConfig: { failureBehavior: 'continue' },
      hooks: { postDeploy: ['/bin/sh', '-c', 'case $SLIPWAY_RELEASE in *-bad) echo no; exit 3;; esac'] },
    });
    const one = await release(c, 'good');
    await deployed(one, where);
    const before = sticker(where.root);
    const bad = await release(c, 'bad');
    const named = await api.want(201, 'POST', '/releases', { name: `${bad.name}-bad`, components: bad.components.map((x) => ({ componentId: x.componentId, versionId: x.versionId })) });
    const { job } = await begin(named, where);
    await jobReaches(api, job, 'failed');
    const task = await deployTask(job);
    assert.equal(task.error.type, 'hook_failed');
    assert.match(task.error.message, /postDeploy hook \(\/bin\/sh\) failed: it ended with exit status 3/);
    assert.equal(site(where.root, c), 'good');
    assert.deepEqual(sticker(where.root), before);
  });

  test('that is cancelled in the hook leaves the old release, and no process', async () => {
    const c = await component();
    const hook = stuck(s.nest);
    const where = await estate({ labels: ['on=one'] });
    const one = await release(c, 'good');
    await deployed(one, where);
    const template = await makeTemplate(api, [{ id: 'deploy', type: 'deploy', config: { hooks: { postDeploy: hook.argv } } }]);
    await api.want(200, 'PATCH', `/environments/${where.environment.id}`, { config: { deploymentTemplate: template.name } });
    const { run, job } = await begin(await release(c, 'new'), where);
    const pid = await pidIn(hook.file);
    assert.equal(site(where.root, c), 'new');
    await api.want(200, 'POST', `/workflow-runs/${run.id}/cancel`, {});
    await jobReaches(api, job, 'cancelled');
    assert.equal(site(where.root, c), 'good');
    assert.equal(sticker(where.root).release.id, one.id);
    await eventually(() => !alive(pid), 'the hook to end');
  });
});

/** In front of the server: it goes away in the middle of an artifact, `times` times. */
class Cutting extends Proxy {
  constructor(server, times) {
    super(() => ({ host: server.host, port: server.port }));
    Object.assign(this, { times, cuts: 0 });
  }

  filter(piece, way) {
    const { client } = way.link;
    if (way.to !== client || this.cuts === this.times || !piece.includes('application/octet-stream')) return super.filter(piece, way);
    this.cuts++;
    setImmediate(() => client.destroySoon());
    return piece.subarray(0, -1);
  }
}

test('a server that goes away in the middle of an artifact costs the deployment no attempt', async () => {
  const zone = unique('zone');
  proxy = await new Cutting(s.server, 2).start();
  await s.addAgent('cut', { labels: { zone }, server: { url: `http://127.0.0.1:${proxy.port}` } });
  const c = await component(), where = await estate({ labels: [`zone=${zone}`] }), bytes = tarball('whole');
  const digest = `sha256:${crypto.createHash('sha256').update(bytes).digest('hex')}`;
  const version = await api.want(201, 'POST', `/components/${c.id}/versions`, { tag: 'v', digest });
  const at = `/components/${c.id}/versions/${version.id}/artifact`;
  await api.want(201, 'PUT', at, undefined, { raw: bytes, headers: { 'content-type': 'application/octet-stream' } });
  const job = await deployed(await api.want(201, 'POST', '/releases', { name: unique('r'), components: [{ componentId: c.id, versionId: version.id }] }), where);
  assert.equal(site(where.root, c), 'whole');
  assert.deepEqual([proxy.cuts, (await deployTask(job)).attempt], [2, 1]);
});

test('a task that is killed in its hook, with its agent, is done again and ends as it should', async () => {
  const c = await component();
  const agent = await s.addAgent('fragile', { args: ['--outbound-allow', '127.0.0.0/8'], labels: { on: 'fragile' } });
  const gate = new Gate(s.nest), hook = stuck(s.nest, gate);
  const where = await estate({ labels: ['on=fragile'], hooks: { postDeploy: hook.argv } });
  gate.open();
  const one = await release(c, 'good');
  await deployed(one, where);
  fs.rmSync(gate.path);
  fs.rmSync(hook.file);
  const two = await release(c, 'new');
  const { run, job } = await begin(two, where);
  const pid = await pidIn(hook.file);
  fs.rmSync(hook.file);
  const [folder] = fs.readdirSync(`${agent.data}/tasks`).filter((name) => name.startsWith(job.id));
  const { parent } = JSON.parse(fs.readFileSync(`${agent.data}/tasks/${folder}/started`, 'utf8'));
  await agent.kill();
  process.kill(parent, 'SIGKILL'); // and the kernel kills what it was doing
  await eventually(() => !alive(pid), 'the hook to be killed');
  assert.equal(site(where.root, c), 'new'); // whole, but not known to be good
  await agent.start();
  await pidIn(hook.file);
  gate.open();
  await jobReaches(api, job, 'succeeded');
  await reaches(api, run, 'succeeded');
  assert.equal(site(where.root, c), 'new');
  assert.equal(sticker(where.root).release.id, two.id);
  assert.equal((await deployTask(job)).attempt, 2);
});
