// What is measured. A row asks each server in turn for the same work; `aim` is Slipway's cost (server CPU, or bytes) as a
// part of that of uWebSockets.js in the same run.
import { load, resident } from './machine.mjs';

const SUBSCRIBERS = 1000, SECURE = 200, IDLE = 10000, WATCHERS = 100, LINES = 20000, AGENTS = 200;
const LEVEL = 1.05; // what cannot be told apart from level on a machine that does other things, too

/** About 500 bytes, a number in its name. */
const TEMPLATE = JSON.stringify({
  name: 'bench-@@@@@@@@@@', displayName: 'A template as people make them', status: 'active',
  inputs: [{ name: 'version', type: 'string', default: '1.0.0' }],
  nodes: [{ id: 'build', type: 'script', config: { command: ['sh', '-c', 'make all && make install'] } },
    { id: 'check', type: 'script', config: { command: ['sh', '-c', `test -e ${'x'.repeat(110)}`] } }],
  edges: [{ from: 'build', to: 'check' }],
});
/** With what goes around it a message has about 200 bytes. */
const MESSAGE = { slipway: 'a line of some length of a build '.padEnd(72, '.'), peers: 'a line of some length of a build '.padEnd(160, '.') };

async function measured(bench, server, mode, spec) {
  const { word, inOrder, ...rest } = spec;
  const figures = await load(bench.nest, mode, { to: server.address, seconds: bench.options.seconds, cpu: server.pids.join(','), inOrder, word, ...rest }).figures;
  const [own, redis] = figures.cpu.map((us) => us / figures.total);
  return { perSecond: figures.perSecond, p50: figures.p50, p99: figures.p99, server: own, redis };
}

const http = (connections, depth, ask) => async (bench, server) => {
  const asked = await ask(bench, server);
  return asked && measured(bench, server, 'http', { connections, depth, ...asked });
};

/** `how`: the channel as it is, or packed. */
const fanout = (spec, how = 'channel') => async (bench, server) => {
  const open = await server[how]?.();
  if (!open) return undefined;
  const { word, channel, ...asked } = open;
  const text = server === bench.slipway ? MESSAGE.slipway : MESSAGE.peers;
  return measured(bench, server, 'fanout', { connections: SUBSCRIBERS, size: 150, ...spec, ...asked, ...(await server.publication(text, channel)) });
};

/** Bytes that each of `count` connections costs. */
async function held(bench, server, count, asked) {
  const [pid] = server.pids, before = resident(pid);
  const holder = load(bench.nest, 'hold', { to: server.address, connections: count, ...asked });
  await holder.ready;
  const bytes = (resident(pid) - before) / count;
  holder.end();
  await holder.figures;
  return bytes > 0 ? { bytes } : { verdict: 'not seen: its heap shrank meanwhile' };
}

async function lines(bench, server) {
  const { gate, ...asked } = await server.lines(LINES);
  const watchers = load(bench.nest, 'lines', { to: server.address, connections: WATCHERS, seconds: 60, cpu: server.pids.join(','), ...asked });
  await watchers.ready;
  gate.open();
  const figures = await watchers.figures;
  const [own, redis] = figures.cpu.map((us) => us / figures.total);
  return { perSecond: figures.perSecond, p50: figures.p50, p99: figures.p99, server: own, redis };
}

/** Each of them asks once: what the first look at a bearer costs, and the bytes of a principal that a worker keeps. */
const firstUse = (ask) => async (bench, server) => {
  const asked = await ask(bench, server);
  const [pid] = server.pids, before = resident(pid);
  const figures = await load(bench.nest, 'http', { to: server.address, connections: 1, total: bench.principals, cpu: server.pids.join(','), ...asked }).figures;
  const [own, redis] = figures.cpu.map((us) => us / bench.principals), bytes = (resident(pid) - before) / bench.principals;
  return { server: own, redis, ...(bytes > 0 && { bytes }) };
};

const document = (cached) => async (bench, server) => server.document?.(await bench.document(), cached);

// only: who knows this work; cached: a peer with the same cache as ours; once: a second round would measure something else.
export const ROWS = [
  { id: 'fresh', once: true, name: 'resident, freshly started', only: 'slipway', run: (bench, server) => ({ bytes: server.fresh }) },
  { id: 'get', name: 'plain GET', aim: LEVEL, run: http(64, 1, (bench, server) => server.plain()) },
  { id: 'pipelined', name: 'plain GET, 16 pipelined', aim: LEVEL, run: http(64, 16, (bench, server) => server.plain()) },
  { id: 'key', once: true, name: 'a key at its first use, then cached', only: 'slipway', run: firstUse((bench, server) => server.greeting(server.keys())) },
  { id: 'token', once: true, name: 'a JWT at its first use, then cached', only: 'slipway', run: firstUse((bench, server) => server.greeting(server.tokens())) },
  { id: 'agents', once: true, name: `each of ${AGENTS} idle agents`, only: 'slipway', run: async (bench, server) => held(bench, server, AGENTS, await server.agents(AGENTS)) },
  { id: 'idle', once: true, name: `each of ${IDLE} idle WebSockets`, most: 690, run: async (bench, server) => held(bench, server, IDLE, await server.channel()) },
  { id: 'authed', name: 'GET of a release, authenticated', aim: 1 / 3, run: http(64, 1, document(false)), cached: http(64, 1, document(true)) },
  { id: 'cached-key', name: 'GET with a cached key', only: 'slipway', run: http(64, 1, (bench, server) => server.greeting(server.keys())) },
  { id: 'cached-token', name: 'GET with a cached JWT', only: 'slipway', run: http(64, 1, (bench, server) => server.greeting(server.tokens())) },
  { id: 'grant', name: 'a token for client credentials', only: 'slipway', run: http(64, 1, (bench, server) => server.grant()) },
  { id: 'create', name: `POST of ${TEMPLATE.length} bytes`, aim: 1 / 3, run: http(64, 1, (bench, server) => server.create?.(TEMPLATE)) },
  { id: 'saturated', name: `fan-out to ${SUBSCRIBERS}, 64 under way`, aim: 1 / 1.5, run: fanout({ depth: 64 }) },
  { id: 'packed', name: `… with permessage-deflate`, run: fanout({ depth: 64 }, 'packed') },
  { id: 'singly', name: `fan-out to ${SUBSCRIBERS}, singly`, aim: LEVEL, run: fanout({ depth: 1 }) },
  { id: 'paced', name: `fan-out to ${SUBSCRIBERS}, 50 a second`, aim: LEVEL, run: fanout({ rate: 50 }) },
  { id: 'handshake', name: 'WebSocket handshake', aim: LEVEL,
    run: async (bench, server) => measured(bench, server, 'handshake', { connections: 64, ...server.echo() }) },
  { id: 'subscribe', name: '… with key, snapshot, subscription', only: 'slipway',
    run: async (bench, server) => measured(bench, server, 'handshake', { connections: 64, ...(await server.channel()) }) },
  { id: 'lines', once: true, name: `log lines from an agent to ${WATCHERS}`, only: 'slipway', run: lines },
  { id: 'tls-get', name: 'plain GET, over TLS', only: 'slipway', run: http(64, 1, (bench, server) => ({ ...server.plain(), ...server.tls })) },
  { id: 'tls-saturated', name: `fan-out to ${SECURE}, 64 under way, over TLS`, only: 'slipway',
    run: (bench, server) => fanout({ depth: 64, connections: SECURE, ...server.tls })(bench, server) },
  { id: 'tls-handshake', name: 'TLS and WebSocket handshake', only: 'slipway',
    run: async (bench, server) => measured(bench, server, 'handshake', { connections: 64, ...server.echo(), ...server.tls }) },
  { id: 'tls-idle', once: true, name: `each of ${SUBSCRIBERS} idle, over TLS`, only: 'slipway',
    run: async (bench, server) => held(bench, server, SUBSCRIBERS, { ...(await server.channel()), ...server.tls }) },
];
