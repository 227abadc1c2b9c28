// Slipway as one of the servers that are measured: its processes, its data, and what is asked of it.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { makeCertificate } from '../lib/certificate.mjs';
import { Gate, script, wait as waiting } from '../lib/run.mjs';
import { SLIPWAY, run } from '../lib/process.mjs';
import { eventually } from '../lib/wait.mjs';
import { DEFLATE, load, request, resident, resp, startRedis, startServer, upgrade } from './machine.mjs';

const API = '/api/v1';

/** MessagePack of what a plan of the store is made of. */
function pack(value) {
  if (Array.isArray(value)) return Buffer.concat([Buffer.from([0xdc, value.length >> 8, value.length & 255]), ...value.map(pack)]);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2]);
  const head = Buffer.alloc(9);
  if (typeof value === 'number') {
    head[0] = 0xd3;
    head.writeBigInt64BE(BigInt(value), 1);
    return head;
  }
  const bytes = Buffer.from(value);
  head[0] = 0xdb;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head.subarray(0, 5), bytes]);
}

function crc32(text) {
  let crc = ~0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

export class Slipway {
  name = 'Slipway';
  calls = 0;

  constructor(bench) {
    this.bench = bench;
    this.nest = bench.nest;
  }

  async start() {
    const { nest, options } = this.bench;
    this.redis = await startRedis(nest, 'slipway-redis', options.fsync);
    this.data = nest.file('slipway');
    const { cert, key } = await makeCertificate(nest, 'tls');
    const args = ['serve', '--listen', '127.0.0.1:0', '--data', this.data, '--redis', `unix:${this.redis.socket}`, '--workers', options.workers,
      '--no-log-requests', '--test-endpoints', '--connections-max', '30000', '--connections-address-max', '30000', '--drain-wait', '0',
      '--rate-address', '100000000', '--rate-address-burst', '100000000', '--tls-listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key];
    this.process = startServer(nest, 'slipway-server', SLIPWAY, args);
    this.address = await eventually(() => {
      if (this.process.exited) throw new Error(`the server ended:\n${this.process.tail()}`);
      const text = fs.readFileSync(`${this.data}/listen`, 'utf8').trim();
      return /:\d+$/.test(text) && text;
    }, 'Slipway to listen');
    this.url = `http://${this.address}`;
    this.tls = { to: fs.readFileSync(`${this.data}/listen.tls`, 'utf8').trim(), tls: cert }; // for the load generator
    await eventually(async () => (await fetch(`${this.url}/readyz`)).status === 200, 'Slipway to be ready');
    this.fresh = resident(this.process.pid);
  }

  get pids() {
    return [this.process.pid, this.redis.pid];
  }

  /** Waits until what is done behind the answers is done: entries of the audit trail are sealed a little later. */
  settle() {
    const marks = Array.from({ length: 64 }, (_, i) => `{p${String(i).padStart(2, '0')}}:ad`);
    const unsealed = () => spawnSync('redis-cli', ['-s', this.redis.socket, 'EXISTS', ...marks], { encoding: 'utf8' }).stdout.trim();
    return eventually(() => unsealed() === '0', 'the audit trail to be sealed', { patience: 120000, every: 100 });
  }

  /** As one of the principals, each of which has a rate of its own. */
  async call(method, path, body, headers) {
    this.callers ??= fs.readFileSync(await this.keys(), 'utf8').trim().split('\n');
    headers ??= { authorization: `Bearer ${this.callers[this.calls++ % this.callers.length]}` };
    const answer = await fetch(`${this.url}${API}${path}`, {
      method, headers: { ...headers, 'content-type': 'application/json' }, ...(body && { body: JSON.stringify(body) }) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text).data;
  }

  /** Keys of 1,000 principals in a file, a line each. */
  async keys() {
    return (this.keyFile ??= await this.secrets('keys', /slp_\w+/, (at) => ['create', '--name', `bench-${at}`, '--role', 'admin', '--tier', 'premium']));
  }

  /** A file of as many secrets as there are principals, each from one `slipway key`. */
  async secrets(name, form, words) {
    const { principals } = this.bench;
    this.bench.say(`${principals} ${name}`);
    const secrets = [];
    const make = async () => {
      while (secrets.length < principals) {
        const at = secrets.push('') - 1;
        const made = await run(SLIPWAY, ['key', ...words(at), '--data', this.data, '--redis', `unix:${this.redis.socket}`]);
        if (made.code !== 0) throw new Error(`slipway key: ${made.stderr}`);
        secrets[at] = form.exec(made.stdout)[0];
      }
    };
    await Promise.all(Array.from({ length: 4 }, make));
    const file = this.nest.file(name);
    fs.writeFileSync(file, `${secrets.join('\n')}\n`);
    return file;
  }

  /** 100,000 releases; a file of their ids. */
  async releases() {
    if (this.releaseFile) return this.releaseFile;
    const { documents } = this.bench;
    const keys = await this.keys();
    this.bench.say(`${documents} releases`);
    const component = await this.call('POST', '/components', { name: 'bench' }), digest = `sha256:${'0a'.repeat(32)}`;
    await this.call('POST', `/components/${component.id}/versions`, { tag: '1.0.0', digest, artifactUrl: 'https://example.org/bench.tar.gz' });
    const body = JSON.stringify({ name: 'release-@@@@@@@@@@', components: [{ componentId: component.id, digest }],
      notes: 'what is new in it '.repeat(5) });
    const file = this.nest.file('releases');
    await load(this.nest, 'http', { to: this.address, connections: 64, depth: 1, total: documents, collect: file, lists: [keys],
      request: request('POST', `${API}/releases`, { Authorization: 'Bearer $$1' }, body) }).figures;
    return (this.releaseFile = file);
  }

  /** The text of one of them as it is stored: what the peers keep, too. */
  async release() {
    const [id] = fs.readFileSync(await this.releases(), 'utf8').split('\n', 1);
    return JSON.stringify(await this.call('GET', `/releases/${id}`));
  }

  plain() {
    return { request: request('GET', '/livez') };
  }

  async document() {
    return { lists: [await this.keys(), await this.releases()], request: request('GET', `${API}/releases/$$2`, { Authorization: 'Bearer $$1' }) };
  }

  async create(body) {
    return { lists: [await this.keys()], request: request('POST', `${API}/workflow-templates`, {
      Authorization: 'Bearer $$1', 'Idempotency-Key': 'bench-@@@@@@@@@@' }, body) };
  }

  /** Access tokens of as many users. */
  async tokens() {
    return (this.tokenFile ??= await this.secrets('tokens', /^ey\S+/m, (at) => ['jwt', '--user', `bench-${at}`, '--role', 'admin']));
  }

  /** What needs nothing of the store once the bearer is known. */
  async greeting(bearers) {
    return { lists: [await bearers], inOrder: true, request: request('GET', `${API}/step-types/wait`, { Authorization: 'Bearer $$1' }) };
  }

  /** A token from the token endpoint, for one of as many clients as there are principals. */
  async grant() {
    const keys = fs.readFileSync(await this.keys(), 'utf8').trim().split('\n');
    const register = async (key) => {
      const answer = await fetch(`${this.url}/v1/oauth/clients`, { method: 'POST', body: JSON.stringify({ name: 'bench' }),
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' } });
      const { client_id: id, client_secret: secret } = await answer.json();
      return Buffer.from(`${id}:${secret}`).toString('base64');
    };
    const file = this.nest.file('clients'), clients = [];
    for (const key of keys) clients.push(await register(key));
    fs.writeFileSync(file, `${clients.join('\n')}\n`);
    return { lists: [file], request: request('POST', '/v1/auth/token',
      { Authorization: 'Basic $$1', 'Content-Type': 'application/x-www-form-urlencoded' }, 'grant_type=client_credentials') };
  }

  async packed() {
    const { request: text, ...rest } = await this.channel();
    return { ...rest, request: text.replace('\r\n', `\r\n${Object.entries(DEFLATE).map(([k, v]) => `${k}: ${v}\r\n`).join('')}`) };
  }

  echo() {
    return { request: upgrade('/_test/echo') };
  }

  /** The stream of a run that waits. */
  async channel() {
    if (!this.run) {
      const template = await this.call('POST', '/workflow-templates', { name: 'channel', status: 'active', nodes: [waiting('hold', 86400)], edges: [] });
      this.run = await this.call('POST', '/workflow-runs', { templateId: template.id });
    }
    return { lists: [await this.keys()], word: '"synced"',
      request: upgrade(`${API}/workflow-runs/${this.run.id}/stream`, { Authorization: 'Bearer $$1' }) };
  }

  /** A message to that stream, put there as the server itself does: by the store's function. */
  async publication(text) {
    await this.channel();
    const { id, tenantId } = this.run;
    const meta = `{p${String(crc32(tenantId) % 64).padStart(2, '0')}}:meta`;
    const frame = `"type":"step_log","nodeId":"hold","attempt":1,"line":${JSON.stringify(text).slice(0, -1)}@@@@@@@@@@"}`;
    const plan = pack([tenantId, id, 'hold', 1, '', 1, [frame], false, false, frame, 2 ** 50, 'run']);
    return { publish: `unix:${this.redis.socket}`, message: resp('FCALL', 'append_1', '1', meta, plan) };
  }

  /** A run whose agent writes `count` lines once the gate is open, and its stream. */
  async lines(count) {
    await this.agent();
    const gate = new Gate(this.nest);
    const template = await this.call('POST', '/workflow-templates', { name: `lines-${Date.now()}`, status: 'active', edges: [],
      nodes: [script('lines', `${gate.shell}; seq -f 'line %06g of a build that has much to say about nothing at all' 1 ${count}`)] });
    const started = await this.call('POST', '/workflow-runs', { templateId: template.id });
    return { gate, lists: [await this.keys()], request: upgrade(`${API}/workflow-runs/${started.id}/stream`, { Authorization: 'Bearer $$1' }) };
  }

  /** One agent program, beside the load generator. */
  async agent() {
    if (this.agentProcess) return;
    const { token } = await this.call('POST', '/admin/agent-tokens', {});
    const file = this.nest.file('agent.token');
    fs.writeFileSync(file, `${token}\n`, { mode: 0o600 });
    this.agentProcess = this.bench.beside('agent', SLIPWAY, ['agent', '--url', this.url, '--data', this.nest.file('agent'), '--name', 'bench', '--token-file', file]);
    await eventually(async () => (await this.call('GET', '/agents?status=online')).some((a) => a.name === 'bench'), 'the agent to be online');
  }

  /** Streams of agents that have nothing to do. */
  async agents(count) {
    const paths = [], tokens = [];
    for (let i = 0; i < count; i++) {
      const { token } = await this.call('POST', '/admin/agent-tokens', {});
      const made = await this.call('POST', '/agents/register', { name: `idle-${i}`, version: '1.0.0', capabilities: ['script'] }, { 'x-agent-token': token });
      paths.push(`${API}/agents/${made.agentId}/task-stream`);
      tokens.push(made.token);
    }
    const files = [this.nest.file('agent-paths'), this.nest.file('agent-tokens')];
    fs.writeFileSync(files[0], `${paths.join('\n')}\n`);
    fs.writeFileSync(files[1], `${tokens.join('\n')}\n`);
    return { lists: files, inOrder: true, word: '"synced"', request: upgrade('$$1', { Authorization: 'Bearer $$2' }) };
  }
}
