// Behind HAProxy and nginx, by the recipes in deploy/, each client has an address of its own: for limits, in the audit
// trail and in the log. Whoever is no proxy cannot pretend to be somebody else.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { Haproxy, Nginx } from '../lib/balancer.mjs';
import { judgeAnswer } from '../lib/contract.mjs';
import { Nest, SLIPWAY, run } from '../lib/process.mjs';
import { unique } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

const BURST = 40;

/** A request from one of this host's own addresses. */
function ask(server, from, method, path, { token, headers = {}, body } = {}) {
  const url = `/api/v1${path}`, text = body && JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: server.host, port: server.port, localAddress: from, method, path: url, agent: false,
      headers: { accept: 'application/json', ...(token && { authorization: `Bearer ${token}` }), ...(text && { 'content-type': 'application/json' }), ...headers },
    }, async (answer) => {
      let got = '';
      for await (const piece of answer.setEncoding('utf8')) got += piece;
      const { statusCode: status, headers: fields } = answer;
      judgeAnswer(server, method, url, { status, headers: fields, text: got }).then(() => resolve({ status, headers: fields, body: got && JSON.parse(got) }), reject);
    });
    request.on('error', reject);
    request.end(text);
  });
}

describe('behind a balancer', () => {
  let s, balancers;
  before(async () => {
    s = await start({
      name: 'forwarded', instances: 2, workers: 1,
      env: { SLIPWAY_TRUST_PROXY: '127.0.0.1', SLIPWAY_RATE_ADDRESS: '60', SLIPWAY_RATE_ADDRESS_BURST: String(BURST), SLIPWAY_CONNECTIONS_ADDRESS_MAX: '1000' },
    });
    balancers = await Promise.all([Haproxy, Nginx].map((Kind) => new Kind(s).start()));
  });
  after(() => s?.stop());

  const logged = (address) => s.servers.some((server) => server.process.text().includes(`address=${address} `));

  test('the audit trail and the log name the client, whatever it says of itself', async () => {
    for (const [i, balancer] of balancers.entries()) {
      const from = `127.0.1.${i + 1}`, name = unique('env');
      const made = await ask(balancer, from, 'POST', '/environments', { token: s.key, body: { name }, headers: { 'x-forwarded-for': '6.6.6.6', forwarded: 'for=6.6.6.6' } });
      assert.equal(made.status, 201, JSON.stringify(made.body));
      const entry = await eventually(async () => {
        const { body } = await ask(balancer, '127.0.2.1', 'GET', `/audit-events?sort=-timestamp&pageSize=50`, { token: s.key });
        return body.data?.find((e) => e.resourceId === made.body.data.id);
      }, 'the entry of the environment');
      assert.equal(entry.actorIp, from);
      await eventually(() => logged(from), `the log to name ${from}`);
    }
    assert.ok(!logged('6.6.6.6'));
  });

  test('one that floods is refused, another one is not', async () => {
    for (const [i, balancer] of balancers.entries()) {
      const [loud, quiet] = [`127.0.3.${i + 1}`, `127.0.4.${i + 1}`];
      const answers = await Promise.all(Array.from({ length: 4 * BURST }, () => ask(balancer, loud, 'GET', '/environments')));
      const refused = answers.find((a) => a.status === 429);
      assert.ok(refused, 'a flood from one address ends');
      assert.ok(Number(refused.headers['retry-after']) >= 1);
      assert.equal((await ask(balancer, quiet, 'GET', '/environments')).status, 401);
    }
  });

  test('who comes without a proxy is who it is', async () => {
    await ask(s.servers[0], '127.0.5.1', 'GET', '/environments', { headers: { 'x-forwarded-for': '7.7.7.7' } });
    await eventually(() => logged('127.0.5.1'), 'the log to name the peer');
    assert.ok(!logged('7.7.7.7'));
  });
});

test('a network that is none is refused at the start, by its name', async () => {
  const nest = new Nest('proxies');
  try {
    const { code, stderr } = await run(SLIPWAY, ['serve', '--listen', '127.0.0.1:0', '--data', nest.file('data'), '--trust-proxy', '10.0.0.0/8,10.0.0.1/8'], { env: { SLIPWAY_TEST_NEST: nest.dir } });
    assert.equal(code, 1);
    assert.match(stderr, /^slipway: 10\.0\.0\.1\/8: is no network/m);
  } finally {
    await nest.remove();
  }
});
