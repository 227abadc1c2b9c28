// What a WebSocket server gets wrong by default, tried over real sockets with frames that no library would send.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Wire, frame, metric } from '../lib/wire.mjs';

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const MIB = 1 << 20;

async function echo(server, options) {
  const wire = await Wire.open(server);
  const answer = await wire.upgrade('/_test/echo', options);
  assert.equal(answer.status, 101);
  return wire;
}

/** The other side says goodbye with this code, then ends the connection. */
async function assertClosed(wire, code) {
  let last;
  do last = await wire.frame();
  while (last.opcode !== CLOSE);
  assert.equal(last.code, code, last.reason);
  assert.equal(await wire.closed(), '');
  wire.close();
}

describe('WebSocket', () => {
  let s;
  let server;
  before(async () => {
    s = await start({ name: 'ws', args: ['--test-endpoints'] });
    server = s.server;
  });
  after(() => s?.stop());

  test('messages come back, whatever their length and their parts', async () => {
    const wire = await echo(server);
    for (const n of [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]) {
      const text = 'x'.repeat(n);
      wire.send(frame(TEXT, text));
      const back = await wire.frame();
      assert.deepEqual([back.fin, back.rsv, back.opcode, back.payload.length], [true, 0, TEXT, n]);
      assert.equal(back.payload.toString(), text);
    }
    wire.send(frame(BINARY, 'ab', { fin: false }), frame(PING, 'between'), frame(0, 'cd', { fin: false }), frame(0, ''));
    assert.deepEqual(await wire.frame(), { fin: true, rsv: 0, opcode: PONG, payload: Buffer.from('between') });
    assert.deepEqual(await wire.frame(), { fin: true, rsv: 0, opcode: BINARY, payload: Buffer.from('abcd') });
    wire.close();
  });

  test('frames may come byte by byte, and right behind the handshake', async () => {
    const wire = await echo(server, { behind: frame(TEXT, 'at once') });
    assert.equal((await wire.frame()).payload.toString(), 'at once');
    for (const byte of frame(TEXT, 'slowly \u20ac')) {
      wire.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await wire.frame()).payload.toString(), 'slowly \u20ac');
    wire.close();
  });

  test('16 MiB and 65,536 fragments are a message', async () => {
    const wire = await echo(server);
    const large = Buffer.alloc(16 * MIB, 'abcdefgh');
    wire.send(frame(BINARY, large));
    const back = await wire.frame();
    assert.ok(back.payload.equals(large));
    const parts = [frame(TEXT, 'x', { fin: false })];
    for (let i = 0; i < 65_534; i++) parts.push(frame(0, 'x', { fin: false }));
    wire.send(Buffer.concat([...parts, frame(0, 'y')]));
    assert.equal((await wire.frame()).payload.toString(), `${'x'.repeat(65_535)}y`);
    wire.close();
  });

  test('a client whose reading is slower than its sending is waited for', async () => {
    const wire = await echo(server);
    const messages = [5, 3 * MIB, 1, 2 * MIB, 0, MIB, MIB, 70_000].map((n, i) => Buffer.alloc(n, `${i}`));
    for (const message of messages) wire.send(frame(BINARY, message));
    for (const message of messages) assert.ok((await wire.frame()).payload.equals(message));
    wire.close();
  });

  test('every ping is answered, in order, with its payload', async () => {
    const wire = await echo(server);
    for (let i = 0; i < 10; i++) wire.send(frame(PING, `ping ${i}`));
    for (let i = 0; i < 10; i++) {
      const pong = await wire.frame();
      assert.equal(pong.opcode, PONG);
      assert.equal(pong.payload.toString(), `ping ${i}`);
    }
    wire.send(frame(PONG, 'unasked'), frame(TEXT, 'still here'));
    assert.equal((await wire.frame()).payload.toString(), 'still here');
    wire.close();
  });

  test('a close is answered with its code, and that is the end', async () => {
    for (const [payload, code] of [['\x03\xe8bye', 1000], ['\x0f\xa0', 4000], ['', 1005]]) {
      const wire = await echo(server);
      wire.send(frame(CLOSE, Buffer.from(payload, 'latin1')), frame(TEXT, 'too late'));
      await assertClosed(wire, code);
    }
  });

  test('permessage-deflate is not accepted', async () => {
    const wire = await Wire.open(server);
    const answer = await wire.upgrade('/_test/echo', { headers: 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n' });
    assert.equal(answer.status, 101);
    assert.ok(!('sec-websocket-extensions' in answer.headers));
    wire.send(frame(TEXT, 'compressed?', { rsv: 0x40 }));
    await assertClosed(wire, 1002);
  });

  const faults = [
    ['an unmasked frame', 1002, frame(TEXT, 'a', { masked: false })],
    ['a reserved bit', 1002, frame(TEXT, 'a', { rsv: 0x20 })],
    ['a reserved opcode', 1002, frame(3, 'a')],
    ['a reserved control opcode', 1002, frame(11, 'a')],
    ['a 64 bit length with its top bit set', 1002, frame(BINARY, '', { length: 1n << 63n })],
    ['a length in a longer form than needed', 1002, Buffer.from([0x82, 0xfe, 0, 5, 1, 2, 3, 4])],
    ['a fragmented ping', 1002, frame(PING, 'a', { fin: false })],
    ['a ping of 126 bytes', 1002, frame(PING, 'x'.repeat(126))],
    ['a continuation of nothing', 1002, frame(0, 'a')],
    ['a message inside a message', 1002, Buffer.concat([frame(TEXT, 'a', { fin: false }), frame(TEXT, 'b')])],
    ['a close of one byte', 1002, frame(CLOSE, 'a')],
    ['a close code that may not be sent', 1002, frame(CLOSE, Buffer.from([0x03, 0xed]))],
    ['a close reason that is not UTF-8', 1007, frame(CLOSE, Buffer.from([0x03, 0xe8, 0xff]))],
    ['text that is not UTF-8', 1007, frame(TEXT, Buffer.from([0xc0, 0xaf]))],
    ['text that ends inside a character', 1007, Buffer.concat([frame(TEXT, Buffer.from([0xe2]), { fin: false }), frame(0, Buffer.from([0x82]))])],
    ['a message above 16 MiB', 1009, frame(BINARY, '', { length: BigInt(16 * MIB + 1) })],
    ['a message of 2^62 bytes', 1009, frame(BINARY, '', { length: 1n << 62n })],
    ['fragments that add up to more than 16 MiB', 1009, Buffer.concat([frame(BINARY, Buffer.alloc(16 * MIB), { fin: false }), frame(0, 'x')])],
    ['65,537 fragments', 1009, Buffer.concat([frame(BINARY, '', { fin: false }), ...Array.from({ length: 65_536 }, () => frame(0, '', { fin: false }))])],
  ];
  for (const [name, code, bytes] of faults)
    test(`${name} ends with ${code}`, async () => {
      const wire = await echo(server);
      wire.send(bytes);
      await assertClosed(wire, code);
    });

  test('a handshake that is none is refused, and the connection stays HTTP', async () => {
    const ask = (extra, { method = 'GET', version = '1.1' } = {}) => `${method} /_test/echo HTTP/${version}\r\nHost: x\r\n${extra}\r\n`;
    const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\n';
    const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    const V13 = 'Sec-WebSocket-Version: 13\r\n';
    const cases = [
      [426, ask('')],
      [426, ask(KEY + V13)],
      [426, ask(`Upgrade: h2c\r\nConnection: Upgrade\r\n${KEY}${V13}`)],
      [426, ask(`Upgrade: websocket\r\n${KEY}${V13}`)],
      [426, ask(`${UPGRADE}${KEY}Sec-WebSocket-Version: 8\r\n`)],
      [426, ask(`${UPGRADE}${KEY}`)],
      [400, ask(`${UPGRADE}${V13}`)],
      [400, ask(`${UPGRADE}${V13}Sec-WebSocket-Key: c2hvcnQ=\r\n`)],
      [400, ask(`${UPGRADE}${KEY}${KEY}${V13}`)],
      [400, ask(`${UPGRADE}${KEY}${V13}`, { version: '1.0' })],
      [405, ask(`${UPGRADE}${KEY}${V13}`, { method: 'POST' })],
    ];
    for (const [status, bytes] of cases) {
      const wire = await Wire.open(server);
      wire.send(bytes);
      const answer = await wire.answer();
      assert.equal(answer.status, status, bytes);
      if (status === 426) {
        assert.equal(answer.headers['sec-websocket-version'], '13');
        assert.match(answer.headers.upgrade, /websocket/i);
        wire.send('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n');
        assert.equal((await wire.answer()).status, 200);
      }
      wire.close();
    }
  });

  test('a client that vanishes leaves nothing behind', async () => {
    const wires = await Promise.all(Array.from({ length: 20 }, () => echo(server)));
    for (const wire of wires) wire.send(frame(TEXT, 'begun', { fin: false })).close();
    await eventually(async () => (await metric(server, 'slipway_connections_upgraded')) === 0, 'all of them to be gone');
  });
});

describe('WebSocket with little patience', () => {
  let s;
  let server;
  before(async () => {
    s = await start({ name: 'ws-flood', args: ['--test-endpoints', '--send-timeout', '300ms'] });
    server = s.server;
  });
  after(() => s?.stop());

  const rss = () => Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${server.process.pid}/status`, 'utf8'))[1]);

  for (const [name, make] of [
    ['a flood of pings whose pongs are not read', () => Buffer.concat(Array.from({ length: 2000 }, () => frame(PING, 'x'.repeat(125))))],
    ['a flood of messages that are not read back', () => frame(BINARY, Buffer.alloc(MIB))],
  ])
    test(`${name} is cut, and memory stays bounded`, async () => {
      const cut = 'slipway_connections_cut_total{reason="write"}';
      const [before, cuts] = [rss(), await metric(server, cut)];
      const wire = await echo(server);
      wire.socket.pause();
      const bytes = make();
      const flood = setInterval(() => {
        if (!wire.ended && wire.socket.writableLength < 8 * MIB) wire.send(bytes);
      }, 1);
      try {
        await eventually(async () => (await metric(server, cut)) > cuts, 'the connection to be cut');
      } finally {
        clearInterval(flood);
        wire.close();
      }
      assert.ok(rss() - before < 48 * 1024, `memory grew from ${before} to ${rss()} kB`);
    });
});

test('at an orderly stop open sockets are told 1012, and the process ends with 0', async () => {
  const s = await start({ name: 'ws-drain', args: ['--test-endpoints', '--drain-wait', '0s'] });
  try {
    const wires = await Promise.all(Array.from({ length: 10 }, () => echo(s.server)));
    s.server.process.signal('SIGTERM');
    for (const wire of wires) {
      const goodbye = await wire.frame();
      assert.deepEqual([goodbye.opcode, goodbye.code], [CLOSE, 1012]);
      wire.send(frame(CLOSE, goodbye.payload)).finish();
      assert.equal(await wire.closed(), '');
      wire.close();
    }
    assert.deepEqual(await s.server.process.ended(), { code: 0, signal: null });
  } finally {
    await s.stop();
  }
});
