// HTTP as a client of the service sees it. Every exchange is recorded, and every JSON answer is judged: by the envelope's
// rules and by the served OpenAPI document. A broken contract fails the test that met it.
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { Asked, judgeAnswer } from './contract.mjs';
import { PATIENCE, logTails, within } from './wait.mjs';

export class Client {
  /** server: has host, port, exchanges, and openapi() that may answer undefined; tls: options of a TLS connection. */
  constructor(server, token, base = '/api/v1') {
    this.server = server;
    this.token = token;
    this.base = base;
    this.http = server.tls ? https : http;
    this.agent = new this.http.Agent({ keepAlive: true, maxSockets: 16, ...server.tls });
    server.clients?.push(this);
  }

  close() {
    this.agent.destroy();
  }

  as(token) {
    return new Client(this.server, token, this.base);
  }

  get = (path, options) => this.request('GET', path, undefined, options);
  post = (path, body, options) => this.request('POST', path, body ?? {}, options);
  put = (path, body, options) => this.request('PUT', path, body, options);
  patch = (path, body, options) => this.request('PATCH', path, body, options);
  delete = (path, options) => this.request('DELETE', path, undefined, options);

  /** Like request, but throws unless the status is the one expected; answers `data`. */
  async want(status, method, path, body, options) {
    const answer = await this.request(method, path, body, options);
    if (answer.status !== status)
      throw new Error(`${method} ${path}: expected ${status}, got ${answer.status} ${answer.text.slice(0, 2000)}\n${logTails()}`);
    return answer.data;
  }

  /**
   * options: headers, raw (body as it is), query (object), unjudged: a reason not to judge the answer (there is one: a
   * server that is only just starting has no documents yet).
   * Answers {status, headers, text, body, data, error, code}.
   */
  async request(method, path, body, options = {}) {
    const { headers = {}, raw, unjudged, query } = options;
    const search = query ? `?${new URLSearchParams(query)}` : '';
    const url = (path.startsWith('/api/') || path.startsWith('//') || options.absolute ? path.replace(/^\/\//, '/') : this.base + path) + search;
    const payload = raw !== undefined ? raw : body === undefined ? undefined : JSON.stringify(body);
    const sent = { accept: 'application/json', ...headers };
    if (this.token && !('authorization' in sent)) sent.authorization = `Bearer ${this.token}`;
    if (payload !== undefined && !('content-type' in sent)) sent['content-type'] = 'application/json';
    if (payload !== undefined) sent['content-length'] = Buffer.byteLength(payload);
    for (const [name, value] of Object.entries(sent)) if (value === null) delete sent[name];

    const answer = await within(this.exchange(method, url, sent, payload), `${method} ${url} to be answered`);
    this.server.exchanges?.push({ method, url, sent, payload, ...answer });
    if (!unjudged) await this.judge(method, url, answer);
    return answer;
  }

  exchange(method, url, headers, payload) {
    return new Promise((resolve, reject) => {
      const { host, port } = this.server;
      const request = this.http.request({ host, port, method, path: url, headers, agent: this.agent, timeout: PATIENCE }, (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          const type = (response.headers['content-type'] ?? '').split(';')[0].trim();
          let body;
          if (type === 'application/json' && text) {
            try {
              body = JSON.parse(text);
            } catch (error) {
              reject(new Error(`${method} ${url} answers JSON that does not parse (${error.message}): ${text.slice(0, 500)}`));
              return;
            }
          }
          resolve({
            status: response.statusCode, headers: response.headers, text, type, body,
            data: body?.data, error: body?.error, code: body?.error?.code,
          });
        });
      });
      request.on('error', reject);
      request.on('timeout', () => request.destroy(new Error(`${method} ${url} was not answered in time`)));
      request.end(payload);
    });
  }

  judge(method, url, answer) {
    return judgeAnswer(this.server, method, url, answer);
  }
}

/** Judges the whole answers at the beginning of what came back. */
async function judgeAll(server, asked, text) {
  for (let at = 0; ;) {
    const end = text.indexOf('\r\n\r\n', at);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text.slice(at))?.[1]);
    if (end < 0 || !status) return;
    const headers = Object.fromEntries(text.slice(at, end).split('\r\n').slice(1).map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 1).trim()]));
    at = end + 4;
    if (status === 101) return;
    if (status < 200) continue;
    const request = asked.next();
    const length = request?.method === 'HEAD' || status === 204 || status === 304 ? 0 : Number(headers['content-length'] ?? NaN);
    if (!request || !(at + length <= text.length)) return;
    await judgeAnswer(server, request.method, request.url, { status, headers, text: Buffer.from(text.slice(at, at + length), 'latin1').toString('utf8') });
    at += length;
  }
}

/**
 * Writes bytes to the port as they are and reads until the peer closes or `until(text)` is true.
 * Answers {text, closed}. For what no HTTP client would send.
 */
export async function raw(server, bytes, { until, patience } = {}) {
  const { host, port } = server;
  const asked = new Asked();
  const socket = net.connect({ host, port, allowHalfOpen: true });
  let text = '';
  const done = new Promise((resolve, reject) => {
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      text += chunk;
      if (until?.(text)) resolve({ text, closed: false });
    });
    socket.on('end', () => resolve({ text, closed: true }));
    socket.on('close', () => resolve({ text, closed: true }));
    socket.on('error', (error) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve({ text, closed: true }) : reject(error)));
  });
  for (const part of Array.isArray(bytes) ? bytes : [bytes]) {
    asked.add(part);
    socket.write(part, 'latin1');
  }
  try {
    const answer = await within(done, `the peer to answer or close; so far: ${JSON.stringify(text.slice(-500))}`, patience);
    await judgeAll(server, asked, answer.text);
    return answer;
  } finally {
    socket.destroy();
  }
}
