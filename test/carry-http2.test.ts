/** HTTP/2 visitors: what they ask is what an HTTP/1.1 origin sees, and its answers are theirs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ClientHttp2Session, constants } from 'node:http2';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { APP, appTunnel, appUrl, connectVisitor, startAppTunnel } from './support/carry.js';
import { startVault, VAULT } from './support/home-tls.js';
import { answerOf, askOver, http2Visitor } from './support/http2-visitor.js';
import { type HttpOrigin, startHttpOrigin, startRawOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { runTool } from './support/tool-process.js';
import { until, within } from './support/within.js';
import { DOMAIN, RelayHome, type RunningRelay } from './support/world.js';

interface World {
  readonly origin: HttpOrigin;
  readonly relay: RunningRelay;
  readonly visitor: ClientHttp2Session;
}

async function startWorld(
  t: TestContext,
  onRequest: (request: IncomingMessage, response: ServerResponse) => void,
  yaml = '',
): Promise<World> {
  const origin = await startHttpOrigin(t, onRequest);
  const relay = await startAppTunnel(t, origin.url, { http2: 'on', yaml });
  return { origin, relay, visitor: await http2Visitor(t, relay) };
}

/** What the origin saw, as JSON. */
async function mirror(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method, url, headers, httpVersion } = request;
  const body = await text(request);
  response.setHeader('X-Origin', 'mirror');
  response.setHeader('Set-Cookie', ['a=1; Path=/', 'b=2']);
  const seen = JSON.stringify({ method, url, headers, httpVersion, body, trailers: request.trailers });
  response.setHeader('Content-Length', Buffer.byteLength(seen));
  response.end(seen);
}

test('GET, HEAD, POST and PUT reach the origin as HTTP/1.1, with the fields that the relay sets', async (t) => {
  const { visitor } = await startWorld(t, mirror);
  const get = await askOver(visitor, { ':path': '/a?b=c', cookie: ['x=1', 'y=2'], 'x-forwarded-for': '6.6.6.6' });
  assert.equal(get.status, 200);
  assert.equal(get.fields['x-origin'], 'mirror');
  assert.deepEqual(get.fields['set-cookie'], ['a=1; Path=/', 'b=2']);
  assert.equal(get.fields.connection, undefined);
  const seen = JSON.parse(get.body);
  assert.equal(`${seen.method} ${seen.url} ${seen.httpVersion}`, 'GET /a?b=c 1.1');
  const { 'x-request-id': id, ...headers } = seen.headers;
  assert.match(id, /^[\w.:-]+$/);
  assert.deepEqual(headers, {
    host: APP,
    cookie: 'x=1; y=2',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': APP,
    'x-real-ip': '127.0.0.1',
    forwarded: `for=127.0.0.1;proto=https;host=${APP}`,
  });

  const post = await askOver(visitor, { ':method': 'POST', 'content-length': 5 }, 'hello');
  const posted = JSON.parse(post.body);
  assert.deepEqual([posted.body, posted.headers['content-length']], ['hello', '5']);

  const put = await askOver(visitor, { ':method': 'PUT' }, 'no length');
  const had = JSON.parse(put.body);
  assert.deepEqual([had.body, had.headers['transfer-encoding']], ['no length', 'chunked']);

  const head = await askOver(visitor, { ':method': 'HEAD' });
  assert.equal(head.body, '');
  assert.ok(Number(head.fields['content-length']) > 0, 'the length that GET would have');
});

test('204 and 304 have no body, and the connection goes on', async (t) => {
  const { visitor } = await startWorld(t, (request, response) => {
    response.writeHead(Number(request.url?.slice(1)), { 'X-Empty': 'yes' }).end();
  });
  for (const status of [204, 304, 205, 204]) {
    const answer = await askOver(visitor, { ':path': `/${status}` });
    assert.deepEqual([answer.status, answer.body, answer.fields['x-empty']], [status, '', 'yes']);
  }
});

test('interim responses and trailers pass, both ways', async (t) => {
  const { visitor } = await startWorld(t, async (request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' });
    await text(request);
    response.writeHead(200, { Trailer: 'X-Sum' });
    response.write('body');
    response.addTrailers({ 'X-Sum': JSON.stringify(request.trailers), 'Set-Cookie': 'never=1' });
    response.end();
  });
  const fields = { ':method': 'POST', expect: '100-continue', te: 'trailers', trailer: 'x-of-request' };
  const answer = await askOver(visitor, fields, (stream) => {
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-of-request': 'yes', authorization: 'never' }));
    stream.once('continue', () => stream.end('asked to go on'));
  });
  assert.deepEqual(answer.interim, [100, 103]);
  assert.equal(answer.body, 'body');
  assert.deepEqual(Object.entries(answer.trailers), [['x-sum', '{"x-of-request":"yes"}']]);
});

test('a request that nobody can serve gets the page of its error, as JSON or HTML', async (t) => {
  const origin = await startRawOrigin(t, { onConnection: ({ socket }) => void socket.destroy() });
  const relay = await startAppTunnel(t, `http://127.0.0.1:${origin.port}`, { http2: 'on' });
  const visitor = await http2Visitor(t, relay);
  const json = await askOver(visitor, {});
  assert.equal(json.status, 502);
  assert.match(`${json.fields['x-sallyport-error']}`, /^(?:STREAM_RESET|ORIGIN_CLOSED)$/);
  assert.equal(JSON.parse(json.body).status, 502);
  const html = await askOver(visitor, { ':method': 'POST', accept: 'text/html' }, 'a body that nobody reads');
  assert.equal(html.fields['content-type'], 'text/html; charset=utf-8');
  assert.match(html.body, /<!doctype html>/);
});

test('an authority of another tunnel is misdirected, one of the same wildcard tunnel is served', async (t) => {
  const origin = await startHttpOrigin(t, (request, response) => response.end(request.headers.host));
  const relay = await new RelayHome(t, { http2: 'on', hosts: ['*.relay.localhost', '*.wild.relay.localhost'] }).start(
    t,
  );
  await relay.client(t, [
    appTunnel(origin.url),
    `{ name: other, host: other.relay.localhost, origin: "${origin.url}" }`,
    `{ name: wild, host: "*.wild.relay.localhost", origin: "${origin.url}" }`,
  ]);
  const visitor = await http2Visitor(t, relay);
  assert.equal((await askOver(visitor, { ':authority': APP })).body, APP);
  for (const authority of ['other.relay.localhost', 'a.wild.relay.localhost', DOMAIN, 'example.org']) {
    const answer = await askOver(visitor, { ':authority': authority });
    assert.deepEqual([answer.status, answer.fields['x-sallyport-error']], [421, 'HOST_MISDIRECTED'], authority);
  }
  const wild = await http2Visitor(t, relay, { servername: 'a.wild.relay.localhost' });
  assert.equal((await askOver(wild, { ':authority': 'b.wild.relay.localhost' })).body, 'b.wild.relay.localhost');
  assert.equal((await askOver(wild, { ':authority': APP })).status, 421);
});

test('requests one after the other share one origin connection; requests at a time have one each', async (t) => {
  let atOnce = 0;
  const waiting: (() => void)[] = [];
  const { origin, visitor } = await startWorld(t, (request, response) => {
    if (request.url === '/now') {
      response.end();
      return;
    }
    atOnce += 1;
    waiting.push(() => response.end());
    if (atOnce === 20) for (const answer of waiting.splice(0)) answer();
  });
  for (let count = 0; count < 10; count += 1) await askOver(visitor, { ':path': '/now' });
  assert.equal(origin.connections, 1);
  const answers = await Promise.all(Array.from({ length: 20 }, () => askOver(visitor, { ':path': '/together' })));
  assert.ok(answers.every(({ status }) => status === 200));
  assert.equal(origin.connections, 20);
});

test('a safe request is repeated when its rested origin connection dies under it, another one is not', async (t) => {
  const origin = await startRawOrigin(t, {
    onConnection: async (connection, number) => {
      await connection.until('\r\n\r\n');
      connection.send('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n', `${number}`);
      await connection.until('\r\n\r\n');
      connection.socket.destroy();
    },
  });
  const relay = await startAppTunnel(t, `http://127.0.0.1:${origin.port}`, { http2: 'on' });
  const visitor = await http2Visitor(t, relay);
  assert.equal((await askOver(visitor, {})).body, '0');
  assert.equal((await askOver(visitor, {})).body, '1');
  const { status } = await askOver(visitor, { ':method': 'POST' }, 'once');
  assert.equal(status, 502);
});

test('an answer before the end of the request is complete, and the connection goes on', async (t) => {
  const { visitor } = await startWorld(t, (request, response) => {
    if (request.url === '/early') response.writeHead(413).end('too large');
    else response.end('fine');
  });
  const early = await askOver(visitor, { ':path': '/early', ':method': 'POST' }, (stream) => {
    stream.on('wantTrailers', () => {});
    const more = () => {
      while (!stream.destroyed && !stream.closed && stream.write(Buffer.alloc(16_384)));
    };
    stream.on('drain', more);
    more();
  });
  assert.deepEqual([early.status, early.body], [413, 'too large']);
  assert.equal((await askOver(visitor, {})).body, 'fine');
});

test('a stream that nobody reads holds up itself, and neither its siblings nor the memory', async (t) => {
  let sentBytes = 0;
  const piece = Buffer.alloc(65_536, 'x');
  const { visitor, relay } = await startWorld(t, (request, response) => {
    if (request.url !== '/film') {
      response.end('light on');
      return;
    }
    const more = () => {
      while (!response.destroyed) {
        sentBytes += piece.length;
        if (!response.write(piece)) break;
      }
    };
    response.on('drain', more);
    more();
  });
  const film = visitor.request({ ':authority': APP, ':path': '/film' });
  film.on('error', () => {});
  await once(film, 'response');
  // Nobody reads it: the visitor's window closes, then ours, then the origin's socket.
  const stalledAt = await standsStill(() => sentBytes);
  assert.ok(stalledAt < 16 * 1024 * 1024, `${stalledAt} bytes left the origin`);
  assert.ok((relay.relay.status().tunnels[0]?.bytesOut ?? 0) < 2 * 1024 * 1024);
  for (let count = 0; count < 50; count += 1) assert.equal((await askOver(visitor, {})).body, 'light on');
  assert.equal(await standsStill(() => sentBytes), stalledAt);
  film.close(constants.NGHTTP2_CANCEL);
  await until('the cut stream to be freed', () => relay.relay.status().streams.now <= 1 || undefined);
});

test('an upload that the origin does not read stops at its sender, and its siblings go on', async (t) => {
  const { visitor, relay } = await startWorld(t, (request, response) => {
    if (request.url === '/slow') request.pause();
    else response.end('fine');
  });
  const upload = visitor.request({ ':authority': APP, ':method': 'PUT', ':path': '/slow' });
  upload.on('error', () => {});
  let takenBytes = 0;
  const more = () => {
    while (!upload.destroyed && upload.write(Buffer.alloc(16_384), () => (takenBytes += 16_384)));
  };
  upload.on('drain', more);
  more();
  const stalledAt = await standsStill(() => takenBytes);
  assert.ok(stalledAt < 16 * 1024 * 1024, `${stalledAt} bytes were taken`);
  for (let count = 0; count < 50; count += 1) assert.equal((await askOver(visitor, {})).body, 'fine');
  upload.close(constants.NGHTTP2_CANCEL);
  await until('the cut upload to be freed', () => relay.relay.status().streams.now <= 1 || undefined);
});

/** Where a number comes to rest for a while. */
async function standsStill(number: () => number): Promise<number> {
  let last = -1;
  let since = performance.now();
  return until('standstill', () => {
    if (number() !== last) {
      last = number();
      since = performance.now();
    }
    return performance.now() - since > 300 ? last : undefined;
  });
}

test('large bodies pass both ways at the same time', async (t) => {
  const { visitor } = await startWorld(t, (request, response) => void request.pipe(response));
  const sent = Buffer.alloc(4 * 1024 * 1024, 'abcdefghijklmnopqrstuvwxyz\n');
  const answers = await Promise.all([1, 2, 3].map(() => askOver(visitor, { ':method': 'POST' }, sent)));
  for (const { body } of answers) assert.ok(body === sent.toString());
});

test('a draining relay says so, lets requests end and takes no new ones', async (t) => {
  let answer = () => {};
  const { visitor, relay } = await startWorld(t, (request, response) => {
    if (request.url === '/quick') response.end();
    else answer = () => response.end('the end');
  });
  const asked = visitor.request({ ':authority': APP, ':path': '/slow' });
  const whole = answerOf(asked);
  await until('the request at the origin', () => (relay.relay.status().streams.now > 0 ? true : undefined));
  await askOver(visitor, { ':path': '/quick' });
  const closed = once(visitor, 'close');
  const [code] = await Promise.all([once(visitor, 'goaway').then(([code]) => code), void relay.relay.drain()]);
  assert.equal(code, constants.NGHTTP2_NO_ERROR);
  answer();
  assert.equal((await whole).code, 0);
  await within('the end of the drained connection', closed);
});

test('an idle connection ends with GOAWAY after keep_alive_timeout', async (t) => {
  const { visitor } = await startWorld(
    t,
    (_request, response) => response.end(),
    'limits: { keep_alive_timeout: 500ms }',
  );
  await askOver(visitor, {});
  const closed = once(visitor, 'close');
  const [code] = await within('GOAWAY', once(visitor, 'goaway'));
  assert.equal(code, constants.NGHTTP2_NO_ERROR);
  await within('the end', closed);
});

test('h2 is offered where it is on, and never for the name of the relay itself', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end());
  const offered = ['h2', 'http/1.1'];
  for (const http2 of ['on', 'off'] as const) {
    const relay = await startAppTunnel(t, origin.url, { http2 });
    const app = await connectVisitor(t, relay, { ALPNProtocols: offered });
    assert.equal(app.alpnProtocol, http2 === 'on' ? 'h2' : 'http/1.1');
    const own = await connectVisitor(t, relay, { servername: DOMAIN, ALPNProtocols: offered });
    assert.equal(own.alpnProtocol, 'http/1.1');
    const silent = await connectVisitor(t, relay, { ALPNProtocols: [] });
    assert.equal(silent.alpnProtocol, false);
  }
});

test('where TLS ends at home the client speaks the same HTTP/2', async (t) => {
  const origin = await startHttpOrigin(t, mirror);
  const { relay, certificate } = await startVault(t, origin.url, { http2: 'on' });
  const visitor = await http2Visitor(t, relay, { servername: VAULT, ca: certificate.ca });
  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      askOver(visitor, { ':authority': VAULT, ':method': 'POST', ':path': `/${index}` }, `${index}`),
    ),
  );
  assert.deepEqual(
    answers.map(({ body }) => JSON.parse(body)).map(({ url, body }) => url + body),
    Array.from({ length: 30 }, (_, index) => `/${index}${index}`),
  );
  assert.equal((await askOver(visitor, { ':authority': 'other.relay.localhost' })).status, 421);
});

test('h2load gets every answer over eight connections with sixteen requests at a time', async (t) => {
  const h2load = requireTool(t, 'h2load', 'nghttp2-client');
  if (h2load === undefined) return;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('hello'));
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const here = `--connect-to=127.0.0.1:${relay.port('https')}`;
  const { stdout } = await runTool(t, h2load, ['-n', '2000', '-c', '8', '-m', '16', here, appUrl(relay, '/')]);
  assert.match(stdout, /^Application protocol: h2$/m);
  assert.match(stdout, /2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout/);
  assert.match(stdout, /^status codes: 2000 2xx/m);
  assert.ok(origin.connections <= 8 * 16, `${origin.connections} connections to the origin`);
});
