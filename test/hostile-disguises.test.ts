/**
 * What a visitor may say but nobody must believe: fields that pretend to be the relay's, attempts to strip the relay's
 * own, trailers that would be fields, upgrades that would hide requests. The origin's bytes are compared whole.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { assertServes, attackedWorld, HOST, normalised, sendEach } from './support/attack.js';
import { APP, startAppTunnel, talkToRelay } from './support/carry.js';
import { singleBytes } from './support/http-wire.js';
import { startRawOrigin } from './support/origins.js';
import type { RecordingOrigin } from './support/recording-origin.js';
import { until } from './support/within.js';
import type { RunningRelay } from './support/world.js';

const OURS = [
  'X-Forwarded-For: VISITOR',
  'X-Forwarded-Proto: https',
  `X-Forwarded-Host: ${APP}`,
  'X-Real-IP: VISITOR',
  `Forwarded: for=VISITOR;proto=https;host=${APP}`,
  'X-Request-Id: ID',
];

interface Disguise {
  readonly what: string;
  /** Field lines behind Host. */
  readonly sent: readonly string[];
  readonly method?: string;
  readonly body?: string;
  /** Of the sent lines, what may stand in front of the relay's own. */
  readonly kept?: readonly string[];
  /** Framing and connection lines behind the relay's own. */
  readonly last?: readonly string[];
  /** The body as it may arrive; the one sent when left out. */
  readonly bodyAtOrigin?: string;
}

function onWire({ method = 'GET', sent, body = '' }: Disguise): Buffer {
  return Buffer.from([`${method} /x HTTP/1.1`, `Host: ${APP}`, ...sent, '', body].join('\r\n'), 'latin1');
}

function atOrigin({ method = 'GET', kept = [], last = [], body = '', bodyAtOrigin = body }: Disguise): string {
  return [`${method} /x HTTP/1.1`, `Host: ${APP}`, ...kept, ...OURS, ...last, '', bodyAtOrigin].join('\r\n');
}

/** Sends the request in one piece and byte by byte; the origin must get exactly the expected bytes each time. */
async function assertArrives(t: TestContext, relay: RunningRelay, origin: RecordingOrigin, disguise: Disguise) {
  const expected = atOrigin(disguise);
  for (const pieces of [[onWire(disguise)], singleBytes(onWire(disguise))]) {
    const count = origin.connections.length;
    const visitor = await talkToRelay(t, relay);
    await sendEach(visitor, pieces);
    const text = () => normalised(origin.connections[count]?.text ?? '');
    await until(`${disguise.what} at the origin`, () => (text().length >= expected.length ? true : undefined));
    assert.equal(text(), expected);
    assert.equal(visitor.unread.includes('X-Sallyport-Error'), false, visitor.unread);
    visitor.socket.destroy();
  }
}

const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;
const NAMES_OF_OURS = [
  ...['X-Forwarded-For', 'x-forwarded-for', 'X-FORWARDED-PROTO', 'X-Forwarded-Host', 'X-Forwarded-Port'],
  ...['X-Forwarded-Server', 'X-Forwarded-Prefix', 'X-Forwarded-Ssl', 'X-Forwarded', 'X-ForwardedFor', 'Forwarded'],
  ...['X-Real-IP', 'x-real-ip', 'X-Request-Id', 'Proxy', 'Proxy-Authorization', 'Proxy-Authenticate'],
];
const ALIASES = [
  ...[
    'X_Forwarded_For',
    'X-Forwarded_For',
    'x_forwarded-for',
    'X.Forwarded.For',
    'X~Forwarded~For',
    'X_FORWARDED_PROTO',
  ],
  ...['X_Forwarded_Host', 'X|Forwarded|For', "X'Forwarded'For", 'X_Real_IP', 'X.Real-IP', 'X_Request_Id'],
  ...[
    'Content_Length',
    'Transfer_Encoding',
    'Transfer.Encoding',
    'Content.Length',
    'HTTP2_Settings',
    'Proxy_Connection',
  ],
];

const DISGUISES: readonly Disguise[] = [
  { what: 'fields that are ours', sent: NAMES_OF_OURS.map((name) => `${name}: 6.6.6.6`) },
  { what: 'aliases of what is ours', sent: ALIASES.map((name) => `${name}: 6`) },
  {
    what: 'fields that only look like ours',
    sent: ['X-Forward: 1', 'X-Real: 1', 'Content-Length-Hint: 1', 'X_Custom: 1', 'My.Field: 1'],
    kept: ['X-Forward: 1', 'X-Real: 1', 'Content-Length-Hint: 1', 'X_Custom: 1', 'My.Field: 1'],
  },
  {
    what: 'Connection that names our fields',
    sent: ['Connection: X-Forwarded-For, x-forwarded-proto, X-Forwarded-Host, X-Real-IP, Forwarded, X-Request-Id'],
  },
  { what: 'Connection that names Host', sent: ['Connection: Host, keep-alive'] },
  {
    what: 'Connection that names the framing by length',
    method: 'POST',
    sent: ['Connection: Content-Length', 'Content-Length: 5'],
    body: 'hello',
    last: ['Content-Length: 5'],
  },
  {
    what: 'Connection that names the framing by chunks, and close',
    method: 'POST',
    sent: ['Connection: close, Transfer-Encoding', 'Transfer-Encoding: chunked'],
    body: '5\r\nhello\r\n0\r\n\r\n',
    last: ['Transfer-Encoding: chunked', 'Connection: close'],
  },
  {
    what: 'Connection that names fields of the visitor’s own, in odd ways',
    sent: ['Connection: X-One ,, x-two', 'X-One: 1', 'X-Two: 2', 'X-Three: 3', 'Connection: X-TWO'],
    kept: ['X-Three: 3'],
  },
  {
    what: 'hop-by-hop fields',
    sent: ['Keep-Alive: timeout=5', 'Proxy-Connection: keep-alive', 'TE: gzip', 'Trailer: X-Sum', 'Upgrade: websocket'],
  },
  {
    what: 'h2c',
    sent: ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'],
  },
  {
    what: 'h2c in a list and in capitals',
    sent: ['Connection: upgrade', 'Upgrade: H2C, websocket', 'Upgrade: h2c-14'],
    last: ['Connection: Upgrade', 'Upgrade: websocket'],
  },
  {
    what: 'an upgrade with a body in front of it',
    method: 'POST',
    sent: ['Connection: Upgrade', 'Upgrade: websocket', 'Content-Length: 5'],
    body: 'hello',
    last: ['Content-Length: 5'],
  },
  {
    what: 'trailers that would be fields',
    method: 'POST',
    sent: ['TE: trailers', 'Transfer-Encoding: chunked'],
    body: [
      '5;ext="x"\r\nhello\r\n0',
      'X-Forwarded-For: 6.6.6.6',
      'Content-Length: 5',
      'Transfer-Encoding: chunked',
      'Host: evil.localhost',
      'X_Forwarded_For: 6.6.6.6',
      'Authorization: Basic x',
      'Cookie: a=b',
      'X-Sum: 11',
      '\r\n',
    ].join('\r\n'),
    bodyAtOrigin: '5\r\nhello\r\n0\r\nX-Sum: 11\r\n\r\n',
    last: ['Transfer-Encoding: chunked', 'Connection: TE', 'TE: trailers'],
  },
  {
    what: 'trailers of a visitor who takes none',
    method: 'POST',
    sent: ['Transfer-Encoding: chunked'],
    body: '5\r\nhello\r\n0\r\nX-Sum: 11\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n',
    bodyAtOrigin: '5\r\nhello\r\n0\r\n\r\n',
    last: ['Transfer-Encoding: chunked'],
  },
  {
    what: 'a request in the body of a request',
    method: 'DELETE',
    sent: [`Content-Length: ${SMUGGLED.length}`],
    body: SMUGGLED,
    last: [`Content-Length: ${SMUGGLED.length}`],
  },
];

test('what pretends to be the relay’s is taken out, and what the relay says cannot be stripped', async (t) => {
  const { relay, origin } = await attackedWorld(t);
  for (const disguise of DISGUISES) {
    await t.test(disguise.what, (t) => assertArrives(t, relay, origin, disguise));
  }
  await assertServes(t, relay);
});

const UPGRADE = `GET /x HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;

test('bytes behind an Upgrade reach the origin only after its 101, and then as they are', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `http://127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(UPGRADE, SMUGGLED, 'raw\0bytes');
  const connection = await origin.connection(0);
  await connection.until('\r\n\r\n');
  await assertStaysEmpty(connection);
  connection.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi');
  assert.equal((await connection.until('raw\0bytes')).toString(), `${SMUGGLED}raw\0bytes`);
  assert.equal((await visitor.response()).status, 101);
  assert.equal(await visitor.until('hi'), 'hi');
});

test('bytes behind an Upgrade that the origin declines are the next request, with the relay’s fields', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `http://127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(UPGRADE, `GET /next HTTP/1.1\r\n${HOST}X-Forwarded-For: 6.6.6.6\r\n\r\n`);
  const connection = await origin.connection(0);
  await connection.until('\r\n\r\n');
  await assertStaysEmpty(connection);
  connection.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  const next = normalised(await connection.until('\r\n\r\n'));
  assert.equal(next, [`GET /next HTTP/1.1`, `Host: ${APP}`, ...OURS, '\r\n'].join('\r\n'));
});

test('an origin that switches protocols unasked is refused, and its bytes never become another visitor’s', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection, number) => {
      await connection.until('\r\n\r\n');
      if (number > 0) connection.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else connection.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI *');
    },
  });
  const relay = await startAppTunnel(t, `http://127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET /x HTTP/1.1\r\n${HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n`);
  const refused = await visitor.response();
  assert.deepEqual([refused.status, refused.field('x-sallyport-error')], [502, 'ORIGIN_INVALID']);
  await assertServes(t, relay);
});

test('each visitor has origin connections of its own: what one leaves behind, no other meets', async (t) => {
  const { relay, origin } = await attackedWorld(t);
  const first = await talkToRelay(t, relay);
  first.send(`POST /x HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\nGET /smuggled HTTP/1.1\r\nX: `);
  await until('first visitor', () => (origin.text.includes('/smuggled') ? true : undefined));
  for (let count = 0; count < 5; count += 1) await assertServes(t, relay);
  assert.equal(origin.connections.length, 6);
  assert.equal(origin.connections.filter(({ text }) => text.includes('smuggled')).length, 1);
});

/** What must not come has had the time that other requests need from end to end. */
async function assertStaysEmpty(connection: { readonly unread: string }): Promise<void> {
  await delay(100);
  assert.equal(connection.unread, '');
}
