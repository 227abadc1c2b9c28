// What a WebSocket server gets wrong by default, tried over real sockets with frames that no library would send.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { holding, streamOf } from '../lib/run.mjs';
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
  wire.extensions = answer.headers['sec-websocket-extensions'];
  return wire;
}

const RSV1 = 0x40;
const AGREED = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
const offering = (offer = 'permessage-deflate; client_max_window_bits') => ({ headers: `Sec-WebSocket-Extensions: ${offer}\r\n` });
const TAIL = Buffer.from([0, 0, 0xff, 0xff]);
const pack = (bytes) => deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -TAIL.length);
const unpack = (bytes) => inflateRawSync(Buffer.concat([bytes, TAIL]), { finishFlush: constants.Z_SYNC_FLUSH });

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

  test('permessage-deflate: each message by itself, long ones come back compressed', async () => {
    const wire = await echo(server, offering());
    assert.equal(wire.extensions, AGREED);
    const text = 'a long message, again and again; '.repeat(1000);
    for (let i = 0; i < 3; i++) {
      wire.send(frame(TEXT, pack(text), { rsv: RSV1 }));
      const back = await wire.frame();
      assert.deepEqual([back.rsv, back.opcode], [RSV1, TEXT]);
      assert.ok(back.payload.length < text.length / 10);
      assert.equal(unpack(back.payload).toString(), text);
    }
    wire.send(frame(TEXT, pack('short'), { rsv: RSV1 }), frame(TEXT, 'not compressed'));
    assert.deepEqual(await wire.frame(), { fin: true, rsv: 0, opcode: TEXT, payload: Buffer.from('short') });
    assert.deepEqual(await wire.frame(), { fin: true, rsv: 0, opcode: TEXT, payload: Buffer.from('not compressed') });
    const [one, two] = [pack(text).subarray(0, 10), pack(text).subarray(10)];
    wire.send(frame(TEXT, one, { rsv: RSV1, fin: false }), frame(PING, 'between'), frame(0, two));
    assert.equal((await wire.frame()).opcode, PONG);
    assert.equal(unpack((await wire.frame()).payload).toString(), text);
    wire.close();
  });

  test('permessage-deflate: an offer that cannot be met is declined, one that is none is refused', async () => {
    for (const [offer, extensions] of [
      ['permessage-deflate; server_max_window_bits=10', undefined], ['permessage-deflate; lazy', undefined], ['x-other', undefined],
      ['permessage-deflate; server_max_window_bits=10, permessage-deflate', AGREED],
    ]) {
      const wire = await echo(server, offering(offer));
      assert.equal(wire.extensions, extensions, offer);
      wire.close();
    }
    const wire = await Wire.open(server);
    assert.equal((await wire.upgrade('/_test/echo', offering('permessage-deflate;;'))).status, 400);
    wire.close();
  });

  const bomb = () => pack(Buffer.alloc(16 * MIB + 1));
  for (const [name, code, bytes, offer = offering()] of [
    ['compression that was not agreed on', 1002, () => frame(TEXT, pack('a'), { rsv: RSV1 }), {}],
    ['compression that was declined', 1002, () => frame(TEXT, pack('a'), { rsv: RSV1 }), offering('permessage-deflate; server_max_window_bits=9')],
    ['a compressed ping', 1002, () => frame(PING, '', { rsv: RSV1 })],
    ['a continuation that says it is compressed', 1002, () => Buffer.concat([frame(TEXT, pack('abc'), { rsv: RSV1, fin: false }), frame(0, 'x', { rsv: RSV1 })])],
    ['another reserved bit beside it', 1002, () => frame(TEXT, pack('a'), { rsv: RSV1 | 0x20 })],
    ['what is not compressed as it says', 1002, () => frame(TEXT, 'Hello', { rsv: RSV1 })],
    ['compressed data that is cut off', 1002, () => frame(TEXT, pack('Hello, Hello, Hello').subarray(0, -2), { rsv: RSV1 })],
    ['compressed text that is not UTF-8', 1007, () => frame(TEXT, pack(Buffer.from([0xc0, 0xaf])), { rsv: RSV1 })],
    ['a bomb of 16 MiB and a byte', 1009, () => frame(BINARY, bomb(), { rsv: RSV1 })],
    ['a bomb in parts', 1009, () => Buffer.concat([frame(BINARY, bomb().subarray(0, 5000), { rsv: RSV1, fin: false }), frame(0, bomb().subarray(5000))])],
  ])
    test(`permessage-deflate: ${name} ends with ${code}`, async () => {
      const wire = await echo(server, offer);
      wire.send(bytes());
      await assertClosed(wire, code);
    });

  test('permessage-deflate: a bomb on a stream is 4413', async () => {
    const r = await holding(s.api);
    const wire = await Wire.open(server);
    const { headers } = await wire.upgrade(`/api/v1${streamOf(r)}`, { headers: `Authorization: Bearer ${s.key}\r\n${offering().headers}` });
    assert.equal(headers['sec-websocket-extensions'], AGREED);
    wire.send(frame(TEXT, pack(Buffer.alloc(100 * MIB)), { rsv: RSV1 }));
    await assertClosed(wire, 4413);
    await r.release();
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
