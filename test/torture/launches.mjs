// What cannot be done twice to one process: its start, its end, a command. For each failing call a process of its own.
import fs from 'node:fs';
import { registrationToken } from '../lib/agent.mjs';
import { carriers } from '../lib/process.mjs';
import { holding, reaches, run, script, streamOf, unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';
import { eventually, within } from '../lib/wait.mjs';
import { Sweep } from './sweep.mjs';
import { KINDS, launch, report } from './target.mjs';
import { Wrong } from './world.mjs';

const START_MS = 20_000, END_MS = 20_000;

/** A server that is only started. `redis`: url, or undefined for its own. */
class Start {
  constructor({ again = false, embedded = false }) {
    Object.assign(this, { again, embedded });
  }

  async open() {
    this.s = await start({ name: 'torture-start', workers: 1 }); // for its Redis
    this.serial = 0;
  }

  async begin(arm) {
    const { s, again, embedded } = this;
    const data = s.nest.file(`data${again ? '' : ++this.serial}`);
    if (!again && !embedded) await s.redis.command('FLUSHALL');
    fs.mkdirSync(data, { recursive: true });
    this.listen = `${data}/listen`;
    fs.rmSync(this.listen, { force: true });
    const args = ['serve', '--listen', '127.0.0.1:0', '--data', data, '--workers', '1', '--drain-wait', '0s', '--redis',
      embedded ? 'embedded' : again ? this.redis() : s.redisUrl];
    return launch(s.nest, `start-${this.serial}`, args, { arm });
  }

  /** Data of its own, and therefore a database of its own. */
  redis() {
    return `${this.s.redisUrl}?db=1`;
  }

  async address(process) {
    return eventually(() => {
      if (process.exited) return 'ended';
      const text = fs.existsSync(this.listen) && fs.readFileSync(this.listen, 'utf8').trim();
      return /:\d+$/.test(text) && text;
    }, 'the start to end, well or not', { patience: START_MS });
  }

  async well(process) {
    const address = await this.address(process);
    if (address === 'ended') return false;
    await eventually(async () => (await fetch(`http://${address}/readyz`)).status === 200, 'the server to be ready', { patience: START_MS });
    return true;
  }

  async end(process) {
    const how = await ended(process);
    if (how.code !== 0) throw new Wrong(`started, it ends with ${JSON.stringify(how)}`);
  }

  /** It did not succeed: it has to say why, and leave nothing behind. */
  async refused(process) {
    if (![1, 2, 3].includes(process.exited.code)) // of no success, of wrong usage, of an agent that is refused
      throw new Wrong(`it does not succeed, and ends with ${JSON.stringify(process.exited)}`);
    if (!/\S/.test(process.text())) throw new Wrong('it does not succeed, and does not say why');
    const mine = new Set(this.s.nest.processes.map((p) => p.pid));
    await eventually(() => carriers(this.s.nest.dir).every((pid) => mine.has(pid)), 'what it started to end', { patience: END_MS });
  }

  close() {
    return this.s?.stop();
  }
}

async function ended(process) {
  process.signal('SIGTERM');
  return within(process.exit, 'the server to end', END_MS);
}

/** A server with a stream that is told to end. */
class End extends Start {
  async open() {
    await super.open();
    this.held = await holding(this.s.api);
  }

  /** Another instance of the same data. */
  async begin() {
    const data = this.s.nest.file(`data${++this.serial}`);
    fs.mkdirSync(data);
    this.listen = `${data}/listen`;
    return launch(this.s.nest, `end-${this.serial}`, ['serve', '--listen', '127.0.0.1:0', '--data', data, '--workers', '1',
      '--drain-wait', '0s', '--drain-timeout', '3s', '--redis', this.s.redisUrl, '--keyring', `${this.s.server.data}/keyring`]);
  }

  async late(control, arm) {
    const port = Number(fs.readFileSync(this.listen, 'utf8').trim().split(':')[1]);
    const stream = new WsStream({ host: '127.0.0.1', port }, streamOf(this.held), { token: this.s.key });
    await stream.frame('synced');
    await control.ask(arm);
  }
}

/** `slipway ARGS`, which does it or says why not. */
class Command extends Start {
  constructor(args) {
    super({});
    this.args = args;
    this.brief = true; // it is over before anybody can ask it anything
  }

  async begin(arm) {
    return launch(this.s.nest, `command-${++this.serial}`, this.args, { arm, env: { SLIPWAY_DATA: this.s.server.data, SLIPWAY_REDIS: this.s.redisUrl } });
  }

  async well(process) {
    const how = await within(process.exit, 'the command to end', END_MS);
    return how.code === 0;
  }

  async end() {}
}

/** An agent that carries out one step, from its registration on. */
class Agent extends Start {
  async begin(arm) {
    const { s } = this;
    this.zone = unique('zone');
    const token = s.nest.file(`token${++this.serial}`);
    fs.writeFileSync(token, await registrationToken(s.api), { mode: 0o600 });
    return launch(s.nest, `agent-${this.serial}`, ['agent', '--url', s.server.url, '--data', s.nest.file(`agent${this.serial}`),
      '--name', this.zone, '--label', `zone=${this.zone}`, '--token-file', token], { arm });
  }

  async well(process) {
    const r = await run(this.s.api, [script('say', 'echo one', { labels: { zone: this.zone } })]);
    const how = await Promise.race([reaches(this.s.api, r, 'succeeded'), process.exit]);
    if (how.status) return true;
    await this.s.api.post(`/workflow-runs/${r.id}/cancel`);
    return false;
  }
}

/** Each failing call of a Start. */
export class Launches extends Sweep {
  async open() {
    this.subject = this.scenario.subject();
    await this.subject.open();
  }

  take({ subject }) {
    this.subject = subject;
  }

  /** One process, with `arm` obeyed when the time has come; answers what was recorded. */
  async once(arm) {
    const { subject } = this;
    const { process, control } = await subject.begin(subject.late ? undefined : arm);
    this.process = process;
    this.control = control;
    if (!(await subject.well(process))) {
      this.row.refused++;
      this.look();
      await subject.refused(process);
      return undefined;
    }
    this.row.right++;
    let told;
    if (subject.late) await subject.late(control, arm);
    else if (!subject.brief && arm.startsWith('record')) told = { ...(await control.ask('stop')), ...(await control.ask('sites')) };
    await subject.end(process);
    this.look();
    if (!told) await within(control.end, 'the last word of the program', END_MS);
    return told ?? control.last;
  }

  look() {
    if (report(this.process.log)) throw new Wrong('a sanitizer has something to say');
  }

  async order() {
    const { calls, sites } = await this.once(`record ${KINDS[this.kind] ?? this.kind}`);
    this.row.calls = calls;
    return this.numbers(sites);
  }

  async failOne(n) {
    let problem;
    try {
      await this.once(`arm ${KINDS[this.kind] ?? this.kind} ${n} ${this.times}`);
    } catch (error) {
      problem = error;
    }
    const { failed } = this.control;
    this.note(failed);
    if (problem) {
      const text = report(this.process.log);
      this.row[/LeakSanitizer/.test(text) ? 'leaks' : text || this.process.exited?.signal ? 'crashes' : 'wrong']++;
      this.found(n, problem, { failed, process: this.process });
      this.process.signal('SIGKILL');
    }
    this.subject.s.nest.processes = this.subject.s.nest.processes.filter((p) => p !== this.process); // not thousands
    return Boolean(failed);
  }

  async close() {
    await this.subject?.close();
  }
}

export const launches = [
  { name: 'start', subject: () => new Start({}) },
  { name: 'start-again', subject: () => new Start({ again: true }) },
  { name: 'start-embedded', subject: () => new Start({ embedded: true }) },
  { name: 'shutdown', subject: () => new End({}) },
  { name: 'agent-program', subject: () => new Agent({}) },
  { name: 'key-create', subject: () => new Command(['key', 'create', '--tenant', 'default', '--role', 'viewer', '--name', 'made']) },
  { name: 'config', subject: () => new Command(['config', '--limits']) },
];
