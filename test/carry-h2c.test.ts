/** Origins that speak HTTP/2 in clear text (h2c://): whatever the visitor speaks, they are asked in HTTP/2. */
import assert from 'node:assert/strict';
import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { buffer, text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { APP, appUrl, runCurl, startAppTunnel, talkToRelay } from './support/carry.js';
import { curlOptions, startVault, vaultUrl } from './support/home-tls.js';
import { askOver, http2Visitor } from './support/http2-visitor.js';
import { listen, startHttpOrigin, startRawOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { runTool } from './support/tool-process.js';
import { until, within } from './support/within.js';

interface H2cOriginServer {
  readonly url: string;
  readonly server: Http2Server;
  readonly sessions: Set<ServerHttp2Session>;
}

async function startH2c(
  t: TestContext,
  onStream: (stream: ServerHttp2Stream, fields: IncomingHttpHeaders) => void,
): Promise<H2cOriginServer> {
  const server = createServer();
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, fields) => {
    stream.on('error', () => {});
    onStream(stream, fields);
  });
  t.after(() => {
    for (const session of sessions) session.destroy();
  });
  return { url: `h2c://127.0.0.1:${await listen(t, server)}`, server, sessions };
}

async function mirror(stream: ServerHttp2Stream, fields: IncomingHttpHeaders): Promise<void> {
  const body = await text(stream);
  const seen = JSON.stringify({ ...fields, body });
  stream.respond({
    ':status': 200,
    'content-length': Buffer.byteLength(seen),
    'x-origin': 'h2c',
    'set-cookie': ['a', 'b'],
  });
  stream.end(seen);
}

test('visitors of HTTP/1.1 and of HTTP/2 are served alike', async (t) => {
  const origin = await startH2c(t, mirror);
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const old = await talkToRelay(t, relay);
  old.send(`POST /old HTTP/1.1\r\nHost: ${APP}\r\nContent-Length: 5\r\nCookie: a=1\r\n\r\nhello`);
  const answer = await old.response();
  assert.equal(answer.field('x-origin'), 'h2c');
  assert.match(answer.head, /^set-cookie: a\r\nset-cookie: b\r$/m);
  const { 'x-request-id': id, ...seen } = JSON.parse(answer.body);
  assert.match(id, /^[\w.:-]+$/);
  assert.deepEqual(seen, {
    ':method': 'POST',
    ':scheme': 'http',
    ':authority': APP,
    ':path': '/old',
    cookie: 'a=1',
    'content-length': '5',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': APP,
    'x-real-ip': '127.0.0.1',
    forwarded: `for=127.0.0.1;proto=https;host=${APP}`,
    body: 'hello',
  });

  const visitor = await http2Visitor(t, relay);
  const young = await askOver(visitor, { ':method': 'PUT', ':path': '/young' }, 'without a length');
  const had = JSON.parse(young.body);
  assert.deepEqual([had[':path'], had.body, had['content-length']], ['/young', 'without a length', undefined]);
  assert.equal(young.fields['content-length'], `${young.body.length}`);
});

test('requests one after the other share one connection to the origin', async (t) => {
  const origin = await startH2c(t, mirror);
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  for (let count = 0; count < 5; count += 1) {
    visitor.send(`GET /${count} HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
    assert.equal(JSON.parse((await visitor.response()).body)[':path'], `/${count}`);
  }
  assert.equal(origin.sessions.size, 1);
  visitor.socket.end();
  await until('the end of the origin connection', () => origin.sessions.size === 0 || undefined);
});

test('HEAD, 204, 304, an empty answer, interim answers and trailers are what HTTP/1.1 has for them', async (t) => {
  const origin = await startH2c(t, (stream, fields) => {
    const path = fields[':path'];
    if (path === '/204' || path === '/304') stream.respond({ ':status': Number(path.slice(1)) }, { endStream: true });
    else if (path === '/empty') stream.respond({ ':status': 200 }, { endStream: true });
    else if (path === '/head') stream.respond({ ':status': 200, 'content-length': 77 }, { endStream: true });
    else {
      stream.additionalHeaders({ ':status': 103, link: '</a.css>' });
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
      stream.end('body');
    }
  });
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await talkToRelay(t, relay);
  const ask = async (method: string, path: string) => {
    visitor.send(`${method} ${path} HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
    return visitor.response(method);
  };
  assert.equal((await ask('GET', '/204')).status, 204);
  assert.equal((await ask('GET', '/304')).status, 304);
  assert.equal((await ask('GET', '/empty')).field('content-length'), '0');
  assert.equal((await ask('HEAD', '/head')).field('content-length'), '77');
  const early = await ask('GET', '/rest');
  assert.deepEqual([early.status, early.field('link')], [103, '</a.css>']);
  const last = await visitor.response();
  assert.deepEqual([last.body, last.trailers], ['body', 'x-sum: 1\r\n']);
});

test('large bodies pass both ways, and a reader who stops holds up the origin', async (t) => {
  let sentBytes = 0;
  const origin = await startH2c(t, (stream, fields) => {
    stream.respond({ ':status': 200 });
    if (fields[':method'] === 'POST') {
      stream.pipe(stream);
      return;
    }
    const more = () => {
      do sentBytes += 65_536;
      while (!stream.destroyed && stream.write(Buffer.alloc(65_536)));
    };
    stream.on('drain', more);
    more();
  });
  const relay = await startAppTunnel(t, origin.url);
  const sent = Buffer.alloc(8 * 1024 * 1024, 'abcdefghijklmnopqrstuvwxyz\n');
  const echo = await talkToRelay(t, relay);
  echo.send(`POST / HTTP/1.1\r\nHost: ${APP}\r\nContent-Length: ${sent.length}\r\nConnection: close\r\n\r\n`, sent);
  assert.ok((await echo.response()).body === sent.toString());

  const film = await talkToRelay(t, relay);
  film.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  await film.until('\r\n\r\n');
  film.socket.pause();
  let before = -1;
  let sinceMs = performance.now();
  await until('standstill', () => {
    if (sentBytes !== before) sinceMs = performance.now();
    before = sentBytes;
    return performance.now() - sinceMs > 300 || undefined;
  });
  assert.ok(sentBytes < 16 * 1024 * 1024, `${sentBytes} bytes left the origin`);
  film.socket.destroy();
  await until('the end of its origin connection', () => origin.sessions.size === 0 || undefined);
});

test('an origin that is no HTTP/2, or hangs up, or is not there, is told apart', async (t) => {
  const page = await startHttpOrigin(t, (_request, response) => response.end());
  const mute = await startRawOrigin(t, { onConnection: ({ socket }) => void socket.destroy() });
  const cases = [
    [`h2c://127.0.0.1:${page.port}`, 502, 'ORIGIN_INVALID'],
    [`h2c://127.0.0.1:${mute.port}`, 502, 'ORIGIN_INVALID'],
    ['h2c://127.0.0.1:1', 502, 'ORIGIN_REFUSED'],
  ] as const;
  for (const [origin, status, code] of cases) {
    const visitor = await talkToRelay(t, await startAppTunnel(t, origin));
    visitor.send(`GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
    const answer = await visitor.response();
    assert.deepEqual([answer.status, answer.field('x-sallyport-error')], [status, code], origin);
  }
});

test('an origin that cuts a call in its middle cuts the visitor, one that says GOAWAY loses no request', async (t) => {
  const origin = await startH2c(t, (stream, fields) => {
    stream.respond({ ':status': 200 });
    if (fields[':path'] === '/cut') stream.write('half', () => stream.session?.destroy());
    else stream.end('whole');
    if (fields[':path'] === '/last') stream.session?.close();
  });
  const relay = await startAppTunnel(t, origin.url);
  const cut = await talkToRelay(t, relay);
  cut.send(`GET /cut HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  await cut.until('half');
  await within('the cut', cut.ended());
  assert.doesNotMatch(cut.unread, /\r\n0\r\n\r\n$/);
  const visitor = await talkToRelay(t, relay);
  for (const path of ['/last', '/next', '/last', '/next']) {
    visitor.send(`GET ${path} HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
    assert.equal((await visitor.response()).body, 'whole');
  }
});

test('curl uploads to an h2c origin through a tunnel that ends TLS at home', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const origin = await startH2c(t, async (stream) => {
    const { length } = await buffer(stream);
    stream.respond({ ':status': 200 });
    stream.end(`${length} bytes`);
  });
  const { relay, certificate } = await startVault(t, origin.url, { http2: 'on' });
  const args = [
    ...curlOptions(relay, certificate),
    '--http2',
    '-T',
    '-',
    '-w',
    ' over HTTP/%{http_version}',
    vaultUrl(relay, '/up'),
  ];
  const { stdout, stderr } = await runTool(t, curl, args, Buffer.alloc(3_000_000));
  assert.equal(stdout, '3000000 bytes over HTTP/2', stderr);
});

test('curl speaks HTTP/2 to the relay by itself where it is offered', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const origin = await startHttpOrigin(t, (request, response) =>
    response.end(`${request.method} ${request.httpVersion}`),
  );
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const visit = async (...args: string[]) =>
    (await runCurl(t, curl, relay, [...args, '-w', ' %{http_version}', appUrl(relay, '/')])).stdout;
  assert.equal(await visit(), 'GET 1.1 2');
  assert.equal(await visit('--http1.1'), 'GET 1.1 1.1');
  assert.equal(await visit('--http1.0'), 'GET 1.1 1.1');
  assert.equal(await visit('-d', 'x'.repeat(100)), 'POST 1.1 2');
});
