// make bench: a server on its own Redis in a temporary folder, one agent, and build/bench as the client. Every load is
// bounded in time; everything that was started ends with the program. Figures are printed, never judged: compare those
// of one machine and one hour.
//
//     node scripts/bench.mjs [--seconds 5] [--subscribers 1000] [--lines 5000] [--workers N]
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { BUILD } from '../test/lib/process.mjs';
import { Gate, script } from '../test/lib/run.mjs';
import { start } from '../test/lib/slipway.mjs';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    subscribers: { type: 'string', default: '1000' },
    lines: { type: 'string', default: '5000' },
    workers: { type: 'string', default: String(os.cpus().length) },
  },
});

const TICKS = 100; // USER_HZ, the unit of /proc/<pid>/stat on every Linux

/** Microseconds of CPU that a process has used, and its resident bytes. */
function usage(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const resident = Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) * 1024;
  return { cpu: ((Number(fields[11]) + Number(fields[12])) * 1e6) / TICKS, resident };
}

/** The redis-server that the server started. */
function redisOf(pid) {
  for (const name of fs.readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, 'latin1');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (parent === pid && stat.includes('(redis-server)')) return Number(name);
    } catch {
      // gone meanwhile
    }
  }
  throw new Error(`no redis-server under ${pid}`);
}

/** Runs the load generator; `ready` is called when it says so. Answers its figures. */
async function load(args, request, ready) {
  const child = spawn(path.join(BUILD, 'bench'), args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(request);
  let figures;
  readline.createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'ready') ready?.();
    else figures = JSON.parse(line);
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`bench ${args.join(' ')} exits ${code}`);
  return figures;
}

const columns = [
  ['load', 34, (r) => r.name],
  ['per second', 11, (r) => r.perSecond.toLocaleString('en')],
  ['p50 ms', 8, (r) => r.p50],
  ['p99 ms', 8, (r) => r.p99],
  ['server µs', 10, (r) => (r.server / r.total).toFixed(2)],
  ['redis µs', 9, (r) => (r.redis / r.total).toFixed(2)],
  ['server MiB', 11, (r) => (r.resident / 2 ** 20).toFixed(1)],
  ['redis MiB', 10, (r) => (r.redisResident / 2 ** 20).toFixed(1)],
  ['failed', 7, (r) => r.failures],
];
const line = (cells) => cells.map((c, i) => (i === 0 ? String(c).padEnd(columns[i][1]) : String(c).padStart(columns[i][1]))).join('');

function head(method, path, fields = {}, body = '') {
  const all = { Host: 'bench', ...fields };
  return `${method} ${path} HTTP/1.1\r\n${Object.entries(all).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n${body}`;
}

const s = await start({ name: 'bench', redis: 'embedded', workers: Number(options.workers), args: ['--no-log-requests'] });
try {
  const server = s.server.process.pid;
  const redis = redisOf(server);
  const where = [s.server.host, String(s.server.port)];
  const authorization = `Bearer ${s.key}`;

  async function measure(name, args, request, ready) {
    const before = [usage(server), usage(redis)];
    const figures = await load(args, request, ready);
    const after = [usage(server), usage(redis)];
    const row = {
      name, ...figures, server: after[0].cpu - before[0].cpu, redis: after[1].cpu - before[1].cpu,
      resident: after[0].resident, redisResident: after[1].resident,
    };
    console.log(line(columns.map(([, , cell]) => cell(row))));
    return row;
  }
  const http = (name, connections, depth, request) =>
    measure(name, ['http', ...where, String(connections), String(depth), options.seconds], request);

  console.log(`${os.cpus()[0].model}, ${os.cpus().length} cores, ${options.workers} workers, Redis with appendfsync always`);
  console.log(line(columns.map(([title]) => title)));

  await http('GET /livez, 64 connections', 64, 1, head('GET', '/livez'));
  await http('GET /livez, 64 x 16 pipelined', 64, 16, head('GET', '/livez'));
  const environment = await s.api.want(201, 'POST', '/environments', { name: 'bench', displayName: 'Bench' });
  await http('GET a document, 64 connections', 64, 1,
    head('GET', `/api/v1/environments/${environment.id}`, { Authorization: authorization }));
  await http('GET a document, 64 x 16 pipelined', 64, 16,
    head('GET', `/api/v1/environments/${environment.id}`, { Authorization: authorization }));
  const body = JSON.stringify({
    name: 'bench-@@@@@@@@@@', displayName: 'A template as people make them', status: 'active',
    inputs: [{ name: 'version', type: 'string', default: '1.0.0' }],
    nodes: [script('build', 'make all && make install'), script('check', `test -e ${'x'.repeat(150)}`)],
    edges: [{ from: 'build', to: 'check' }],
  });
  await http(`POST ${body.length} bytes, 64 connections`, 64, 1, head('POST', '/api/v1/workflow-templates', {
    Authorization: authorization, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }, body));

  await s.addAgent('bench');
  const gate = new Gate(s.nest);
  const template = await s.api.want(201, 'POST', '/workflow-templates', {
    name: 'fanout', status: 'active',
    nodes: [script('lines', `${gate.shell}; seq -f 'line %06g of a build that has much to say about nothing at all' 1 ${options.lines}`)],
    edges: [],
  });
  const run = await s.api.want(201, 'POST', '/workflow-runs', { templateId: template.id });
  const upgrade = head('GET', `/api/v1/workflow-runs/${run.id}/stream`, {
    Authorization: authorization, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' });
  const idle = usage(server).resident;
  let perSubscriber;
  await measure(`fan-out to ${options.subscribers} WebSockets`, ['fanout', ...where, options.subscribers, '120'], upgrade, () => {
    perSubscriber = (usage(server).resident - idle) / Number(options.subscribers);
    gate.open();
  });
  console.log(`an idle subscriber holds ${Math.round(perSubscriber)} bytes of the server`);
} finally {
  await s.stop();
}
