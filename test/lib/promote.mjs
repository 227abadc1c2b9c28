// What promotions are made of: components with versions, releases, environments in an order, and workflows that take as long
// as a test wants.
import { makeTemplate, unique, wait } from './run.mjs';
import { eventually } from './wait.mjs';

export const digest = (n) => `sha256:${n.toString(16).padStart(64, '0')}`;
const OVER = ['deployed', 'rejected', 'cancelled', 'failed', 'rolled_back'];
let serial = 0;

/** One product: its component, its releases, its environments. Each test makes its own, so that none is in another's way. */
export class Product {
  constructor(api) {
    this.api = api;
    this.name = unique('site');
  }

  async component() {
    this.made ??= this.api.want(201, 'POST', '/components', { name: this.name });
    return this.made;
  }

  async release(more = {}) {
    const component = await this.component(), tag = `1.0.${++serial}`;
    await this.api.want(201, 'POST', `/components/${component.id}/versions`, { tag, digest: digest(serial) });
    return this.api.want(201, 'POST', '/releases', { name: unique(this.name), components: [{ componentId: component.id, tag }], ...more });
  }

  /** Workflows: quick ends at once, slow when it is cancelled, bad fails. */
  async workflow(kind) {
    const nodes = {
      quick: [wait('deploy', 0)],
      slow: [wait('deploy', 3600)],
      bad: [{ id: 'deploy', type: 'http-request', config: { url: 'http://127.0.0.1:1/' } }],
    }[kind];
    this.workflows ??= {};
    return (this.workflows[kind] ??= makeTemplate(this.api, nodes));
  }

  /** The first is the lowest: orders go up from what is there. */
  async environment(kind = 'quick', more = {}) {
    const { name } = await this.workflow(kind);
    return this.api.want(201, 'POST', '/environments', { name: unique('env'), ...more, config: { deploymentTemplate: name, ...more.config } });
  }

  body(release, environment, more = {}) {
    return { releaseId: release.id, targetEnvironmentId: environment.id, reason: 'it is time', ...more };
  }

  ask(release, environment, more = {}, api = this.api) {
    return api.post('/promotions', this.body(release, environment, more));
  }

  promote(release, environment, more = {}, api = this.api) {
    return api.want(201, 'POST', '/promotions', this.body(release, environment, more));
  }

  /** Into a first environment of its own order: nothing comes before what was skipped. */
  skip(release, environment, more = {}, api = this.api) {
    return this.promote(release, environment, { skipOrderReason: 'a test', ...more }, api);
  }

  /** Waits until the promotion has one of the states; ends at once when it is over in another one. */
  async until(promotion, ...states) {
    class Wrong extends Error {}
    return eventually(async () => {
      const { data } = await this.api.get(`/promotions/${promotion.id}`);
      if (states.includes(data.status)) return data;
      if (OVER.includes(data.status)) throw new Wrong(`it is ${data.status}, not ${states}: ${JSON.stringify(data)}`);
      return [false, data];
    }, `promotion ${promotion.id} to be ${states}`, { stopOn: Wrong });
  }

  async deploy(release, environment, more = {}) {
    return this.until(await this.skip(release, environment, more), 'deployed');
  }

  freeze(environment, more = {}) {
    return this.api.want(201, 'POST', `/environments/${environment.id}/freeze-windows`, {
      start: new Date(Date.now() - 60_000).toISOString(), end: new Date(Date.now() + 3600_000).toISOString(), reason: 'holidays', ...more,
    });
  }

  thaw(environment, window) {
    return this.api.want(204, 'DELETE', `/environments/${environment.id}/freeze-windows/${window.id}`);
  }

  async state(environment) {
    return (await this.api.get(`/environments/${environment.id}`, { query: { includeState: 'true' } })).data.currentRelease;
  }
}
