/** WebSocket over HTTP/2 (RFC 8441): an extended CONNECT at the visitor's end, an Upgrade at the origin's. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { test } from 'node:test';
import { APP, appUrl, connectVisitor, startAppTunnel } from './support/carry.js';
import { Chromium } from './support/chromium.js';
import { answerOf, askOver, http2Visitor } from './support/http2-visitor.js';
import { startHttpOrigin, startRawOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { echo, startWebSocketOrigin } from './support/web-socket-origin.js';
import { until, within } from './support/within.js';

const HELLO = Buffer.concat([Buffer.of(0x81, 0x85, 0, 0, 0, 0), Buffer.from('hello')]);
const HELLO_BACK = Buffer.concat([Buffer.of(0x81, 0x05), Buffer.from('hello')]);

/** Asks for a WebSocket; the stream is its connection once the response came with 200. */
function connectWebSocket(visitor: ClientHttp2Session, fields: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  return visitor.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':scheme': 'https',
    ':authority': APP,
    ':path': '/socket?a=b',
    'sec-websocket-version': '13',
    ...fields,
  });
}

async function bytesOf(stream: ClientHttp2Stream, bytes: number): Promise<Buffer> {
  let read = Buffer.alloc(0);
  while (read.length < bytes) {
    const [piece] = await once(stream, 'data');
    read = Buffer.concat([read, piece]);
  }
  return read;
}

test('a WebSocket over HTTP/2 reaches its origin as an Upgrade, and closes as one', async (t) => {
  const origin = await startWebSocketOrigin(t);
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const visitor = await http2Visitor(t, relay);
  assert.equal(visitor.remoteSettings.enableConnectProtocol, true);
  const accepted = origin.accepted();
  const asked = once(origin.server, 'upgrade');
  const stream = connectWebSocket(visitor, { 'sec-websocket-protocol': 'chat', cookie: 'a=1' });
  const [fields] = await once(stream, 'response');
  const socket = await accepted;
  assert.equal(fields[':status'], 200);
  assert.equal(fields['sec-websocket-protocol'], 'chat');
  assert.equal(fields['sec-websocket-accept'], undefined);
  const [{ method, url, headers }] = await asked;
  assert.deepEqual([method, url, headers.host, headers.cookie], ['GET', '/socket?a=b', APP, 'a=1']);
  assert.equal(headers['x-forwarded-proto'], 'https');
  echo(socket);
  for (let count = 0; count < 3; count += 1) {
    const answer = bytesOf(stream, HELLO_BACK.length);
    stream.write(HELLO);
    assert.deepEqual(await answer, HELLO_BACK);
  }
  const closed = once(stream, 'close');
  socket.close(1000, 'bye');
  await once(stream, 'data');
  stream.end(Buffer.of(0x88, 0x80, 0, 0, 0, 0));
  await within('the close', closed);
  assert.equal(stream.rstCode, 0);
  await until('freeing', () => relay.relay.status().streams.now === 0 || undefined);
});

test('a WebSocket whose visitor or origin is cut is cut at the other end', async (t) => {
  const origin = await startWebSocketOrigin(t);
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const visitor = await http2Visitor(t, relay);
  const first = origin.accepted();
  const left = connectWebSocket(visitor);
  left.on('error', () => {});
  await once(left, 'response');
  const gone = once(await first, 'close');
  left.destroy();
  assert.equal((await within('the close at the origin', gone))[0], 1006);

  const second = origin.accepted();
  const kept = connectWebSocket(visitor);
  await once(kept, 'response');
  const ended = once(kept.resume(), 'end');
  (await second).terminate();
  await within('the end at the visitor', ended);
});

test('a handshake that the origin refuses, ignores or fakes opens nothing', async (t) => {
  const page = await startHttpOrigin(t, (_request, response) => response.end('no socket here'));
  page.server.on('upgrade', (request, socket) => {
    if (request.url?.startsWith('/socket')) socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  });
  const refusing = await http2Visitor(t, await startAppTunnel(t, page.url, { http2: 'on' }));
  const refused = await answerOf(connectWebSocket(refusing));
  assert.deepEqual([refused.status, refused.body], [403, 'no']);

  const plain = await startHttpOrigin(t, (_request, response) => response.end('a page'));
  const ignoring = await http2Visitor(t, await startAppTunnel(t, plain.url, { http2: 'on' }));
  const ignored = await answerOf(connectWebSocket(ignoring));
  assert.deepEqual([ignored.status, ignored.fields['x-sallyport-error']], [502, 'ORIGIN_INVALID']);

  const wrong = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n';
  const fake = await startRawOrigin(t, { onConnection: (connection) => connection.send(wrong) });
  const relay = await startAppTunnel(t, `http://127.0.0.1:${fake.port}`, { http2: 'on' });
  const faked = await answerOf(connectWebSocket(await http2Visitor(t, relay)));
  assert.deepEqual([faked.status, faked.fields['x-sallyport-error']], [502, 'ORIGIN_INVALID']);
});

test('CONNECT without a protocol, or with another one, is refused', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('fine'));
  const visitor = await http2Visitor(t, await startAppTunnel(t, origin.url, { http2: 'on' }));
  const tunnelled = await answerOf(visitor.request({ ':method': 'CONNECT', ':authority': `${APP}:22` }));
  assert.equal(tunnelled.status, 405);
  const udp = await answerOf(connectWebSocket(visitor, { ':protocol': 'connect-udp' }));
  assert.equal(udp.status, 501);
  assert.equal((await askOver(visitor, {})).body, 'fine');
  assert.equal(origin.connections, 1);
});

const PAGE = `<!doctype html>
<title>carried</title>
<script>
  const socket = new WebSocket(location.origin.replace('https', 'wss') + '/socket');
  const echoed = new Promise((resolve, reject) => {
    socket.onopen = () => socket.send('ping ünder 🚇');
    socket.onmessage = ({ data }) => { socket.close(4001, 'enough'); resolve(data); };
    socket.onerror = () => reject(new Error('socket failed'));
  });
  const fetched = Promise.all(Array.from({ length: 40 }, (_, index) => fetch('/part/' + index).then((part) => part.text())));
  window.finished = Promise.all([echoed, fetched]).then(([echo, parts]) => ({
    echo,
    parts: parts.join(' '),
    protocols: [...new Set(performance.getEntries().map((entry) => entry.nextHopProtocol).filter(Boolean))],
  }));
</script>`;

test('a browser fetches a page, forty parts and a WebSocket over one HTTP/2 connection', {
  timeout: 60_000,
}, async (t) => {
  const chromium = requireTool(t, 'chromium', 'chromium');
  if (chromium === undefined) return;
  const origin = await startWebSocketOrigin(t);
  origin.server.on('request', (request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(request.url?.startsWith('/part/') ? request.url.slice(6) : PAGE);
  });
  const relay = await startAppTunnel(t, origin.url, { http2: 'on' });
  const accepted = origin.accepted();
  const { raw } = (await connectVisitor(t, relay)).getPeerCertificate();
  const browser = await Chromium.start(t, chromium, new X509Certificate(raw));
  await browser.open(appUrl(relay, '/page'));
  echo(await accepted);
  assert.deepEqual(await browser.evaluate('window.finished'), {
    echo: 'ping ünder 🚇',
    parts: Array.from({ length: 40 }, (_, index) => index).join(' '),
    protocols: ['h2'],
  });
});
