// The machine of a benchmark: which core serves and which one asks, what processes hold and use, the load generator.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { BUILD } from '../lib/process.mjs';
import { eventually } from '../lib/wait.mjs';

/** The server has one core, Redis and the load generator the other; on a machine with a single core there is no choice. */
export const CORES = os.cpus().length > 1 ? { server: '0', others: '1' } : undefined;

/** Ties all threads of a process to a core. */
export function pin(pid, core) {
  if (CORES && spawnSync('taskset', ['-acp', core, String(pid)]).status !== 0) throw new Error(`process ${pid} cannot be pinned`);
}

/** [program, args] that begins on its core. */
const pinned = (core, program, args) => (CORES ? ['taskset', ['-c', core, program, ...args]] : [program, args]);

export const startServer = (nest, name, program, args, options) => nest.start(name, ...pinned(CORES?.server, program, args), options);

/** Bytes of a process that are in memory. */
export function resident(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) * 1024;
}

export const childrenOf = (pid) => fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').filter(Boolean).map(Number);

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A redis-server on a unix socket: the same settings for everybody. */
export async function startRedis(nest, name, fsync) {
  const socket = nest.file(`${name}.sock`);
  const [program, args] = pinned(CORES?.others, 'redis-server', [
    '--port', '0', '--unixsocket', socket, '--dir', nest.dir, '--save', '', '--appendonly', 'yes', '--appendfsync', fsync,
    '--appenddirname', `${name}-aof`, '--auto-aof-rewrite-percentage', '0', '--daemonize', 'no', '--maxmemory-policy', 'noeviction',
  ]);
  const running = nest.start(name, program, args);
  await eventually(() => fs.existsSync(socket), `${name} to listen`);
  return { socket, pid: running.pid };
}

/** Redis commands in one go, by redis-cli. */
export function pour(nest, redis, commands) {
  const file = nest.file('commands.resp');
  const out = fs.openSync(file, 'w');
  for (const command of commands)
    fs.writeSync(out, `*${command.length}\r\n` + command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join(''));
  fs.closeSync(out);
  const input = fs.openSync(file, 'r');
  const poured = spawnSync('redis-cli', ['-s', redis.socket, '--pipe'], { stdio: [input, 'pipe', 'pipe'], encoding: 'utf8' });
  fs.closeSync(input);
  fs.rmSync(file);
  if (poured.status !== 0 || !/errors: 0/.test(poured.stdout)) throw new Error(`redis-cli: ${poured.stdout}${poured.stderr}`);
}

/** One command of Redis' protocol as bytes. */
export const resp = (...words) =>
  Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...words.flatMap((word) => {
    const bytes = Buffer.from(word);
    return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')];
  })]);

/** The head of a request, and its body. */
export function request(method, target, fields = {}, body = '') {
  const all = { Host: 'bench', ...(body && { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }), ...fields };
  return `${method} ${target} HTTP/1.1\r\n${Object.entries(all).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n${body}`;
}

export const upgrade = (target, fields) => request('GET', target, {
  Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', ...fields });

/** What a client that takes compressed frames offers. */
export const DEFLATE = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_no_context_takeover; server_no_context_takeover' };

/** What the load generator is started by: the words of a command that takes another one. See profile.mjs. */
export const startedBy = [];

/**
 * Starts the load generator. `options` become its flags; `request` and `message` are texts, `lists` files. Answers
 * {ready, end(), figures}, the promises of its word "ready" and of what it counted.
 */
export function load(nest, mode, { request: text, message, lists = [], inOrder, ...options }) {
  const args = [mode, '--request', nest.file('request')];
  fs.writeFileSync(nest.file('request'), text);
  for (const list of lists) args.push('--list', list);
  if (inOrder) args.push('--in-order');
  if (message) {
    fs.writeFileSync(nest.file('message'), message);
    args.push('--message', nest.file('message'));
  }
  for (const [name, value] of Object.entries(options)) if (value !== undefined) args.push(`--${name}`, String(value));
  const [program, ...rest] = [...startedBy, path.join(BUILD, 'bench'), ...args];
  const child = spawn(...pinned(CORES?.others, program, rest),
    { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, SLIPWAY_TEST_NEST: nest.dir } });
  let said = '', counted, isReady;
  const ready = new Promise((resolve) => (isReady = resolve));
  child.stdin.on('error', () => {});
  child.stderr.setEncoding('utf8').on('data', (more) => (said += more));
  readline.createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'ready') isReady();
    else counted = JSON.parse(line);
  });
  const figures = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new Error(`${mode}: ${said.trim() || `exits ${code}`}`);
    if (counted?.total === 0) throw new Error(`${mode}: nothing was done in time`);
    if (counted?.failures) throw new Error(`${mode}: ${counted.failures} of ${counted.total} failed; ${said.trim()}`);
    return counted;
  });
  const begun = Promise.race([ready, figures]);
  for (const promise of [begun, figures]) promise.catch(() => {}); // of the two nobody may be waiting for one
  return { ready: begun, end: () => child.stdin.end(), figures };
}
