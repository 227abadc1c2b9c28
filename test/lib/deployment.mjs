// What deployments need: an environment with targets, a release, an agent that plays its part, and promotions.
import { FakeAgent } from './agent.mjs';
import { unique } from './run.mjs';
import { Unmet, eventually } from './wait.mjs';

const digest = (n) => `sha256:${String(n).padStart(64, '0')}`;
let digests = 0;

/** An environment with targets a, b, ... that agents with its label serve. */
export async function makeEstate(api, targets = 2, more = {}) {
  const zone = unique('zone');
  const environment = await api.want(201, 'POST', '/environments', { name: unique('env'), config: { agentLabels: [`zone=${zone}`], ...more } });
  const made = [];
  for (let i = 0; i < targets; i++)
    made.push(await api.want(201, 'POST', '/targets', {
      environmentId: environment.id, name: String.fromCharCode(97 + i), type: 'host', connection: { path: `/srv/${zone}/${i}` },
    }));
  return { environment, targets: made, labels: { zone } };
}

/** A release of one component whose artifact is somewhere else; with `url` null nowhere at all. */
export async function makeRelease(api, { component, url = 'http://artifacts.invalid/site.tar' } = {}) {
  component ??= await api.want(201, 'POST', '/components', { name: unique('component') });
  const version = await api.want(201, 'POST', `/components/${component.id}/versions`, {
    tag: unique('v'), digest: digest(++digests), ...(url && { artifactUrl: url }),
  });
  const release = await api.want(201, 'POST', '/releases', { name: unique('release'), components: [{ componentId: component.id, versionId: version.id }] });
  return { ...release, component, version };
}

/** A promotion that nothing stands in the way of. */
export function promote(api, release, environment, more = {}) {
  return api.want(201, 'POST', '/promotions', {
    releaseId: release.id, targetEnvironmentId: environment.id, reason: 'a test', skipOrderReason: 'a test', ...more,
  });
}

/** The workflow run of a promotion, once there is one. */
export function runOf(api, promotion) {
  return eventually(async () => {
    const { workflowRunId: id, status, blockers } = await api.want(200, 'GET', `/promotions/${promotion.id}`);
    return [Boolean(id), id ? { id } : `${status} ${JSON.stringify(blockers)}`];
  }, `promotion ${promotion.id} to be deployed`);
}

/**
 * An agent that answers each task by what `play(task)` says: {success, errorType, error, retriable, outputs,
 * lines}, or nothing.
 */
export class HostAgent extends FakeAgent {
  async serve(labels, play = () => ({})) {
    await this.register({ labels, capabilities: ['host'] });
    await this.connect();
    this.tasks = [];
    let read = 0;
    const look = () => {
      for (; read < this.stream.frames.length; read++) {
        const frame = this.stream.frames[read];
        if (frame.type === 'task_assigned' && !this.tasks.some((t) => t.id === frame.task.id)) this.carryOut(frame.task, play).catch((error) => (this.fault ??= error));
      }
    };
    this.stream.waiting.add(look);
    look(); // at those that were there already
    return this;
  }

  async carryOut(task, play) {
    this.tasks.push(task);
    await this.tell('task_accepted', { taskId: task.id });
    await this.tell('task_started', { taskId: task.id, startedAt: new Date().toISOString(), pid: 4711 });
    const { lines = [], ...result } = (await play(task)) ?? {};
    const timestamp = new Date().toISOString();
    if (lines.length)
      await this.tell('task_log', { taskId: task.id, seq: 1, lines: lines.map((line) => ({ timestamp, level: 'info', stream: 'stdout', line })) });
    await this.tell('task_completed', {
      taskId: task.id, success: true, startedAt: timestamp, completedAt: timestamp, lines: lines.length, outputs: outputs(task), ...result,
    });
  }
}

function outputs({ type, payload }) {
  if (type === 'health-check') return { healthy: true, latencyMs: 1, samples: [] };
  const { release } = payload;
  return {
    releaseId: release?.id ?? null, digests: release?.components.map((c) => c.digest) ?? [], previous: null,
    sticker: release && { release: { id: release.id } }, contentHash: digest(0), unpacked: true,
  };
}

export const jobStream = (job) => `/deployment-jobs/${job.id}/stream`;
export const tasksOf = (api, job) => api.want(200, 'GET', `/deployment-jobs/${job.id}/tasks?pageSize=100`);

/** The job of a workflow run, once it is there. */
export function jobOf(api, run) {
  return eventually(async () => (await api.want(200, 'GET', `/deployment-jobs?workflowRunId=${run.id}`))[0], `a job of run ${run.id}`);
}

const OVER = ['succeeded', 'failed', 'cancelled', 'rolled_back', 'rollback_failed'];
class Ended extends Unmet {}

/** Waits until the job is in one of the states; fails at once when it ends in another. */
export function jobReaches(api, job, ...states) {
  return eventually(async () => {
    const now = await api.want(200, 'GET', `/deployment-jobs/${job.id}`);
    if (states.includes(now.status)) return now;
    if (OVER.includes(now.status))
      throw new Ended(`the job ended ${now.status} instead of ${states}: ${JSON.stringify(now.error)} ${JSON.stringify((await tasksOf(api, job)).map((t) => [t.id, t.status, t.error]))}`);
    return [false, now.status];
  }, `job ${job.id} to be ${states.join(' or ')}`, { stopOn: Ended });
}
