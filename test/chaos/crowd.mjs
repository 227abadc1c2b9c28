// A crowd of bad clients in a process of its own: KIND COUNT HOST PORT TOKEN STREAM. Says {text} once it is there, and
// again at the end, which it waits for.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import tls from 'node:tls';

const [kind, number, host, port, token, stream] = process.argv.slice(2);
const count = Number(number);
const sockets = new Set();
const seen = { opened: 0, cut: 0, refused: 0 };
let on = true;

const bearer = `Host: x\r\nAuthorization: Bearer ${token}\r\n`;
const upgrade = (path, more = bearer) => `GET /api/v1${path} HTTP/1.1\r\n${more}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`;

const open = () => new Promise((resolve) => {
  const socket = net.connect({ host, port });
  sockets.add(socket);
  socket.on('error', () => {});
  socket.once('connect', () => {
    seen.opened++;
    resolve(socket);
  });
  socket.once('close', () => {
    sockets.delete(socket);
    if (on) seen.cut++;
    resolve(undefined);
  });
});

/** What one does once it is connected. */
const manners = {
  heads: (socket) => {
    socket.write('GET /livez HTTP/1.1\r\nX-Slow: ');
    return () => socket.write('a');
  },
  bodies: (socket) => {
    socket.write(`POST /api/v1/components HTTP/1.1\r\n${bearer}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{`);
    return () => socket.write(' ');
  },
  readers: (socket) => {
    socket.write(upgrade(`${stream}?since=0`));
    socket.pause();
  },
  silent: () => {},
  'tls-mute': (socket) => void socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])), // a hello begins
  mute: (socket) => {
    socket.write(upgrade(stream, 'Host: x\r\n'));
    socket.resume();
  },
};

/** As fast as it goes, `count` at a time. */
const floods = {
  connections: async () => (await open())?.destroy(),
  'tls-handshakes': () => new Promise((resolve) => {
    const socket = tls.connect({ host, port, rejectUnauthorized: false });
    socket.once('secureConnect', () => {
      seen.opened++;
      socket.destroy();
    });
    socket.on('error', () => seen.refused++).once('close', resolve);
  }),
  handshakes: async () => {
    const socket = await open();
    if (!socket) return;
    socket.write(upgrade(stream, 'Host: x\r\nAuthorization: Bearer slp_0000000000000000000000000000000000\r\n'));
    await new Promise((resolve) => {
      socket.once('data', (bytes) => {
        if (/^HTTP\/1.1 (429|503)/.test(bytes.toString('latin1'))) seen.refused++;
        resolve();
      });
      socket.once('close', resolve);
    });
    socket.destroy();
  },
};

const tell = () => new Promise((resolve) => process.send({ text: `${kind}: ${seen.opened} opened, ${seen.cut} cut, ${seen.refused} refused` }, resolve));

process.once('disconnect', () => process.exit(0));
const ended = new Promise((resolve) => process.once('message', resolve));
if (kind in floods) {
  const flood = async () => {
    while (on) await floods[kind]();
  };
  for (let i = 0; i < count; i++) flood();
} else {
  const tasks = [];
  for (let i = 0; i < count; i += 50) {
    const some = await Promise.all(Array.from({ length: Math.min(50, count - i) }, open));
    for (const socket of some) if (socket) tasks.push(manners[kind](socket));
  }
  const drip = async () => {
    for (; on; await pause(1000)) for (const task of tasks) task?.();
  };
  drip();
}
await tell();
await ended;
on = false;
for (const socket of sockets) socket.destroy();
await tell();
