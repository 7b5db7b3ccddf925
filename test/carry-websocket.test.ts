/** WebSockets and other upgrades through the tunnel. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import type { WebSocket } from 'ws';
import { APP, startAppTunnel, talkToRelay } from './support/carry.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { echo, openWebSocket, startWebSocketOrigin } from './support/web-socket-origin.js';

const MIB = 1024 * 1024;
const UPGRADE = `GET /chat HTTP/1.1\r\nHost: ${APP}\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n`;
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n\r\n';

interface Pair {
  readonly visitor: WebSocket;
  readonly origin: WebSocket;
}

async function joinedPair(t: TestContext, options: Parameters<typeof openWebSocket>[2] = {}): Promise<Pair> {
  const server = await startWebSocketOrigin(t);
  const relay = await startAppTunnel(t, server.url);
  const [origin, visitor] = await Promise.all([server.accepted(), openWebSocket(t, relay, options)]);
  return { visitor, origin };
}

async function nextMessage(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = await once(socket, 'message');
  return { data, isBinary };
}

/** Close code and reason, when both ends have said goodbye. */
async function closeOf(socket: WebSocket): Promise<string> {
  const [code, reason] = await once(socket, 'close');
  return `${code} ${reason}`;
}

test('a WebSocket echo returns text as text and binary as binary, from empty to 16 MiB', async (t) => {
  const { visitor, origin } = await joinedPair(t);
  echo(origin);
  for (const message of ['', 'hello', 'ünïcödé 🚇', 'x'.repeat(70_000)]) {
    visitor.send(message);
    const { data, isBinary } = await nextMessage(visitor);
    assert.equal(isBinary, false);
    assert.equal(data.toString(), message);
  }
  for (const bytes of [0, 1, 126, 65_536, 16 * MIB]) {
    const message = randomBytes(bytes);
    visitor.send(message);
    const { data, isBinary } = await nextMessage(visitor);
    assert.equal(isBinary, true);
    assert.ok(data.equals(message), `${bytes} bytes came back as they were sent`);
  }
});

test('1,000 messages of both ends cross without loss and in order', async (t) => {
  const { visitor, origin } = await joinedPair(t);
  const received = { visitor: createHash('sha256'), origin: createHash('sha256') };
  const sent = { visitor: createHash('sha256'), origin: createHash('sha256') };
  const all = [
    ['visitor', visitor],
    ['origin', origin],
  ] as const;
  const complete = all.map(([name, socket]) => {
    let count = 0;
    return new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer) => {
        received[name].update(data);
        count += 1;
        if (count === 1_000) resolve();
      });
    });
  });
  for (let index = 0; index < 1_000; index += 1) {
    for (const [name, socket] of all) {
      const message = `${name} ${index} ${'.'.repeat(index * 7)}`;
      sent[name].update(message);
      socket.send(message);
    }
  }
  await Promise.all(complete);
  assert.equal(received.origin.digest('hex'), sent.visitor.digest('hex'));
  assert.equal(received.visitor.digest('hex'), sent.origin.digest('hex'));
});

test('compression is agreed between visitor and origin', async (t) => {
  const { visitor, origin } = await joinedPair(t, { perMessageDeflate: { threshold: 0 } });
  assert.match(visitor.extensions, /permessage-deflate/);
  echo(origin);
  visitor.send('z'.repeat(100_000));
  assert.equal((await nextMessage(visitor)).data.toString(), 'z'.repeat(100_000));
});

test('pings are answered by the other end, with their payload', async (t) => {
  const { visitor, origin } = await joinedPair(t);
  visitor.ping('from the visitor');
  assert.equal(String((await once(visitor, 'pong'))[0]), 'from the visitor');
  origin.ping('from the origin');
  assert.equal(String((await once(origin, 'pong'))[0]), 'from the origin');
});

for (const closer of ['visitor', 'origin'] as const) {
  test(`a close by the ${closer} arrives with its code and reason, and is answered`, async (t) => {
    const pair = await joinedPair(t);
    const ends = Promise.all([closeOf(pair.visitor), closeOf(pair.origin)]);
    pair[closer].close(4321, 'because');
    assert.deepEqual(await ends, ['4321 because', '4321 because']);
  });

  test(`a ${closer} that vanishes is an abnormal end for the other, at once`, async (t) => {
    const pair = await joinedPair(t);
    const ended = closeOf(closer === 'visitor' ? pair.origin : pair.visitor);
    pair[closer].terminate();
    assert.equal(await ended, '1006 ');
  });
}

test('an upgraded connection is not bound by the time limits of requests', async (t) => {
  const server = await startWebSocketOrigin(t);
  const limits = 'keep_alive_timeout: 100ms, body_idle_timeout: 100ms';
  const relay = await startAppTunnel(t, server.url, { yaml: `limits: { ${limits} }` });
  const [origin, visitor] = await Promise.all([server.accepted(), openWebSocket(t, relay)]);
  echo(origin);
  // The silence is what is tested: several times the limits, and several looks at them.
  await new Promise((resolve) => setTimeout(resolve, 900));
  visitor.send('still here');
  assert.equal((await nextMessage(visitor)).data.toString(), 'still here');
});

test('an upgraded connection that is silent for upgraded_idle_timeout ends at both sides', async (t) => {
  const server = await startWebSocketOrigin(t);
  const relay = await startAppTunnel(t, server.url, { yaml: 'limits: { upgraded_idle_timeout: 300ms }' });
  const [origin, visitor] = await Promise.all([server.accepted(), openWebSocket(t, relay)]);
  assert.deepEqual(await Promise.all([closeOf(origin), closeOf(visitor)]), ['1006 ', '1006 ']);
});

test('any protocol can be switched to; early bytes of the visitor wait until the origin agreed', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(UPGRADE, 'early ', 'words');
  const connection = await origin.connection(0);
  const head = await connection.until('\r\n\r\n');
  assert.match(head, /\r\nConnection: Upgrade\r\nUpgrade: chat\/2\r\n/);
  // An exchange of another visitor on the same link passes whatever could still be on its way.
  const other = await talkToRelay(t, relay);
  other.send(`GET /other HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  await (await origin.connection(1)).until('\r\n\r\n');
  assert.equal(connection.unread, '');
  connection.send(SWITCHED, 'welcome');
  assert.equal(await visitor.until('welcome'), `${SWITCHED}welcome`);
  assert.equal(await connection.until('words'), 'early words');
  visitor.send(Buffer.of(0, 255, 10, 13));
  assert.deepEqual([...(await connection.take(4))], [0, 255, 10, 13]);
});

test('after an upgrade a half-close of either end is a half-close at the other', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  for (const first of ['visitor', 'origin'] as const) {
    const visitor = await talkToRelay(t, relay);
    visitor.send(UPGRADE);
    const connection = await origin.connection(origin.connections.length === 0 ? 0 : first === 'visitor' ? 0 : 1);
    await connection.until('\r\n\r\n');
    connection.send(SWITCHED);
    await visitor.until('\r\n\r\n');
    const [one, other] = first === 'visitor' ? [visitor, connection] : [connection, visitor];
    one.socket.end('last words');
    assert.equal(await other.rest(), 'last words');
    other.socket.end('I heard you');
    assert.equal(await one.rest(), 'I heard you');
    await Promise.all([one.closed, other.closed]);
  }
});

test('a refused upgrade is a normal response, and the connection serves the next request', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url === '/chat') response.writeHead(403);
    response.end(request.url);
  });
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  visitor.send(UPGRADE);
  const refused = await visitor.response();
  assert.equal(refused.status, 403);
  assert.equal(refused.body, '/chat');
  visitor.send(`GET /next HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  assert.equal((await visitor.response()).body, '/next');
  assert.equal(origin.connections, 1);
});

test('bytes behind a refused upgrade are read as the next request', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => response.end(request.url));
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  visitor.send(UPGRADE, `GET /next HTTP/1.1\r\nHost: ${APP}\r\n\r\n`, 'not a request\r\n\r\n');
  assert.equal((await visitor.response()).body, '/chat');
  assert.equal((await visitor.response()).body, '/next');
  assert.equal((await visitor.response()).status, 400);
  assert.equal(await visitor.rest(), '');
});

test('a 101 that nobody asked for is an error of the origin', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      await connection.until('\r\n\r\n');
      connection.send(SWITCHED);
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  const response = await visitor.response();
  assert.equal(response.status, 502);
  assert.equal(response.field('x-sallyport-error'), 'ORIGIN_INVALID');
});

test('h2c is not offered to the origin', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => {
    const { upgrade, connection, 'http2-settings': settings } = request.headers;
    response.end(JSON.stringify({ upgrade, connection, settings }));
  });
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  const fields = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
  visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n${fields}\r\n`);
  assert.equal((await visitor.response()).body, '{}');
});
