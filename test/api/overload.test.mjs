// More than there is room for: refused at once, with a reason and a time to come back; probes are answered all the same.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeTemplate, startRun, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Wire, metric } from '../lib/wire.mjs';

const ask = (wire, path) => wire.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).answer();

function shed(answer, why) {
  assert.equal(answer.status, 503, answer.text);
  assert.equal(answer.body.error.code, 'SYS_OVERLOADED');
  assert.match(answer.body.error.message, why);
  assert.equal(answer.headers['retry-after'], '1');
}

for (const [what, setting, series] of [
  ['connections in all', 'SLIPWAY_CONNECTIONS_MAX', 'slipway_connections_refused_total{reason="limit"}'],
  ['connections of one address', 'SLIPWAY_CONNECTIONS_ADDRESS_MAX', 'slipway_connections_refused_total{reason="address"}'],
])
  describe(`with as many ${what} as there may be`, () => {
    let s;
    const held = [];
    before(async () => {
      s = await start({ name: 'crowded', workers: 1, env: { [setting]: '8' } });
      for (const client of s.clients) client.close();
      await eventually(async () => (await metric(s.server, 'slipway_connections')) === 1, 'the connections of the start to be gone');
      for (let i = 0; i < 8; i++) held.push(await Wire.open(s.server));
      await eventually(async () => (await metric(s.server, 'slipway_connections')) === 9, 'all of them to be taken');
    });
    after(() => {
      for (const wire of held) wire.close();
      return s?.stop();
    });

    test('one more is told so and closed', async () => {
      const wire = await Wire.open(s.server);
      const answer = await ask(wire, '/api/v1/environments');
      shed(answer, /too many connections/);
      assert.equal(answer.headers.connection, 'close');
      await wire.closed();
    });

    test('one more that says nothing is closed soon', async () => {
      const wire = await Wire.open(s.server);
      await wire.closed();
    });

    test('probes and figures are answered, once for each connection', async () => {
      for (const path of ['/livez', '/readyz', '/startupz']) {
        const wire = await Wire.open(s.server);
        wire.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\nGET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
        const answer = await wire.answer();
        assert.deepEqual([answer.status, answer.headers.connection], [200, 'close']);
        await wire.closed();
      }
      assert.ok((await metric(s.server, series)) >= 5);
    });

    test('those that were there go on, and there is room again when one goes', async () => {
      assert.equal((await ask(held[0], '/api/v1/environments')).status, 401);
      held.pop().close();
      await eventually(async () => {
        const wire = await Wire.open(s.server);
        const { status } = await ask(wire, '/api/v1/environments');
        wire.close();
        return status === 401;
      }, 'a new connection to be served');
    });
  });

test('more requests than may wait for an answer are refused at once; liveness is answered', async () => {
  const s = await start({ name: 'waiting', workers: 1, env: { SLIPWAY_REQUESTS_MAX: '4', SLIPWAY_REDIS_TIMEOUT: '30s', SLIPWAY_REQUEST_TIMEOUT: '30s' } });
  const wires = await Promise.all(Array.from({ length: 12 }, () => Wire.open(s.server)));
  try {
    const refused = [];
    s.redis.process.signal('SIGSTOP');
    const answers = wires.map(async (wire) => {
      const answer = await wire.send(`GET /api/v1/environments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${s.key}\r\n\r\n`).answer();
      if (answer.status === 503) refused.push(answer);
      return answer.status;
    });
    await eventually(() => refused.length === 8, 'eight of twelve to be refused');
    for (const answer of refused) shed(answer, /too many requests/);
    assert.equal((await ask(await Wire.open(s.server), '/livez')).status, 200);
    assert.equal(await metric(s.server, 'slipway_http_requests_waiting'), 5, 'the one that asks as well');
    s.redis.process.signal('SIGCONT');
    assert.deepEqual((await Promise.all(answers)).sort(), [200, 200, 200, 200, 503, 503, 503, 503, 503, 503, 503, 503]);
    assert.equal((await s.api.get('/environments')).status, 200);
    assert.equal(await metric(s.server, 'slipway_http_requests_waiting'), 1);
  } finally {
    for (const wire of wires) wire.close();
    await s.stop();
  }
});

test('a tenant keeps so many documents of a kind; others, and other kinds, do not count', async () => {
  const s = await start({ name: 'quota', workers: 1, env: { SLIPWAY_DOCUMENTS_MAX: '3' } });
  try {
    const { api } = s, other = s.server.client(await s.makeKey('--tenant', 'other', '--role', 'admin'));
    const make = (client, i) => client.post('/components', { name: `part-${i}` });
    const made = [];
    for (let i = 1; i <= 3; i++) made.push((await make(api, i)).data);
    const refused = await make(api, 4);
    assert.deepEqual([refused.status, refused.code], [422, 'RES_QUOTA_EXCEEDED']);
    assert.equal((await make(other, 4)).status, 201);
    const template = await makeTemplate(api, [wait('hold', 3600)]);
    for (let i = 1; i <= 3; i++) await startRun(api, template);
    const run = await api.post('/workflow-runs', { templateId: template.id });
    assert.deepEqual([run.status, run.code], [422, 'RES_QUOTA_EXCEEDED']);
    await api.want(204, 'DELETE', `/components/${made[0].id}`);
    assert.equal((await make(api, 5)).status, 201);
  } finally {
    await s.stop();
  }
});
