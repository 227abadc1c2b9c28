// Keys of every dialect: one resource, /v1/tokens, and one format.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RedisProxy } from '../lib/proxy.mjs';
import { holding, streamOf } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';
import { Signer } from '../lib/token.mjs';
import { eventually } from '../lib/wait.mjs';

let s, run, ada, signer;

const call = (as, method, path, body, options) => s.server.client(as).request(method, `/v1${path}`, body, { absolute: true, ...options });
const read = (key, server = s.server, headers = {}) => server.client(key).get('/environments', { headers });
const make = async (as, body = {}) => {
  const made = await call(as, 'POST', '/tokens', { name: 'a key', ...body });
  assert.equal(made.status, 201, made.text);
  return made.body;
};
const person = async (email, roles) => {
  const made = await call(s.key, 'POST', '/users', { email, name: 'A person', password: 'a long enough sentence', roles });
  assert.equal(made.status, 201, made.text);
  const { id, tenant_id } = made.body;
  return { id, token: signer.token({ sub: id, user_id: id, tenant_id, jti: id, roles: ['admin'] }) };
};
const follow = async (key, server = s.server) => {
  const stream = new WsStream(server, streamOf(run), { token: key });
  await stream.until((x) => x.frames.some((f) => f.type === 'synced'), 'the stream to be in step');
  return stream;
};
/** A worker may take it for as long as it trusts what it has heard. */
const felt = (key, code, server = s.server) => eventually(async () => (await read(key, server)).code === code, `the key to be refused with ${code}`);
const closed = (stream) => eventually(() => stream.closed, 'the stream to be closed');

before(async () => {
  s = await start({ name: 'tokens', workers: 2, instances: 2, env: { SLIPWAY_TRUST_PROXY: '127.0.0.1' } });
  run = await holding(s.api);
  signer = new Signer(s.server.data);
  ada = await person('ada@example.org', ['operator']);
});
after(() => s?.stop());

describe('flavours', () => {
  for (const [prefix, personal] of [['aethex_pat', true], ['sk_user', true], ['sk_read', true], ['sk_proj', false], ['hks_live', false], ['slp', false]])
    test(`${prefix} is made by ${personal ? 'people for themselves' : 'those who manage the tenant'}, and shown once`, async () => {
      const [maker, other] = personal ? [ada.token, s.key] : [s.key, ada.token];
      const made = await make(maker, { prefix, scopes: ['environments:read'] });
      assert.match(made.token, new RegExp(`^${prefix}_[0-9A-Za-z]{36}$`));
      assert.ok(made.token.startsWith(made.hint) && made.hint.length <= prefix.length + 7);
      assert.equal(made.user_id, personal ? ada.id : undefined);
      assert.equal((await read(made.token)).status, 200);
      const { token, ...kept } = made;
      const { last_used_at, last_used_from, ...seen } = (await call(maker, 'GET', `/tokens/${made.id}`)).body;
      assert.deepEqual(seen, kept);
      assert.equal((await call(other, 'POST', '/tokens', { name: 'x', prefix, scopes: ['environments:read'] })).status, 403);
      const broken = token.slice(0, -1) + (token.endsWith('0') ? '1' : '0');
      assert.equal((await read(broken)).code, 'AUTH_API_KEY_INVALID');
    });

  test('a key is taken under the alias of its prefix as well', async () => {
    for (const [as, prefix, alias] of [[ada.token, 'aethex_pat', 'aethex_sk'], [s.key, 'hks_live', 'hxb_live']]) {
      const { token } = await make(as, { prefix, scopes: ['environments:read'] });
      const other = token.replace(prefix, alias);
      assert.equal((await read(other)).status, 200);
      assert.equal((await read(other.slice(0, -1))).code, 'AUTH_API_KEY_INVALID');
    }
  });

  test('a key may come in X-API-Key; nothing else may, and Authorization goes before it', async () => {
    const { token } = await make(s.key, { prefix: 'hks_live', scopes: ['environments:read'] });
    const by = (headers) => s.server.client().get('/environments', { headers });
    assert.equal((await by({ 'x-api-key': token })).status, 200);
    for (const wrong of [ada.token, token.slice(0, -1), ''])
      assert.equal((await by({ 'x-api-key': wrong })).code, 'AUTH_API_KEY_INVALID', wrong);
    assert.equal((await by({ 'x-api-key': token, authorization: 'Bearer nonsense' })).code, 'AUTH_TOKEN_INVALID');
    const stream = new WsStream(s.server, streamOf(run), { headers: { 'x-api-key': token } });
    assert.equal((await stream.refusal()).code, 'PERM_DENIED'); // known, but not for runs
  });

  test('sk_read only reads', async () => {
    const refused = await call(ada.token, 'POST', '/tokens', { name: 'x', prefix: 'sk_read', scopes: ['environments:read', 'environments:write'] });
    assert.deepEqual([refused.status, /scopes\[1\]/.test(refused.text)], [400, true]);
    const { token } = await make(ada.token, { prefix: 'sk_read' });
    assert.equal((await read(token)).status, 200);
    assert.equal((await s.server.client(token).post('/environments', { name: 'no' })).code, 'PERM_DENIED');
  });
});

describe('what a key may do', () => {
  test('nobody gives more than they have', async () => {
    const refused = await call(ada.token, 'POST', '/tokens', { name: 'x', scopes: ['release:create'] });
    assert.equal(refused.status, 403);
    assert.match(refused.text, /release:create/);
    assert.equal((await call(ada.token, 'POST', '/tokens', { name: 'x', scopes: ['no such'] })).status, 400);
  });

  test('a person\'s key never does more than the person may now, and again what is given back', async () => {
    const eve = await person('eve@example.org', ['admin']);
    const { token } = await make(eve.token, { scopes: ['environments:write'] });
    const changes = () => s.server.client(token).post('/environments', { name: `of-eve-${Math.random().toString(16).slice(2, 10)}` });
    assert.equal((await changes()).status, 201);
    const roles = async (list, status) => {
      assert.equal((await call(s.key, 'PATCH', `/users/${eve.id}`, { roles: list })).status, 200);
      await eventually(async () => (await changes()).status === status, `${list} to be felt`);
    };
    await roles(['viewer'], 403);
    assert.equal((await read(token)).status, 200);
    await roles(['admin'], 201);
    const stream = await follow((await make(eve.token)).token);
    await roles([], 403);
    assert.equal((await closed(stream)).code, 4401);
    await call(s.key, 'DELETE', `/users/${eve.id}`);
    for (const of of [token, eve.token]) await felt(of, 'AUTH_TOKEN_REVOKED');
  });

  test('others see their own alone, those who manage the tenant all', async () => {
    const bob = await person('bob@example.org', ['viewer']);
    const own = await make(bob.token, { name: 'of bob' });
    const ids = async (as) => (await call(as, 'GET', '/tokens', undefined, { query: { limit: '100' } })).body.data.map((k) => k.id);
    assert.deepEqual(await ids(bob.token), [own.id]);
    assert.deepEqual(await ids(own.token), [own.id]); // by itself
    assert.ok((await ids(s.key)).includes(own.id));
    assert.ok(!(await ids(ada.token)).includes(own.id));
    for (const [method, path] of [['GET', ''], ['DELETE', ''], ['POST', '/rotate']])
      assert.equal((await call(ada.token, method, `/tokens/${own.id}${path}`)).status, 404, method);
    assert.equal((await call(s.key, 'POST', `/tokens/${own.id}/rotate`)).status, 403); // its text is bob's
    assert.equal((await call(s.key, 'DELETE', `/tokens/${own.id}`)).status, 204);
  });

  test('it is over when it says so', async () => {
    const made = await make(s.key, { prefix: 'slp', scopes: ['environments:read'], expires_in_days: 30 });
    assert.ok(Math.abs(Date.parse(made.expires_at) - Date.now() - 30 * 86400e3) < 60e3);
    assert.equal((await call(s.key, 'POST', '/tokens', { name: 'x', expires_in_days: 0 })).status, 400);
  });
});

describe('from where', () => {
  const from = (address) => ({ 'x-forwarded-for': address });

  test('a key with networks is good from within them alone, on requests and on streams', async () => {
    const { token } = await make(s.key, { prefix: 'slp', cidrs: ['192.0.2.0/24', '2001:db8::/32'] });
    for (const address of ['192.0.2.7', '2001:db8::1']) assert.equal((await read(token, s.server, from(address))).status, 200);
    for (const address of ['192.0.3.7', '2001:db9::1', undefined, '192.0.2.7']) {
      const answer = await read(token, s.server, address ? from(address) : {});
      assert.deepEqual([answer.status, answer.code], address === '192.0.2.7' ? [200, undefined] : [403, 'PERM_NETWORK'], address);
    }
    const near = new WsStream(s.server, streamOf(run), { token, headers: from('192.0.2.9') });
    await near.opened();
    const far = await new WsStream(s.server, streamOf(run), { token, headers: from('192.0.3.9') }).refusal();
    assert.deepEqual([far.status, far.code], [403, 'PERM_NETWORK']);
    const late = new WsStream(s.server, streamOf(run), { headers: from('192.0.3.9') });
    await late.opened();
    late.send({ type: 'auth', token });
    assert.equal((await closed(late)).code, 4403);
    near.close();
  });

  test('the authorization server says so in its own words', async () => {
    const { token } = await make(s.key, { prefix: 'slp', cidrs: ['192.0.2.0/24'] });
    const answer = await call(token, 'GET', '/tokens');
    assert.deepEqual([answer.status, answer.body.error], [403, 'access_denied']);
  });

  test('what is no network is refused by its place', async () => {
    for (const wrong of ['10.0.0.1/8', 'everywhere', '10.0.0.0/8,::/0']) {
      const answer = await call(s.key, 'POST', '/tokens', { name: 'x', prefix: 'slp', cidrs: ['::/0', wrong] });
      assert.deepEqual([answer.status, /cidrs\[1\]/.test(answer.text)], [400, true], answer.text);
    }
  });

  test('the last use is told, to the minute', async () => {
    const made = await make(s.key, { prefix: 'slp' });
    assert.equal(made.last_used_at, undefined);
    const began = Date.now();
    await read(made.token, s.server, from('198.51.100.9'));
    const seen = (await call(s.key, 'GET', `/tokens/${made.id}`)).body;
    assert.equal(seen.last_used_from, '198.51.100.9');
    assert.ok(Math.abs(Date.parse(seen.last_used_at) - began) < 30e3);
    await read(made.token, s.servers[1], from('198.51.100.10')); // within the same minute
    const listed = (await call(s.key, 'GET', '/tokens', undefined, { query: { limit: '100' } })).body.data.find((k) => k.id === made.id);
    assert.deepEqual([listed.last_used_at, listed.last_used_from], [seen.last_used_at, '198.51.100.9']);
  });
});

describe('rotation', () => {
  test('without an overlap the old text is refused at once, and its streams end', async () => {
    const made = await make(s.key, { prefix: 'hks_live' });
    const stream = await follow(made.token, s.servers[1]);
    const rotated = (await call(made.token, 'POST', `/tokens/${made.id}/rotate`)).body;
    assert.deepEqual([rotated.id, rotated.revision], [made.id, 2]);
    assert.notEqual(rotated.token, made.token);
    assert.ok(rotated.token.startsWith(rotated.hint));
    assert.equal((await read(rotated.token)).status, 200);
    assert.equal((await closed(stream)).code, 4401);
    for (const server of s.servers) await felt(made.token, 'AUTH_TOKEN_REVOKED', server);
  });

  test('with one both are good until it ends, then the old one is over, and so are its streams', async () => {
    const made = await make(ada.token, { prefix: 'sk_user' });
    const rotate = async (seconds) => (await call(ada.token, 'POST', `/tokens/${made.id}/rotate`, { overlap_seconds: seconds })).body;
    const second = await rotate(600);
    for (const text of [made.token, second.token]) for (const server of s.servers) assert.equal((await read(text, server)).status, 200);
    const stream = await follow(second.token);
    const third = await rotate(2);
    assert.equal((await closed(stream)).code, 4401);
    assert.ok(Date.now() >= Date.parse(third.overlap_ends_at) - 50, 'the stream ended before the overlap did');
    await felt(second.token, 'AUTH_TOKEN_EXPIRED');
    for (const text of [made.token, third.token]) assert.equal((await read(text)).status, 200); // the first has its own overlap
  });

  test('a key that is taken back is refused under all of its texts', async () => {
    const made = await make(s.key, { prefix: 'slp' });
    const texts = [made.token];
    for (let i = 0; i < 2; i++) texts.push((await call(s.key, 'POST', `/tokens/${made.id}/rotate`, { overlap_seconds: 600 })).body.token);
    for (const text of texts) assert.equal((await read(text)).status, 200);
    assert.equal((await call(s.key, 'DELETE', `/tokens/${made.id}`)).status, 204);
    for (const server of s.servers)
      for (const text of texts) await felt(text, 'AUTH_TOKEN_REVOKED', server);
    assert.equal((await call(s.key, 'GET', `/tokens/${made.id}`)).status, 404);
  });

  test('the answer is replayed to whoever asks again with the same key, and to nobody else', async () => {
    const made = await make(s.key, { prefix: 'slp' });
    const again = () => call(s.key, 'POST', `/tokens/${made.id}/rotate`, { overlap_seconds: 60 }, { headers: { 'idempotency-key': 'once-only' } });
    const first = await again(), second = await again();
    assert.deepEqual([first.status, second.body], [200, first.body]);
    assert.equal((await call(s.key, 'GET', `/tokens/${made.id}`)).body.revision, 2);
  });

  test('an operator\'s key is rotated the same way, by those who have all that it gives', async () => {
    const key = await s.makeKey('--role', 'admin', '--name', 'of the operator');
    const { body } = await call(key, 'GET', '/tokens', undefined, { query: { name: 'of the operator' } });
    const [{ id }] = body.data;
    const less = await make(s.key, { prefix: 'slp', scopes: ['tenant:manage'] });
    assert.equal((await call(less.token, 'POST', `/tokens/${id}/rotate`)).status, 403);
    const rotated = await call(s.key, 'POST', `/tokens/${id}/rotate`);
    assert.equal(rotated.status, 200, rotated.text);
    assert.equal((await read(rotated.body.token)).status, 200);
    await felt(key, 'AUTH_TOKEN_REVOKED');
  });
});

describe('taking back', () => {
  test('is felt within a second on every instance, and ends live streams, also when no published message arrives', async (t) => {
    const proxy = await new RedisProxy(s.nest, s.redis.socket).start();
    after(() => proxy.stop());
    const deaf = await s.addServer({ args: ['--workers', '1', '--redis', proxy.url], env: { SLIPWAY_TRUST_PROXY: '127.0.0.1' } });
    proxy.deaf = true;
    const made = await make(s.key, { prefix: 'hks_live' });
    const servers = [...s.servers];
    assert.ok(servers.includes(deaf));
    for (const server of servers) assert.equal((await read(made.token, server)).status, 200);
    const streams = await Promise.all(servers.map((server) => follow(made.token, server)));
    assert.equal((await call(s.key, 'DELETE', `/tokens/${made.id}`)).status, 204);
    const done = Date.now(), took = () => Date.now() - done;
    const refused = await Promise.all(servers.map(async (server) => {
      await eventually(async () => (await read(made.token, server)).status === 401, 'the key to be refused');
      return took();
    }));
    for (const stream of streams) assert.equal((await closed(stream)).code, 4401);
    t.diagnostic(`refused after ${refused.join(', ')} ms, the last stream closed after ${took()} ms`);
  });

  test('all of a suspended tenant is refused and its streams end; once it is back, so are they', async () => {
    const key = await s.makeKey('--role', 'admin', '--tenant', 'closed');
    const theirs = s.server.client(key);
    const { tenantId } = await theirs.want(201, 'POST', '/environments', { name: 'theirs' });
    const stream = new WsStream(s.server, '/dashboard/stream', { token: key });
    await stream.opened();
    const [document] = await s.redis.keys(`*}:o:${tenantId}:environment`);
    const partition = document.split(':')[0];
    const suspend = async (value) => { // as whoever runs the installation does
      await s.redis.command('HSET', `${partition}:kt:${tenantId}`, 'suspended', value);
      await s.redis.command('HINCRBY', `${partition}:meta`, 'revoked', '1');
    };
    await suspend(String(Date.now()));
    const refused = await eventually(async () => ((a) => a.status === 403 && a)(await theirs.get('/environments')), 'the tenant to be shut');
    assert.equal(refused.code, 'PERM_TENANT_SUSPENDED');
    assert.equal((await closed(stream)).code, 4401);
    await suspend('');
    await eventually(async () => (await theirs.get('/environments')).status === 200, 'the tenant to be open');
  });

  test('an access token that names a suspended or removed person is refused', async () => {
    const carl = await person('carl@example.org', ['viewer']);
    assert.equal((await read(carl.token)).status, 200);
    await call(s.key, 'PATCH', `/users/${carl.id}`, { status: 'suspended' });
    await felt(carl.token, 'AUTH_TOKEN_REVOKED');
    await call(s.key, 'PATCH', `/users/${carl.id}`, { status: 'active' });
    await eventually(async () => (await read(carl.token)).status === 200, 'the token to be good again');
  });

  test('a key that an older version stored goes on, and is shown as all are', async () => {
    const key = await s.makeKey('--role', 'viewer', '--name', 'long ago');
    const { body: { data: [{ id, tenant_id, created_at }] } } = await call(s.key, 'GET', '/tokens', undefined, { query: { name: 'long ago' } });
    const [document] = await s.redis.keys(`*}:d:${tenant_id}:key:${id}`);
    const old = { createdAt: created_at, id, name: 'long ago', permissions: [], roles: ['viewer'], tenantId: tenant_id, tier: 'standard' };
    await s.redis.command('HSET', document, 'j', JSON.stringify(old), 'sv', '1');
    const record = `${document.split(':')[0]}:k:${await s.redis.command('HGET', document, 'credential')}`;
    await s.redis.command('HDEL', record, 'of', 'networks');
    const shown = (await call(s.key, 'GET', `/tokens/${id}`)).body;
    assert.deepEqual([shown.created_at, shown.prefix, shown.roles], [created_at, 'slp', ['viewer']]);
    const listed = JSON.parse((await s.slipway('key', 'list', '--json')).stdout).find((k) => k.id === id);
    assert.equal(listed.created_at, created_at);
    assert.equal((await read(key)).status, 200);
    const rotated = (await call(s.key, 'POST', `/tokens/${id}/rotate`, { overlap_seconds: 600 })).body;
    for (const text of [key, rotated.token]) assert.equal((await read(text)).status, 200);
    await call(s.key, 'DELETE', `/tokens/${id}`);
    for (const text of [key, rotated.token]) await felt(text, 'AUTH_TOKEN_REVOKED');
  });

  test('making, rotating and taking back are in the audit trail, the texts nowhere', async () => {
    const made = await make(s.key, { prefix: 'sk_proj', scopes: ['environments:read'] });
    const rotated = (await call(s.key, 'POST', `/tokens/${made.id}/rotate`)).body;
    await call(s.key, 'DELETE', `/tokens/${made.id}`);
    const auditor = s.server.client(await s.makeKey('--role', 'auditor'));
    const entries = await auditor.want(200, 'GET', '/audit-events', undefined, { query: { resourceId: made.id } });
    assert.deepEqual(entries.map((e) => e.action).sort(), ['key.created', 'key.revoked', 'key.rotated']);
    const dump = JSON.stringify(entries);
    for (const text of [made.token, rotated.token]) assert.ok(!dump.includes(text.slice(-30)));
  });
});
