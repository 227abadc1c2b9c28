// The other servers: what of them is here, their processes, and what is asked of them. Programs and packages are in peers/.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from '../lib/process.mjs';
import { eventually } from '../lib/wait.mjs';
import { DEFLATE, childrenOf, freePort, pour, request, resp, startRedis, startServer, upgrade } from './machine.mjs';

const HERE = path.join(ROOT, 'test/bench/peers');
const NCHAN = '/usr/lib/nginx/modules/ngx_nchan_module.so';
const NGINX = '/usr/sbin/nginx';

const uuid = (n) => `01920000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const token = (n) => `tok_${String(n).padStart(36, '0')}`;

/** Redis with the principals and documents of the peers in node; one for all of them, since they are asked in turn. */
export class PeerData {
  constructor(bench) {
    this.bench = bench;
  }

  async start() {
    this.redis = await startRedis(this.bench.nest, 'peer-redis', this.bench.options.fsync);
  }

  /** Files of tokens and ids. `document` is the text that Slipway keeps of one. */
  async files(document) {
    if (this.made) return this.made;
    const { nest, principals, documents } = this.bench;
    this.bench.say(`${documents} releases for the peers`);
    const commands = function* () {
      for (let i = 0; i < principals; i++)
        yield ['SET', `token:${token(i)}`, JSON.stringify({ id: uuid(i), tenantId: uuid(0), name: `bench-${i}`, permissions: ['release:read', 'release:create'] })];
      for (let i = 0; i < documents; i++) yield ['SET', `release:${uuid(i)}`, document];
    };
    pour(nest, this.redis, commands());
    const files = [nest.file('peer-tokens'), nest.file('peer-ids')];
    fs.writeFileSync(files[0], Array.from({ length: principals }, (_, i) => `${token(i)}\n`).join(''));
    fs.writeFileSync(files[1], Array.from({ length: documents }, (_, i) => `${uuid(i)}\n`).join(''));
    return (this.made = files);
  }
}

/** A server in node, with ioredis. */
class NodePeer {
  constructor(bench, data, name, file) {
    Object.assign(this, { bench, data, name, file });
  }

  missing() {
    return fs.existsSync(path.join(HERE, 'node_modules/.package-lock.json')) ? undefined : 'its npm packages are not installed';
  }

  async start() {
    this.process = startServer(this.bench.nest, this.file, process.execPath, [path.join(HERE, `${this.file}.mjs`), this.data.redis.socket]);
    const port = await eventually(() => {
      if (this.process.exited) throw new Error(`${this.name} ended:\n${this.process.tail()}`);
      return /listening (\d+)/.exec(this.process.text())?.[1];
    }, `${this.name} to listen`);
    this.address = `127.0.0.1:${port}`;
  }

  get pids() {
    return [this.process.pid, this.data.redis.pid];
  }

  plain() {
    return { request: request('GET', '/livez') };
  }

  async document(text, cached) {
    return { lists: await this.data.files(text), request: request('GET', `${cached ? '/cached' : ''}/releases/$$2`, { Authorization: 'Bearer $$1' }) };
  }

  create(body) {
    return { request: request('POST', '/templates', {}, body) };
  }

  echo() {
    return { request: upgrade('/echo') };
  }

  channel() {
    return { request: upgrade('/channel') };
  }

  /** The same with permessage-deflate. */
  packed() {
    return this.file === 'uws' ? { request: upgrade('/packed', DEFLATE), channel: 'packed' } : undefined;
  }

  publication(text, channel = 'channel') {
    return { publish: `unix:${this.data.redis.socket}`,
      message: resp('PUBLISH', channel, `{"type":"step_log","line":${JSON.stringify(text).slice(0, -1)}@@@@@@@@@@"}`) };
  }
}

/** nginx: what a static answer costs, and fan-out by its module nchan, from memory. */
class Nginx {
  name = 'nginx + nchan';

  constructor(bench) {
    this.bench = bench;
  }

  missing() {
    if (!fs.existsSync(NGINX)) return 'nginx is not installed';
    if (!fs.existsSync(NCHAN)) return 'libnginx-mod-nchan is not installed';
    const core = spawnSync(NGINX, ['-V'], { encoding: 'utf8' });
    return core.status === 0 ? undefined : core.stderr;
  }

  async start() {
    const { nest } = this.bench;
    const port = await freePort();
    fs.mkdirSync(nest.file('nginx'));
    fs.writeFileSync(nest.file('nginx.conf'), `
load_module ${NCHAN};
daemon off; worker_processes 1; pid ${nest.file('nginx.pid')}; error_log ${nest.file('nginx.error')};
events { worker_connections 15000; multi_accept on; }
http {
  access_log off; keepalive_requests 1000000000; server_tokens off;
  client_body_temp_path ${nest.file('nginx')}; proxy_temp_path ${nest.file('nginx')}; fastcgi_temp_path ${nest.file('nginx')};
  uwsgi_temp_path ${nest.file('nginx')}; scgi_temp_path ${nest.file('nginx')};
  server {
    listen 127.0.0.1:${port};
    location = /livez { default_type application/json; return 200 '{"status":"ok"}'; }
    location = /channel { nchan_subscriber websocket; nchan_channel_id news; nchan_subscriber_first_message newest; }
    location = /publish { nchan_publisher; nchan_channel_id news; nchan_message_buffer_length 100; }
  }
}
`);
    this.process = startServer(nest, 'nginx', NGINX, ['-c', nest.file('nginx.conf'), '-p', nest.dir]);
    this.worker = await eventually(() => {
      if (this.process.exited) throw new Error(`nginx ended:\n${this.process.tail()}`);
      return childrenOf(this.process.pid)[0];
    }, 'nginx to have a worker');
    this.address = `127.0.0.1:${port}`;
  }

  get pids() {
    return [this.worker];
  }

  plain() {
    return { request: request('GET', '/livez') };
  }

  echo() {
    return { request: upgrade('/channel') };
  }

  channel() {
    return { request: upgrade('/channel') };
  }

  publication(text) {
    return { publish: this.address,
      message: request('POST', '/publish', {}, `{"type":"step_log","line":${JSON.stringify(text).slice(0, -1)}@@@@@@@@@@"}`) };
  }
}

export const PEERS = {
  uws: (bench, data) => new NodePeer(bench, data, 'uWebSockets.js', 'uws'),
  fastify: (bench, data) => new NodePeer(bench, data, 'fastify + ws', 'fastify'),
  nginx: (bench) => new Nginx(bench),
};
