// What the peers in node have in common: the connection to Redis, the rate bucket, the cache that is like Slipway's.
import Redis from 'ioredis';

export const LIMIT = 5000, BURST = 500; // a minute, at once: Slipway's premium tier

/** Replies of all requests of a turn of the loop ride in one write: the fastest that ioredis knows. */
export const redis = new Redis({ path: process.argv[2], enableAutoPipelining: true });
export const subscriber = new Redis({ path: process.argv[2] });

// A window and a bucket, charged together; the least that a limit of this kind takes.
redis.defineCommand('charge', {
  numberOfKeys: 1,
  lua: `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local start, count, level, stamp = now, 0, burst * 60000, now
local text = redis.call('GET', KEYS[1])
if text then
  start, count, level, stamp = struct.unpack('>I8I8I8I8', text)
  if now - start >= 60000 then start, count = now, 0 end
end
level = math.min(burst * 60000, level + (now - stamp) * limit)
if count + cost > limit or level < cost * 60000 then return {0, limit - count, start + 60000} end
count, level = count + cost, level - cost * 60000
redis.call('SET', KEYS[1], struct.pack('>I8I8I8I8', start, count, level, now), 'PX', 120000)
return {1, limit - count, start + 60000}`,
});

const CACHED = 500, LEASE = 5; // ms that a principal is trusted, requests that are leased at once
const principals = new Map();
let revoked = 0, readAt = 0;

/** Whether something was revoked is asked each half second; till then principals are trusted. */
async function revocations() {
  if (Date.now() - readAt >= CACHED) {
    readAt = Date.now();
    const now = Number((await redis.get('revoked')) ?? 0);
    if (now !== revoked) principals.clear();
    revoked = now;
  }
}

/** Charges one request of a lease; asks for the next when it is used up. */
async function leased(known, token) {
  if (known.left <= 0 || Date.now() >= known.reset) {
    const [ok, left, reset] = await redis.charge(`rate:${token}`, LIMIT, BURST, LEASE);
    Object.assign(known, { ok, left: ok ? LEASE : 0, remaining: left, reset });
  }
  known.left--;
  return [known.ok, known.remaining + Math.max(known.left, 0), known.reset];
}

/** {status, body, rate}: everything from Redis each time, or the document alone. */
export async function readRelease(authorization, id, cached) {
  const token = authorization?.startsWith('Bearer ') ? authorization.slice(7) : undefined;
  if (!token) return { status: 401, body: '{"success":false}' };
  let principal, rate, document;
  if (cached && principals.has(token)) {
    const known = principals.get(token);
    principal = known.principal;
    [, rate, document] = await Promise.all([revocations(), leased(known, token), redis.get(`release:${id}`)]);
  } else {
    const [text, charged, found] = await Promise.all([
      redis.get(`token:${token}`), redis.charge(`rate:${token}`, LIMIT, BURST, 1), redis.get(`release:${id}`)]);
    principal = text && JSON.parse(text);
    rate = charged;
    document = found;
    if (cached && principal) principals.set(token, { principal, left: 0, reset: 0 });
  }
  if (!principal) return { status: 401, body: '{"success":false}' };
  if (!rate[0]) return { status: 429, body: '{"success":false}', rate };
  if (!principal.permissions.includes('release:read')) return { status: 403, body: '{"success":false}', rate };
  if (!document) return { status: 404, body: '{"success":false}', rate };
  return { status: 200, rate, body: `{"success":true,"data":${document}}` };
}

let serial = 0;

/** What a create does at the least: the document, an index, an event. */
export async function storeTemplate(template) {
  const id = `${Date.now().toString(16)}-${++serial}`, text = JSON.stringify({ id, revision: 1, ...template });
  await Promise.all([redis.set(`template:${id}`, text), redis.zadd('templates', serial, id), redis.publish('templates', text)]);
  return text;
}

/** By hand, as uWebSockets.js has no validator; fastify has its own. */
export function templateFault(body) {
  const text = (v, most) => typeof v === 'string' && v.length > 0 && v.length <= most;
  if (body === null || typeof body !== 'object' || !text(body.name, 128) || !text(body.displayName, 200)) return 'name';
  if (!['draft', 'active', 'archived'].includes(body.status)) return 'status';
  if (!Array.isArray(body.inputs) || !body.inputs.every((i) => text(i.name, 64) && text(i.type, 16))) return 'inputs';
  if (!Array.isArray(body.nodes) || !body.nodes.every((n) => text(n.id, 64) && text(n.type, 32) && Array.isArray(n.config?.command))) return 'nodes';
  if (!Array.isArray(body.edges) || !body.edges.every((e) => text(e.from, 64) && text(e.to, 64))) return 'edges';
  return undefined;
}
