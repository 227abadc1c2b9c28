// fastify with ws and ioredis: node peers/fastify.mjs REDIS_SOCKET
import { randomUUID } from 'node:crypto';
import fastify from 'fastify';
import { WebSocketServer } from 'ws';
import { LIMIT, readRelease, redis, storeTemplate, subscriber } from './common.mjs';

const text = (maxLength) => ({ type: 'string', minLength: 1, maxLength });
const list = (properties) => ({ type: 'array', items: { type: 'object', required: Object.keys(properties), properties } });
const template = {
  type: 'object', required: ['name', 'displayName', 'status', 'inputs', 'nodes', 'edges'],
  properties: {
    name: text(128), displayName: text(200), status: { enum: ['draft', 'active', 'archived'] },
    inputs: list({ name: text(64), type: text(16) }), edges: list({ from: text(64), to: text(64) }),
    nodes: list({ id: text(64), type: text(32), config: { type: 'object', required: ['command'], properties: { command: { type: 'array' } } } }),
  },
};

const app = fastify();
const answer = (reply, { status, body, rate }) => {
  reply.code(status).header('Content-Type', 'application/json').header('X-Request-ID', randomUUID());
  if (rate)
    reply.header('X-RateLimit-Limit', LIMIT).header('X-RateLimit-Remaining', rate[1]).header('X-RateLimit-Reset', Math.ceil(rate[2] / 1000));
  return reply.send(body);
};

app.get('/livez', (request, reply) => answer(reply, { status: 200, body: '{"status":"ok"}' }));
app.get('/releases/:id', async ({ headers, params }, reply) => answer(reply, await readRelease(headers.authorization, params.id, false)));
app.get('/cached/releases/:id', async ({ headers, params }, reply) => answer(reply, await readRelease(headers.authorization, params.id, true)));
app.post('/templates', { schema: { body: template } }, async ({ body }, reply) => answer(reply, { status: 201, body: await storeTemplate(body) }));

const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const subscribers = new Set();
app.server.on('upgrade', (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (ws) => {
    if (request.url === '/echo') {
      ws.on('message', (message, binary) => ws.send(message, { binary }));
      return;
    }
    subscribers.add(ws);
    ws.on('close', () => subscribers.delete(ws));
  });
});
subscriber.on('message', (channel, message) => {
  for (const ws of subscribers) ws.send(message);
});
await subscriber.subscribe('channel');
await redis.ping();
await app.listen({ host: '127.0.0.1', port: 0 });
console.log(`listening ${app.server.address().port}`);
