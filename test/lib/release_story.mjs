// The story of a release, told with nothing but HTTP and WebSocket against real processes: a small web site goes out to two
// environments on this host, served by nginx, over three agents; a sick version is rolled back by itself; the server is
// killed in the middle of every deployment. Used by `make demo` and test/scenario/release_story.test.mjs.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import { figures } from './figures.mjs';
import { judgeAnswer } from './contract.mjs';
import { ROOT, run } from './process.mjs';
import { Agent, start } from './slipway.mjs';
import { Watcher, WsStream } from './stream.mjs';
import { Mismatch, expect } from './story.mjs';
import { eventually } from './wait.mjs';

/** A port of this host that nothing listens on now, and that no outgoing connection is given. */
function freePort() {
  return new Promise((resolve, reject) => {
    const tried = (tries) => {
      const port = 10240 + Math.floor(Math.random() * 20000);
      const server = net.createServer();
      server.once('error', (error) => (tries > 0 ? tried(tries - 1) : reject(error)));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)));
    };
    tried(50);
  });
}

const fetchText = async (url) => {
  const answer = await fetch(url);
  return `${answer.status} ${(await answer.text()).trim()}`;
};

/** breaks: 'upload': the bytes of an artifact are changed on their way. */
export class ReleaseStory {
  constructor({ breaks } = {}) {
    this.breaks = breaks;
    this.targets = [];
  }

  async close() {
    for (const target of this.targets)
      await run(`${target.path}/current/site/bin/serve`, ['stop'], { env: { SLIPWAY_ROOT: target.path, SLIPWAY_PORT: String(target.port) } }).catch(() => {});
    await this.s?.stop();
  }

  steps() {
    return [
      ['the server starts on its own Redis, and three agents join', () => this.begin()],
      ['two environments get their targets', () => this.inventory()],
      ['three versions of the site are uploaded, their digests checked', () => this.versions()],
      ['releases freeze the digests', () => this.releases()],
      ['a template deploys, then fetches what was deployed', () => this.templates()],
      ['the first release goes to dev, watched live, the server killed in the middle', () => this.promoteDev('1.0.0')],
      ['it goes to prod over three agents, the server killed in the middle', () => this.promoteProd('1.0.0')],
      ['the second release may not skip dev', () => this.orderRule()],
      ['the second release goes to dev and to prod', () => this.second()],
      ['a sick version is rolled back, on disk and over HTTP', () => this.sick()],
      ['stickers and drift tell the truth', () => this.truth()],
      ['a rollback by hand brings the first release back to prod', () => this.rollback()],
      ['the history shows when what reached where', () => this.history()],
      ['the audit trail has it all and verifies', () => this.audited()],
    ];
  }

  async begin() {
    this.s = await start({ name: 'release', redis: 'embedded', env: { SLIPWAY_OUTBOUND_ALLOW: '127.0.0.0/8' } });
    this.api = this.s.api;
    this.agents = ['alpha', 'beta', 'gamma'].map((name) => new Agent(this.s, name, { labels: { zone: name } }));
    this.s.agents.push(...this.agents);
    for (const agent of this.agents) await agent.start();
    const documents = await Promise.all(this.agents.map((agent) => agent.online()));
    for (const d of documents) expect(`${d.name} can deploy`, d.capabilities.includes('host'), true);
    return `server=${this.s.server.process.pid} agents=${this.agents.map((a) => a.process.pid)}`;
  }

  async inventory() {
    const { api } = this;
    this.dev = await api.want(201, 'POST', '/environments', { name: 'dev', orderIndex: 0 });
    this.prod = await api.want(201, 'POST', '/environments', { name: 'prod', orderIndex: 1 });
    for (const [name, environment, agent] of [['dev-1', this.dev, 0], ['prod-1', this.prod, 0], ['prod-2', this.prod, 1], ['prod-3', this.prod, 2]]) {
      const port = await freePort(), path = this.s.nest.file(name);
      fs.mkdirSync(path);
      const target = await api.want(201, 'POST', '/targets', {
        name, environmentId: environment.id, type: 'host', agentId: this.agents[agent].id, connection: { path, port },
      });
      this.targets.push({ ...target, path, port, environment });
    }
    const list = await api.get('/targets', { query: { environmentId: this.prod.id } });
    expect('targets of prod', list.data.map((t) => t.name).sort(), ['prod-1', 'prod-2', 'prod-3']);
    return `ports=${this.targets.map((t) => t.port)}`;
  }

  at(environment) {
    return this.targets.filter((t) => t.environment.id === environment.id);
  }

  async versions() {
    const { api } = this;
    this.component = await api.want(201, 'POST', '/components', { name: 'site', deploymentTemplate: 'release' });
    this.digests = {};
    for (const version of ['1.0.0', '1.1.0', '1.2.0']) {
      const file = this.s.nest.file(`site-${version}.tar.gz`);
      const packed = await run(`${ROOT}/deploy/example/pack`, [version, file, ...(version === '1.2.0' ? ['--sick'] : [])]);
      expect('pack', packed.code, 0);
      const digest = packed.stdout.trim();
      const added = await api.want(201, 'POST', `/components/${this.component.id}/versions`, { tag: version, digest });
      const path = `/components/${this.component.id}/versions/${added.id}/artifact`;
      const bytes = fs.readFileSync(file);
      const refused = await this.upload(path, Buffer.concat([bytes, Buffer.from('x')]));
      expect('other bytes are refused', refused.status, 422);
      const stored = await this.upload(path, this.breaks === 'upload' ? bytes.subarray(1) : bytes);
      expect('status of the upload', stored.status, 201);
      expect('what is kept', stored.body.data.contentHash, digest);
      const back = await this.download(path);
      expect('what comes back', `sha256:${createHash('sha256').update(back).digest('hex')}`, digest);
      this.digests[version] = digest;
    }
    return Object.entries(this.digests).map(([v, d]) => `${v}=${d.slice(7, 15)}…`).join(' ');
  }

  async upload(path, bytes) {
    const answer = await fetch(`${this.s.server.url}/api/v1${path}`, {
      method: 'PUT', body: bytes, headers: { authorization: `Bearer ${this.s.key}`, 'content-type': 'application/octet-stream' },
    });
    const text = await answer.text();
    await judgeAnswer(this.s.server, 'PUT', `/api/v1${path}`, { status: answer.status, headers: Object.fromEntries(answer.headers), text });
    return { status: answer.status, body: JSON.parse(text) };
  }

  async download(path) {
    const answer = await fetch(`${this.s.server.url}/api/v1${path}`, { headers: { authorization: `Bearer ${this.s.key}` } });
    const bytes = Buffer.from(await answer.arrayBuffer());
    await judgeAnswer(this.s.server, 'GET', `/api/v1${path}`, { status: answer.status, headers: Object.fromEntries(answer.headers), text: bytes.toString('latin1') });
    return bytes;
  }

  async releases() {
    this.release = {};
    for (const version of Object.keys(this.digests)) {
      this.release[version] = await this.api.want(201, 'POST', '/releases', {
        name: `site-${version}`, components: [{ componentId: this.component.id, tag: version }],
      });
      expect('the digest of the release', this.release[version].components[0].digest, this.digests[version]);
    }
    const compared = await this.api.want(200, 'GET', `/releases/${this.release['1.0.0'].id}/compare/${this.release['1.1.0'].id}`);
    expect('what changes between the two', compared.changed.map((c) => c.semverChange), ['minor']);
    return `contentHash=${this.release['1.0.0'].contentHash.slice(0, 15)}… change=${compared.changed[0].semverChange}`;
  }

  gate(environment, version) {
    return this.s.nest.file(`go-${environment}-site-${version}`);
  }

  async templates() {
    const wait = `while [ -n "$SLIPWAY_RELEASE" ] && [ ! -e '${this.s.nest.file('go')}'-"$SLIPWAY_ENVIRONMENT-$SLIPWAY_RELEASE" ]; do sleep 0.05; done`;
    const [dev] = this.at(this.dev);
    this.template = await this.api.want(201, 'POST', '/workflow-templates', {
      name: 'release', status: 'active',
      nodes: [
        { id: 'deploy', type: 'deploy', config: {
          strategy: 'rolling',
          strategyConfig: { batchSize: 1, healthCheck: { type: 'http', path: '/health', timeout: 5, retries: 2, interval: 1 }, failureBehavior: 'rollback' },
          hooks: { preDeploy: ['sh', '-c', wait], postDeploy: ['site/bin/serve'] },
        } },
        { id: 'look', type: 'health-check', config: { type: 'http', port: dev.port, path: '/version.txt', labels: { zone: 'alpha' } } },
      ],
      edges: [{ from: 'deploy', to: 'look' }],
    });
    return `id=${this.template.id} nodes=${this.template.nodes.map((n) => n.type)}`;
  }

  /** Promotes, kills the server when the first task of the job runs, and answers what was seen once all is over. */
  async promote(environment, version) {
    const { api, s } = this;
    this.dashboard ??= new Watcher(s.server, '/dashboard/stream', { token: s.key });
    const promotion = await api.want(201, 'POST', '/promotions', {
      releaseId: this.release[version].id, targetEnvironmentId: environment.id, reason: `the story promotes ${version}`,
    });
    expect('a new promotion', promotion.status, 'pending');
    const started = await this.promotionUntil(promotion, (p) => p.workflowRunId && p.deploymentJobId, 'to have its run and its job');
    const [workflow, job] = [`/workflow-runs/${started.workflowRunId}/stream`, `/deployment-jobs/${started.deploymentJobId}/stream`]
      .map((path) => new Watcher(s.server, path, { token: s.key }));
    const first = await job.until((w) => w.events.find((e) => e.type === 'task_started'), 'a task to start');
    await s.server.kill();
    fs.writeFileSync(this.gate(environment.name, version), '');
    await s.server.start();
    const ended = await this.promotionUntil(promotion, (p) => p.completedAt, 'to end');
    await Promise.all([workflow.done, job.done]);
    await this.dashboard.until((w) => w.events.find((e) => e.type === 'promotion_updated' && e.promotionId === promotion.id && e.status === ended.status),
      `the dashboard to show the promotion ${ended.status}`);
    await this.counted();
    return { promotion: ended, workflow, job, killedAt: first.seq };
  }

  /** Whoever opens the dashboard now finds every agent and target, and nothing under way. */
  async counted() {
    const wanted = {
      releaseOperations: { inFlight: 0, queued: 0, pendingApproval: 0 },
      deployments: { running: 0, paused: 0, rollingBack: 0 },
      runs: { running: 0, waiting: 0, paused: 0 },
      estate: { agentsOnline: this.agents.length, targetsTotal: this.targets.length },
    };
    const stream = new WsStream(this.s.server, '/dashboard/stream', { token: this.s.key });
    const holds = (now) => Object.entries(wanted).every(([group, members]) =>
      Object.entries(members).every(([name, n]) => now?.[group]?.[name] === n));
    await stream.until(() => holds(figures(stream)), `the dashboard to count ${JSON.stringify(wanted)}`).finally(() => stream.close());
  }

  promotionUntil(promotion, condition, what) {
    return eventually(async () => {
      const now = await this.api.want(200, 'GET', `/promotions/${promotion.id}`);
      return condition(now) ? now : [false, JSON.stringify(now)];
    }, `promotion ${promotion.id} ${what}`);
  }

  async serves(environment, version) {
    for (const target of this.at(environment)) {
      expect(`what ${target.name} serves`, await fetchText(`http://127.0.0.1:${target.port}/version.txt`), `200 ${version}`);
      expect(`the link of ${target.name}`, fs.readlinkSync(`${target.path}/current`), `releases/site-${version}`);
    }
  }

  /** With what its steps say when it is not. */
  async deployed(promotion, job) {
    if (promotion.status === 'deployed') return;
    const steps = await this.api.want(200, 'GET', `/workflow-runs/${promotion.workflowRunId}/steps`);
    const failures = job.events.filter((e) => e.type === 'task_log' || e.error || e.status === 'failed').slice(-40);
    expect('the promotion', JSON.stringify([promotion.status, promotion.error, steps, failures], null, 1), 'deployed');
  }

  async promoteDev(version) {
    const { promotion, workflow, job, killedAt } = await this.promote(this.dev, version);
    await this.deployed(promotion, job);
    expect('the workflow', workflow.events.at(-1).status, 'succeeded');
    expect('the job', job.events.at(-1).status, 'succeeded');
    await this.serves(this.dev, version);
    return `killed at job seq=${killedAt}, workflow events=${workflow.events.length} job events=${job.events.length}, http=200 ${version}`;
  }

  async promoteProd(version) {
    const { promotion, job, killedAt } = await this.promote(this.prod, version);
    await this.deployed(promotion, job);
    const done = job.events.filter((e) => e.type === 'batch_completed').map((e) => e.batch);
    expect('batches, one after another', done.length, 3);
    const agents = new Set(job.events.filter((e) => e.type === 'task_assigned').map((e) => e.agentId));
    expect('agents that took part', [...agents].sort(), this.agents.map((a) => a.id).sort());
    await this.serves(this.prod, version);
    return `killed at job seq=${killedAt}, batches=${done} agents=${agents.size}, 3 sites at ${version}`;
  }

  async orderRule() {
    const answer = await this.api.post('/promotions', { releaseId: this.release['1.1.0'].id, targetEnvironmentId: this.prod.id, reason: 'in a hurry' });
    expect('status and code', [answer.status, answer.code], [422, 'PROM_SOURCE_NOT_DEPLOYED']);
    return `status=422 code=${answer.code}`;
  }

  async second() {
    await this.promoteDev('1.1.0');
    return this.promoteProd('1.1.0');
  }

  async sick() {
    const { promotion, job, killedAt } = await this.promote(this.dev, '1.2.0');
    expect('the promotion', promotion.status, 'rolled_back');
    const late = await this.api.post(`/promotions/${promotion.id}/cancel`, {});
    expect('cancelling it now', [late.status, late.code, late.error.details.currentState, late.error.details.allowedActions], [409, 'RES_INVALID_STATE', 'rolled_back', []]);
    const back = job.events.find((e) => e.type === 'rollback_started');
    if (!back) throw new Mismatch('the job rolls back', 'rollback_started', job.events.map((e) => e.type));
    expect('the job', job.events.at(-1).status, 'rolled_back');
    await this.serves(this.dev, '1.1.0');
    const [target] = this.at(this.dev);
    expect('health over HTTP', await fetchText(`http://127.0.0.1:${target.port}/health`), '200 well');
    return `killed at job seq=${killedAt}, ${back.reason}; http=200 1.1.0`;
  }

  async truth() {
    const [target] = this.at(this.dev);
    const sticker = await eventually(async () => {
      const now = await this.api.want(200, 'GET', `/targets/${target.id}/sticker`);
      return now.content.release.name === 'site-1.1.0' ? now : [false, JSON.stringify(now)];
    }, 'the sticker to name the release');
    const clean = await this.api.want(200, 'GET', `/targets/${target.id}/drift`);
    expect('drift', clean.hasDrift, false);
    fs.rmSync(`${target.path}/version.json`);
    const drifted = await this.api.want(200, 'GET', `/targets/${target.id}/drift`);
    expect('drift without a sticker', [drifted.hasDrift, drifted.differences.map((d) => d.kind)], [true, ['sticker_missing']]);
    return `sticker of ${sticker.content.release.name}, observed ${sticker.observedAt}; drift=${drifted.differences.map((d) => d.kind)}`;
  }

  async rollback() {
    const made = await this.api.want(201, 'POST', '/rollbacks', { environmentId: this.prod.id, reason: 'the story goes back' });
    fs.writeFileSync(this.gate('prod', '1.0.0'), '');
    const ended = await eventually(async () => {
      const now = await this.api.want(200, 'GET', `/rollbacks/${made.id}`);
      return now.finishedAt ? now : [false, JSON.stringify(now)];
    }, 'the rollback to end');
    expect('the rollback', ended.status, 'succeeded');
    await this.counted();
    await this.serves(this.prod, '1.0.0');
    return `job=${ended.newDeploymentJobId} status=${ended.status}, 3 sites at 1.0.0`;
  }

  async history() {
    const state = await this.api.want(200, 'GET', `/releases/${this.release['1.0.0'].id}/state`);
    const prod = state.environments.find((e) => e.environmentName === 'prod');
    expect('the first release in prod', prod.state, 'deployed');
    const environments = await this.api.get('/environments', { query: { includeState: 'true' } });
    const current = Object.fromEntries(environments.data.map((e) => [e.name, e.currentRelease?.name]));
    expect('what is where', current, { dev: 'site-1.1.0', prod: 'site-1.0.0' });
    const jobs = await this.api.get('/deployment-jobs', { query: { environmentId: this.prod.id, pageSize: '100' } });
    const back = jobs.data.filter((j) => j.rollbackOf);
    expect('jobs that were rollbacks', back.length, 1);
    return `prod=${current.prod} since ${prod.deployedAt}, jobs=${jobs.data.length} of them rollbacks=${back.length}`;
  }

  async audited() {
    const verified = await eventually(async () => {
      const now = await this.api.want(200, 'GET', '/audit-events/verify');
      return now.valid && now;
    }, 'the chain to verify');
    const list = await this.api.get('/audit-events', { query: { pageSize: '100' } });
    return `entries=${list.body.meta.pagination.totalItems} valid=${verified.valid}`;
  }
}
