// Clients of the live streams: a WebSocket and a server-sent-events reader that collect frames, and a watcher that
// resumes. Every frame is judged by the served AsyncAPI document.
import http from 'node:http';
import WebSocket from 'ws';
import { judgeAnswer } from './contract.mjs';
import { Unmet, eventually, within } from './wait.mjs';

class Frames {
  constructor(server, path) {
    this.path = `/api/v1${path}`;
    this.server = server;
    this.frames = [];
    this.closed = undefined; // {code, reason} of a WebSocket, {} of SSE
    this.waiting = new Set();
  }

  get types() {
    return this.frames.map((f) => f.type);
  }

  /** Events only, those with a sequence number of the channel. */
  get events() {
    return this.frames.filter((f) => f.seq !== undefined && !['snapshot', 'synced', 'heartbeat'].includes(f.type));
  }

  take(frame) {
    this.frames.push(frame);
    this.wake();
  }

  end(how) {
    if (this.closed) return;
    this.closed = how;
    this.wake();
  }

  wake() {
    for (const check of [...this.waiting]) check();
  }

  /** Waits until `condition(this)` is true and answers what it answered. Fails at once when the stream ends before. */
  async until(condition, what) {
    let check;
    const met = new Promise((resolve, reject) => {
      check = () => {
        try {
          const got = condition(this);
          if (got) resolve(got);
          else if (this.closed)
            reject(new Unmet(`${what}: the stream ended (${JSON.stringify(this.closed)})`, JSON.stringify(this.frames.slice(-5))));
        } catch (error) {
          reject(error);
        }
      };
      this.waiting.add(check);
      check();
    });
    try {
      return await within(met, what);
    } catch (error) {
      if (error instanceof Unmet && !this.closed)
        error.message = `${error.message}\nlast frames: ${JSON.stringify(this.frames.slice(-5))}`;
      throw error;
    } finally {
      this.waiting.delete(check);
    }
  }

  /** The first frame of a type, waiting for it. */
  frame(type, where = () => true) {
    return this.until((s) => s.frames.find((f) => f.type === type && where(f)), `a frame of type ${type}`);
  }

  async ended(what = 'the stream to end') {
    await eventually(() => this.closed !== undefined, what);
    if (this.fault) throw this.fault;
    return this.closed;
  }

  judge(frame) {
    this.judging(async () => (await this.server.asyncapi?.())?.check(this.path, frame));
  }

  /** The HTTP answer in the stream's place. */
  judgeRefusal({ status, headers, text }) {
    this.judging(() => judgeAnswer(this.server, 'GET', this.path, { status, headers, text }));
  }

  /** What is found wrong ends the stream; what nobody waits for any more is told when the system stops. */
  judging(fn) {
    this.judged = (this.judged ?? Promise.resolve()).then(fn).catch((error) => {
      this.fault ??= error;
      this.end({ fault: error.message });
    });
  }
}

export class WsStream extends Frames {
  constructor(server, path, { token, headers = {}, query = {}, pauseReading = false, deflate = false } = {}) {
    super(server, path);
    const search = Object.keys(query).length ? `?${new URLSearchParams(query)}` : '';
    this.socket = new WebSocket(`${server.tls ? 'wss' : 'ws'}://${server.host}:${server.port}/api/v1${path}${search}`, {
      headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
      perMessageDeflate: deflate,
      ...server.tls,
    });
    this.socket.on('message', (data) => {
      let frame;
      try {
        frame = JSON.parse(data.toString('utf8'));
      } catch {
        this.fault ??= new Error(`a frame that is no JSON: ${data.toString('utf8').slice(0, 200)}`);
        this.end({ fault: this.fault.message });
        return;
      }
      this.take(frame);
      this.judge(frame);
    });
    this.socket.on('close', (code, reason) => this.end({ code, reason: reason.toString('utf8') }));
    this.socket.on('error', (error) => (this.error = error));
    this.socket.on('unexpected-response', (request, response) => {
      let text = '';
      response.on('error', (error) => this.end({ error: error.code }));
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk)).on('end', () => {
        let body;
        try {
          body = JSON.parse(text);
        } catch {
          // left to the test
        }
        this.refused = { status: response.statusCode, headers: response.headers, text, body, code: body?.error?.code };
        this.judgeRefusal(this.refused);
        this.end({ refused: response.statusCode });
        request.destroy();
      });
    });
    if (pauseReading) this.socket.on('open', () => this.socket.pause());
    server.streams?.push(this);
  }

  /** Bytes of the connection, head of the answer included. */
  get received() {
    return this.socket._socket.bytesRead;
  }

  send(message) {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** The HTTP answer to an upgrade that was refused. */
  async refusal() {
    await eventually(() => this.closed !== undefined, 'the upgrade to be refused');
    if (!this.refused) throw new Error(`the upgrade was not refused: ${JSON.stringify(this.closed)}`);
    return this.refused;
  }

  opened() {
    return within(
      new Promise((resolve, reject) => {
        if (this.socket.readyState === WebSocket.OPEN) resolve();
        this.socket.once('open', resolve);
        this.socket.once('close', (code) => reject(new Error(`the WebSocket did not open (${code}, ${JSON.stringify(this.refused ?? this.error?.message)})`)));
      }),
      'the WebSocket to open');
  }

  stopReading() {
    this.socket.pause();
  }

  readOn() {
    this.socket.resume();
  }

  close() {
    this.socket.terminate();
    this.end({ code: 1006, reason: 'closed by the test' });
  }
}

export class SseStream extends Frames {
  constructor(server, path, { token, headers = {}, query = {}, lastEventId } = {}) {
    super(server, path);
    const search = Object.keys(query).length ? `?${new URLSearchParams(query)}` : '';
    this.ids = [];
    this.comments = 0;
    this.request = http.request({
      host: server.host, port: server.port, path: `/api/v1${path}${search}`, agent: false,
      headers: {
        accept: 'text/event-stream',
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(lastEventId ? { 'last-event-id': lastEventId } : {}),
        ...headers,
      },
    });
    this.request.on('error', (error) => this.end({ error: error.code ?? error.message }));
    this.request.on('response', (response) => {
      this.response = response;
      this.status = response.statusCode;
      let text = '';
      response.setEncoding('utf8');
      response.on('error', (error) => this.end({ error: error.code }));
      response.on('close', () => {
        if (this.status !== 200) {
          this.refused = { status: this.status, headers: response.headers, text, body: safeJson(text), code: safeJson(text)?.error?.code };
          if (response.complete) this.judgeRefusal(this.refused);
        }
        this.end({});
      });
      response.on('data', (chunk) => {
        text += chunk;
        if (this.status !== 200) return;
        for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) this.event(text.slice(0, at));
      });
      this.wake();
    });
    this.request.end();
    server.streams?.push(this);
  }

  event(block) {
    const data = [];
    let id;
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) this.comments++;
      else if (line.startsWith('id:')) id = line.slice(3).trim();
      else if (line.startsWith('retry:')) this.retry = Number(line.slice(6));
      else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
    }
    if (id !== undefined) this.ids.push((this.lastEventId = id));
    if (data.length === 0) return this.wake();
    const frame = safeJson(data.join('\n'));
    if (!frame) {
      this.fault ??= new Error(`an event that is no JSON: ${block.slice(0, 200)}`);
      return this.end({ fault: this.fault.message });
    }
    this.take(frame);
    this.judge(frame);
  }

  close() {
    this.request.destroy();
    this.end({});
  }
}

function safeJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Follows a stream to its end through any number of cuts, resuming behind the last event seen: by `since` over WebSocket,
 * by Last-Event-ID over SSE. A sequence number that is repeated or left out is a fault, and so is a gap.
 */
export class Watcher {
  constructor(server, path, { kind = 'ws', token, query = {} } = {}) {
    Object.assign(this, { server, path, kind, token, query });
    this.events = [];
    this.seq = 0;
    this.cuts = 0;
    server.streams?.push(this);
    this.done = this.follow();
    this.done.catch(() => {}); // awaited by the test
  }

  open() {
    const { server, path, token, kind } = this;
    if (kind === 'sse') {
      const query = this.lastEventId ? this.query : { since: '0', ...this.query };
      return new SseStream(server, path, { token, query, lastEventId: this.lastEventId });
    }
    return new WsStream(server, path, { token, query: { ...this.query, since: String(this.seq) } });
  }

  async follow() {
    for (;;) {
      const stream = (this.stream = this.open());
      let read = 0, ended = false;
      await stream
        .until((s) => {
          for (; read < s.frames.length; read++) {
            const frame = s.frames[read];
            if (frame.type === 'gap') throw new Error(`${this.kind} watcher: gap ${JSON.stringify(frame)}`);
            if (frame.type === 'end') ended = true;
            if (frame.seq === undefined || ['snapshot', 'synced', 'heartbeat'].includes(frame.type)) continue;
            if (frame.seq !== this.seq + 1)
              throw new Error(`${this.kind} watcher: after event ${this.seq} came ${frame.seq} (${frame.type})`);
            this.seq = frame.seq;
            this.events.push(frame);
          }
          if (s.lastEventId) this.lastEventId = s.lastEventId;
          return s.closed;
        }, `the ${this.kind} watcher's stream to go on`)
        .finally(() => stream.close());
      if (stream.fault) throw stream.fault;
      if (ended || this.stopped) return this;
      this.cuts++;
      await new Promise((resolve) => setTimeout(resolve, 25)); // a client's back-off, not a synchronisation
    }
  }

  /** Waits until the events hold what is asked for. */
  until(condition, what) {
    return Promise.race([
      eventually(() => condition(this), what),
      this.done.then(() => {
        const got = condition(this);
        if (!got) throw new Unmet(`${what}: the stream ended`, JSON.stringify(this.events.slice(-5)));
        return got;
      }),
    ]);
  }

  /** Ends it, also when its test failed: it would come back for ever. */
  close() {
    this.stopped = true;
    this.stream?.close();
  }

  /** The lines of one node's logs, in order, as one text. */
  lines(nodeId) {
    return this.events.filter((e) => e.type === 'step_log' && e.nodeId === nodeId).map((e) => `${e.line}\n`).join('');
  }
}
