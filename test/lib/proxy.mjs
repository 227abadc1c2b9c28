// A proxy for one link, over TCP or a unix socket, that does to it what networks do: delay, cut, half-open, garbled, one
// byte at a time; and to a link with Redis, losing hints.
import net from 'node:net';

const ROOM = 1 << 20; // bytes on their way before the sender is held back
const TRICKLE = 512; // bytes of a piece that come singly; the rest of it follows whole

/** One direction: pieces keep their order whatever is done to them. */
class Way {
  constructor(proxy, from, to) {
    Object.assign(this, { proxy, from, to, queue: [], bytes: 0, busy: false });
    from.on('data', (piece) => this.push(piece));
  }

  push(piece) {
    this.queue.push({ piece, due: Date.now() + this.proxy.delay });
    this.bytes += piece.length;
    if (this.bytes > ROOM) this.from.pause();
    if (!this.busy) this.next();
  }

  next() {
    const [first] = this.queue;
    this.busy = first !== undefined;
    if (!first || this.to.destroyed) return;
    const wait = first.due - Date.now();
    if (wait > 0) setTimeout(() => this.next(), wait);
    else if (this.proxy.trickle) this.drip(first.piece, 0);
    else this.pass(first.piece);
  }

  drip(piece, at) {
    if (this.to.destroyed) return;
    if (at >= Math.min(piece.length, TRICKLE)) return this.pass(piece.subarray(at));
    this.to.write(piece.subarray(at, at + 1));
    setImmediate(() => this.drip(piece, at + 1));
  }

  pass(piece) {
    const sent = this.proxy.filter(piece, this);
    const done = () => {
      this.bytes -= this.queue.shift().piece.length;
      if (this.bytes <= ROOM) this.from.resume();
      this.next();
    };
    if (sent.length === 0 || this.to.write(sent)) done();
    else this.to.once('drain', done);
  }
}

export class Proxy {
  /** target: where it leads, {path} or {host, port}, or a function that answers that. */
  constructor(target) {
    this.target = typeof target === 'function' ? target : () => target;
    this.links = new Set();
    this.delay = 0; // ms each way
    this.trickle = false; // one byte at a time
    this.garble = undefined; // () => whether this piece becomes noise
    this.refusing = false; // new links are cut at once
    this.silent = false; // new links lead nowhere
    this.loses = undefined; // (piece) => whether a link leads nowhere from this piece of its client on
  }

  /** At a path, or at a free port of this host. */
  start(path) {
    this.server = net.createServer({ noDelay: true }, (client) => this.link(client));
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(path ?? { host: '127.0.0.1', port: 0 }, () => {
        if (!path) Object.assign(this, { host: '127.0.0.1', port: this.server.address().port });
        resolve(this);
      });
    });
  }

  link(client) {
    if (this.refusing) return void client.on('error', () => {}).destroy();
    const behind = net.connect({ noDelay: true, ...this.target() });
    const link = { client, behind, dead: this.silent };
    link.ways = [new Way(this, client, behind), new Way(this, behind, client)];
    for (const way of link.ways) way.link = link;
    this.links.add(link);
    const end = () => {
      this.links.delete(link);
      client.destroy();
      behind.destroy();
    };
    for (const socket of [client, behind]) socket.on('close', end).on('error', end);
  }

  /** What becomes of a piece. */
  filter(piece, way) {
    if (way.to === way.link.behind && this.loses?.(piece)) way.link.dead = true;
    if (way.link.dead) return piece.subarray(0, 0);
    if (!this.garble?.()) return piece;
    const noise = Buffer.alloc(piece.length);
    for (let i = 0; i < noise.length; i++) noise[i] = Math.floor(this.random() * 256);
    return noise;
  }

  random = Math.random;

  /** Cuts every link; new ones are taken. */
  cut() {
    for (const { client } of [...this.links]) client.destroy();
  }

  /** The links there are lead nowhere from now on, and nobody is told; new ones are as they should be. */
  halfOpen() {
    for (const link of this.links) link.dead = true;
  }

  /** So do new ones, until it is healed. */
  blackHole() {
    this.silent = true;
    this.halfOpen();
  }

  /** New links are as they should be. Those that lead nowhere stay so: that is for their ends to find out. */
  heal() {
    Object.assign(this, { delay: 0, trickle: false, garble: undefined, refusing: false, silent: false });
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

/** In front of Redis: the hints it publishes can be lost. */
export class RedisProxy extends Proxy {
  constructor(nest, target, name = 'proxy') {
    super({ path: target });
    this.socket = nest.file(`${name}.sock`);
    this.url = `unix:${this.socket}`;
    this.deaf = false; // published messages are lost
    this.lost = 0; // bytes of published messages that were lost
  }

  start() {
    return super.start(this.socket);
  }

  /** What has this text is the last that passes: Redis does it, and the server never learns. Resolves when it has passed. */
  freezeAfter(text) {
    return new Promise((passed) => (this.last = { text, passed }));
  }

  /** The server finds its links broken, and can make new ones. */
  thaw() {
    this.heal();
    this.cut();
  }

  filter(piece, way) {
    const { link } = way;
    if (way.to === link.behind) {
      link.subscriber ||= piece.includes('SUBSCRIBE');
      link.sent = Buffer.concat([link.sent ?? Buffer.alloc(0), piece]).subarray(-piece.length - 100); // a text may come in two pieces
      if (!link.dead && this.last && link.sent.includes(this.last.text)) {
        this.last.passed();
        this.last = undefined;
        this.blackHole();
        return piece;
      }
    } else if (link.subscriber && this.deaf && piece.includes('$7\r\nmessage\r\n')) {
      this.lost += piece.length;
      return piece.subarray(0, 0);
    }
    return super.filter(piece, way);
  }
}
