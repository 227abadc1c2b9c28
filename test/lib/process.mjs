// Real processes in a temporary folder, and their end. Every process carries SLIPWAY_TEST_NEST=<folder> in its
// environment, and so do its children; whatever still carries it when a test ends, passes or fails, is killed by its pid.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { watchLog, within } from './wait.mjs';

export const ROOT = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..');
export const BUILD = path.resolve(ROOT, process.env.BUILD ?? 'build');
export const SLIPWAY = path.join(BUILD, 'slipway');

const nests = new Set();

/** A folder for everything one test makes. */
export class Nest {
  constructor(name = 'test') {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), `slipway-${name}-`));
    this.processes = [];
    nests.add(this);
  }

  file(...parts) {
    return path.join(this.dir, ...parts);
  }

  /** Starts a program with its output in <nest>/<name>.log; with `control`, descriptor 3 is a socket to it. */
  start(name, program, args, { env = {}, cwd, control = false } = {}) {
    const log = this.file(`${name}.log`);
    const out = fs.openSync(log, 'a');
    const child = spawn(program, args, {
      cwd: cwd ?? this.dir,
      env: { ...process.env, SLIPWAY_TEST_NEST: this.dir, ...env },
      stdio: ['ignore', out, out, ...(control ? ['pipe'] : [])],
    });
    fs.closeSync(out);
    const running = new Running(name, child, log);
    this.processes.push(running);
    return running;
  }

  /** Kills what is left and removes the folder. Never throws: a failing test must show its own reason. */
  async remove() {
    for (const p of this.processes) p.forget();
    for (let round = 0; round < 200 && this.killAll() > 0; round++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    nests.delete(this);
    if (!process.env.SLIPWAY_TEST_KEEP) fs.rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  killAll() {
    const pids = carriers(this.dir);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it was quicker
      }
    }
    return pids.length;
  }
}

/** Pids whose environment or working folder says that they belong to `dir`. */
export function carriers(dir) {
  const found = [];
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      if (state(Number(name)) === 'Z') continue;
      const environ = fs.readFileSync(`/proc/${name}/environ`, 'latin1');
      const cwd = fs.readlinkSync(`/proc/${name}/cwd`); // redis-server writes its title over its environment
      if (environ.split('\0').includes(`SLIPWAY_TEST_NEST=${dir}`) || cwd === dir || cwd.startsWith(`${dir}/`))
        found.push(Number(name));
    } catch {
      // gone, or not ours to read
    }
  }
  return found;
}

/** 'R', 'S', 'Z' …; undefined when there is no such process. */
export function state(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2)[0];
  } catch {
    return undefined;
  }
}

export const alive = (pid) => ![undefined, 'Z', 'X'].includes(state(pid));

// A runner that is told to stop takes along what it started.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.once(signal, () => process.exit(1));
process.on('exit', () => {
  for (const nest of nests) {
    nest.killAll();
    if (!process.env.SLIPWAY_TEST_KEEP) fs.rmSync(nest.dir, { recursive: true, force: true });
  }
});

class Running {
  constructor(name, child, log) {
    this.name = name;
    this.child = child;
    this.log = log;
    this.forget = watchLog(`${name} (pid ${child.pid})`, () => this.tail());
    this.exit = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      child.once('error', (error) => resolve({ error }));
    });
    this.exit.then((how) => (this.exited = how));
  }

  get pid() {
    return this.child.pid;
  }

  tail(lines = 30) {
    let text = '';
    try {
      text = fs.readFileSync(this.log, 'utf8');
    } catch {
      // nothing was written
    }
    const ended = this.exited ? `\n(ended: ${JSON.stringify(this.exited)})` : '';
    return text.trimEnd().split('\n').slice(-lines).join('\n') + ended;
  }

  text() {
    return fs.readFileSync(this.log, 'utf8');
  }

  signal(name) {
    try {
      process.kill(this.child.pid, name);
    } catch {
      // it is gone already
    }
  }

  /** kill -9 and wait until it is gone. */
  async kill() {
    this.signal('SIGKILL');
    return this.ended();
  }

  /** SIGTERM and wait; answers {code, signal}. */
  async stop() {
    this.signal('SIGTERM');
    return this.ended();
  }

  async ended() {
    const how = await within(this.exit, `${this.name} (pid ${this.pid}) to end`);
    this.forget();
    return how;
  }
}

/** Runs a program to its end; answers {code, stdout, stderr}. */
export async function run(program, args, { env = {}, cwd, input, patience } = {}) {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  const out = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) child[stream].setEncoding('utf8').on('data', (text) => (out[stream] += text));
  child.stdin.on('error', () => {}); // it may not read
  child.stdin.end(input ?? '');
  try {
    const [code, signal] = await within(once(child, 'close'), `${program} ${args.join(' ')} to end`, patience);
    return { code, signal, ...out };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}
