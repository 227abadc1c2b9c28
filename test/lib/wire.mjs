// A connection as bytes: sends what no HTTP or WebSocket library would, and reads what comes back piece by piece.
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import { Asked, judgeAnswer } from './contract.mjs';
import { within } from './wait.mjs';

const GONE = new Set(['ECONNRESET', 'EPIPE']);

export class Wire {
  /** server: {host, port}. */
  static async open(server) {
    const { host, port } = server;
    const wire = new Wire();
    wire.server = server;
    wire.asked = new Asked();
    wire.socket = net.connect({ host, port, allowHalfOpen: true });
    wire.chunks = [];
    wire.size = 0;
    wire.waiting = [];
    wire.ended = false;
    const wake = () => wire.waiting.splice(0).forEach((resolve) => resolve());
    wire.socket.on('data', (chunk) => {
      wire.chunks.push(chunk);
      wire.size += chunk.length;
      wake();
    });
    for (const event of ['end', 'close']) wire.socket.on(event, () => {
      wire.ended = true;
      wake();
    });
    wire.socket.on('error', (error) => {
      wire.error = error;
      wire.ended = true;
      wake();
    });
    await within(new Promise((resolve, reject) => {
      wire.socket.once('connect', resolve);
      wire.socket.once('error', reject);
    }), `a connection to ${host}:${port}`);
    wire.socket.setNoDelay(true);
    wire.socket.unref(); // what a failed test leaves open does not keep the run going
    return wire;
  }

  /** Text is sent as Latin-1. */
  send(...parts) {
    for (const part of parts) {
      if (!this.stream) this.asked.add(part);
      this.socket.write(typeof part === 'string' ? Buffer.from(part, 'latin1') : part);
    }
    return this;
  }

  /** Our end; the other side may still send. */
  finish() {
    this.socket.end();
    return this;
  }

  close() {
    this.socket.destroy();
  }

  async until(condition, what) {
    const wait = async () => {
      for (;;) {
        const got = condition();
        if (got !== undefined) return got;
        if (this.ended) throw new Error(`the connection ended before ${what}: ${JSON.stringify(this.bytes.toString('latin1').slice(-300))}`);
        await new Promise((resolve) => this.waiting.push(resolve));
      }
    };
    return within(wait(), what);
  }

  /** What has come and was not read. */
  get bytes() {
    if (this.chunks.length !== 1) this.chunks = [Buffer.concat(this.chunks)];
    return this.chunks[0];
  }

  take(n) {
    const { bytes } = this;
    this.chunks = [bytes.subarray(n)];
    this.size = bytes.length - n;
    return bytes.subarray(0, n);
  }

  /** The next n bytes. */
  async read(n) {
    await this.until(() => (this.size >= n ? true : undefined), `${n} bytes`);
    return this.take(n);
  }

  /** The next answer: {status, headers, text, body}. `head`: it answers HEAD, so there is no body. */
  async answer({ head = false } = {}) {
    const end = await this.until(() => {
      const at = this.bytes.indexOf('\r\n\r\n');
      return at >= 0 ? at : undefined;
    }, 'an answer');
    const lines = this.take(end + 4).toString('latin1').trimEnd().split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(lines[0])?.[1]);
    if (!status) throw new Error(`not a status line: ${lines[0]}`);
    const headers = {};
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      headers[name] = name in headers ? `${headers[name]}, ${line.slice(colon + 1).trim()}` : line.slice(colon + 1).trim();
    }
    const length = head || status < 200 || status === 204 || status === 304 ? 0 : Number(headers['content-length'] ?? 0);
    const text = (await this.read(length)).toString('utf8');
    const body = headers['content-type'] === 'application/json' && text ? JSON.parse(text) : undefined;
    const request = status === 101 || status >= 200 ? this.asked.next() : undefined;
    if (status === 101) this.stream = request?.url.split('?')[0] ?? '/_test/echo';
    else if (request) await judgeAnswer(this.server, request.method, request.url, { status, headers, text });
    return { status, headers, text, body };
  }

  /** Waits for the other side's end; answers what it said before, or throws if that is not what was expected. */
  async closed() {
    while (!this.ended) await within(new Promise((resolve) => this.waiting.push(resolve)), 'the peer to close');
    if (this.error && !GONE.has(this.error.code)) throw this.error;
    return this.bytes.toString('latin1');
  }

  // --- WebSocket ---

  /** Upgrades; answers the 101 answer. */
  async upgrade(path, { version = '13', headers = '', behind = Buffer.alloc(0) } = {}) {
    const key = randomBytes(16).toString('base64');
    const request = `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
      + `Sec-WebSocket-Version: ${version}\r\nSec-WebSocket-Key: ${key}\r\n${headers}\r\n`;
    this.send(Buffer.concat([Buffer.from(request, 'latin1'), behind]));
    const answer = await this.answer();
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    if (answer.status === 101 && answer.headers['sec-websocket-accept'] !== accept) throw new Error('wrong Sec-WebSocket-Accept');
    return answer;
  }

  /** The next frame of the server: {fin, opcode, payload, code, reason}. */
  async frame() {
    const [first, second] = await this.read(2);
    if (second & 0x80) throw new Error('a server must not mask');
    let length = second & 0x7f;
    if (length === 126) length = (await this.read(2)).readUInt16BE();
    else if (length === 127) length = Number((await this.read(8)).readBigUInt64BE());
    const payload = Buffer.from(await this.read(length));
    const frame = { fin: Boolean(first & 0x80), rsv: first & 0x70, opcode: first & 0x0f, payload };
    if (frame.opcode === 8) {
      frame.code = payload.length >= 2 ? payload.readUInt16BE() : 1005;
      frame.reason = payload.subarray(2).toString('utf8');
    }
    if (frame.opcode === 1 && frame.fin && frame.rsv === 0 && !this.stream.startsWith('/_test/'))
      (await this.server.asyncapi?.())?.check(this.stream, JSON.parse(payload.toString('utf8')));
    return frame;
  }
}

/** A client's frame. `length` lies about the payload's length, `masked: false` leaves the mask out. */
export function frame(opcode, payload = '', { fin = true, rsv = 0, masked = true, length } = {}) {
  const bytes = Buffer.from(payload);
  const claimed = length ?? BigInt(bytes.length);
  const big = BigInt(claimed);
  let head;
  if (big < 126n) head = Buffer.from([0, Number(big)]);
  else if (big < 65536n) head = Buffer.from([0, 126, Number(big >> 8n), Number(big & 255n)]);
  else {
    head = Buffer.alloc(10);
    head[1] = 127;
    head.writeBigUInt64BE(big, 2);
  }
  head[0] = (fin ? 0x80 : 0) | rsv | opcode;
  if (!masked) return Buffer.concat([head, bytes]);
  head[1] |= 0x80;
  const mask = randomBytes(4);
  const hidden = Buffer.allocUnsafe(bytes.length);
  for (let i = 0; i < bytes.length; i++) hidden[i] = bytes[i] ^ mask[i & 3];
  return Buffer.concat([head, mask, hidden]);
}

/** The value of one series of /metrics; 0 when it is not there. */
export async function metric(server, series) {
  const wire = await Wire.open(server);
  try {
    wire.send('GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const { text } = await wire.answer();
    const line = text.split('\n').find((l) => l.startsWith(`${series} `));
    return line ? Number(line.slice(series.length + 1)) : 0;
  } finally {
    wire.close();
  }
}
