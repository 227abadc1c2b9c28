// Templates and runs for tests, and gates: files that a script waits for, so that a test decides when it goes on.
import fs from 'node:fs';
import { Unmet, eventually } from './wait.mjs';

let serial = 0;
export const unique = (name) => `${name}-${process.pid}-${++serial}`;

/** A node that runs a shell script on an agent. */
export const script = (id, text, more = {}) => {
  const { env, labels, ...rest } = more;
  return { id, type: 'script', config: { command: ['sh', '-c', text], ...(env && { env }), ...(labels && { labels }) }, ...rest };
};

export const wait = (id, seconds, more = {}) => ({ id, type: 'wait', config: { seconds }, ...more });

export const chain = (...ids) => ids.slice(1).map((to, i) => ({ from: ids[i], to }));

export async function makeTemplate(api, nodes, edges = [], more = {}) {
  return api.want(201, 'POST', '/workflow-templates', { name: unique('template'), status: 'active', nodes, edges, ...more });
}

export async function startRun(api, template, more = {}) {
  return api.want(201, 'POST', '/workflow-runs', { templateId: template.id, ...more });
}

/** A run of a template made for it. */
export async function run(api, nodes, edges = [], more = {}) {
  return startRun(api, await makeTemplate(api, nodes, edges, more));
}

export const streamOf = (r) => `/workflow-runs/${r.id}/stream`;

const OVER = ['succeeded', 'failed', 'cancelled'];

/** Waits until the run is in one of the states; fails at once when it ends in another. */
export async function reaches(api, r, ...states) {
  return eventually(async () => {
    const now = await api.want(200, 'GET', `/workflow-runs/${r.id}`);
    if (states.includes(now.status)) return now;
    if (OVER.includes(now.status)) {
      const steps = await api.want(200, 'GET', `/workflow-runs/${r.id}/steps`);
      throw new Ended(`the run ended ${now.status} instead of ${states}: ${JSON.stringify(now.error)} ${JSON.stringify(steps.map((s) => [s.nodeId, s.status, s.error]))}`);
    }
    return [false, now.status];
  }, `run ${r.id} to be ${states.join(' or ')}`, { stopOn: Ended });
}

/** A run that goes on until it is released, without an agent. */
export async function holding(api) {
  const r = await run(api, [wait('hold', 3600)]);
  r.release = async () => {
    await api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, {});
    await reaches(api, r, 'cancelled');
  };
  return r;
}

class Ended extends Unmet {}

export class Gate {
  constructor(nest, name = unique('gate')) {
    this.path = nest.file(name);
    /** Shell text that waits until the gate is open. */
    this.shell = `while [ ! -e '${this.path}' ]; do sleep 0.02; done`;
  }

  open() {
    fs.writeFileSync(this.path, '');
  }
}
