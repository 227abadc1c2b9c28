// The contract sweep. It knows the served OpenAPI document, seed-operations.txt and how to make one of each resource; of the
// rows in C it knows nothing. Every operation is called without a token, without the right, with exactly the right, as
// another tenant, with every member of its body and every parameter broken in one way at a time, with too large a
// body, with no JSON, with an unknown parameter and by a method it does not have. Every answer is judged by the
// document on the way (test/lib/http.mjs).
//
// OAuth's endpoints, under /v1/, answer in a manner of their own: test/api/oauth-*.test.mjs.
//
// SWEEP=<regular expression> sweeps only the paths that match.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { HostAgent, jobOf, makeEstate, makeRelease, promote, runOf } from '../lib/deployment.mjs';
import { ROOT } from '../lib/process.mjs';
import { broken, brokenParameter, minimal, required, resolve } from '../lib/schema.mjs';
import { start } from '../lib/slipway.mjs';
import { deployedTo } from '../lib/target.mjs';
import { eventually } from '../lib/wait.mjs';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const only = new RegExp(process.env.SWEEP ?? '');
const anonymous = (p) => p.replace(/\{[^}]*\}/g, '{}');

/** Operations as the list has them. */
const listed = fs.readFileSync(path.join(ROOT, 'test/api/seed-operations.txt'), 'utf8').split('\n')
  .filter((line) => line.trim() && !line.startsWith('#'))
  .map((line) => {
    const [state, verb, at, permission, members] = line.split(/\s+/);
    return { state, verb, method: verb === 'WS' ? 'GET' : verb, at, permission, members };
  });

// One of each resource: the body that makes it, by the path of its collection. What is not here is made with the smallest
// body its schema allows.
const serial = () => `sweep-${process.pid}-${(serial.n = (serial.n ?? 0) + 1)}`;
const node = { id: 'first', type: 'wait', config: { seconds: 0 } };
const agentBody = () => ({ name: serial(), version: '1.0.0', capabilities: ['script'] });
const BODY = {
  '/environments': () => ({ name: serial() }),
  '/workflow-templates': () => ({ name: serial(), status: 'active', nodes: [node] }),
  '/workflow-templates/{id}/validate': () => ({ nodes: [node] }),
  '/workflow-runs': async () => ({ templateId: (await make('/workflow-templates')).id }),
  '/agents/register': agentBody,
  '/targets': async () => ({
    environmentId: (await make('/environments', true)).id, name: serial(), type: 'host', connection: { path: '/srv/site' },
  }),
  '/components': () => ({ name: serial() }),
  '/releases': async () => {
    const { id } = await make('/components', true);
    const body = { tag: serial(), digest: `sha256:${'0'.repeat(64)}` };
    await api.want(201, 'POST', `/components/${id}/versions`, body);
    return { name: serial(), components: [{ componentId: id, tag: body.tag }] };
  },
  '/releases/{id}/deprecate': () => ({ reason: 'superseded' }),
  '/rollbacks': async () => ({ environmentId: (await make('/environments')).id, reason: 'a test' }),
  '/environments/{envId}/freeze-windows': () => ({ start: '2020-01-01T00:00:00Z', end: '2020-01-02T00:00:00Z', reason: 'over' }),
  '/promotions': async () => { // into the first environment: nothing comes before that
    const { id } = (await api.get('/environments', { query: { pageSize: '1' } })).data[0] ?? await make('/environments');
    return { releaseId: (await make('/releases', true)).id, targetEnvironmentId: id, reason: 'it is time' };
  },
  '/components/{id}/versions': () => ({ tag: serial(), digest: `sha256:${createHash('sha256').update(BYTES).digest('hex')}` }),
};
/** What a version's artifact is made of, so that there is one to read. */
const BYTES = 'what is deployed';
const THEN = {
  '/components/{id}/versions': (at) => api.want(201, 'PUT', `${at}/artifact`, undefined, {
    raw: BYTES, headers: { 'content-type': 'application/octet-stream' },
  }),
  '/workflow-runs': async (at) => { // a file that its step left behind
    const id = at.split('/').at(-1);
    const [key] = await s.redis.keys(`*:d:*:${id}`);
    await s.redis.command('HSET', key.replace(':d:', ':ra:'), `${NAMES.nodeId}/${NAMES.artifactId}`, JSON.stringify({
      attempt: 1, contentHash: `sha256:${'0'.repeat(64)}`, contentType: 'application/yaml', createdAt: '2026-01-01T00:00:00.000Z',
      id: '0190a5b0-0000-7000-8000-0000000000ab', name: NAMES.artifactId, size: 1, type: 'file',
    }));
  },
};
/** Those that are not made by a POST to their collection. */
const MAKE = {
  '/agents': async () => {
    const { token } = await api.want(201, 'POST', '/admin/agent-tokens', {});
    const agent = await api.want(201, 'POST', '/agents/register', agentBody(), { headers: { 'x-agent-token': token, authorization: null } });
    return { id: agent.agentId, token: agent.token };
  },
  '/targets': async () => { // with a sticker on it, and nothing that an agent would have to be asked about
    const one = await api.want(201, 'POST', '/targets', await BODY['/targets']());
    const at = '2026-01-01T00:00:00.000Z';
    await deployedTo(s, one, { release: null, previous: null, deployedAt: at, sticker: { version: '1.0' }, contentHash: `sha256:${'0'.repeat(64)}` });
    await eventually(async () => (await api.get('/version-stickers', { query: { targetId: one.id } })).data.length === 1, 'the target to be settled');
    return one;
  },
  '/rollbacks': async () => { // back from the second release to the first
    const { environment, labels } = await makeEstate(api, 1);
    await new HostAgent(s).serve(labels);
    for (const release of [await makeRelease(api), await makeRelease(api)]) {
      const { id } = await promote(api, release, environment);
      await eventually(async () => (await api.want(200, 'GET', `/promotions/${id}`)).status === 'deployed', 'the release to be deployed');
    }
    return api.want(201, 'POST', '/rollbacks', { environmentId: environment.id, reason: 'a test' });
  },
  '/deployment-jobs': async () => { // of a target that no agent serves: it waits
    const { environment } = await makeEstate(api, 1);
    return jobOf(api, await runOf(api, await promote(api, await makeRelease(api), environment)));
  },
  '/version-stickers': async () => (await api.get('/version-stickers', { query: { targetId: (await make('/targets')).id } })).data[0],
};
/** Parameters that are no ids. */
const NAMES = { nodeId: 'first', type: 'wait', taskId: '1-deploy', artifactId: 'compose.lock.yml' };
/** Parameters whose things are made elsewhere than where they stand. */
const COLLECTIONS = { otherId: '/releases' };

let s, api, document;
const operations = [];
const keys = new Map();
const made = new Map();

/** A key with one permission and nothing else. */
async function keyWith(permission) {
  if (!keys.has(permission)) keys.set(permission, await s.makeKey('--permissions', permission, '--name', permission));
  return keys.get(permission);
}

const routeOf = async (at) => (await s.server.openapi()).find(`/api/v1${at}`);
const ownPath = (route) => route?.path.replace(/^\/api\/v1/, '');

/** The body of a POST to `at`: /environments, /environments/<id>/freeze-windows. */
async function bodyFor(at) {
  const route = await routeOf(at);
  const known = BODY[at] ?? BODY[ownPath(route)];
  return known ? known() : minimal(document, bodySchema(route?.item.post ?? {}));
}

/** The one of its collection, or another one that nobody else will see. */
async function make(collection, fresh = false) {
  if (!fresh && made.has(collection)) return made.get(collection);
  const one = await (MAKE[collection]?.() ?? api.want(201, 'POST', collection, await bodyFor(collection)));
  await THEN[ownPath(await routeOf(collection))]?.(`${collection}/${one.id}`);
  if (!fresh) made.set(collection, one);
  return one;
}

/** The path with its parameters filled in by things that exist. */
async function concrete(op, fresh = false) {
  const parts = op.at.replace(/^\/api\/v1/, '').split('/');
  for (let i = 0; i < parts.length; i++) {
    const parameter = parts[i].match(/^\{(.*)\}$/)?.[1];
    if (!parameter) continue;
    const collection = COLLECTIONS[parameter] ?? parts.slice(0, i).join('/');
    parts[i] = NAMES[parameter] ?? (await make(collection, fresh && i === parts.length - 1)).id;
  }
  return parts.join('/');
}

const bodySchema = (op) => op.requestBody?.content?.['application/json']?.schema;
const sample = async (op) => (op.method === 'POST' ? (await bodyFor(await concrete(op))) ?? {} : {});
/** Who may: an agent for what only the agent itself may, the administrator for everything else. */
const isAgents = (op) => op.permission === 'agent:connect';
const whoMay = async (op) => (isAgents(op) ? api.as((await make('/agents')).token) : api);
const send = async (op, { client, body, ...options } = {}) => {
  const { at, ...rest } = options;
  const payload = body !== undefined ? body : bodySchema(op) ? await sample(op) : undefined;
  return (client ?? await whoMay(op)).request(op.method, at ?? await concrete(op), rest.raw === undefined ? payload : undefined, {
    ...rest, absolute: !op.at.startsWith('/api/v1/'),
  });
};
const each = (filter, fn) => async () => {
  for (const op of operations.filter(filter)) {
    try {
      await fn(op);
    } catch (error) {
      error.message = `${op.method} ${op.at}: ${error.message}`;
      throw error;
    }
  }
};

const guarded = (op) => op.permission !== undefined;
/** Guarded by a permission; `any`: by nothing but credentials. */
const permitted = (op) => guarded(op) && op.permission !== 'any';
const ours = (op) => op.at.startsWith('/api/v1/');
const stream = (op) => '101' in op.responses;
/** A stream refuses before it opens only those who ask for one. */
const asking = (op) => (stream(op) ? { headers: { accept: 'text/event-stream' } } : {});
const answersBefore = (op) => !stream(op) || '200' in op.responses;
const hasBody = (op) => bodySchema(op) !== undefined;
const places = (answer) => (answer.error?.validationErrors ?? []).map((f) => f.field);

before(async () => {
  s = await start({ name: 'sweep' });
  api = s.api;
  ({ document } = await s.server.openapi());
  for (const [at, item] of Object.entries(document.paths))
    for (const method of METHODS)
      if (item[method] && only.test(at) && !at.startsWith('/v1/'))
        operations.push({
          ...item[method], at, method: method.toUpperCase(), item, permission: item[method]['x-permission'],
          parameters: (item[method].parameters ?? []).map((p) => resolve(document, p)),
        });
});
after(() => s?.stop());

describe('the list of operations', () => {
  const find = ({ method, at }) => operations.find((op) => op.method === method && anonymous(op.at) === anonymous(at));
  const mine = listed.filter((o) => only.test(o.at));

  test('what is live is served, with its permission and its required members', () => {
    for (const wanted of mine.filter((o) => o.state !== 'later')) {
      const op = find(wanted);
      assert.ok(op, `${wanted.verb} ${wanted.at} is not served`);
      assert.equal(op.permission ?? '-', wanted.permission, `permission of ${wanted.verb} ${wanted.at}`);
      assert.equal(required(document, bodySchema(op)).join(',') || '-', wanted.members, `required members of ${wanted.verb} ${wanted.at}`);
      if (wanted.verb === 'WS') assert.ok(stream(op), `${wanted.at} is a stream`);
    }
  });

  test('an operation is listed once', () => {
    const names = listed.map((o) => `${o.verb} ${anonymous(o.at)}`);
    assert.deepEqual(names.filter((name, i) => names.indexOf(name) !== i), []);
  });

  test('what is served is in the list, and marked so', () => {
    for (const op of operations) {
      const found = listed.find((o) => o.method === op.method && anonymous(o.at) === anonymous(op.at));
      assert.ok(found, `${op.method} ${op.at} is not in seed-operations.txt`);
      assert.notEqual(found.state, 'later', `${op.method} ${op.at} is served, but listed as later`);
    }
  });
});

describe('who may call', () => {
  test('nobody without a token: 401', each(guarded, async (op) => {
    const answer = await send(op, { client: api.as(undefined), body: hasBody(op) ? {} : undefined });
    assert.equal(answer.status, 401);
    assert.equal(answer.code, 'AUTH_TOKEN_MISSING');
    assert.match(answer.headers['www-authenticate'], /^Bearer/);
  }));

  test('nobody with a token that is none: 401', each(guarded, async (op) => {
    const answer = await send(op, { client: api.as('slp_garbage'), body: hasBody(op) ? {} : undefined });
    assert.equal(answer.status, 401);
  }));

  test('nobody without the right: 403, which names it', each(permitted, async (op) => {
    const other = op.permission === 'plugin:read' ? 'release:read' : 'plugin:read';
    const answer = await send(op, { client: api.as(await keyWith(other)), body: hasBody(op) ? {} : undefined });
    assert.equal(answer.status, 403);
    assert.equal(answer.code, 'PERM_DENIED');
    assert.equal(answer.error.details.required, op.permission);
    const challenge = `Bearer realm="slipway", error="insufficient_scope", scope="${op.permission}", resource_metadata="`;
    assert.ok(answer.headers['www-authenticate'].startsWith(challenge), 'RFC 6750 §3.1');
  }));

  // Cancelling is for whoever asked for the promotion, and with a right of its own (promotion.test.mjs).
  const another = (op) => op.at.endsWith('/promotions/{id}/cancel');
  test('whoever has just that right', each((op) => permitted(op) && !another(op) && !isAgents(op) && !stream(op) && op.method !== 'DELETE', async (op) => {
    const answer = await send(op, { client: api.as(await keyWith(op.permission)) });
    assert.ok(![401, 403, 404, 405].includes(answer.status), `${answer.status} ${answer.text}`);
  }));

  const narrowed = (op) => permitted(op) && op['x-codes'].includes('PERM_ENVIRONMENT_SCOPE');
  test('nobody outside of the environment that the right is narrowed to', each((op) => narrowed(op) && answersBefore(op), async (op) => {
    const client = api.as(await keyWith(`${op.permission}@nowhere`));
    const answer = await send(op, { client, ...asking(op) });
    assert.equal(answer.code, 'PERM_ENVIRONMENT_SCOPE', answer.text);
    assert.equal(answer.error.details.required, op.permission);
  }));

  const collections = new Set(['environments', 'targets', 'promotions', 'deployment-jobs', 'rollbacks', 'version-stickers', 'workflow-runs']);
  test('a list shows nobody what lies outside of that environment', each((op) => op.method === 'GET' && collections.has(op.at.split('/').at(-1)), async (op) => {
    const answer = await send(op, { client: api.as(await keyWith(`${op.permission}@nowhere`)) });
    if (op.at.includes('{')) assert.equal(answer.code, 'PERM_ENVIRONMENT_SCOPE', answer.text);
    else assert.deepEqual([answer.status, answer.data, answer.body.meta?.pagination?.totalItems], [200, [], 0], answer.text);
  }));

  test('another tenant finds nothing', each((op) => guarded(op) && answersBefore(op) && /\{(id|envId)\}/.test(op.at), async (op) => {
    keys.get('other') ?? keys.set('other', await s.makeKey('--tenant', 'another', '--role', 'admin', '--permissions', 'audit:read'));
    const answer = await send(op, { client: api.as(keys.get('other')), ...asking(op) });
    assert.ok(answer.status === 404 || (isAgents(op) && answer.status === 403), `${answer.status} ${answer.text}`);
  }));
});

describe('bodies', () => {
  test('every member broken in every way is a fault at its place', each(hasBody, async (op) => {
    const at = await concrete(op);
    const change = op.method !== 'POST';
    for (const { what, path: place, body, code } of broken(document, bodySchema(op), await sample(op), change)) {
      if (JSON.stringify(body).length > 1_000_000) continue;
      const answer = await send(op, { at, body });
      const context = `${place} as ${what}: ${answer.status} ${answer.text.slice(0, 600)}`;
      assert.equal(answer.status, 400, context);
      assert.equal(answer.code, 'VAL_FAILED', context);
      const fault = answer.error.validationErrors.find((f) => f.field === place);
      assert.ok(fault, `no fault at ${context}`);
      assert.match(fault.code, code, context);
    }
  }));

  test('what is no JSON object is refused', each(hasBody, async (op) => {
    const at = await concrete(op);
    for (const raw of ['{"a":', '{"a":1,"a":2}', 'nonsense']) {
      const answer = await send(op, { at, raw });
      assert.deepEqual([answer.status, answer.code], [400, 'VAL_MALFORMED_JSON'], raw);
    }
    for (const raw of ['[]', '"text"', 'null', '1']) {
      const answer = await send(op, { at, raw });
      assert.deepEqual([answer.status, answer.code], [400, 'VAL_FAILED'], raw);
    }
    const answer = await send(op, { at, raw: 'a=b', headers: { 'content-type': 'application/x-www-form-urlencoded' } });
    assert.deepEqual([answer.status, answer.code], [415, 'RES_UNSUPPORTED_MEDIA_TYPE']);
  }));

  test('more than the limit is 413', each(hasBody, async (op) => {
    const raw = `{"name":"${'x'.repeat(1024 * 1024)}"}`;
    const answer = await send(op, { raw });
    assert.deepEqual([answer.status, answer.code], [413, 'RES_BODY_TOO_LARGE']);
  }));
});

describe('parameters', () => {
  const query = (op) => op.parameters.filter((p) => p.in === 'query');

  test('an unknown one is a fault', each(ours, async (op) => {
    const answer = await send(op, { query: { noSuchParameter: '1' }, body: hasBody(op) ? {} : undefined });
    assert.equal(answer.status, 400, answer.text);
    assert.ok(places(answer).includes('query.noSuchParameter'), answer.text);
  }));

  test('every one broken in every way is a fault at its place', each((op) => ours(op), async (op) => {
    const at = await concrete(op);
    for (const parameter of query(op))
      for (const [what, text] of brokenParameter(document, parameter)) {
        const answer = await send(op, { at, query: { [parameter.name]: text } });
        assert.equal(answer.status, 400, `${parameter.name} as ${what}: ${answer.text.slice(0, 500)}`);
        assert.ok(places(answer).includes(`query.${parameter.name}`), `${parameter.name} as ${what}: ${answer.text.slice(0, 500)}`);
      }
  }));

  test('an id that is none finds nothing', each((op) => guarded(op) && answersBefore(op) && /\{id\}/.test(op.at), async (op) => {
    for (const id of ['nothing', '0190a5b0-0000-7000-8000-0000000000ab']) {
      const at = (await concrete(op)).replace(/[0-9a-f]{8}-[0-9a-f-]{27}/, id);
      const answer = await send(op, { at, ...asking(op) });
      assert.ok(answer.status === 404 || (isAgents(op) && answer.status === 403), `${id}: ${answer.status} ${answer.text}`);
    }
  }));

  test('every sort the document offers, and a filter by every field', each((op) => query(op).some((p) => p.name === 'sort'), async (op) => {
    for (const sort of query(op).find((p) => p.name === 'sort').schema.items.enum) {
      const answer = await send(op, { query: { sort } });
      assert.equal(answer.status, 200, sort);
    }
    for (const { name, schema } of query(op).filter((p) => p.schema?.type === 'array' && p.name !== 'sort')) {
      const item = resolve(document, schema.items);
      const value = item.enum?.[0] ?? (item.format === 'uuid' ? '0190a5b0-0000-7000-8000-0000000000ab'
        : item.format === 'date-time' ? '2026-01-01T00:00:00Z' : item.type === 'boolean' ? true : item.type === 'string' ? 'x' : 1);
      const named = await send(op, { query: { [name]: String(value) } });
      assert.equal(named.status, 200, `${name}=${value} ${named.text}`);
      const filtered = await send(op, { query: { filter: JSON.stringify({ [name]: { $in: [value] } }) } });
      assert.equal(filtered.status, 200, `${name} ${filtered.text}`);
      assert.deepEqual(filtered.data, named.data);
    }
  }));
});

describe('methods', () => {
  test('those a path does not have are 405 and say which it has', each(ours, async (op) => {
    const at = await concrete(op);
    const has = METHODS.filter((m) => op.item[m]).map((m) => m.toUpperCase());
    for (const method of METHODS.map((m) => m.toUpperCase()).filter((m) => !has.includes(m))) {
      const answer = await api.request(method, at, method === 'GET' || method === 'DELETE' ? undefined : {});
      assert.equal(answer.status, 405, `${method} ${answer.text}`);
      const allowed = answer.headers.allow.split(', ');
      for (const one of has) assert.ok(allowed.includes(one), answer.headers.allow);
    }
    const options = await api.request('OPTIONS', at);
    assert.equal(options.status, 204);
    assert.ok(has.every((m) => options.headers.allow.split(', ').includes(m)));
  }));

  test('HEAD is GET without the body', each((op) => op.method === 'GET' && !stream(op), async (op) => {
    const answer = await api.request('HEAD', await concrete(op), undefined, { absolute: !ours(op) });
    assert.equal(answer.status, 200);
    assert.equal(answer.text, '');
    if (!op.at.endsWith('/export')) assert.ok(Number(answer.headers['content-length']) > 0); // that has no length before it ends
  }));
});

test('everything that can be deleted is', each((op) => op.method === 'DELETE', async (op) => {
  const answer = await send(op, { at: await concrete(op, true) });
  assert.equal(answer.status, 204, answer.text);
}));
