// A running Slipway: Redis, one or more server instances and agents, all real processes in one temporary folder.
//
//     const s = await start({ workers: 2 });   after(() => s.stop());
//     const env = await s.api.want(201, 'POST', '/environments', { name: 'prod' });
import fs from 'node:fs';
import { AsyncApi, OpenApi } from './contract.mjs';
import { Client } from './http.mjs';
import { Nest, SLIPWAY, run } from './process.mjs';
import { Redis } from './redis.mjs';
import { eventually } from './wait.mjs';

/** A limit that a suite of tests does not reach. The limiter has tests of its own. */
const UNLIMITED = {
  SLIPWAY_RATE_STANDARD: '1000000', SLIPWAY_RATE_STANDARD_BURST: '1000000',
  SLIPWAY_RATE_PREMIUM: '1000000', SLIPWAY_RATE_PREMIUM_BURST: '1000000',
  SLIPWAY_RATE_ADDRESS: '1000000', SLIPWAY_RATE_ADDRESS_BURST: '1000000',
};

const documents = new Map(); // path -> promise of the judge: the documents depend on the binary alone

/** One instance of the server. */
export class Server {
  constructor(system, name, { args = [], env = {} } = {}) {
    Object.assign(this, { system, name, args, env });
    this.host = '127.0.0.1';
    this.port = 0;
    this.clients = system.clients;
    this.exchanges = system.exchanges;
    this.streams = system.streams;
    this.data = system.nest.file(name);
  }

  async start() {
    const listen = `${this.data}/listen`;
    fs.mkdirSync(this.data, { recursive: true });
    fs.rmSync(listen, { force: true });
    const first = this.system.server;
    const keyring = first === this ? [] : ['--keyring', `${first.data}/keyring`]; // instances share it
    this.process = this.launch([
      'serve', '--listen', `${this.host}:${this.port}`, '--data', this.data, '--redis', this.system.redisUrl,
      ...keyring, ...this.args,
    ], { env: { ...UNLIMITED, ...this.env } });
    const address = await eventually(() => {
      if (this.process.exited) throw new Error(`the server ended: ${JSON.stringify(this.process.exited)}`);
      const text = fs.readFileSync(listen, 'utf8');
      return /:\d+$/.test(text.trim()) && text.trim();
    }, `the server to write ${listen}`);
    this.port = Number(address.slice(address.lastIndexOf(':') + 1));
    await eventually(async () => (await this.client().request('GET', '/readyz', undefined, { absolute: true, unjudged: 'it may have no documents yet' })).status === 200,
      'the server to be ready');
    await Promise.all([this.openapi(), this.asyncapi()]); // while it is there: it may be killed before the first frame is judged
    return this;
  }

  launch(args, options) {
    return this.system.nest.start(this.name, SLIPWAY, args, options);
  }

  client(token) {
    return new Client(this, token);
  }

  get url() {
    return `http://${this.host}:${this.port}`;
  }

  openapi() {
    return this.document('/openapi.json', OpenApi);
  }

  asyncapi() {
    return this.document('/asyncapi.json', AsyncApi);
  }

  document(path, Judge) {
    if (!documents.has(path))
      documents.set(path, this.client().exchange('GET', path, { accept: 'application/json' }).then((answer) => {
        if (answer.status !== 200) throw new Error(`${path} answers ${answer.status}: ${answer.text.slice(0, 500)}`);
        return new Judge(answer.body);
      }));
    return documents.get(path);
  }

  kill() {
    return this.process.kill();
  }

  stop() {
    return this.process.stop();
  }
}

/** An agent program with a data folder of its own. */
export class Agent {
  /** server: whom it talks to, the first instance if nothing is said. */
  constructor(system, name, { args = [], env = {}, labels = {}, server = system.server } = {}) {
    Object.assign(this, { system, name, args, env, labels, server });
    this.data = system.nest.file(`agent-${name}`);
  }

  /** With a token on the first start; its own credentials afterwards. */
  async start({ server = this.server } = {}) {
    fs.mkdirSync(this.data, { recursive: true });
    const extra = [];
    if (!this.token) {
      const made = await this.system.api.want(201, 'POST', '/admin/agent-tokens', {});
      this.token = made.token;
      fs.writeFileSync(this.system.nest.file(`${this.name}.token`), `${made.token}\n`, { mode: 0o600 });
    }
    extra.push('--token-file', this.system.nest.file(`${this.name}.token`));
    const labels = Object.entries(this.labels).map(([k, v]) => `${k}=${v}`);
    if (labels.length) extra.push('--label', labels.join(','));
    this.process = this.system.nest.start(`agent-${this.name}`, SLIPWAY, [
      'agent', '--url', server.url, '--data', this.data, '--name', this.name, ...extra, ...this.args,
    ], { env: this.env });
    return this;
  }

  /** Waits until the server shows it online; answers its document. */
  async online() {
    return eventually(async () => {
      const { data } = await this.system.api.get('/agents', { query: { status: 'online', pageSize: '100' } });
      const found = data?.find((a) => a.name === this.name);
      if (found) this.id = found.id;
      return found;
    }, `agent ${this.name} to be online`);
  }

  kill() {
    return this.process.kill();
  }

  stop() {
    return this.process.stop();
  }
}

class System {
  constructor(name) {
    this.nest = new Nest(name);
    this.servers = [];
    this.agents = [];
    this.clients = [];
    this.streams = [];
    this.exchanges = [];
  }

  /** The first instance, and a client of it with the admin key. */
  get server() {
    return this.servers[0];
  }

  get api() {
    return (this.admin ??= this.server.client(this.key));
  }

  async addServer(options = {}) {
    const { Kind = Server } = options;
    const server = new Kind(this, options.name ?? `server${this.servers.length + 1}`, options);
    this.servers.push(server);
    await server.start();
    this.key ??= await eventually(() => fs.readFileSync(`${server.data}/admin.key`, 'utf8').trim(), 'the admin key');
    return server;
  }

  async addAgent(name = 'agent1', options = {}) {
    const agent = new Agent(this, name, options);
    this.agents.push(agent);
    await agent.start();
    await agent.online();
    return agent;
  }

  /** `slipway ARGS` with this system's data folder and Redis; answers {code, stdout, stderr}. */
  slipway(...args) {
    return run(SLIPWAY, args, { env: { SLIPWAY_DATA: this.server?.data ?? this.nest.file('data'), SLIPWAY_REDIS: this.redisUrl } });
  }

  /** A key of the tenant with other rights; see `slipway key create --help`. */
  async makeKey(...args) {
    const made = await this.slipway('key', 'create', ...args);
    if (made.code !== 0) throw new Error(`slipway key create ${args.join(' ')}: ${made.stderr}`);
    return made.stdout.trim().split(/\s+/).find((word) => word.startsWith('slp_'));
  }

  /** Ends everything that was started, in the order that needs no waiting, whatever state it is in. */
  async stop() {
    for (const stream of this.streams) stream.close();
    await Promise.all(this.streams.map((stream) => stream.judged));
    for (const client of this.clients) client.close();
    await this.nest.remove();
    const broken = this.streams.find((stream) => stream.fault?.name === 'Broken');
    if (broken) throw broken.fault; // also when no test looked at it any more
  }
}

/**
 * options: name, workers, args and env of the server, instances (1), redis: 'own' (a private one, the default),
 * 'embedded' or a URL; redisDir(nest): where the private one keeps its data; Kind: a class of Server's kind.
 */
export async function start({ name = 'test', workers = 2, args = [], env = {}, instances = 1, redis = 'own', redisDir, Kind } = {}) {
  const system = new System(name);
  try {
    if (redis === 'own') {
      system.redis = await new Redis(system.nest, 'redis', redisDir?.(system.nest)).start();
      system.redisUrl = system.redis.url;
    } else {
      system.redisUrl = redis;
    }
    for (let i = 0; i < instances; i++)
      await system.addServer({ args: ['--workers', String(workers), ...args], env, Kind });
    return system;
  } catch (error) {
    await system.stop();
    throw error;
  }
}
