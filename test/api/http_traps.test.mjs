// What an HTTP server gets wrong by default, tried over real sockets: framing, unread bodies, pipelining, slow and greedy
// clients, limits on connections, the orderly stop.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Wire, metric } from '../lib/wire.mjs';

const H = 'Host: x\r\n';
const PING = `GET /livez HTTP/1.1\r\n${H}\r\n`;
const EVIL = `GET /_test/http?evil HTTP/1.1\r\n${H}\r\n`;
const post = (path, body, extra = '') => `POST ${path} HTTP/1.1\r\n${H}${extra}Content-Length: ${body.length}\r\n\r\n${body}`;

async function talk(server, ...parts) {
  const wire = await Wire.open(server);
  return wire.send(...parts);
}

function assertRefusal(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.body.success, false);
  if (code) assert.equal(answer.body.error.code, code);
  assert.ok(answer.headers['x-request-id']);
  assert.equal(answer.body.meta.requestId, answer.headers['x-request-id']);
}

describe('a server with its default limits', () => {
  let s;
  let server;
  before(async () => {
    s = await start({ name: 'http', args: ['--test-endpoints'] });
    server = s.server;
  });
  after(() => s?.stop());

  // What must never be two requests: the answer is one refusal and the end of the connection.
  const CHUNKED = `POST /_test/http HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`;
  const traps = [
    [505, 'HTTP/0.9', 'GET /livez\r\n\r\n'],
    [505, 'HTTP/2.0', `GET /livez HTTP/2.0\r\n${H}\r\n`],
    [400, 'no Host', 'GET /livez HTTP/1.1\r\n\r\n'],
    [400, 'two Hosts', `GET /livez HTTP/1.1\r\n${H}${H}\r\n`],
    [400, 'a bad Host', 'GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n'],
    [400, 'a coding hidden by a bare CR', `POST /_test/http HTTP/1.1\r\n${H}X:\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${EVIL}`],
    [400, 'a space behind a name', `GET /livez HTTP/1.1\r\nHost : x\r\n\r\n`],
    [400, 'a space in a name', `GET /livez HTTP/1.1\r\n${H}Ho st: x\r\n\r\n`],
    [400, 'a folded line', `GET /livez HTTP/1.1\r\n${H}X: a\r\n b\r\n\r\n`],
    [400, 'lines that end in LF', 'GET /livez HTTP/1.1\nHost: x\n\n'],
    [400, 'length and coding', `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${EVIL}`],
    [400, 'two lengths', `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: ${EVIL.length}\r\n\r\n${EVIL}`],
    [400, 'a signed length', `POST /_test/http HTTP/1.1\r\n${H}Content-Length: +0\r\n\r\n${EVIL}`],
    [413, 'a length of 2^64-1', `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 18446744073709551615\r\n\r\n${EVIL}`],
    [413, 'a length of 2^64', `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 18446744073709551616\r\n\r\n${EVIL}`],
    [501, 'another coding', `POST /_test/http HTTP/1.1\r\n${H}Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n${EVIL}`],
    [501, 'identity', `POST /_test/http HTTP/1.1\r\n${H}Transfer-Encoding: identity\r\n\r\n${EVIL}`],
    [400, 'chunked in HTTP/1.0', `POST /_test/http HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${EVIL}`],
    [413, 'a chunk of 2^64-1', `${CHUNKED}FFFFFFFFFFFFFFFF\r\n${EVIL}`],
    [413, 'a chunk of 2^64', `${CHUNKED}10000000000000000\r\n${EVIL}`],
    [400, 'a chunk that is too long', `${CHUNKED}1\r\naa\r\n0\r\n\r\n${EVIL}`],
    [400, 'a chunk that ends in LF', `${CHUNKED}1\r\na\n0\r\n\r\n${EVIL}`],
    [400, 'a chunk extension that ends in LF', `${CHUNKED}1;x\na\r\n0\r\n\r\n${EVIL}`],
    [400, 'a length among the trailers', `${CHUNKED}0\r\nContent-Length: ${EVIL.length}\r\n\r\n${EVIL}`],
    [405, 'TRACE', `TRACE /livez HTTP/1.1\r\n${H}X: secret\r\n\r\n`],
    [405, 'CONNECT', `CONNECT 127.0.0.1:80 HTTP/1.1\r\n${H}\r\n`],
    [414, 'a long target', `GET /${'x'.repeat(9000)} HTTP/1.1\r\n${H}\r\n`],
    [414, 'a target without an end', `GET /${'x'.repeat(100_000)}`],
    [431, 'a large head', `GET /livez HTTP/1.1\r\n${H}${`X: ${'y'.repeat(1000)}\r\n`.repeat(20)}\r\n`],
    [431, 'many fields', `GET /livez HTTP/1.1\r\n${H}${'X: y\r\n'.repeat(100)}\r\n`],
    [417, 'another expectation', `POST /_test/http HTTP/1.1\r\n${H}Expect: fun\r\nContent-Length: 1\r\n\r\na`],
    [400, 'a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    [400, '2 MB of empty lines', '\r\n'.repeat(1_000_000)],
  ];
  for (const [status, name, bytes] of traps)
    test(`${name} is answered ${status} and the end`, async () => {
      const wire = await talk(server, bytes);
      const answer = await wire.answer();
      assertRefusal(answer, status);
      assert.equal(answer.headers.connection, 'close');
      assert.ok(!answer.text.includes('secret'));
      assert.equal(await wire.closed(), '', 'nothing comes behind a refusal');
      wire.close();
    });

  const early = [
    ['401', 401, '/api/v1/environments'],
    ['404', 404, '/nowhere'],
    ['405', 405, '/livez'],
  ];
  for (const [name, status, path] of early) {
    test(`after an early ${name} the unread body is not the next request`, async () => {
      const wire = await talk(server, post(path, EVIL), PING);
      assertRefusal(await wire.answer(), status);
      assert.equal((await wire.answer()).text, '{"status":"ok"}');
      wire.close();
    });
    test(`after an early ${name} a chunked body is not the next request`, async () => {
      const size = EVIL.length.toString(16);
      const wire = await talk(server, `POST ${path} HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`);
      assertRefusal(await wire.answer(), status);
      wire.send(`${size}\r\n${EVIL}\r\n0\r\n\r\n${PING}`);
      assert.equal((await wire.answer()).text, '{"status":"ok"}');
      wire.close();
    });
    test(`an early ${name} does not wait for a large body`, async () => {
      const wire = await talk(server, `POST ${path} HTTP/1.1\r\n${H}Content-Length: 1000000\r\n\r\n`, EVIL);
      const answer = await wire.answer();
      assertRefusal(answer, status);
      assert.equal(answer.headers.connection, 'close');
      assert.equal(await wire.closed(), '');
      wire.close();
    });
  }

  test('after an early 415 the unread body is not the next request', async () => {
    const wire = await Wire.open(server);
    wire.send(post('/api/v1/environments', EVIL, `Authorization: Bearer ${s.key}\r\nContent-Type: text/plain\r\n`), PING);
    assertRefusal(await wire.answer(), 415, 'RES_UNSUPPORTED_MEDIA_TYPE');
    assert.equal((await wire.answer()).text, '{"status":"ok"}');
    wire.close();
  });

  test('an endless chunked body behind a refusal is cut', async () => {
    const wire = await talk(server, `POST /nowhere HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`);
    assert.equal((await wire.answer()).status, 404);
    const chunk = `10000\r\n${'x'.repeat(65536)}\r\n`;
    for (let i = 0; i < 100 && !wire.ended; i++) {
      wire.send(chunk);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await wire.closed(), '');
    wire.close();
  });

  test('a body above the limit is 413, known from its length or found on the way', async () => {
    let wire = await talk(server, `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 2000000\r\n\r\n`);
    assertRefusal(await wire.answer(), 413, 'RES_BODY_TOO_LARGE');
    assert.equal(await wire.closed(), '');
    wire.close();
    wire = await talk(server, CHUNKED);
    for (let i = 0; i < 17; i++) wire.send(`10000\r\n${'x'.repeat(65536)}\r\n`);
    assertRefusal(await wire.answer(), 413, 'RES_BODY_TOO_LARGE');
    wire.close();
  });

  test('pipelined requests are answered in order, whatever their framing', async () => {
    const wire = await Wire.open(server);
    let all = '';
    for (let i = 0; i < 300; i++) {
      const body = `request ${i}`;
      all += i % 2 ? post('/_test/http', body) : `${CHUNKED}${body.length.toString(16)};x=y\r\n${body}\r\n0\r\nX: y\r\n\r\n`;
    }
    wire.send(all);
    for (let i = 0; i < 300; i++) assert.equal((await wire.answer()).text, `request ${i}`);
    wire.close();
  });

  test('a request may come byte by byte', async () => {
    const wire = await Wire.open(server);
    for (const byte of `${CHUNKED}5\r\nhello\r\n0\r\n\r\n${post('/_test/http', 'again')}`) {
      wire.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await wire.answer()).text, 'hello');
    assert.equal((await wire.answer()).text, 'again');
    wire.close();
  });

  test('every method echoes its body, and HEAD has none', async () => {
    const wire = await Wire.open(server);
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      wire.send(`${method} /_test/http HTTP/1.1\r\n${H}Content-Length: 3\r\n\r\nabc`);
      assert.equal((await wire.answer()).text, 'abc');
    }
    wire.send(`HEAD /livez HTTP/1.1\r\n${H}\r\n${PING}`);
    assert.equal((await wire.answer({ head: true })).headers['content-length'], '15');
    assert.equal((await wire.answer()).text, '{"status":"ok"}');
    wire.close();
  });

  test('100 Continue is sent to a request that was let in, and only then', async () => {
    let wire = await talk(server, `POST /_test/http HTTP/1.1\r\n${H}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
    assert.equal((await wire.answer()).status, 100);
    wire.send(`hello${PING}`);
    assert.equal((await wire.answer()).text, 'hello');
    assert.equal((await wire.answer()).status, 200);
    wire.close();
    for (const [status, path, length] of [[401, '/api/v1/environments', 5], [413, '/_test/http', 2_000_000], [404, '/nowhere', 5]]) {
      wire = await talk(server, `POST ${path} HTTP/1.1\r\n${H}Expect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`);
      const answer = await wire.answer();
      assertRefusal(answer, status);
      assert.equal(answer.headers.connection, 'close', 'whether the body comes is open: nothing may follow');
      assert.equal(await wire.closed(), '');
      wire.close();
    }
  });

  test('HTTP/1.0 closes unless it asks for more', async () => {
    let wire = await talk(server, 'GET /livez HTTP/1.0\r\n\r\n');
    assert.equal((await wire.answer()).status, 200);
    assert.equal(await wire.closed(), '');
    wire.close();
    wire = await talk(server, 'GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    assert.equal((await wire.answer()).headers.connection, 'keep-alive');
    wire.send('GET /livez HTTP/1.0\r\n\r\n');
    assert.equal((await wire.answer()).status, 200);
    assert.equal(await wire.closed(), '');
    wire.close();
  });

  test('a client that has sent its end still gets its answers', async () => {
    const wire = await talk(server, PING, post('/_test/http', 'last'));
    wire.finish();
    assert.equal((await wire.answer()).status, 200);
    assert.equal((await wire.answer()).text, 'last');
    assert.equal(await wire.closed(), '');
  });

  test('an end inside a request is the end', async () => {
    const wire = await talk(server, `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nab`);
    wire.finish();
    assert.equal(await wire.closed(), '');
  });

  test('a client that leaves takes its request along', async () => {
    const gone = await metric(server, 'slipway_http_requests_gone_total');
    const wire = await talk(server, `POST /_test/http HTTP/1.1\r\n${H}Expect: 100-continue\r\nContent-Length: 50\r\n\r\n`);
    assert.equal((await wire.answer()).status, 100);
    wire.send('some').close();
    await eventually(async () => (await metric(server, 'slipway_http_requests_gone_total')) > gone, 'the request to be gone');
  });

  test('a client whose reading is slower than its asking is waited for', async () => {
    const wire = await Wire.open(server);
    wire.socket.pause();
    const body = 'x'.repeat(1_000_000);
    for (let i = 0; i < 20; i++) wire.send(post('/_test/http', body));
    wire.socket.resume();
    for (let i = 0; i < 20; i++) assert.equal((await wire.answer()).text.length, body.length);
    wire.close();
  });
});

describe('a server with little patience', () => {
  let s;
  let server;
  before(async () => {
    s = await start({
      name: 'patience',
      workers: 1,
      args: ['--test-endpoints', '--head-timeout', '300ms', '--body-timeout', '400ms', '--idle-timeout', '2s'],
    });
    server = s.server;
  });
  after(() => s?.stop());

  test('a slow head is 408', async () => {
    const wire = await talk(server, `GET /livez HTTP/1.1\r\n${H}X: `);
    const drip = setInterval(() => wire.send('y'), 20); // never silent, never done
    const answer = await wire.answer();
    clearInterval(drip);
    assertRefusal(answer, 408, 'RES_REQUEST_TIMEOUT');
    await wire.closed();
    wire.close();
  });

  test('a slow body is 408', async () => {
    const wire = await talk(server, `POST /_test/http HTTP/1.1\r\n${H}Content-Length: 1000\r\n\r\n`);
    const drip = setInterval(() => wire.send('y'), 20);
    const answer = await wire.answer();
    clearInterval(drip);
    assertRefusal(answer, 408, 'RES_REQUEST_TIMEOUT');
    await wire.closed();
    wire.close();
  });

  test('an idle connection ends without a word', async () => {
    const [silent, used] = [await Wire.open(server), await talk(server, PING)];
    assert.equal((await used.answer()).status, 200);
    assert.equal(await silent.closed(), '');
    assert.equal(await used.closed(), '');
    silent.close();
    used.close();
  });
});

describe('a server with room for few', () => {
  let s;
  let server;
  before(async () => {
    s = await start({ name: 'few', workers: 1, args: ['--connections-max', '20', '--connections-address-max', '10', '--body-timeout', '10m'] });
    server = s.server;
  });
  after(() => s?.stop());

  test('without --test-endpoints there are none', async () => {
    const wire = await talk(server, post('/_test/http', EVIL));
    assertRefusal(await wire.answer(), 404, 'RES_ROUTE_NOT_FOUND');
    const answer = await wire.upgrade('/_test/echo');
    assertRefusal(answer, 404, 'RES_ROUTE_NOT_FOUND');
    wire.close();
  });

  test('a body that comes too slowly is 408 long before its whole time is over', async () => {
    const wire = await talk(server, `POST /api/v1/environments HTTP/1.1\r\n${H}Authorization: Bearer ${s.key}\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n`);
    const drip = setInterval(() => wire.send(' '), 50);
    try {
      assertRefusal(await wire.answer(), 408, 'RES_REQUEST_TIMEOUT');
    } finally {
      clearInterval(drip);
      wire.close();
    }
  });

  test('one address has a limit of connections, and gets room again', async () => {
    const wires = [], ask = 'GET /api/v1/environments HTTP/1.1\r\nHost: x\r\n\r\n'; // probes are answered all the same
    let refusal;
    while (!refusal && wires.length < 11) {
      const wire = await talk(server, ask);
      const answer = await wire.answer();
      if (answer.status === 401) wires.push(wire);
      else refusal = { wire, answer };
    }
    assert.ok(refusal, 'the eleventh connection at the latest is refused');
    assertRefusal(refusal.answer, 503, 'SYS_OVERLOADED');
    assert.equal(refusal.answer.headers.connection, 'close');
    assert.ok(refusal.answer.headers['retry-after']);
    await refusal.wire.closed();
    for (const wire of wires) wire.close();
    await eventually(async () => {
      const wire = await talk(server, ask);
      const { status } = await wire.answer();
      wire.close();
      return status === 401;
    }, 'room for a connection');
    assert.ok((await metric(server, 'slipway_connections_refused_total{reason="address"}')) >= 1);
  });
});

test('a reader that never reads is cut, and memory stays bounded', async () => {
  const s = await start({ name: 'reader', workers: 1, args: ['--test-endpoints', '--send-timeout', '300ms'] });
  try {
    const { server } = s;
    const rss = () => Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${server.process.pid}/status`, 'utf8'))[1]);
    const cuts = () => metric(server, 'slipway_connections_cut_total{reason="write"}');
    const before = rss();
    const cut = await cuts();
    const wire = await Wire.open(server);
    wire.socket.pause();
    const body = 'x'.repeat(1_000_000);
    for (let i = 0; i < 64; i++) wire.send(post('/_test/http', body)); // 64 MB to be echoed
    await eventually(async () => (await cuts()) > cut, 'the reader to be cut');
    assert.ok(rss() - before < 32 * 1024, `memory grew from ${before} to ${rss()} kB`);
    wire.close();
  } finally {
    await s.stop();
  }
});

test('after an early 429 the unread body is not the next request', async () => {
  const s = await start({ name: 'rate', workers: 1, args: ['--test-endpoints'], env: { SLIPWAY_RATE_ADDRESS: '1', SLIPWAY_RATE_ADDRESS_BURST: '20' } });
  try {
    const wire = await Wire.open(s.server);
    let limited;
    for (let i = 0; i < 40 && !limited; i++) {
      wire.send(post('/api/v1/environments', EVIL));
      const answer = await wire.answer();
      if (answer.status === 429) limited = answer;
      else assertRefusal(answer, 401);
    }
    assertRefusal(limited, 429, 'RATE_LIMIT_EXCEEDED');
    assert.ok(limited.headers['retry-after']);
    assert.equal((await wire.send(PING).answer()).status, 200);
    assert.equal(wire.size, 0);
    wire.close();
  } finally {
    await s.stop();
  }
});

test('an orderly stop under load breaks no request', async () => {
  const s = await start({ name: 'drain', workers: 2, args: ['--test-endpoints', '--drain-wait', '2s'] });
  try {
    const { server } = s;
    let answered = 0;
    let stopping = false;
    const broken = [];
    // Each client asks again and again, on a new connection when it is told that the old one closes.
    const client = async (n) => {
      for (let wire, i = 0; ; i++) {
        if (!wire) {
          try {
            wire = await Wire.open(server);
          } catch (error) {
            if (!stopping || error.code !== 'ECONNREFUSED') broken.push(error);
            return;
          }
        }
        try {
          const body = `client ${n} request ${i}`;
          wire.send(post('/_test/http', body));
          const answer = await wire.answer();
          assert.equal(answer.text, body);
          answered++;
          if (answer.headers.connection === 'close') {
            wire.close();
            wire = undefined;
          }
        } catch (error) {
          broken.push(error);
          return;
        }
      }
    };
    const clients = Array.from({ length: 16 }, (_, n) => client(n));
    await eventually(() => answered > 500, 'load');
    stopping = true;
    server.process.signal('SIGTERM');
    server.process.signal('SIGTERM'); // a second one does not cut it short
    const probe = await Wire.open(server);
    await eventually(async () => (await probe.send(`GET /readyz HTTP/1.1\r\n${H}\r\n`).answer()).status === 503, 'the server to be unready');
    assert.equal((await probe.send(PING).answer()).status, 200, 'alive while it drains');
    const before = answered;
    await Promise.all(clients);
    assert.deepEqual(broken.map((error) => error.message), []);
    assert.ok(answered > before, 'requests were served after readiness was off');
    assert.deepEqual(await server.process.ended(), { code: 0, signal: null });
    assert.ok(!fs.existsSync(`${server.data}/listen`));
  } finally {
    await s.stop();
  }
});
