/** What an origin's closing of its connections means for a visitor's: nothing, unless a request was lost with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APP, startAppTunnel, talkToRelay } from './support/carry.js';
import type { Conversation } from './support/conversation.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';

const HOST = `Host: ${APP}\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Reads one request head at an origin. */
function requestHead(connection: Conversation): Promise<string> {
  return connection.until('\r\n\r\n');
}

test('an origin that closes after each response costs new origin connections, not the visitor’s', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => {
    response.setHeader('Connection', 'close');
    response.end(request.url);
  });
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  visitor.send(...Array.from({ length: 10 }, (_, index) => `GET /${index} HTTP/1.1\r\n${HOST}\r\n`));
  for (let index = 0; index < 10; index += 1) {
    const response = await visitor.response();
    assert.equal(response.body, `/${index}`);
    assert.equal(response.field('connection'), undefined);
  }
  assert.equal(origin.connections, 10);
});

test('after an origin closed its idle connection the next request gets a new one', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      await requestHead(connection);
      connection.send(OK);
      connection.socket.end();
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  for (const round of [0, 1, 2]) {
    visitor.send(`GET /${round} HTTP/1.1\r\n${HOST}\r\n`);
    assert.equal((await visitor.response()).body, 'ok');
    await (await origin.connection(round)).closed;
  }
});

for (const method of ['GET', 'HEAD', 'OPTIONS']) {
  test(`a ${method} that meets a closing idle connection is sent once more`, async (t) => {
    const seen: string[] = [];
    const origin = await startRawOrigin(t, {
      onConnection: async (connection, number) => {
        for (;;) {
          const [line] = (await requestHead(connection)).split('\r\n');
          seen.push(`${number} ${line}`);
          // As an origin does whose keep-alive time ended while the request was on its way.
          if (number === 0 && seen.length === 2) return void connection.socket.resetAndDestroy();
          connection.send(line?.startsWith('HEAD') ? OK.slice(0, -2) : OK);
        }
      },
    });
    const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
    const visitor = await talkToRelay(t, relay);
    visitor.send(`GET /1 HTTP/1.1\r\n${HOST}\r\n`);
    await visitor.response();
    visitor.send(`${method} /2 HTTP/1.1\r\n${HOST}\r\n`);
    assert.equal((await visitor.response(method)).status, 200);
    assert.deepEqual(seen, ['0 GET /1 HTTP/1.1', `0 ${method} /2 HTTP/1.1`, `1 ${method} /2 HTTP/1.1`]);
  });
}

test('a POST that meets a closing idle connection is not sent again', async (t) => {
  const seen: string[] = [];
  const origin = await startRawOrigin(t, {
    onConnection: async (connection) => {
      for (;;) {
        const head = await requestHead(connection);
        seen.push(head.slice(0, head.indexOf(' HTTP')));
        if (head.startsWith('POST')) return void connection.socket.end();
        connection.send(OK);
      }
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET /1 HTTP/1.1\r\n${HOST}\r\n`);
  await visitor.response();
  visitor.send(`POST /2 HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`);
  const response = await visitor.response();
  assert.equal(response.status, 502);
  assert.equal(response.field('x-sallyport-error'), 'ORIGIN_CLOSED');
  visitor.send(`GET /3 HTTP/1.1\r\n${HOST}\r\n`);
  assert.equal((await visitor.response()).status, 200);
  assert.deepEqual(seen, ['GET /1', 'POST /2', 'GET /3']);
});

test('a safe request is repeated once only', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection, number) => {
      await requestHead(connection);
      if (number > 0) return void connection.socket.end();
      connection.send(OK);
      await requestHead(connection);
      connection.socket.end();
    },
  });
  const relay = await startAppTunnel(t, `127.0.0.1:${origin.port}`);
  const visitor = await talkToRelay(t, relay);
  visitor.send(`GET /1 HTTP/1.1\r\n${HOST}\r\n`);
  await visitor.response();
  visitor.send(`GET /2 HTTP/1.1\r\n${HOST}\r\n`);
  assert.equal((await visitor.response()).field('x-sallyport-error'), 'ORIGIN_CLOSED');
  assert.equal(origin.connections.length, 2);
});
