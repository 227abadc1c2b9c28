// uWebSockets.js with ioredis: node peers/uws.mjs REDIS_SOCKET
import { randomUUID } from 'node:crypto';
import uws from 'uwebsockets';
import { LIMIT, readRelease, redis, storeTemplate, subscriber, templateFault } from './common.mjs';

const statuses = { 200: '200 OK', 201: '201 Created', 400: '400 Bad Request', 401: '401 Unauthorized', 403: '403 Forbidden', 404: '404 Not Found', 429: '429 Too Many Requests' };

function answer(res, { status, body, rate }) {
  res.cork(() => {
    res.writeStatus(statuses[status]).writeHeader('Content-Type', 'application/json').writeHeader('X-Request-ID', randomUUID());
    if (rate)
      res.writeHeader('X-RateLimit-Limit', String(LIMIT)).writeHeader('X-RateLimit-Remaining', String(rate[1]))
        .writeHeader('X-RateLimit-Reset', String(Math.ceil(rate[2] / 1000)));
    res.end(body);
  });
}

const release = (cached) => async (res, req) => {
  let aborted = false;
  res.onAborted(() => (aborted = true));
  const found = await readRelease(req.getHeader('authorization'), req.getParameter(0), cached);
  if (!aborted) answer(res, found);
};

function create(res) {
  let aborted = false, body;
  res.onAborted(() => (aborted = true));
  res.onData(async (chunk, last) => {
    body = body ? Buffer.concat([body, Buffer.from(chunk)]) : last ? chunk : Buffer.from(chunk.slice(0));
    if (!last) return;
    let template = null;
    try {
      template = JSON.parse(Buffer.from(body).toString());
    } catch {
      // null is refused below
    }
    const fault = templateFault(template);
    const text = fault ?? (await storeTemplate(template));
    if (!aborted) answer(res, { status: fault ? 400 : 201, body: text });
  });
}

const app = uws.App();
app.get('/livez', (res) => res.writeHeader('Content-Type', 'application/json').writeHeader('X-Request-ID', randomUUID()).end('{"status":"ok"}'));
app.get('/releases/:id', release(false));
app.get('/cached/releases/:id', release(true));
app.post('/templates', create);
app.ws('/echo', { message: (ws, message, binary) => ws.send(message, binary) });
app.ws('/channel', { maxBackpressure: 1 << 20, open: (ws) => ws.subscribe('channel') });
app.ws('/packed', { maxBackpressure: 1 << 20, compression: uws.SHARED_COMPRESSOR, open: (ws) => ws.subscribe('packed') });

subscriber.on('message', (channel, message) => app.publish(channel, message, false, channel === 'packed'));
await subscriber.subscribe('channel', 'packed');
await redis.ping();
app.listen('127.0.0.1', 0, (socket) => console.log(`listening ${uws.us_socket_local_port(socket)}`));
