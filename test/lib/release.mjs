// What tests of releases start from: a component with uploaded versions, releases, environments with targets on this host.
import fs from 'node:fs';
import { judgeAnswer } from './contract.mjs';
import { run } from './process.mjs';
import { unique } from './run.mjs';
import { eventually } from './wait.mjs';

const over = ['succeeded', 'failed', 'cancelled', 'rolled_back', 'rollback_failed'];

/** A tarball with the given files ({name: text}); answers {file, digest}. */
export async function pack(nest, files) {
  const folder = nest.file(unique('content')), file = `${folder}.tar.gz`;
  for (const [name, text] of Object.entries(files)) {
    const path = `${folder}/${name}`;
    fs.mkdirSync(path.slice(0, path.lastIndexOf('/')), { recursive: true });
    fs.writeFileSync(path, text, { mode: text.startsWith('#!') ? 0o755 : 0o644 });
  }
  const packed = await run('tar', ['-C', folder, '-czf', file, '.']);
  if (packed.code !== 0) throw new Error(packed.stderr);
  const digest = (await run('sha256sum', [file])).stdout.split(' ')[0];
  return { file, digest: `sha256:${digest}` };
}

/** Puts a file's bytes to a path; answers {status, body}. */
export async function upload(s, path, file) {
  const answer = await fetch(`${s.server.url}/api/v1${path}`, {
    method: 'PUT', body: fs.readFileSync(file), headers: { authorization: `Bearer ${s.key}`, 'content-type': 'application/octet-stream' },
  });
  const text = await answer.text();
  await judgeAnswer(s.server, 'PUT', `/api/v1${path}`, { status: answer.status, headers: Object.fromEntries(answer.headers), text });
  return { status: answer.status, body: JSON.parse(text) };
}

/** A version of a component with its artifact. */
export async function addVersion(s, component, tag, files) {
  const { file, digest } = await pack(s.nest, files);
  const version = await s.api.want(201, 'POST', `/components/${component.id}/versions`, { tag, digest });
  const stored = await upload(s, `/components/${component.id}/versions/${version.id}/artifact`, file);
  if (stored.status !== 201) throw new Error(`upload: ${stored.status} ${JSON.stringify(stored.body)}`);
  return version;
}

/** A release of one version of one component. */
export const makeRelease = (s, component, tag) =>
  s.api.want(201, 'POST', '/releases', { name: unique(`${component.name}-${tag}`), components: [{ componentId: component.id, tag }] });

/** Targets of an environment, each a folder of its own; `more(i)` adds members. */
export async function makeTargets(s, environment, count, more = () => ({})) {
  const targets = [];
  for (let i = 1; i <= count; i++) {
    const name = `t${String(i).padStart(3, '0')}`, path = s.nest.file(unique(name));
    fs.mkdirSync(path);
    const { connection, ...rest } = more(i);
    targets.push(await s.api.want(201, 'POST', '/targets', {
      name, environmentId: environment.id, type: 'host', connection: { path, ...connection }, ...rest,
    }));
  }
  return targets;
}

/** An active template with one deploy step. */
export const makeDeployTemplate = (s, config = {}, more = {}) =>
  s.api.want(201, 'POST', '/workflow-templates', { name: unique('deploy'), status: 'active', nodes: [{ id: 'deploy', type: 'deploy', config }], ...more });

export const promote = (s, release, environment, more = {}) =>
  s.api.want(201, 'POST', '/promotions', { releaseId: release.id, targetEnvironmentId: environment.id, reason: 'a test promotes it', ...more });

/** Waits until the promotion is in one of the states; shows it when it does not get there. */
export function promotionReaches(s, promotion, ...states) {
  return eventually(async () => {
    const now = await s.api.want(200, 'GET', `/promotions/${promotion.id}`);
    return states.includes(now.status) ? now : [false, JSON.stringify(now)];
  }, `promotion ${promotion.id} to be ${states.join(' or ')}`);
}

/** Waits until the promotion has a job; answers the job. */
export async function jobOf(s, promotion) {
  const { deploymentJobId } = await eventually(async () => {
    const now = await s.api.want(200, 'GET', `/promotions/${promotion.id}`);
    return now.deploymentJobId ? now : [false, JSON.stringify(now)];
  }, `promotion ${promotion.id} to have a job`);
  return s.api.want(200, 'GET', `/deployment-jobs/${deploymentJobId}`);
}

export function jobReaches(s, job, ...states) {
  return eventually(async () => {
    const now = await s.api.want(200, 'GET', `/deployment-jobs/${job.id}`);
    if (states.includes(now.status)) return now;
    return [false, JSON.stringify(now)];
  }, `job ${job.id} to be ${states.join(' or ')}`);
}

export const jobEnds = (s, job) => jobReaches(s, job, ...over);

export async function tasksOf(s, job, query = {}) {
  const tasks = [];
  for (let page = 1; ; page++) {
    const answer = await s.api.get(`/deployment-jobs/${job.id}/tasks`, { query: { pageSize: '100', page: String(page), ...query } });
    if (answer.status !== 200) throw new Error(`tasks: ${answer.status} ${answer.text}`);
    tasks.push(...answer.data);
    if (tasks.length >= answer.body.meta.pagination.totalItems) return tasks;
  }
}
