/**
 * What was cut must not look complete: a body whose sender broke off in its middle, in each direction, between each pair
 * of protocols. (node:http2 ends a stream that it destroys, and ends one before it resets it.)
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, constants, createServer, type ServerHttp2Stream } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { APP, startAppTunnel, talkToRelay } from './support/carry.js';
import { startVault, VAULT } from './support/home-tls.js';
import { DATA, frame, GET, GOAWAY, headers, RawHttp2Visitor, reset } from './support/http2-frames.js';
import { answerOf, http2Visitor } from './support/http2-visitor.js';
import { listen, startHttpOrigin, startRawOrigin } from './support/origins.js';
import { within } from './support/within.js';

/** Ways of an HTTP/2 visitor to break off. */
const CUTS: readonly (readonly [how: string, cut: (visitor: RawHttp2Visitor) => void])[] = [
  ['its stream with CANCEL', (visitor) => visitor.send(reset(1))],
  ['its stream with NO_ERROR', (visitor) => visitor.send(reset(1, 0))],
  ['its connection in order', (visitor) => void visitor.conversation.socket.end()],
  [
    'its connection after GOAWAY',
    (visitor) => void visitor.conversation.socket.end(frame(GOAWAY, 0, 0, Buffer.alloc(8))),
  ],
  ['its connection at once', (visitor) => void visitor.conversation.socket.destroy()],
];

/** Begins an upload that goes on. */
function beginUpload(visitor: RawHttp2Visitor, authority: string): void {
  const asked = { ':method': 'PUT', ':authority': authority } as Record<string, string>;
  const fields = GET.map(([name, value]) => [name, asked[name] ?? value] as const);
  visitor.send(headers(1, fields, 0), frame(DATA, 0, 1, Buffer.from('half')));
}

for (const head of [
  'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
  'Content-Length: 9\r\n\r\nhalf',
  'Connection: close\r\n\r\n',
]) {
  for (const how of ['end', 'resetAndDestroy'] as const) {
    const isWhole = head.startsWith('Connection') && how === 'end';
    test(`a response "${head.split('\r\n', 1)}" whose origin does ${how} is ${isWhole ? 'whole' : 'an error'}`, async (t) => {
      const origin = await startRawOrigin(t, {
        onConnection: async (connection) => {
          await connection.until('\r\n\r\n');
          connection.send(`HTTP/1.1 200 OK\r\n${head}`);
          connection.socket.once('data', () => connection.socket[how]());
        },
      });
      const relay = await startAppTunnel(t, `http://127.0.0.1:${origin.port}`, { http2: 'on' });
      const visitor = await http2Visitor(t, relay);
      const stream = visitor.request({ ':authority': APP, ':method': 'POST' });
      const answer = answerOf(stream);
      await once(stream, 'response');
      stream.write('now');
      const { code } = await within('the end', answer);
      assert.equal(code === constants.NGHTTP2_NO_ERROR, isWhole, `ended with ${code}`);
    });
  }
}

/** An upload as the origin sees it. */
class SeenUpload {
  readonly begun: Promise<unknown>;
  readonly end: Promise<'complete' | 'cut'>;

  constructor(request: IncomingMessage) {
    this.begun = once(request, 'data');
    request.on('error', () => {});
    this.end = new Promise((resolve) => {
      request.once('close', () => resolve(request.complete ? 'complete' : 'cut'));
    });
  }
}

for (const [how, cut] of CUTS) {
  test(`an upload whose visitor cuts ${how} is cut at the origin, wherever TLS ends`, async (t) => {
    let seen: (upload: SeenUpload) => void = () => {};
    const origin = await startHttpOrigin(t, (request) => seen(new SeenUpload(request)));
    const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
    const { relay: second, certificate } = await startVault(t, origin.url, { http2: 'on' });
    const visitors = [
      { visitor: await RawHttp2Visitor.connect(t, relay), authority: APP },
      {
        visitor: await RawHttp2Visitor.connect(t, second, { servername: VAULT, ca: certificate.ca }),
        authority: VAULT,
      },
    ];
    for (const { visitor, authority } of visitors) {
      const arrived = new Promise<SeenUpload>((resolve) => {
        seen = resolve;
      });
      beginUpload(visitor, authority);
      const upload = await arrived;
      await upload.begun;
      cut(visitor);
      assert.equal(await within('the end at the origin', upload.end), 'cut');
    }
  });
}

interface H2cEnd {
  readonly url: string;
  readonly stream: Promise<ServerHttp2Stream>;
}

async function startH2c(t: TestContext, onStream: (stream: ServerHttp2Stream) => void): Promise<H2cEnd> {
  const server = createServer();
  const stream = new Promise<ServerHttp2Stream>((resolve) => {
    server.once('stream', (first) => {
      first.on('error', () => {});
      onStream(first);
      resolve(first);
    });
  });
  server.on('session', (session) => t.after(() => session.destroy()));
  return { url: `h2c://127.0.0.1:${await listen(t, server)}`, stream };
}

for (const [how, cut] of CUTS) {
  test(`an upload to an h2c origin whose visitor cuts ${how} is aborted there`, async (t) => {
    const origin = await startH2c(t, (stream) => void stream.resume());
    const visitor = await RawHttp2Visitor.connect(t, await startAppTunnel(t, origin.url, { http2: 'on' }));
    beginUpload(visitor, APP);
    const stream = await origin.stream;
    const aborted = once(stream, 'aborted');
    cut(visitor);
    await within('the end at the origin', aborted);
  });
}

test('a response whose h2c origin is gone is cut for visitors of HTTP/1.1 and HTTP/2', async (t) => {
  for (const http2 of ['on', 'off'] as const) {
    const origin = await startH2c(t, (stream) => {
      stream.respond({ ':status': 200 });
      stream.write('half');
    });
    const relay = await startAppTunnel(t, origin.url, { http2 });
    if (http2 === 'on') {
      const asked = (await http2Visitor(t, relay)).request({ ':authority': APP });
      const answer = answerOf(asked);
      await once(asked, 'data');
      (await origin.stream).session?.destroy();
      assert.notEqual((await within('the end', answer)).code, constants.NGHTTP2_NO_ERROR);
    } else {
      const visitor = await talkToRelay(t, relay);
      visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
      await visitor.until('half');
      (await origin.stream).session?.destroy();
      await within('the end', visitor.ended());
      assert.doesNotMatch(visitor.unread, /0\r\n\r\n$/);
    }
  }
});

test('the facts about node:http2 that this is about: what is destroyed ends, what is closed ends first', async (t) => {
  const server = createServer();
  const cut = new Promise<string[]>((resolve) => {
    server.on('stream', (stream) => {
      const events: string[] = [];
      stream.on('error', () => {});
      stream.on('data', () => {});
      stream.on('aborted', () => events.push('aborted'));
      stream.on('end', () => events.push('end'));
      stream.on('close', () => resolve(events));
    });
  });
  const port = await listen(t, server);
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  t.after(() => session.destroy());
  const stream = session.request({ ':method': 'POST' });
  stream.on('error', () => {});
  stream.write('half', () => session.destroy());
  assert.deepEqual(await cut, ['aborted', 'end']);
});
