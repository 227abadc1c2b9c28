// make bench: Slipway and the servers one would take instead, in turn, at the same work. Each has the core 0, its Redis
// and the load generator (build/bench) the core 1; every load is bounded in time; everything that was started ends with
// the program. What counts is the server's CPU time for one operation, and only within one run: rates depend on what
// else the machine does, and often on the load generator. Each row is measured in rounds, all servers in each, and a
// server's line is the round that cost it least: the one that was disturbed least.
//
//     node scripts/bench.mjs [--only ROW,…] [--peers all|none|uws,fastify,nginx] [--seconds 2] [--rounds 2]
//                            [--fsync everysec] [--workers 1]
//     node scripts/bench.mjs --profile ROW      Slipway alone, and where its time goes
import { execFileSync } from 'node:child_process';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { CORES, pin } from '../test/bench/machine.mjs';
import { PEERS, PeerData } from '../test/bench/peers.mjs';
import { Profile } from '../test/bench/profile.mjs';
import { ROWS } from '../test/bench/rows.mjs';
import { Slipway } from '../test/bench/slipway.mjs';
import { heading, judge, row } from '../test/bench/table.mjs';
import { Nest } from '../test/lib/process.mjs';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    profile: { type: 'string' },
    peers: { type: 'string', default: 'all' },
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '2' },
    fsync: { type: 'string', default: 'everysec' },
    workers: { type: 'string', default: '1' },
    principals: { type: 'string', default: '1000' },
    documents: { type: 'string', default: '100000' },
  },
});

if (options.profile) Object.assign(options, { only: options.profile, peers: 'none', rounds: '1' });

const wanted = (list, all) => {
  const names = list.split(',').filter(Boolean), unknown = names.find((name) => !all.includes(name));
  if (unknown) throw new Error(`there is no '${unknown}'; there are ${all.join(' ')}`);
  return names.length ? names : all;
};

const terminal = process.stderr.isTTY;
const bench = {
  options,
  nest: new Nest('bench'),
  principals: Number(options.principals),
  documents: Number(options.documents),
  /** What goes on now, on a line that the next one overwrites; nothing where nobody watches. */
  say(what) {
    if (terminal) process.stderr.write(`\r\x1b[K${what}`);
  },
  /** A process beside the load generator. */
  beside(name, program, args) {
    const running = this.nest.start(name, program, args);
    if (CORES) pin(running.pid, CORES.others);
    return running;
  },
  async document() {
    return (this.text ??= await this.slipway.release());
  },
};

function say(text) {
  bench.say('');
  console.log(text);
}

async function startAll() {
  const servers = { slipway: (bench.slipway = new Slipway(bench)) };
  await bench.slipway.start();
  const names = options.peers === 'none' ? [] : wanted(options.peers === 'all' ? '' : options.peers, Object.keys(PEERS));
  const data = new PeerData(bench);
  for (const name of names) {
    const peer = PEERS[name](bench, data), missing = peer.missing();
    if (missing) {
      say(`left out: ${peer.name}: ${missing}`);
      continue;
    }
    if (name !== 'nginx' && !data.redis) await data.start();
    await peer.start();
    servers[name] = peer;
  }
  return servers;
}

/** What there is to measure in a row: ours first, and each peer with and without a cache. */
function variants(spec, servers) {
  return Object.entries(servers).filter(([name]) => !spec.only || spec.only === name).flatMap(([name, server]) => [
    { name, server, title: server.name, run: spec.run },
    { name: `${name} + cache`, server, title: `${server.name} + cache`, run: name === 'slipway' ? undefined : spec.cached },
  ]).filter(({ run }) => run);
}

/** One line of a round. A load that fails costs its line, not the table. */
async function once(spec, { name, server, title, run }) {
  bench.say(`${spec.name}: ${title}`);
  try {
    await server.settle?.();
    const { server: own, ...figures } = (await run(bench, server)) ?? {};
    return Object.keys(figures).length ? { name, server: title, ...figures, own } : undefined;
  } catch (error) {
    bench.failed = true;
    return { name, server: title, verdict: `failed: ${error.message.replaceAll(/\s+/g, ' ').slice(0, 300)}` };
  }
}

async function measure(spec, servers) {
  const lines = new Map();
  for (let round = 0; round < (spec.once ? 1 : Number(options.rounds)); round++)
    for (const variant of variants(spec, servers)) {
      const line = await once(spec, variant), before = lines.get(variant.name);
      if (line && (!before || before.own === undefined || line.own < before.own)) lines.set(variant.name, line);
    }
  return [...lines.values()];
}

try {
  const rows = wanted(options.only, ROWS.map(({ id }) => id));
  const servers = await startAll();
  const profile = options.profile && new Profile(bench, bench.slipway.pids);
  const redis = execFileSync('redis-server', ['--version'], { encoding: 'utf8' }).match(/v=(\S+)/)[1];
  say(`${os.cpus()[0].model}, ${os.cpus().length} cores (${CORES ? 'one for the server, one for Redis and the load' : 'shared by all'}), `
    + `node ${process.version}, Redis ${redis} with appendfsync ${options.fsync}, ${options.workers} worker, ${options.seconds} s a load`);
  say(heading());
  profile?.begin();
  for (const spec of ROWS.filter(({ id }) => rows.includes(id))) {
    const lines = await measure(spec, servers);
    const [ours] = lines;
    if (ours) judge(ours, lines.find(({ name }) => name === 'uws'), spec);
    lines.forEach((line, i) => say(row({ ...line, work: i === 0 ? spec.name : '' })));
  }
  if (options.profile) say(profile.report());
  else say(`aim: server CPU (or bytes) against uWebSockets.js without a cache in this run; "level" is within 5 %.`);
} finally {
  bench.say('');
  await bench.nest.remove();
}
process.exitCode = bench.failed ? 1 : 0;
