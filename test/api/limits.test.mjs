// Rate limits: exact counts, headers on every authenticated answer, and what a refusal says.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeTemplate, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';

let s;

before(async () => {
  s = await start({
    name: 'limits', workers: 2,
    env: {
      SLIPWAY_RATE_STANDARD: '12', SLIPWAY_RATE_STANDARD_BURST: '12',
      SLIPWAY_RATE_PREMIUM: '60', SLIPWAY_RATE_PREMIUM_BURST: '4',
      SLIPWAY_RATE_FREE_DAY: '12', SLIPWAY_RATE_FREE_BUILDS: '2',
    },
  });
});
after(() => s?.stop());

const fresh = async (...args) => s.server.client(await s.makeKey('--role', 'viewer', '--name', `k${Math.random()}`, ...args));
const number = (answer, name) => Number(answer.headers[name]);

test('the window is counted down exactly, over all workers, and errors count as well', async () => {
  const key = await s.makeKey('--role', 'viewer', '--name', 'window');
  let left = 12, reset;
  const ask = async (path, status) => {
    const answer = await s.server.client(key).get(path); // a connection each: any worker
    assert.equal(answer.status, status, answer.text);
    assert.equal(number(answer, 'x-ratelimit-limit'), 12);
    assert.equal(number(answer, 'x-ratelimit-remaining'), --left);
    reset ??= number(answer, 'x-ratelimit-reset');
    assert.equal(number(answer, 'x-ratelimit-reset'), reset);
    assert.equal(answer.headers['ratelimit-policy'], '"minute";q=12;w=60, "burst";q=12;w=60');
    assert.match(answer.headers.ratelimit, new RegExp(`^"minute";r=${left};t=\\d+, "burst";r=\\d+;t=\\d+$`));
  };
  for (let i = 0; i < 9; i++) await ask('/environments', 200);
  await ask('/environments/0192f7a0-0000-7000-8000-0000000000ff', 404);
  await ask('/nothing', 404);
  await ask('/audit-events', 403);
  assert.ok(reset > Date.now() / 1000 - 2 && reset <= Date.now() / 1000 + 61, `reset ${reset}`);
  const over = await s.server.client(key).get('/environments');
  assert.equal(over.status, 429);
  assert.equal(over.code, 'RATE_LIMIT_EXCEEDED');
  assert.equal(number(over, 'x-ratelimit-remaining'), 0);
  const wait = number(over, 'retry-after');
  assert.ok(wait >= 1 && wait <= 60, `Retry-After ${wait}`);
  assert.deepEqual(over.error.details, { retryAfterSeconds: wait, tier: 'standard' });
});

test('a refused request has no effect', async () => {
  const key = await s.makeKey('--role', 'admin', '--name', 'effects');
  const client = s.server.client(key);
  const made = [];
  for (let i = 0; i < 20; i++) {
    const answer = await client.post('/environments', { name: `limited-${i}`, orderIndex: 100 + i });
    assert.ok([201, 429].includes(answer.status), answer.text);
    if (answer.status === 201) made.push(answer.data.name);
  }
  assert.equal(made.length, 12);
  const reader = await fresh();
  const names = (await reader.get('/environments', { query: { pageSize: '100' } })).data.map((e) => e.name).filter((n) => n.startsWith('limited-'));
  assert.deepEqual(names.sort(), made.sort());
});

test('a burst is bounded by the bucket', async () => {
  const client = await fresh('--tier', 'premium');
  const began = Date.now();
  const answers = await Promise.all(Array.from({ length: 40 }, () => client.get('/environments')));
  const seconds = (Date.now() - began) / 1000;
  const through = answers.filter((a) => a.status === 200).length;
  assert.ok(through >= 4 && through <= 4 + Math.ceil(seconds), `${through} of 40 in ${seconds} s with a bucket of 4 and 1 a second`);
  for (const answer of answers.filter((a) => a.status === 429)) {
    assert.equal(answer.error.details.tier, 'premium');
    assert.ok(number(answer, 'retry-after') >= 1);
    assert.equal(number(answer, 'x-ratelimit-limit'), 60);
  }
});

test('callers do not share their limits', async () => {
  const [one, two] = [await fresh(), await fresh()];
  for (let i = 0; i < 13; i++) await one.get('/environments');
  assert.equal((await one.get('/environments')).status, 429);
  assert.equal(number(await two.get('/environments'), 'x-ratelimit-remaining'), 11);
});

/** Days are those of UTC: then a count would begin anew. */
const midnightIsNear = () => 86400 - (Date.now() / 1000) % 86400 < 120;

const budget = (answer, name) => Object.fromEntries(
  [...(new RegExp(`"${name}"((?:;\\w+=\\d+)+)`).exec(answer.headers.ratelimit)?.[1] ?? '').matchAll(/;(\w+)=(\d+)/g)].map(([, key, value]) => [key, Number(value)]));

test('a plan has requests a day and builds a day beside its minute; headers list them all', async (t) => {
  if (midnightIsNear()) return t.skip('the day ends');
  const client = s.server.client(await s.makeKey('--role', 'admin', '--name', 'plan', '--tier', 'free'));
  const template = await makeTemplate(client, [wait('w', 3600)]);
  const start = (more, headers = {}) => client.post('/workflow-runs', { templateId: template.id, ...more }, { headers });
  const once = { 'idempotency-key': 'the first build' };
  const first = await start({}, once);
  assert.equal(first.status, 201, first.text);
  assert.equal(first.headers['ratelimit-policy'],
    '"minute";q=60;w=60, "burst";q=20;w=20, "day";q=12;w=86400, "builds";q=2;w=86400;qu="builds"');
  assert.deepEqual([budget(first, 'day').r, budget(first, 'builds').r], [10, 1]);
  assert.ok(budget(first, 'day').t <= 86400);

  assert.equal((await start({ unknown: 1 })).status, 400, 'what is refused is no build');
  assert.equal((await start({}, once)).data.id, first.data.id, 'nor is what was done before');
  assert.equal(budget(await client.get('/step-types'), 'builds').r, 1);
  assert.equal((await start()).status, 201);
  const over = await start();
  assert.equal(over.status, 429, over.text);
  assert.equal(over.code, 'RATE_BUILDS_EXCEEDED');
  assert.ok(number(over, 'retry-after') > 60 && number(over, 'retry-after') <= 86400);
  assert.equal((await client.get('/step-types')).status, 200, 'everything else goes on');

  let answer = over;
  for (let i = 0; i < 12 && answer.code !== 'RATE_LIMIT_EXCEEDED'; i++) answer = await client.get('/step-types');
  assert.equal(answer.status, 429, answer.text);
  assert.equal(budget(answer, 'day').r, 0);
  assert.ok(number(answer, 'retry-after') > 60);
  assert.equal(answer.error.details.tier, 'free');
});

/** What became of `count` requests by one key over several connections to each instance, at once. */
async function hammer(system, key, count, connections = 4) {
  const clients = system.servers.flatMap((server) => Array.from({ length: connections }, () => server.client(key)));
  const statuses = [], began = Date.now();
  await Promise.all(clients.map(async (client) => {
    for (let i = 0; i < count / clients.length; i++) statuses.push((await client.get('/step-types')).status);
  }));
  assert.deepEqual(statuses.filter((status) => ![200, 429].includes(status)), []);
  return { through: statuses.filter((status) => status === 200).length, seconds: Math.ceil((Date.now() - began) / 1000) };
}

/** Requests of all instances that were let through without asking Redis. */
const onCredit = async (system) => {
  const texts = await Promise.all(system.servers.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
  return texts.reduce((sum, text) => sum + Number(/^slipway_admissions_total\{by="credit"\} (\d+)$/m.exec(text)[1]), 0);
};

test('what is on credit exceeds a limit by 2 % and a burst by 5 requests at most, over all workers of two instances', async () => {
  const two = await start({
    name: 'credit', workers: 2, instances: 2,
    env: {
      SLIPWAY_RATE_STANDARD: '500', SLIPWAY_RATE_STANDARD_BURST: '1000', SLIPWAY_RATE_PREMIUM: '600', SLIPWAY_RATE_PREMIUM_BURST: '100',
      SLIPWAY_RATE_PRO: '100000', SLIPWAY_RATE_PRO_BURST: '100000', SLIPWAY_RATE_PRO_DAY: '500',
    },
  });
  try {
    const limited = await two.makeKey('--role', 'viewer', '--name', 'limited');
    assert.equal((await hammer(two, limited, 400)).through, 400);
    const lent = await onCredit(two);
    assert.ok(lent >= 20, `${lent} of 400 on credit`);
    const { through } = await hammer(two, limited, 200);
    assert.ok(through >= 100 && through <= 110, `${400 + through} of a limit of 500`);

    const bursting = await two.makeKey('--role', 'viewer', '--name', 'bursting', '--tier', 'premium');
    const burst = await hammer(two, bursting, 400);
    assert.ok(burst.through >= 100 && burst.through <= 100 + 5 + 10 * burst.seconds,
      `${burst.through} in ${burst.seconds} s with a bucket of 100 and 10 a second`);

    if (midnightIsNear()) return;
    const daily = await two.makeKey('--role', 'viewer', '--name', 'daily', '--tier', 'pro');
    const day = await hammer(two, daily, 600);
    assert.ok(day.through >= 500 && day.through <= 510, `${day.through} of 500 a day`);
  } finally {
    await two.stop();
  }
});

test('before anybody is authenticated the bucket of the address shows, and ends a flood', async () => {
  const strict = await start({ name: 'flood', workers: 1, env: { SLIPWAY_RATE_ADDRESS: '60', SLIPWAY_RATE_ADDRESS_BURST: '30' } });
  try {
    const answers = [];
    for (let i = 0; i < 60; i++) answers.push(await strict.server.client().get('/environments'));
    assert.equal(answers[0].status, 401);
    assert.equal(number(answers[0], 'x-ratelimit-limit'), 60);
    const last = answers.find((a) => a.status === 429);
    assert.ok(last, 'sixty requests at once exceed a bucket of thirty');
    assert.equal(last.code, 'RATE_LIMIT_EXCEEDED');
    assert.ok(number(last, 'retry-after') >= 1);
  } finally {
    await strict.stop();
  }
});

test('every operation that asks for no credentials is bounded per address, and an IPv6 network is one address', async () => {
  const strict = await start({
    name: 'public', workers: 1, env: { SLIPWAY_RATE_ADDRESS: '1', SLIPWAY_RATE_ADDRESS_BURST: '3', SLIPWAY_TRUST_PROXY: '127.0.0.0/8' },
  });
  try {
    const { document } = await strict.server.openapi();
    const open = Object.entries(document.paths).flatMap(([at, item]) => ['get', 'post', 'put', 'patch', 'delete']
      .filter((method) => item[method] && item[method]['x-permission'] === undefined && /^\/(api\/v1|v1)\//.test(at)).map((method) => [method.toUpperCase(), at]));
    const paths = open.map(([, at]) => at);
    for (const wanted of ['/v1/auth/token', '/v1/auth/login', '/api/v1/agents/register']) assert.ok(paths.includes(wanted), `${wanted} in ${paths}`);
    for (const [i, [method, path]] of open.entries())
      for (const address of [() => `198.51.100.${i + 1}`, (n) => `2001:db8:0:${(i + 1).toString(16)}::${n + 1}`]) {
        const statuses = [];
        for (let n = 0; n < 4; n++) {
          const headers = { 'x-forwarded-for': address(n), 'content-type': 'application/x-www-form-urlencoded' };
          statuses.push((await strict.server.client().request(method, path, undefined, {
            absolute: true, headers, raw: method === 'GET' ? undefined : '',
          })).status);
        }
        assert.ok(!statuses.slice(0, 3).includes(429) && statuses[3] === 429, `${method} ${path}: ${statuses}`);
      }
  } finally {
    await strict.stop();
  }
});
