// A server under torture with what its scenarios need, and the rules by which its answers are judged: calm, everything has
// to work; otherwise an answer is the right one, a 503, or none because the connection was closed; never another.
import fs from 'node:fs';
import { Client } from '../lib/http.mjs';
import { Nest } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { chain, streamOf, unique } from '../lib/run.mjs';
import { SseStream, Watcher, WsStream } from '../lib/stream.mjs';
import { eventually, within } from '../lib/wait.mjs';
import { Target, report } from './target.mjs';

export class Wrong extends Error {}

const ANSWER_MS = 12_000; // a request's own deadline is 10 s
const BACK_MS = 15_000;
const RUN_MS = 30_000; // what was lost is found by a sweep, after the lease
const CUT = new Set(['ECONNRESET', 'EPIPE', 'EPROTO', 'ECONNREFUSED', 'HPE_INVALID_EOF_STATE']);
const isCut = (error) => CUT.has(error.code) || /socket hang up|aborted|other side closed/.test(error.message);

/** For callers that keep no connection. */
class Once extends Client {
  constructor(server, token) {
    super(server, token);
    this.agent.destroy();
    this.agent = new this.http.Agent({ keepAlive: false, ...server.tls });
  }
}

export class World {
  static async open({ name, args = [], redis }) {
    const w = new World();
    w.files = new Nest(`torture-${name}-files`);
    args = typeof args === 'function' ? await args(w) : args;
    w.s = await start({ name: `torture-${name}`, workers: 1, redis, Kind: Target, args: ['--drain-wait', '0s', '--drain-timeout', '3s', ...args] });
    w.server = w.s.server;
    w.server.exchanges = w.server.clients = undefined; // not thousands of them
    w.api = w.s.api;
    w.tokens = w.s.key;
    w.calm = true;
    w.tally = { right: 0, refused: 0, cut: 0 };
    w.kept = new Client(w.server, w.s.key);
    w.fixed = await w.api.want(201, 'POST', '/environments', { name: 'fixed' });
    return w;
  }

  /** One request; its answer, or undefined when it was refused or cut. `kept`: on a connection that is kept. */
  async call(method, path, body, { want = 200, token = this.s.key, kept = false, at = this.server, ...options } = {}) {
    const client = kept ? this.kept : new Once(at, token);
    let answer;
    try {
      answer = await within(client.request(method, path, body, options), `${method} ${path} to be answered`, ANSWER_MS);
    } catch (error) {
      if (this.calm || !isCut(error)) throw error;
      this.tally.cut++;
      return undefined;
    }
    if ([want].flat().includes(answer.status)) {
      this.tally.right++;
      return answer;
    }
    if (!this.calm && answer.status === 503) {
      this.tally.refused++;
      return undefined;
    }
    throw new Wrong(`${method} ${path} answers ${answer.status} ${answer.text.slice(0, 400)}`);
  }

  /** A stream read to its end; undefined when it was refused, or cut before. */
  async readToEnd(path, { kind = 'ws', query = { since: '0' }, at = this.server, ...options } = {}) {
    const Stream = kind === 'sse' ? SseStream : WsStream;
    const stream = new Stream(at, path, { token: this.s.key, query, ...options });
    try {
      await eventually(() => stream.closed, `the stream ${path} to end`, { patience: ANSWER_MS });
      await stream.judged;
      if (stream.fault) throw stream.fault;
      if (stream.frames.at(-1)?.type === 'end') {
        this.tally.right++;
        return stream;
      }
      if (this.calm) throw new Wrong(`the stream ${path} ended: ${JSON.stringify(stream.closed)}`);
      if (stream.refused && stream.refused.status !== 503) throw new Wrong(`the stream ${path} is refused with ${stream.refused.status}`);
      this.tally[stream.refused ? 'refused' : 'cut']++;
      return undefined;
    } finally {
      stream.close();
    }
  }

  /** A stream read until a frame of this type; undefined when it was refused, or cut before. */
  async readSome(path, type) {
    const stream = new WsStream(this.server, path, { token: this.s.key });
    try {
      await eventually(() => stream.closed || stream.types.includes(type), `the stream ${path} to begin`, { patience: ANSWER_MS });
      await stream.judged;
      if (stream.fault) throw stream.fault;
      if (stream.types.includes(type)) {
        this.tally.right++;
        return stream;
      }
      if (this.calm) throw new Wrong(`the stream ${path} ended: ${JSON.stringify(stream.closed)}`);
      this.tally[stream.refused ? 'refused' : 'cut']++;
      return undefined;
    } finally {
      stream.close();
    }
  }

  /** A run of these nodes; undefined when its start was refused or cut. */
  async startRun(nodes) {
    const template = await this.call('POST', '/workflow-templates', { name: unique('template'), status: 'active', nodes, edges: chain(...nodes.map(({ id }) => id)) }, { want: 201 });
    return template && (await this.call('POST', '/workflow-runs', { templateId: template.data.id }, { want: 201 }))?.data;
  }

  /** Follows a run to its end through cuts: no event is missing, and it succeeds. */
  async watch(r, kind) {
    const watcher = new Watcher(this.server, streamOf(r), { kind, token: this.s.key });
    try {
      await within(watcher.done, `run ${r.id} to end`, RUN_MS);
      this.tally.cut += watcher.cuts;
      if (watcher.events.at(-1).status !== 'succeeded') throw new Wrong(`the run ends: ${JSON.stringify(watcher.events.at(-1))}`);
      this.tally.right++;
    } finally {
      watcher.close();
    }
  }

  /** Nothing is armed: the process lives, says so at once, and serves again soon. */
  async wellAgain() {
    this.calm = true;
    if (!this.alive) throw new Wrong('the process ended');
    await this.call('GET', '//livez', undefined, { token: undefined, absolute: true });
    await eventually(() => this.call('GET', `/environments/${this.fixed.id}`), 'the server to serve again', { patience: BACK_MS });
  }

  /** The server as those see it who come over TLS. */
  get secure() {
    const port = Number(fs.readFileSync(`${this.server.data}/listen.tls`, 'utf8').trim().split(':').at(-1));
    return Object.create(this.server, { port: { value: port }, tls: { value: { ca: [this.certificate.pem] } } });
  }

  get alive() {
    return !this.server.process.exited;
  }

  get report() {
    return report(this.server.process.log);
  }

  /** Ends the server in order; what was wrong with its end, or undefined. */
  async end() {
    for (const stream of this.server.streams ?? []) stream.close();
    if (!this.alive) return undefined;
    const how = await this.server.stop().catch((error) => ({ error: error.message }));
    return how.code === 0 ? undefined : `it ends with ${JSON.stringify(how)}`;
  }

  async remove() {
    this.kept.close();
    await this.s.stop().catch(() => {});
    await this.files.remove();
  }
}
