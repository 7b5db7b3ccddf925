/** How a link ends, and what each end is told. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type ErrorCode, TunnelError } from '../shared/errors.js';
import { collectedUntil } from './support/collect-garbage.js';
import { batch, LinkLog, LinkServer, linkPair } from './support/link-pair.js';
import { BINARY, CLOSE, RawReader, rawFrame, TEXT } from './support/raw-web-socket.js';

/** The codes of the table that close links, and their WebSocket close codes (architecture, chapter 8). */
const CLOSE_CODES: Partial<Record<ErrorCode, number>> = {
  TOKEN_REJECTED: 4401,
  NOT_GRANTED: 4403,
  VERSION_UNSUPPORTED: 4426,
  SESSION_REPLACED: 4409,
  SESSION_UNKNOWN: 4404,
  PROTOCOL_VIOLATION: 1002,
  HANDSHAKE_TIMEOUT: 4408,
  HEARTBEAT_LOST: 4408,
  LINK_LOST: 4408,
  RELAY_DRAINING: 1001,
  LIMIT_EXCEEDED: 4429,
  INTERNAL: 1011,
};

for (const [name, wsCode] of Object.entries(CLOSE_CODES)) {
  const code = name as ErrorCode;
  test(`a close with ${code} is ${wsCode} on the wire and ${code} at both ends, whoever closes`, async (t) => {
    for (const side of ['relay', 'client'] as const) {
      const pair = await linkPair(t, 'http');
      pair[side].close(code, 'because');
      const [ours, theirs] = await Promise.all([
        pair[side === 'relay' ? 'relayLog' : 'clientLog'].closed(),
        pair[side === 'relay' ? 'clientLog' : 'relayLog'].closed(),
      ]);
      assert.deepEqual([ours.code, ours.message, theirs.code], [code, 'because', code]);
    }
    const server = await LinkServer.listen(t, 'http');
    const { reader } = await server.rawClient(t);
    const { link } = await server.accepted();
    link.close(code, 'because');
    const frame = await reader.frame();
    assert.deepEqual(
      [frame.first, frame.payload.readUInt16BE(0), frame.payload.toString('utf8', 2)],
      [CLOSE, wsCode, code],
    );
  });
}

for (const [wsCode, reason, code] of [
  [1000, '', 'LINK_LOST'],
  [1001, '', 'RELAY_DRAINING'],
  [4999, 'NO_CODE_OF_OURS', 'LINK_LOST'],
  [4401, 'toString', 'LINK_LOST'],
  [1000, 'NOT_GRANTED', 'NOT_GRANTED'],
] as const) {
  test(`a close frame with ${wsCode} and reason "${reason}" reads as ${code}`, async (t) => {
    const server = await LinkServer.listen(t, 'http');
    const { socket } = await server.rawClient(t);
    const { log } = await server.accepted();
    const payload = Buffer.concat([Buffer.from([wsCode >>> 8, wsCode & 0xff]), Buffer.from(reason)]);
    socket.write(rawFrame(CLOSE, payload, true));
    assert.equal((await log.closed()).code, code);
  });
}

const VIOLATIONS: Record<string, [Buffer, number]> = {
  'text over 16 KiB': [rawFrame(TEXT, Buffer.alloc(16 * 1024 + 1, 'x'), true), 1002],
  'a binary frame over 64 KiB': [Buffer.from([BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]), 1009],
  'fragments that add up to more than 64 KiB': [
    Buffer.concat([rawFrame(0x02, Buffer.alloc(40_000), true), rawFrame(0x00, Buffer.alloc(40_000), true)]),
    1009,
  ],
  'an unmasked frame': [rawFrame(BINARY, Buffer.from('x'), false), 1002],
  'a reserved bit': [rawFrame(BINARY | 0x40, Buffer.from('x'), true), 1002],
  'an unknown opcode': [rawFrame(0x83, Buffer.from('x'), true), 1002],
  'text that is not UTF-8': [rawFrame(TEXT, Buffer.from([0xff]), true), 1007],
};

for (const [what, [bytes, wsCode]] of Object.entries(VIOLATIONS)) {
  test(`a peer that sends ${what} is closed with ${wsCode}: PROTOCOL_VIOLATION`, async (t) => {
    const server = await LinkServer.listen(t, 'http');
    const { socket, reader } = await server.rawClient(t);
    const { log, link } = await server.accepted();
    socket.write(bytes);
    const frame = await reader.frame();
    assert.deepEqual([frame.first, frame.payload.readUInt16BE(0)], [CLOSE, wsCode]);
    assert.equal(link.open, false);
    socket.end(rawFrame(CLOSE, frame.payload, true));
    assert.equal((await log.closed()).code, 'PROTOCOL_VIOLATION');
    assert.deepEqual([log.messages, log.chunks], [[], []]);
  });
}

test('text of exactly 16 KiB is no violation', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket } = await server.rawClient(t);
  const { log } = await server.accepted();
  socket.write(rawFrame(TEXT, Buffer.alloc(16 * 1024, 'x'), true));
  await log.until(({ messages }) => messages.length === 1);
});

test('what a peer still says after we closed is not heard', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket, reader } = await server.rawClient(t);
  const { log, link } = await server.accepted();
  link.close('TOKEN_REJECTED', 'no');
  await reader.frame();
  const words = [rawFrame(TEXT, Buffer.from('but'), true), rawFrame(BINARY, Buffer.from('but'), true)];
  socket.end(Buffer.concat([...words, rawFrame(CLOSE, Buffer.from([0x0f, 0xa0]), true)]));
  assert.equal((await log.closed()).code, 'TOKEN_REJECTED');
  assert.equal(log.lanes, '');
});

test('a peer that floods a link which was closed without a handler costs no memory', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket } = await server.rawClient(t);
  const { link } = await server.accepted();
  link.handler = undefined;
  link.close('TOKEN_REJECTED', 'no');
  const before = process.memoryUsage().arrayBuffers;
  const flood = Buffer.concat(Array(16).fill(rawFrame(BINARY, Buffer.alloc(60_000), true)));
  for (let count = 0; count < 64; count += 1) {
    if (!socket.write(flood)) await once(socket, 'drain');
  }
  const grown = (): number => process.memoryUsage().arrayBuffers - before;
  await collectedUntil(() => grown() < 16 << 20);
  assert.ok(grown() < 16 << 20, `${grown()} bytes are kept`);
  assert.equal(link.open, false);
});

for (const [how, violation] of [
  ['we close', undefined],
  ['it broke the protocol', rawFrame(0x83, Buffer.alloc(0), true)],
] as const) {
  test(`a peer that does not answer when ${how} has two seconds`, async (t) => {
    const server = await LinkServer.listen(t, 'http');
    const { socket, reader } = await server.rawClient(t);
    const { log, link } = await server.accepted();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    if (violation === undefined) link.close('LIMIT_EXCEEDED', 'enough');
    else socket.write(violation);
    await reader.frame();
    t.mock.timers.tick(1_999);
    assert.equal(log.closes.length, 0);
    t.mock.timers.tick(1);
    assert.equal((await log.closed()).code, violation === undefined ? 'LIMIT_EXCEEDED' : 'PROTOCOL_VIOLATION');
  });
}

for (const scheme of ['http', 'https'] as const) {
  test(`destroy over ${scheme} ends a link at once with our reason; the peer sees it lost`, async (t) => {
    for (const side of ['relay', 'client'] as const) {
      const pair = await linkPair(t, scheme);
      const error = new TunnelError('HEARTBEAT_LOST', 'silent');
      pair[side].destroy(error);
      const [ours, theirs] = side === 'relay' ? [pair.relayLog, pair.clientLog] : [pair.clientLog, pair.relayLog];
      assert.equal(await ours.closed(), error);
      assert.equal((await theirs.closed()).code, 'LINK_LOST');
    }
  });

  test(`a connection over ${scheme} that breaks is LINK_LOST at both ends`, async (t) => {
    const pair = await linkPair(t, scheme);
    pair.socket.destroy(new Error('cable cut'));
    assert.equal((await pair.relayLog.closed()).code, 'LINK_LOST');
    assert.equal((await pair.clientLog.closed()).code, 'LINK_LOST');
  });
}

test('a closed link is safe to use, tells its end once and says nothing afterwards', async (t) => {
  const { relay, relayLog, client, clientLog } = await linkPair(t, 'https');
  for (let count = 0; count < 100; count += 1) relay.send(batch(relay, Buffer.alloc(60_000)));
  relay.destroy(new TunnelError('LINK_LOST', 'gone'));
  await Promise.all([relayLog.closed(), clientLog.closed()]);
  const { sent } = relayLog;
  for (const link of [relay, client]) {
    link.close('INTERNAL', 'too late');
    link.destroy(new TunnelError('INTERNAL', 'too late'));
    link.send(batch(link, Buffer.from('x')));
    link.sendMessage({});
    assert.equal(link.open, false);
  }
  for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([relayLog.closes.length, clientLog.closes.length], [1, 1]);
  assert.equal(relayLog.sent, sent);
  assert.equal(relayLog.closes[0]?.message, 'gone');
});

test('a handler that is set after the end hears of it, once', async (t) => {
  const { client, clientLog, relayLog } = await linkPair(t, 'http');
  client.handler = undefined;
  client.destroy(new TunnelError('LINK_LOST', 'early'));
  await relayLog.closed();
  await new Promise((resolve) => setImmediate(resolve));
  const late = new LinkLog();
  client.handler = late;
  client.handler = late;
  assert.equal((await late.closed()).message, 'early');
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([late.closes.length, clientLog.closes.length], [1, 0]);
});

test('a link that nobody handles can be closed, and reads the answer', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const client = await server.dial();
  const { log } = await server.accepted();
  t.mock.timers.enable({ apis: ['setTimeout'] }); // The end must not come from the two seconds' wait.
  client.close('LINK_LOST', 'not wanted');
  assert.equal((await log.closed()).code, 'LINK_LOST');
});

test('a request that is no WebSocket handshake is answered with 400 and its connection ends', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const socket = server.connect();
  t.after(() => socket.destroy());
  const reader = new RawReader(socket);
  socket.write('GET /.sallyport/link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
  assert.match(await reader.head(), /^HTTP\/1\.1 400/);
  await once(socket, 'end');
  assert.equal(server.links.length, 0);
});
