/** HTTP/1.1 exchanges through the tunnel, byte by byte on both sides, where curl has no say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APP, appTunnel, startAppTunnel, talkToRelay } from './support/carry.js';
import type { Conversation } from './support/conversation.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { RelayHome } from './support/world.js';

const HOST = `Host: ${APP}\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Reads one request head at an origin. */
function requestHead(connection: Conversation): Promise<string> {
  return connection.until('\r\n\r\n');
}

test('50 pipelined requests are answered in their order over one origin connection', async (t) => {
  const origin = await startHttpOrigin(t, async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    response.end(`${request.method} ${request.url} ${body}`);
  });
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  const numbers = Array.from({ length: 50 }, (_, index) => index);
  const requests = numbers.map((number) =>
    number % 5 === 4
      ? `POST /${number} HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nbody${number % 10}`
      : `GET /${number} HTTP/1.1\r\n${HOST}\r\n`,
  );
  visitor.send(...requests);
  for (const number of numbers) {
    const expected = number % 5 === 4 ? `POST /${number} body${number % 10}` : `GET /${number} `;
    assert.equal((await visitor.response()).body, expected);
  }
  assert.equal(origin.connections, 1);
});

test('request trailers reach the origin when the visitor says TE: trailers, and are dropped otherwise', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      for (;;) {
        const head = await requestHead(connection);
        const body = await connection.until('\r\n\r\n');
        connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${head.length + body.length}\r\n\r\n${head}${body}`);
      }
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  const chunks = '5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 11\r\nContent-Length: 3\r\n\r\n';
  const head = (more: string) => `POST / HTTP/1.1\r\n${HOST}${more}Transfer-Encoding: chunked\r\n\r\n`;
  visitor.send(head('TE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n'), chunks);
  const kept = await visitor.response();
  assert.match(kept.body, /\r\nTrailer: X-Sum\r\n/);
  assert.ok(kept.body.endsWith('5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n'), kept.body);
  visitor.send(head('Trailer: X-Sum\r\n'), chunks);
  const dropped = await visitor.response();
  assert.ok(dropped.body.endsWith('5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'), dropped.body);
  assert.doesNotMatch(dropped.body, /x-sum/i);
});

test('a chunked response with trailers reaches the visitor in chunks as they come', async (t) => {
  const origin = await startRawOrigin(t);
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const connection = await origin.connection(0);
  await requestHead(connection);
  connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n');
  assert.match(await visitor.until('\r\n\r\n'), /\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n/);
  for (const chunk of ['5\r\nfirst\r\n', '6\r\nsecond\r\n', '0\r\nX-Sum: 11\r\n\r\n']) {
    connection.send(chunk);
    assert.equal(await visitor.until(chunk), chunk);
  }
});

test('an HTTP/1.0 response without a length is framed anew, and the visitor’s connection lives on', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      await requestHead(connection);
      connection.send('HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil ');
      connection.send('the end');
      connection.socket.end();
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  for (const round of [0, 1]) {
    visitor.send(`GET /${round} HTTP/1.1\r\n${HOST}\r\n`);
    const response = await visitor.response();
    assert.match(
      response.head,
      /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain\r\nTransfer-Encoding: chunked\r\n\r\n$/,
    );
    assert.equal(response.body, 'until the end');
  }
  assert.equal(origin.connections.length, 2);
});

test('an HTTP/1.0 visitor gets a chunked response until the connection ends', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      assert.match(await requestHead(connection), /^GET \/ HTTP\/1\.1\r\n.*Connection: close\r\n/s);
      connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\nX-Sum: 5\r\n\r\n');
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET / HTTP/1.0\r\n${HOST}\r\n`);
  assert.equal(await visitor.rest(), 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nplain');
});

test('an HTTP/1.0 visitor who names no host gets the one of its TLS handshake', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => response.end(`host ${request.headers.host}`));
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  visitor.send('GET / HTTP/1.0\r\n\r\n');
  assert.match(await visitor.rest(), new RegExp(`\r\n\r\nhost ${APP}$`));
});

test('HEAD keeps its Content-Length, 204 and 304 have no body, and the connection goes on after each', async (t) => {
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n',
    'HTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 77\r\n\r\n',
    OK,
  ];
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      for (const answer of answers) {
        await requestHead(connection);
        connection.send(answer);
      }
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`HEAD / HTTP/1.1\r\n${HOST}\r\n`, ...Array(3).fill(`GET / HTTP/1.1\r\n${HOST}\r\n`));
  assert.equal((await visitor.response('HEAD')).field('content-length'), '1000000');
  const noContent = await visitor.response();
  assert.equal(noContent.status, 204);
  assert.equal(noContent.field('content-length') ?? noContent.field('transfer-encoding'), undefined);
  const notModified = await visitor.response();
  assert.equal(notModified.status, 304);
  assert.equal(notModified.field('etag'), '"x"');
  assert.equal((await visitor.response()).body, 'ok');
});

test('an origin that answers before the whole request was sent is heard, and the connection ends', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      await requestHead(connection);
      connection.send('HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much');
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\n`, 'x'.repeat(1_000));
  const response = await visitor.response();
  assert.equal(response.status, 413);
  assert.equal(response.body, 'too much');
  assert.equal(response.field('connection'), 'close');
  assert.equal(await visitor.rest(), '');
  assert.notEqual(await (await origin.connection(0)).ended(), undefined);
});

test('visitors of two hostnames with the same origin have an origin connection each', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => response.end(request.headers.host));
  const relay = await new RelayHome(t).start(t);
  const other = 'other.relay.localhost';
  await relay.client(t, [appTunnel(origin.url), `{ name: other, host: ${other}, origin: "${origin.url}" }`]);
  const visitors = [await talkToRelay(t, relay), await talkToRelay(t, relay, { servername: other })];
  for (const [index, host] of [APP, other].entries()) {
    visitors[index]?.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    assert.equal((await visitors[index]?.response())?.body, host);
  }
  assert.equal(origin.connections, 2);
});
