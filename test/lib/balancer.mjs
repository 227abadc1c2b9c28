// HAProxy and nginx in front of a system's instances, by the recipes in deploy/ as they are but for the addresses. To
// clients and streams a balancer looks like a Server.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Client } from './http.mjs';
import { ROOT } from './process.mjs';
import { eventually } from './wait.mjs';

const recipe = (name) => path.join(ROOT, 'deploy', name);
const address = (server) => `${server.host}:${server.port}`;
const PATH = `${process.env.PATH}:/usr/sbin`; // where Debian keeps both
const NAMES = ['one', 'two', 'three']; // of the instances in haproxy.cfg

class Balancer {
  constructor(system, name) {
    Object.assign(this, { system, name, host: '127.0.0.1' });
    const { clients, exchanges, streams } = system;
    Object.assign(this, { clients, exchanges, streams });
  }

  async start() {
    for (let attempt = 0; ; attempt++) {
      this.port = await freePort();
      this.process = this.launch();
      const up = await eventually(async () => this.process.exited ? 'ended' : (await this.answers()) && 'up', `${this.name} to balance`);
      if (up === 'up') return this;
      if (attempt === 4 || !/in use|cannot bind/i.test(this.process.tail())) throw new Error(`${this.name} ended: ${this.process.tail()}`);
    }
  }

  async answers() {
    const client = this.client();
    try {
      return (await client.exchange('GET', '/readyz', { accept: 'application/json' })).status === 200;
    } finally {
      client.close();
    }
  }

  client(token) {
    return new Client(this, token);
  }

  get url() {
    return `http://${address(this)}`;
  }

  openapi() {
    return this.system.server.openapi();
  }

  asyncapi() {
    return this.system.server.asyncapi();
  }
}

export class Haproxy extends Balancer {
  constructor(system) {
    super(system, 'haproxy');
  }

  launch() {
    const env = { PATH, SLIPWAY_BIND: address(this) };
    this.system.servers.forEach((server, i) => (env[`SLIPWAY_${NAMES[i].toUpperCase()}`] = address(server)));
    return this.system.nest.start('haproxy', 'haproxy', ['-db', '-f', recipe('haproxy.cfg')], { env });
  }

  /** What its checks have said of an instance so far: the last of UP and DOWN with its reason, undefined: nothing yet. */
  said(server) {
    const name = NAMES[this.system.servers.indexOf(server)];
    return this.process.text().split('\n').filter((line) => line.includes(`Server instances/${name} is `)).at(-1);
  }
}

export class Nginx extends Balancer {
  constructor(system) {
    super(system, 'nginx');
  }

  launch() {
    const { nest, servers } = this.system;
    const folder = nest.file('nginx');
    fs.mkdirSync(folder, { recursive: true });
    const line = /^ *server 127\.0\.0\.1:8081 (.*;)\n *server 127\.0\.0\.1:8082 \1\n/m;
    const text = fs.readFileSync(recipe('nginx.conf'), 'utf8');
    const [, how] = line.exec(text) ?? [];
    if (!how || !text.includes('listen 8080;')) throw new Error('deploy/nginx.conf has other addresses than this test replaces');
    fs.writeFileSync(`${folder}/slipway.conf`, text
      .replace(line, servers.map((server) => `    server ${address(server)} ${how}\n`).join(''))
      .replace('listen 8080;', `listen ${address(this)};`));
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
    fs.writeFileSync(`${folder}/main.conf`, [
      'daemon off;', 'master_process off;', `pid ${folder}/pid;`, 'error_log stderr warn;', 'events {}',
      'http {', 'access_log off;', ...temp, `include ${folder}/slipway.conf;`, '}', '',
    ].join('\n'));
    return nest.start('nginx', 'nginx', ['-e', 'stderr', '-p', folder, '-c', `${folder}/main.conf`], { env: { PATH } });
  }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
