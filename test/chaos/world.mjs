// The room: two instances on one Redis, each behind a link to it and a link to its clients, two agents, and the load.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { makeCertificate } from '../lib/certificate.mjs';
import { Proxy, RedisProxy } from '../lib/proxy.mjs';
import { addVersion, jobOf, makeDeployTemplate, makeRelease, makeTargets, promote } from '../lib/release.mjs';
import { makeTemplate, script, startRun, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { Prober, Promoter, Reader, Writer } from './clients.mjs';
import { History, random } from './history.mjs';

const CHATTER = 'i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.05; done';

/** This machine has no small file system for us. */
export class NoDisk extends Error {}

export class World {
  /** disk: bytes of a file system of its own for Redis' data; 0: none. */
  constructor({ seed = 1, name = 'chaos', env = {}, workers = 1, disk = 0 } = {}) {
    Object.assign(this, { seed, name, env, workers, disk });
    this.draw = random(seed);
    this.history = new History();
    this.run = unique('w');
    this.loops = [];
  }

  async start() {
    const s = (this.s = await start({ name: this.name, instances: 0, redisDir: (nest) => this.mount(nest) }));
    const { cert, key } = await makeCertificate(s.nest, 'server');
    this.links = { redis: [], front: [] };
    for (const i of [0, 1]) {
      const link = await new RedisProxy(s.nest, s.redis.socket, `link${i}`).start();
      this.links.redis.push(link);
      const server = await s.addServer({ args: ['--workers', String(this.workers), '--redis', link.url, '--tls-listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key], env: this.env });
      this.links.front.push(await new Proxy({ host: server.host, port: server.port }).start());
    }
    for (const proxy of [...this.links.redis, ...this.links.front]) proxy.random = this.draw;
    this.judge = { openapi: () => s.server.openapi(), asyncapi: () => s.server.asyncapi() };
    this.key = s.key;
    this.places = s.servers.map(({ host, port }, i) => ({ name: 'AB'[i], instance: i, host, port }));
    this.linked = { name: 'A*', instance: 0, host: '127.0.0.1', port: this.links.front[0].port };
    await this.furnish();
    return this;
  }

  mount(nest) {
    if (!this.disk) return nest.dir;
    const dir = nest.file('disk');
    fs.mkdirSync(dir);
    const made = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${this.disk}`, 'tmpfs', dir], { encoding: 'utf8' });
    if (made.status !== 0) throw new NoDisk((made.error?.message ?? made.stderr).trim());
    this.unmount = () => {
      if (this.s) this.s.redis.process.signal('SIGKILL'); // it works there
      spawnSync('umount', ['-l', dir]);
    };
    process.prependListener('exit', this.unmount);
    return dir;
  }

  /** Agent one reaches A over a link, agent two reaches B; a run and a job that print lines without end. */
  async furnish() {
    const { s } = this;
    this.links.agent = [await new Proxy({ host: s.server.host, port: s.server.port }).start()];
    this.links.agent[0].random = this.draw;
    await s.addAgent('one', { labels: { zone: 'one' }, server: { url: `http://127.0.0.1:${this.links.agent[0].port}` } });
    await s.addAgent('two', { labels: { zone: 'two' }, server: s.servers[1] });
    this.template = await makeTemplate(s.api, [script('quick', 'echo done')]);
    const component = await s.api.want(201, 'POST', '/components', { name: 'app' });
    await addVersion(s, component, '1.0.0', { 'app.txt': 'one\n' });
    const release = await makeRelease(s, component, '1.0.0');
    const [environment, waiting] = await Promise.all(['busy', 'waiting'].map((name, i) =>
      s.api.want(201, 'POST', '/environments', { name, orderIndex: i, ...(i && { requiredApprovals: 1 }) })));
    this.scenery = { release, environment: waiting };
    const talk = await startRun(s.api, await makeTemplate(s.api, [script('talk', CHATTER, { labels: { zone: 'one' }, timeoutSeconds: 86400 })]));
    await makeTargets(s, environment, 1);
    const template = await makeDeployTemplate(s, { hooks: { preDeploy: ['sh', '-c', CHATTER], timeoutSeconds: 86400 } });
    const job = await jobOf(s, await promote(s, release, environment, { templateId: template.id, skipOrderReason: 'load' }));
    this.paths = { run: `/workflow-runs/${talk.id}/stream`, job: `/deployment-jobs/${job.id}/stream`, dashboard: '/dashboard/stream' };
  }

  /** The load begins; answers once every client has got somewhere. */
  async begin() {
    const { places: [a, b], linked, paths } = this;
    const reader = (name, place, kind, path, quiet) => new Reader(this, name, place, { kind, path, quiet });
    this.loops = [
      new Writer(this, 'writer-a', a), new Writer(this, 'writer-b', b), new Writer(this, 'writer-linked', linked),
      new Promoter(this, 'promoter', b), new Prober(this, 'probe-a', a), new Prober(this, 'probe-b', b),
      reader('run-ws-a', a, 'ws', paths.run), reader('run-sse-b', b, 'sse', paths.run),
      reader('run-ws-linked', linked, 'ws', paths.run), reader('run-sse-linked', linked, 'sse', paths.run),
      reader('job-sse-a', a, 'sse', paths.job), reader('job-ws-b', b, 'ws', paths.job),
      reader('dash-ws-a', a, 'ws', paths.dashboard, 6000), reader('dash-sse-b', b, 'sse', paths.dashboard, 6000),
    ].map((loop) => loop.run());
    await pause(1500);
  }

  /** Where the first instance speaks TLS. */
  get tlsPort() {
    return Number(fs.readFileSync(`${this.s.server.data}/listen.tls`, 'utf8').trim().split(':').at(-1));
  }

  get writers() {
    return this.loops.filter((loop) => loop instanceof Writer);
  }

  async stop() {
    await Promise.all(this.loops.map((loop) => loop.stop()));
    for (const proxy of Object.values(this.links ?? {}).flat()) proxy.stop();
    this.unmount?.();
    await this.s?.stop();
  }
}
