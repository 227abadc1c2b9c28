// The faults. Each says what it hits while it lasts, how long that is, and does and undoes one thing:
//   hit      places whose requests may fail meanwhile: A, B, A* (A over its link); everything else must not notice
//   mute     of these, instances that cannot even say so: gone or frozen
//   lasts    ms between the cause and its end
//   begin, end(w, context): end answers when the cause is gone, not when its effects are
import { fork } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../lib/wait.mjs';

const ALL = ['A', 'B', 'A*'], FIRST = ['A', 'A*'];
const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);

// --- processes

const signal = (process, name) => process.signal(name);
const started = []; // starts that are waited for after the fault

const processes = {
  server: { hit: FIRST, mute: ['A'], of: (w) => w.s.servers[0] },
  redis: { hit: ALL, mute: [], of: (w) => w.s.redis },
  agent: { hit: [], mute: [], of: (w) => w.s.agents[0] },
};

const begin = (w, what) => {
  const again = processes[what].of(w).start();
  again.catch(() => {}); // awaited by settled()
  started.push(again);
  return what === 'redis' ? again : undefined;
};

/** Whatever a fault started is there. */
export const settled = () => Promise.all(started.splice(0));

const onProcess = (what) => {
  const { hit, mute, of } = processes[what];
  return {
    [`${what} kill -9`]: { hit, mute, lasts: 1000, begin: (w) => of(w).kill(), end: (w) => begin(w, what) },
    [`${what} frozen`]: { hit, mute, lasts: 5000, begin: (w) => signal(of(w).process, 'SIGSTOP'), end: (w) => signal(of(w).process, 'SIGCONT') },
    [`${what} restarted`]: { hit, mute, lasts: 0, begin: (w) => of(w).stop(), end: (w) => begin(w, what) },
  };
};

// --- links

const links = {
  client: { hit: ['A*'], of: (w) => w.links.front[0] },
  redis: { hit: FIRST, of: (w) => w.links.redis[0] },
  agent: { hit: [], of: (w) => w.links.agent[0] },
};

const onLink = (what) => {
  const { hit, of } = links[what];
  const heal = (w) => of(w).heal();
  const noisy = (w, on) => {
    if (what === 'client') w.linked.noisy = on;
  };
  return {
    [`${what} link delayed`]: { hit, lasts: 3000, begin: (w) => void (of(w).delay = 200), end: heal },
    [`${what} link cut`]: {
      hit, lasts: 3000,
      begin: (w) => {
        of(w).refusing = true;
        of(w).cut();
      },
      end: heal,
    },
    [`${what} link half-open`]: { hit, lasts: 5000, begin: (w) => of(w).halfOpen(), end: heal },
    ...(what !== 'agent' && { [`${what} link a black hole`]: { hit, lasts: 4000, begin: (w) => of(w).blackHole(), end: heal } }),
    [`${what} link garbled`]: {
      hit, lasts: 3000,
      begin: (w) => {
        noisy(w, true);
        of(w).garble = () => w.draw() < 0.1;
      },
      end: async (w) => {
        heal(w);
        of(w).cut(); // whoever read noise as a length waits for what never comes
        await pause(200);
        noisy(w, false);
      },
    },
    [`${what} link byte by byte`]: { hit, lasts: 3000, begin: (w) => void (of(w).trickle = true), end: heal },
  };
};

// --- what Redis can come to

const config = (w, name, value) => w.s.redis.command('CONFIG', 'SET', name, value);

const onRedis = {
  'redis out of memory': {
    hit: ALL, lasts: 3000,
    begin: async (w) => config(w, 'maxmemory', Math.floor(Number(/used_memory:(\d+)/.exec(await w.s.redis.command('INFO', 'memory'))[1]) / 2)),
    end: (w) => config(w, 'maxmemory', 0),
  },
  'redis read-only': {
    hit: ALL, lasts: 3000,
    begin: (w) => w.s.redis.command('REPLICAOF', '127.0.0.1', '1'), end: (w) => w.s.redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  'redis loading': {
    hit: ALL, lasts: 0,
    begin: async (w) => {
      const { redis } = w.s;
      await redis.command('BGREWRITEAOF'); // so that there is a snapshot, which can be made slow to load
      await eventually(async () => /aof_rewrite_in_progress:0/.test(await redis.command('INFO', 'persistence')), 'the rewrite to end');
      const keys = await redis.command('DBSIZE');
      await redis.kill();
      await redis.start('--key-load-delay', String(Math.ceil(3e6 / keys)), '--loading-process-events-interval-bytes', '1024');
    },
    end: (w) => config(w, 'key-load-delay', 0),
  },
  'redis disk full': {
    hit: ALL, lasts: 4000, disk: true,
    begin: async (w) => {
      w.filler = path.join(w.s.redis.dir, 'filler');
      const { bavail, bsize } = fs.statfsSync(w.s.redis.dir);
      fs.writeFileSync(w.filler, Buffer.alloc(Math.max(0, bavail * bsize - 4096)));
    },
    end: async (w) => {
      fs.rmSync(w.filler);
      if (w.s.redis.process.exited) await begin(w, 'redis'); // with `appendfsync always` it ends rather than lie
    },
  },
  'redis with old data': {
    hit: ALL, lasts: 1000, forgets: true,
    begin: async (w) => {
      await w.s.redis.kill();
      w.s.redis.backup();
      await w.s.redis.start();
      await pause(3000); // of work that the backup does not have
      w.history.note('forgotten', {});
      await w.s.redis.kill();
      w.s.redis.restore();
    },
    end: (w) => begin(w, 'redis'),
  },
};

// --- crowds

const crowd = (kind, count, lasts = 4000) => ({
  hit: [], lasts,
  begin: async (w) => {
    const [a] = w.places, port = kind.startsWith('tls-') ? w.tlsPort : a.port;
    w.crowd = fork(path.join(here, 'crowd.mjs'), [kind, String(count), a.host, String(port), w.key, w.paths.run], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const [said] = await once(w.crowd, 'message');
    w.history.note('crowd', said);
  },
  end: async (w) => {
    w.crowd.send('end');
    const [said] = await once(w.crowd, 'message');
    w.history.note('crowd', said);
    w.crowd.disconnect();
    return said.text;
  },
});

export const faults = {
  ...onProcess('server'), ...onProcess('redis'), ...onProcess('agent'),
  ...onLink('client'), ...onLink('redis'), ...onLink('agent'),
  ...onRedis,
  '1,000 slow heads': crowd('heads', 1000),
  '1,000 slow bodies': crowd('bodies', 1000),
  '1,000 that never read': crowd('readers', 1000),
  '1,000 that say nothing': crowd('silent', 1000),
  '1,000 mute handshakes': crowd('mute', 1000),
  '1,000 mute TLS handshakes': crowd('tls-mute', 1000),
  'flood of connections': crowd('connections', 100),
  'flood of handshakes': crowd('handshakes', 100),
  'flood of TLS handshakes': crowd('tls-handshakes', 20),
};
