// The mixed load. Each client is a loop that ends when it is told to, notes all it does, and never gives up: an error is
// an answer, and a change is asked for again under its idempotency key until it is acknowledged.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { judgeAnswer } from '../lib/contract.mjs';
import { SseStream, WsStream } from '../lib/stream.mjs';

const PATIENCE = 5000; // ms; an answer is promised within two seconds
const THINK = 25, RETRY = 40, AGAIN = 50; // ms between requests, before the same one again, before a stream is opened again

export class Loop {
  constructor(world, name, place) {
    Object.assign(this, { world, name, place, history: world.history });
    this.on = true;
  }

  run() {
    this.done = this.loop().catch((error) => this.history.breach('client', this.name, error.stack));
    return this;
  }

  stop() {
    this.on = false;
    return this.done;
  }
}

/** One request; never throws. Answers {status, code, data, headers}, status 0 with `error` when there was no answer. */
class Asker extends Loop {
  agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  async ask(what, method, path, { body, headers = {}, fresh = false, good = (s) => s < 400 } = {}) {
    const { place, history } = this;
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const url = path.startsWith('/api/') || path.endsWith('z') ? path : `/api/v1${path}`;
    const start = history.now;
    const answer = await new Promise((resolve) => {
      const request = http.request({
        host: place.host, port: place.port, method, path: url, agent: fresh ? false : this.agent, timeout: PATIENCE,
        headers: {
          accept: 'application/json', ...(url.startsWith('/api/') && { authorization: `Bearer ${this.world.key}` }), ...headers,
          ...(payload !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        },
      }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece) => (text += piece));
        response.on('error', (error) => resolve({ status: 0, error: error.code ?? error.message }));
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      });
      request.on('error', (error) => resolve({ status: 0, error: error.code ?? error.message }));
      request.on('timeout', () => request.destroy(new Error('no answer')));
      request.end(payload);
    });
    const { status } = answer;
    history.note('op', { who: this.name, place: place.name, what, start, ms: history.now - start, status, error: answer.error, ok: status > 0 && good(status) });
    if (status > 0) this.read(method, url, answer);
    return answer;
  }

  /** Noise on the link may come as an answer; elsewhere each one is judged by the contract. */
  read(method, url, answer) {
    try {
      const body = JSON.parse(answer.text);
      Object.assign(answer, { data: body.data, code: body.error?.code, total: body.meta?.pagination?.total });
    } catch (error) {
      if (answer.text && !this.place.noisy) this.history.breach('contract', this.name, `${method} ${url} ${answer.status}: ${answer.text.slice(0, 300)}`);
      return;
    }
    if (answer.status >= 400 && !this.place.noisy)
      judgeAnswer(this.world.judge, method, url, answer).catch((error) => this.history.breach('contract', this.name, error.message));
  }

  /** A change, until it is acknowledged. Undefined: it was told to stop before. */
  async change(what, method, path, body, wanted) {
    const headers = method === 'POST' ? { 'idempotency-key': randomUUID() } : {};
    while (this.on) {
      const answer = await this.ask(what, method, path, { body, headers, good: (s) => wanted.includes(s) });
      if (wanted.includes(answer.status)) return answer;
      if (this.world.forgiven && [404, 409].includes(answer.status)) return undefined;
      if (answer.status > 0 && ![408, 429, 500, 502, 503, 504].includes(answer.status) && answer.code !== 'RES_IDEMPOTENCY_IN_PROGRESS' && !this.place.noisy) {
        this.history.breach(answer.status === 409 ? 'doubled' : 'refused', this.name, `${method} ${path} ${answer.status} ${answer.text}`);
        return answer;
      }
      await pause(RETRY);
    }
    return undefined;
  }
}

/** Creates components, changes one of them again and again and reads it back, and starts a run now and then. */
export class Writer extends Asker {
  constructor(...args) {
    super(...args);
    this.acked = []; // {id, path, at}
    this.register = { n: 0 };
  }

  async loop() {
    for (let i = 0; this.on; i++) {
      if (i % 8 === 0) await this.create('components', { name: `${this.name}-${this.world.run}-${i}` });
      else if (i % 32 === 1 && this.world.template) await this.create('workflow-runs', { templateId: this.world.template.id });
      else if (i % 2) await this.write();
      else await this.readBack();
      await pause(THINK);
    }
  }

  async create(plural, body) {
    const answer = await this.change(`create ${plural}`, 'POST', `/${plural}`, body, [201]);
    if (answer?.status !== 201 || !answer.data?.id) return;
    this.acked.push({ id: answer.data.id, path: `/${plural}/${answer.data.id}`, at: this.history.now });
    if (plural === 'components') this.register = { id: answer.data.id, n: 0 };
  }

  /** One writer for each register: what was acknowledged last is the least that may be read. */
  async write() {
    const { register } = this, n = register.n + 1;
    if (!register.id) return;
    register.tried = n;
    const answer = await this.change('write', 'PUT', `/components/${register.id}`, { displayName: String(n) }, [200]);
    if (answer?.status === 200) register.n = n;
  }

  async readBack() {
    const { register } = this;
    if (!register.id) return;
    const { n } = register;
    const answer = await this.ask('read', 'GET', `/components/${register.id}`);
    if (answer.status === 404 && !this.world.forgiven) this.history.breach('lost', this.name, `${register.id} is gone`);
    if (answer.status !== 200 || !answer.data) return;
    const seen = Number(answer.data.displayName ?? 0);
    if ((seen < n || seen > (register.tried ?? 0)) && !this.world.forgiven && !this.place.noisy)
      this.history.breach('lost', this.name, `${register.id}: ${n} was acknowledged, ${register.tried} tried, ${seen} is read`);
  }
}

/** Does what dashboards show: a promotion is asked for and cancelled again. */
export class Promoter extends Asker {
  async loop() {
    for (let i = 0; this.on; i++) {
      const { release, environment } = this.world.scenery;
      const made = await this.change('promote', 'POST', '/promotions', {
        releaseId: release.id, targetEnvironmentId: environment.id, reason: 'load', skipOrderReason: 'load',
      }, [201]);
      if (made?.data?.id) await this.change('cancel', 'POST', `/promotions/${made.data.id}/cancel`, {}, [200, 202, 409]);
      await pause(300);
    }
  }
}

/** Asks whether an instance lives, and whether it is ready, as those who restart it do: on a fresh connection each. */
export class Prober extends Asker {
  async loop() {
    while (this.on) {
      await this.ask('livez', 'GET', '/livez', { fresh: true });
      await this.ask('readyz', 'GET', '/readyz', { fresh: true });
      await pause(50);
    }
  }
}

/** Follows a stream through any number of cuts. The sequence goes up by one, or a `gap` says that it does not. */
export class Reader extends Loop {
  constructor(world, name, place, { kind, path, quiet = 2500 }) {
    super(world, name, place);
    Object.assign(this, { kind, path, quiet });
  }

  /** From where it was; the first time from now on. */
  open() {
    const { place, world, kind, seq, epoch } = this;
    const Kind = kind === 'ws' ? WsStream : SseStream;
    const from = seq === undefined ? {} : kind === 'ws' ? { query: { since: `${epoch}:${seq}` } } : { lastEventId: `${epoch}:${seq}` };
    const judge = place.noisy ? {} : world.judge;
    const stream = new Kind({ host: place.host, port: place.port, asyncapi: judge.asyncapi, openapi: judge.openapi }, this.target(), { token: world.key, ...from });
    stream.take = (frame) => {
      this.heard = this.history.now;
      this.take(frame);
      stream.wake();
    };
    return stream;
  }

  target() {
    return typeof this.path === 'function' ? this.path() : this.path;
  }

  async loop() {
    while (this.on) {
      const stream = (this.stream = this.open());
      this.heard = this.history.now;
      while (this.on && !stream.closed && this.history.now - this.heard < this.quiet) await pause(20);
      stream.close();
      if (stream.fault && !this.place.noisy) this.history.breach('contract', this.name, stream.fault.message);
      this.history.note('cut', { who: this.name, place: this.place.name, how: stream.closed, refused: stream.refused?.status });
      if (this.ended) this.seq = this.ended = undefined; // another one next
      if (this.on) await pause(AGAIN);
    }
  }

  take(frame) {
    const { type, seq } = frame;
    const event = seq !== undefined && !['snapshot', 'synced', 'heartbeat'].includes(type);
    this.history.note('frame', { who: this.name, place: this.place.name, type, seq, event, stamp: Date.parse(frame.timestamp) });
    if (type === 'ready') this.begin(frame.epoch);
    else if (type === 'gap') this.seq = this.foreign = undefined;
    else if (type === 'end') this.ended = true;
    else if (seq === undefined) return;
    else if (this.seq === undefined) this.seq = seq;
    else if (event && seq === this.seq + 1 && !this.foreign) this.seq = seq;
    else if (this.place.noisy) this.stream.close(); // an event was lost in the noise: back to the last one
    else if (event || (seq > this.seq && type !== 'snapshot')) {
      this.history.breach('gap', this.name, `after event ${this.seq} came ${JSON.stringify(frame).slice(0, 200)}`);
      this.seq = seq;
    }
  }

  /** Of another data set nothing is known: a gap has to come first. */
  begin(epoch) {
    this.foreign = this.seq !== undefined && this.epoch !== epoch;
    this.epoch = epoch;
  }

  stop() {
    this.on = false;
    this.stream?.close();
    return this.done;
  }
}
