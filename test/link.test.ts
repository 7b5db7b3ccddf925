/** The two lanes of a link over real sockets, with and without TLS. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import { MuxSession } from '../shared/mux/session.js';
import type { MuxStream } from '../shared/mux/stream.js';
import { WindowBudget } from '../shared/mux/window-budget.js';
import { batch, LinkLog, type LinkPair, LinkServer, linkPair } from './support/link-pair.js';
import { Collector, collect } from './support/mux-pair.js';
import { acceptLink, type RawConnection, RawLinkServer } from './support/raw-link-server.js';
import { BINARY, openingResponse, PING, PONG, rawFrame, TEXT } from './support/raw-web-socket.js';

const SIZES = [1, 2, 125, 126, 127, 65_000];

for (const scheme of ['http', 'https'] as const) {
  test(`batches of any size arrive equal in both directions over ${scheme}`, async (t) => {
    const { relay, client, relayLog, clientLog } = await linkPair(t, scheme);
    const payloads = [...SIZES, relay.batchBytes, client.batchBytes].map((bytes) => randomBytes(bytes));
    for (const [from, fromLog, toLog] of [
      [relay, relayLog, clientLog],
      [client, clientLog, relayLog],
    ] as const) {
      const mine = payloads.filter((payload) => payload.length <= from.batchBytes);
      for (const payload of mine) from.send(batch(from, payload));
      const sent = Buffer.concat(mine);
      await toLog.until((log) => log.byteCount === sent.length);
      assert.ok(Buffer.concat(toLog.chunks).equals(sent));
      await fromLog.until((log) => log.sent === mine.length);
    }
    assert.equal(relay.stalledMs + client.stalledMs, 0);
  });

  test(`text and bytes share a link over ${scheme} and keep their order`, async (t) => {
    const { relay, client, relayLog, clientLog } = await linkPair(t, scheme);
    for (const [from, toLog] of [
      [relay, clientLog],
      [client, relayLog],
    ] as const) {
      for (let count = 0; count < 20; count += 1) {
        from.sendMessage({ count, text: 'grüße 🚪' });
        from.send(batch(from, Buffer.alloc(60_000, count)));
        from.send(batch(from, Buffer.from([count])));
      }
      await toLog.until((log) => log.byteCount === 20 * 60_001);
      assert.equal(toLog.lanes.replaceAll(/b+/g, 'b'), 'tb'.repeat(20));
      assert.deepEqual(JSON.parse(toLog.messages[7] ?? ''), { count: 7, text: 'grüße 🚪' });
      assert.deepEqual(Buffer.concat(toLog.chunks).subarray(7 * 60_001, 8 * 60_001), Buffer.alloc(60_001, 7));
    }
  });

  test(`a mux over ${scheme} carries 8 MiB each way at the same time`, async (t) => {
    const pair = await linkPair(t, scheme);
    const payload = randomBytes(8 << 20);
    const far = new Collector();
    const [relayMux, clientMux] = muxesOver(pair, (stream) => {
      stream.handler = far;
      stream.resume();
      stream.write(payload);
      stream.end();
    });
    const stream = relayMux.openStream();
    const near = collect(stream);
    stream.write(payload);
    stream.end();
    await Promise.all([near.close, far.close]);
    assert.ok(near.content.equals(payload));
    assert.ok(far.content.equals(payload));
    assert.deepEqual([relayMux.streamCount, clientMux.streamCount], [0, 0]);
  });
}

/** A mux at each end of a link; the relay opens streams, the client's `onStream` gets them. */
function muxesOver({ relay, client }: LinkPair, onStream: (stream: MuxStream) => void): [MuxSession, MuxSession] {
  const windows = { maxWindowBytes: 16 << 20, windowBudget: new WindowBudget(32 << 20) };
  const limits = { maxStreams: 100, ...windows, onClose: () => {} };
  const relayMux = new MuxSession(relay, { ...limits, role: 'server' });
  const clientMux = new MuxSession(client, { ...limits, role: 'client', onStream });
  for (const [link, mux] of [
    [relay, relayMux],
    [client, clientMux],
  ] as const) {
    link.handler = Object.assign(new LinkLog(), {
      onBytes: (chunk: Buffer) => mux.receive(chunk),
      onSent: () => mux.sent(),
    });
  }
  return [relayMux, clientMux];
}

for (const scheme of ['http', 'https'] as const) {
  test(`the relay frames a batch over ${scheme} with 2 or 4 bytes of header, right in front of it and unmasked`, async (t) => {
    const server = await LinkServer.listen(t, scheme);
    const { reader } = await server.rawClient(t);
    const { link } = await server.accepted();
    assert.equal(link.headroomBytes, 4);
    for (const bytes of SIZES) {
      const payload = randomBytes(bytes);
      link.send(batch(link, payload));
      const frame = await reader.frame();
      assert.deepEqual([frame.first, frame.headerBytes, frame.mask], [BINARY, bytes < 126 ? 2 : 4, undefined]);
      assert.deepEqual(frame.payload, payload);
    }
  });

  test(`the client masks its batches over ${scheme} with ${scheme === 'https' ? 'zeros, inside TLS' : 'random keys'}`, async (t) => {
    const connections: RawConnection[] = [];
    const server = await RawLinkServer.listen(t, scheme, (connection) => {
      connections.push(connection);
      acceptLink(connection);
    });
    const link = await server.dial();
    t.after(() => link.destroy(new TunnelError('LINK_LOST', 'the test is over')));
    const [connection] = connections;
    assert.ok(connection);
    assert.equal(link.headroomBytes, 8);
    const masks = new Set<string>();
    for (const bytes of SIZES) {
      const payload = randomBytes(bytes);
      link.send(batch(link, payload));
      const frame = await connection.reader.frame();
      assert.deepEqual([frame.first, frame.headerBytes], [BINARY, bytes < 126 ? 6 : 8]);
      const { mask } = frame;
      assert.ok(mask);
      masks.add(mask.toString('hex'));
      assert.deepEqual(Buffer.from(frame.payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0))), payload);
    }
    if (scheme === 'https') assert.deepEqual([...masks], ['00000000']);
    else assert.equal(masks.size, SIZES.length);
  });
}

test('what the relay says together with its handshake answer reaches a handler that is set later', async (t) => {
  const server = await RawLinkServer.listen(t, 'http', ({ socket, head }) => {
    const words = [rawFrame(TEXT, Buffer.from('"challenge"'), false), rawFrame(BINARY, Buffer.from('mux'), false)];
    socket.write(Buffer.concat([Buffer.from(openingResponse(head)), ...words]));
  });
  const link = await server.dial();
  t.after(() => link.destroy(new TunnelError('LINK_LOST', 'the test is over')));
  const log = new LinkLog();
  await new Promise((resolve) => setImmediate(resolve));
  link.handler = log;
  assert.equal(log.lanes, '', 'nothing is called before the code that sets the handler is done');
  await log.until(({ lanes }) => lanes.length === 2);
  assert.deepEqual([log.messages, log.chunks.map(String)], [['"challenge"'], ['mux']]);
});

test('what follows a welcome in the same piece is held for the next handler, in order', async (t) => {
  const server = await RawLinkServer.listen(t, 'http', (connection) => {
    acceptLink(connection);
    const words = ['"welcome"', '"one"', '"two"'].map((word) => rawFrame(TEXT, Buffer.from(word), false));
    connection.socket.write(Buffer.concat([...words, rawFrame(BINARY, Buffer.from('mux'), false)]));
  });
  const link = await server.dial();
  t.after(() => link.destroy(new TunnelError('LINK_LOST', 'the test is over')));
  const [first, second] = [new LinkLog(), new LinkLog()];
  first.on('change', () => {
    link.handler = undefined;
  });
  link.handler = first;
  await first.until(({ messages }) => messages.length > 0);
  await new Promise((resolve) => setImmediate(resolve));
  link.handler = second;
  await second.until(({ lanes }) => lanes.length === 3);
  assert.deepEqual(first.messages, ['"welcome"']);
  assert.deepEqual(second.messages, ['"one"', '"two"']);
  assert.equal(second.lanes, 'ttb');
});

test('a link without a handler reads no further: its peer is stopped', async (t) => {
  const { relay, client, clientLog } = await linkPair(t, 'http');
  client.handler = undefined;
  let sent = 0;
  relay.handler = Object.assign(new LinkLog(), {
    onSent: () => {
      sent += 1;
    },
  });
  for (let count = 0; count < 400; count += 1) relay.send(batch(relay, Buffer.alloc(65_000)));
  while (relay.stalledMs < 50) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(sent < 400);
  client.handler = clientLog;
  await clientLog.until(({ byteCount }) => byteCount === 400 * 65_000);
});

test('a link says how long its oldest batch has been waiting for the system', async (t) => {
  let nowMs = 1_000;
  const { relay, relayLog, client, clientLog } = await linkPair(t, 'https');
  t.mock.method(performance, 'now', () => nowMs);
  assert.equal(relay.stalledMs, 0);
  client.handler = undefined;
  for (let count = 0; count < 400; count += 1) relay.send(batch(relay, Buffer.alloc(65_000)));
  let sent = -1;
  while (sent !== relayLog.sent) {
    sent = relayLog.sent;
    for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(sent < 400);
  nowMs += 14_000;
  assert.equal(relay.stalledMs, 14_000);
  client.handler = clientLog;
  await relayLog.until((log) => log.sent === 400);
  assert.equal(relay.stalledMs, 0);
});

test('both ends of a TLS connection derive the same secret, another connection another one, plain TCP none', async (t) => {
  const first = await linkPair(t, 'https');
  const second = await linkPair(t, 'https');
  const plain = await linkPair(t, 'http');
  assert.equal(first.relay.exporter().length, 32);
  assert.deepEqual(first.relay.exporter(), first.client.exporter());
  assert.notDeepEqual(first.relay.exporter(), second.relay.exporter());
  assert.deepEqual([plain.relay.exporter().length, plain.client.exporter().length], [0, 0]);
  first.client.destroy(new TunnelError('LINK_LOST', 'gone'));
  await first.clientLog.closed();
  assert.equal(first.client.exporter().length, 32, 'it stays known when the link is over');
});

test('a ping of the WebSocket is answered', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket, reader } = await server.rawClient(t);
  socket.write(rawFrame(PING, Buffer.from('still there?'), true));
  const pong = await reader.frame();
  assert.deepEqual([pong.first, pong.payload.toString()], [PONG, 'still there?']);
});

test('a peer that pings without end and reads no answer costs no memory', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket: peer } = await server.rawClient(t);
  const { link, socket, log } = await server.accepted();
  peer.pause();
  const pings = Buffer.concat(Array(2_000).fill(rawFrame(PING, Buffer.alloc(125), true)));
  let most = 0;
  for (let count = 0; count < 60; count += 1) {
    if (!peer.write(pings)) await once(peer, 'drain');
    most = Math.max(most, socket.writableLength);
  }
  peer.write(rawFrame(TEXT, Buffer.from('"done"'), true));
  await log.until(({ messages }) => messages.length === 1);
  assert.ok(socket.bytesRead > 15_000_000);
  assert.ok(most > 0 && most < 20 * 1024, `${most} bytes of pongs waited`);
  assert.equal(link.open, true);
});
