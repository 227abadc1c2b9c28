// A private redis-server on a unix socket, with an append-only file so that it survives its own kill -9.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { eventually, within } from './wait.mjs';

export class Redis {
  constructor(nest, name = 'redis', dir = nest.dir) {
    Object.assign(this, { nest, name, dir });
    this.socket = nest.file(`${name}.sock`);
    this.url = `unix:${this.socket}`;
  }

  /** args: further options of redis-server. Answers once all data is loaded. */
  async start(...args) {
    const { nest, name, socket, dir } = this;
    this.process = nest.start(name, 'redis-server', [
      '--port', '0', '--unixsocket', socket, '--dir', dir, '--save', '', '--appendonly', 'yes',
      '--appendfsync', 'always', '--appenddirname', `${name}-aof`, '--daemonize', 'no', '--loglevel', 'notice', ...args,
    ]);
    await eventually(async () => (await this.command('PING')) === 'PONG', 'Redis to answer PING');
    return this;
  }

  kill() {
    return this.process.kill();
  }

  stop() {
    return this.process.stop();
  }

  /** Puts the data of a Redis that is not running aside, and back: a backup and its restore. */
  backup(to = 'backup') {
    fs.cpSync(path.join(this.dir, `${this.name}-aof`), this.nest.file(`${this.name}-${to}`), { recursive: true });
  }

  restore(from = 'backup') {
    fs.rmSync(path.join(this.dir, `${this.name}-aof`), { recursive: true });
    fs.cpSync(this.nest.file(`${this.name}-${from}`), path.join(this.dir, `${this.name}-aof`), { recursive: true });
  }

  /** One command on a connection of its own. Bulk strings are answered as text, errors are thrown. */
  async command(...argv) {
    const socket = net.connect(this.socket);
    const reply = new Promise((resolve, reject) => {
      let bytes = Buffer.alloc(0);
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('Redis closed the connection')));
      socket.on('data', (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        const parsed = parse(bytes, 0);
        if (parsed) resolve(parsed.value);
      });
    });
    socket.write(
      `*${argv.length}\r\n` + argv.map((a) => `$${Buffer.byteLength(String(a))}\r\n${a}\r\n`).join(''));
    try {
      const value = await within(reply, `Redis to answer ${argv.join(' ')}`);
      if (value instanceof Error) throw value;
      return value;
    } finally {
      socket.removeAllListeners('close').destroy();
    }
  }

  async keys(pattern) {
    const found = [];
    let cursor = '0';
    do {
      const [next, names] = await this.command('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000);
      found.push(...names);
      cursor = next;
    } while (cursor !== '0');
    return [...new Set(found)].sort();
  }
}

/** RESP2. Answers {value, end}, or undefined when the reply is not whole. */
function parse(bytes, at) {
  const cr = bytes.indexOf('\r\n', at);
  if (cr < 0) return undefined;
  const head = bytes.toString('utf8', at + 1, cr);
  switch (String.fromCharCode(bytes[at])) {
    case '+':
      return { value: head, end: cr + 2 };
    case '-':
      return { value: new Error(head), end: cr + 2 };
    case ':':
      return { value: Number(head), end: cr + 2 };
    case '$': {
      const n = Number(head);
      if (n < 0) return { value: null, end: cr + 2 };
      if (bytes.length < cr + 2 + n + 2) return undefined;
      return { value: bytes.toString('utf8', cr + 2, cr + 2 + n), end: cr + 2 + n + 2 };
    }
    case '*': {
      if (Number(head) < 0) return { value: null, end: cr + 2 };
      const value = [];
      let end = cr + 2;
      for (let i = 0; i < Number(head); i++) {
        const item = parse(bytes, end);
        if (!item) return undefined;
        value.push(item.value);
        end = item.end;
      }
      return { value, end };
    }
    default:
      throw new Error(`not a reply: ${bytes.toString('latin1', at, at + 40)}`);
  }
}
