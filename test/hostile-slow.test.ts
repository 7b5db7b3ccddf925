/** Visitors who take their time: each is cut within its limit, and meanwhile everybody else is served. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type AttackedWorld,
  assertAllFreed,
  assertRefusal,
  assertServes,
  attackedWorld,
  forbidWarnings,
  GOOD,
  HOST,
} from './support/attack.js';
import { APP, connectVisitor, startAppTunnel, talkToRelay } from './support/carry.js';
import type { Conversation } from './support/conversation.js';
import { startHttpOrigin } from './support/origins.js';
import { clientHello, connectFrom, connectPlain } from './support/raw-tls.js';
import { until, within } from './support/within.js';
import { DOMAIN } from './support/world.js';

const LIMIT_MS = 600;
/** Deadlines are looked at four times a second, against a clock of the same grain. */
const GRAIN_MS = 300;
/** For a busy machine; less than the default of any limit that is set here. */
const PATIENCE_MS = 5_000;
const SHORT = [
  ...['client_hello_timeout', 'tls_handshake_timeout', 'head_timeout', 'keep_alive_timeout', 'body_idle_timeout'],
]
  .map((name) => `${name}: ${LIMIT_MS}ms`)
  .join(', ');

/** The connection ends by itself, not long before and not long after its limit. */
async function assertCut(what: string, connection: Conversation, sinceMs: number): Promise<void> {
  connection.socket.on('end', () => connection.socket.end());
  await within(what, connection.ended(), LIMIT_MS + GRAIN_MS + PATIENCE_MS);
  const afterMs = performance.now() - sinceMs;
  assert.ok(afterMs > LIMIT_MS - GRAIN_MS, `${what}: cut after ${Math.round(afterMs)} ms`);
}

/** Writes one byte after the other, so slowly that each limit passes long before all are out. */
async function drip(connection: Conversation, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    if (connection.ending !== undefined) return;
    connection.send(Buffer.of(byte));
    await delay(LIMIT_MS / 20);
  }
}

type Attack = (t: TestContext, world: AttackedWorld) => Promise<Conversation>;

const plain: Attack = (t, { relay }) => connectPlain(t, relay.port('https'));
const secure: Attack = (t, { relay }) => talkToRelay(t, relay);
const own: Attack = (t, { relay }) => talkToRelay(t, relay, { servername: DOMAIN });
const OWN_GOOD = `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`;

/** A connection on which the rest of the limit is spent in silence, or in dripping. */
const SLOW: readonly (readonly [what: string, begin: Attack])[] = [
  ['says nothing', plain],
  [
    'sends half a ClientHello',
    async (t, world) => {
      const connection = await plain(t, world);
      connection.send((await clientHello(t, APP)).subarray(0, 100));
      return connection;
    },
  ],
  [
    'sends a ClientHello byte by byte',
    async (t, world) => {
      const connection = await plain(t, world);
      void drip(connection, await clientHello(t, APP));
      return connection;
    },
  ],
  [
    'never ends its TLS handshake',
    async (t, world) => {
      const connection = await plain(t, world);
      connection.send(await clientHello(t, APP));
      return connection;
    },
  ],
  ['asks for nothing', secure],
  [
    'has asked once and stays',
    async (t, world) => {
      const connection = await secure(t, world);
      connection.send(GOOD);
      assert.equal((await connection.response()).status, 200);
      return connection;
    },
  ],
  ['asks the relay itself for nothing', own],
  [
    'asks the relay itself byte by byte',
    async (t, world) => {
      const connection = await own(t, world);
      void drip(connection, Buffer.from(OWN_GOOD));
      return connection;
    },
  ],
  [
    'has asked the relay itself once, and begins again without an end',
    async (t, world) => {
      const connection = await own(t, world);
      connection.send(OWN_GOOD);
      assert.equal((await connection.response()).status, 404);
      connection.send(OWN_GOOD.slice(0, -2));
      return connection;
    },
  ],
];

test('a visitor who says nothing, or never enough, is cut in its limit while others are served', async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t, `{ ${SHORT} }`);
  const beganAtMs = performance.now();
  const attacks = SLOW.flatMap(([what, begin]) => Array.from({ length: 5 }, () => ({ what, begin })));
  const connections = await Promise.all(
    attacks.map(async ({ what, begin }) => ({ what, connection: await begin(t, world) })),
  );
  await assertServes(t, world.relay);
  await Promise.all(connections.map(({ what, connection }) => assertCut(what, connection, beganAtMs)));
  await assertAllFreed(world);
});

test('a head that comes byte by byte is answered with 408 in its limit, and reaches no origin', async (t) => {
  const world = await attackedWorld(t, `{ ${SHORT} }`);
  const visitor = await talkToRelay(t, world.relay);
  const beganAtMs = performance.now();
  void drip(visitor, Buffer.from(GOOD));
  await delay(LIMIT_MS / 4);
  await assertServes(t, world.relay);
  assertRefusal(await visitor.response(), 408);
  const afterMs = performance.now() - beganAtMs;
  assert.ok(afterMs > LIMIT_MS - GRAIN_MS && afterMs < LIMIT_MS + GRAIN_MS + PATIENCE_MS, `after ${afterMs} ms`);
  assert.equal(await visitor.rest(), '');
  assert.equal(world.origin.connections.length, 1);
});

test('an empty line now and then does not prolong the wait for a request', async (t) => {
  const { relay } = await attackedWorld(t, `{ ${SHORT} }`);
  const visitor = await talkToRelay(t, relay);
  const beganAtMs = performance.now();
  for (let count = 0; count < 4; count += 1) {
    await delay(LIMIT_MS / 3);
    visitor.send('\r\n');
  }
  await within('end', visitor.ended(), 2 * LIMIT_MS + PATIENCE_MS);
  assert.ok(performance.now() - beganAtMs < 3 * LIMIT_MS + PATIENCE_MS);
});

test('a body that stalls is answered with 408 in its limit; one that makes progress lives on', async (t) => {
  const world = await attackedWorld(t, `{ ${SHORT} }`);
  const head = `POST /body HTTP/1.1\r\n${HOST}Content-Length: 40\r\n\r\n`;
  const stalled = await talkToRelay(t, world.relay);
  const slow = await talkToRelay(t, world.relay);
  const beganAtMs = performance.now();
  stalled.send(head, 'abc');
  slow.send(head);
  for (let count = 0; count < 8; count += 1) {
    slow.send('12345');
    await delay(LIMIT_MS / 3);
  }
  assertRefusal(await stalled.response(), 408);
  await assertCut('stalled body', stalled, beganAtMs);
  assert.equal(slow.ending, undefined);
  assert.equal(world.origin.text.split('12345').length, 9);
});

test('a visitor who stops reading a download is cut in its limit, and frees stream and origin', async (t) => {
  let closed = 0;
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url !== '/film') return response.end('ok');
    response.on('close', () => {
      closed += 1;
    });
    response.end(Buffer.alloc(32 << 20));
  });
  const relay = await startAppTunnel(t, origin.url, { yaml: `limits: { ${SHORT} }` });
  const sockets = await Promise.all(Array.from({ length: 5 }, () => connectVisitor(t, relay)));
  for (const socket of sockets) {
    socket.pause();
    socket.on('error', () => {});
    socket.write(`GET /film HTTP/1.1\r\n${HOST}\r\n`);
  }
  await until('films', () => (relay.relay.status().streams.now === 5 ? true : undefined));
  const stoppedAtMs = performance.now();
  await assertServes(t, relay);
  await until('cut', () => (closed === 5 ? true : undefined), LIMIT_MS + GRAIN_MS + PATIENCE_MS);
  assert.ok(performance.now() - stoppedAtMs > LIMIT_MS - 2 * GRAIN_MS);
  assert.equal(relay.relay.status().streams.now, 0);
});

/** Sends pieces without end as fast as they are taken; returns how many bytes were, once the connection is gone. */
async function flood(visitor: Conversation, piece: Buffer): Promise<number> {
  let bytes = 0;
  while (visitor.ending === undefined && bytes < 64 << 20) {
    const taken = new Promise((resolve) => visitor.socket.write(piece, resolve));
    await Promise.race([taken, visitor.ended()]);
    bytes += piece.length;
  }
  return bytes;
}

/** What a system's socket buffers may swallow before the sender notices that nobody reads. */
const BUFFERS_BYTES = 24 << 20;

const ENDLESS: readonly (readonly [status: number, what: string, begin: string, piece: string])[] = [
  [431, 'fields', `GET /bad HTTP/1.1\r\n${HOST}`, 'A: b\r\n'.repeat(10_000)],
  [431, 'one field', `GET /bad HTTP/1.1\r\n${HOST}A: `, 'b'.repeat(65_536)],
  [431, 'a target', 'GET /', 'b'.repeat(65_536)],
  [400, 'empty lines', '', '\r\n'.repeat(1_000)],
  [431, 'NULs', '', '\0'.repeat(65_536)],
  [400, 'a chunk extension', `POST /e HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5;`, 'a'.repeat(65_536)],
  [431, 'trailers', `POST /t HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n`, 'A: b\r\n'.repeat(10_000)],
  [400, 'a chunk size', `POST /s HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`, '0'.repeat(65_536)],
];

test('endless heads, extensions and trailers are refused early, and not read to any end', async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t);
  for (const [status, what, begin, piece] of ENDLESS) {
    await t.test(`endless ${what}: ${status}`, async (t) => {
      const visitor = await talkToRelay(t, world.relay);
      visitor.send(begin);
      const bytes = await flood(visitor, Buffer.from(piece, 'latin1'));
      assertRefusal(await visitor.response(), status);
      assert.ok(bytes < BUFFERS_BYTES, `${bytes} bytes were taken`);
      await assertServes(t, world.relay);
    });
  }
  assert.equal(world.origin.text.includes('GET /bad'), false);
  await assertAllFreed(world);
});

test('a refused visitor who sends on and never leaves is cut soon after the answer', async (t) => {
  const { relay } = await attackedWorld(t);
  const visitor = await talkToRelay(t, relay);
  visitor.send('BAD\r\n\r\n');
  assertRefusal(await visitor.response(), 400);
  assert.equal(await visitor.rest(), '');
  const gone = within('cut', visitor.closed, PATIENCE_MS + 2_500);
  const timer = setInterval(() => visitor.socket.write('x'), 20);
  t.after(() => clearInterval(timer));
  await gone;
});

test('connections over the limit of an address are refused to it alone, until it gives some back', async (t) => {
  const world = await attackedWorld(t, '{ connections_per_ip: 4 }');
  const { relay } = world;
  const from = (address: string) => connectFrom(t, relay, address);
  const mine = [await from('127.0.0.2'), await from('127.0.0.2'), await from('127.0.0.2'), await from('127.0.0.2')];
  for (let count = 0; count < 3; count += 1) await assert.rejects(from('127.0.0.2'), /ECONNRESET|disconnected/);
  await from('127.0.0.3');
  await assertServes(t, relay);
  assert.ok((relay.relay.status().refusals.LIMIT_EXCEEDED ?? 0) >= 3);
  mine[0]?.destroy();
  await until('a place that is free again', () => from('127.0.0.2').catch(() => undefined));
});

test('silent sockets count as well, and give back their places when they are cut', async (t) => {
  const { relay } = await attackedWorld(t, `{ connections_per_ip: 4, client_hello_timeout: ${LIMIT_MS}ms }`);
  const localAddress = '127.0.0.2';
  await Promise.all(Array.from({ length: 8 }, () => connectPlain(t, relay.port('https'), { localAddress })));
  await until('refusals', () => (relay.relay.status().refusals.LIMIT_EXCEEDED === 4 ? true : undefined));
  await until(
    'a place that is free again',
    () => connectFrom(t, relay, localAddress).catch(() => undefined),
    LIMIT_MS + PATIENCE_MS,
  );
});

test('no more connections in all than limits.connections, and a place that is given back is taken again', async (t) => {
  const { relay } = await attackedWorld(t, '{ connections: 6 }');
  const links = 2;
  await until('links', () => (relay.relay.status().connections.now === links ? true : undefined));
  const taken = await Promise.all(Array.from({ length: 6 - links }, () => connectVisitor(t, relay)));
  await assert.rejects(connectVisitor(t, relay), /ECONNRESET|disconnected/);
  assert.equal(relay.relay.status().connections.now, 6);
  taken[0]?.destroy();
  await until('a free place', () => (relay.relay.status().connections.now < 6 ? true : undefined));
  await assertServes(t, relay);
});

test('the plain port has the same limits: places per address, and time', async (t) => {
  const { relay } = await attackedWorld(t, `{ connections_per_ip: 4, head_timeout: ${LIMIT_MS}ms }`);
  const open = (localAddress: string) => connectPlain(t, relay.port('http'), { localAddress });
  const mine = await Promise.all(Array.from({ length: 8 }, () => open('127.0.0.2')));
  const isOpen = () => mine.filter(({ ending }) => ending === undefined).length;
  await until('refusals', () => (isOpen() === 4 ? true : undefined));
  const other = await open('127.0.0.3');
  other.send('GET / HTTP/1.1\r\nHost: relay.localhost\r\n\r\n');
  assert.equal((await other.response()).status, 308);
  for (const connection of mine) void drip(connection, Buffer.from(`GET / HTTP/1.1\r\nA: ${'b'.repeat(1_000)}`));
  await until('cut', () => (isOpen() === 0 ? true : undefined), LIMIT_MS + 1_000 + PATIENCE_MS);
  const again = await open('127.0.0.2');
  again.send('GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n');
  assert.equal((await again.response()).status, 404);
});
