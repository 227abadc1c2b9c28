// A proxy between the server and Redis that can lose what the network would lose: hints, everything, or the link itself.
import net from 'node:net';

export class RedisProxy {
  constructor(nest, target, name = 'proxy') {
    this.target = target;
    this.socket = nest.file(`${name}.sock`);
    this.url = `unix:${this.socket}`;
    this.links = new Set();
    this.deaf = false; // published messages are lost
    this.frozen = false; // nothing passes, nothing is closed
    this.lost = 0; // bytes of published messages that were lost
  }

  start() {
    this.server = net.createServer((client) => this.link(client));
    return new Promise((resolve) => this.server.listen(this.socket, () => resolve(this)));
  }

  link(client) {
    const redis = net.connect(this.target);
    const link = { client, redis, subscriber: false, sent: Buffer.alloc(0) };
    this.links.add(link);
    client.on('data', (bytes) => {
      if (bytes.includes('SUBSCRIBE')) link.subscriber = true;
      if (this.frozen) return;
      redis.write(bytes);
      link.sent = Buffer.concat([link.sent, bytes]).subarray(-bytes.length - 100); // a text may come in two pieces
      if (this.last && link.sent.includes(this.last.text)) this.freeze();
    });
    redis.on('data', (bytes) => {
      if (this.frozen) return;
      if (link.subscriber && this.deaf && bytes.includes('$7\r\nmessage\r\n')) this.lost += bytes.length;
      else client.write(bytes);
    });
    const end = () => {
      this.links.delete(link);
      client.destroy();
      redis.destroy();
    };
    for (const socket of [client, redis]) socket.on('close', end).on('error', end);
  }

  freeze() {
    this.frozen = true;
    this.last?.passed();
    this.last = undefined;
  }

  /** What has this text is the last that passes: Redis does it, and the server never learns. Resolves when it has passed. */
  freezeAfter(text) {
    return new Promise((passed) => (this.last = { text, passed }));
  }

  /** The server finds its links broken, and can make new ones. */
  thaw() {
    this.frozen = false;
    this.cut();
  }

  /** Cuts every link; new ones are taken. */
  cut() {
    for (const { client } of [...this.links]) client.destroy();
  }

  stop() {
    this.cut();
    this.server.close();
  }
}
