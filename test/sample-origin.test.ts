/** The sample origin: one address per kind of traffic, and nothing left open. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { get, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { type SampleOrigin, startSampleOrigin } from '../relay-server/quickstart/sample-origin.js';
import { samplePagePolicy } from '../relay-server/quickstart/sample-page.js';

async function origin(t: TestContext): Promise<SampleOrigin> {
  const sample = await startSampleOrigin();
  t.after(() => sample.close());
  return sample;
}

async function echoSocket(t: TestContext, sample: SampleOrigin): Promise<WebSocket> {
  const socket = new WebSocket(`${sample.url.replace('http', 'ws')}/ws`);
  t.after(() => socket.terminate());
  await once(socket, 'open');
  return socket;
}

async function respond(url: string): Promise<IncomingMessage> {
  const [response] = await once(get(url, { agent: false }), 'response');
  return response;
}

test('the page shows the request as the origin saw it, escaped', async (t) => {
  const sample = await origin(t);
  const headers = { 'x-forwarded-for': '203.0.113.9<script>', 'x-request-id': 'req-42' };
  const response = await fetch(`${sample.url}/`, { headers });
  const page = await response.text();
  assert.equal(response.headers.get('content-security-policy'), samplePagePolicy);
  assert.match(page, /<h1>Your tunnel works<\/h1>/);
  assert.match(page, /<td>203\.0\.113\.9&lt;script&gt;<\/td>/);
  assert.match(page, /<td>req-42<\/td>/);
});

test('the page does not claim a tunnel for a request that came straight to it', async (t) => {
  const sample = await origin(t);
  const page = await (await fetch(`${sample.url}/`)).text();
  assert.doesNotMatch(page, /Your tunnel works/);
});

test('/headers gives every field of the request', async (t) => {
  const sample = await origin(t);
  const response = await fetch(`${sample.url}/headers?x=1`, { headers: { 'x-mine': 'yes' } });
  const document = (await response.json()) as { method: string; url: string; headers: Record<string, string> };
  assert.equal(document.method, 'GET');
  assert.equal(document.url, '/headers?x=1');
  assert.equal(document.headers['x-mine'], 'yes');
});

test('/bytes/N sends exactly N bytes', async (t) => {
  const sample = await origin(t);
  for (const length of [0, 1, 65_536, 200_000]) {
    const body = await (await fetch(`${sample.url}/bytes/${length}`)).arrayBuffer();
    assert.equal(body.byteLength, length);
  }
  for (const wrong of ['/bytes/', '/bytes/-1', '/bytes/1073741825', '/bytes/1e3', '/nothing']) {
    assert.equal((await fetch(`${sample.url}${wrong}`)).status, 404, wrong);
  }
});

test('/echo gives an upload back and /sink counts it', async (t) => {
  const sample = await origin(t);
  const body = randomBytes(300_000);
  const echoed = await fetch(`${sample.url}/echo`, { method: 'POST', body });
  assert.deepEqual(Buffer.from(await echoed.arrayBuffer()), body);
  const counted = await fetch(`${sample.url}/sink`, { method: 'POST', body });
  assert.equal(((await counted.json()) as { bytes: number }).bytes, body.length);
});

test('HEAD answers without a body, also where a body would never end', async (t) => {
  const sample = await origin(t);
  for (const path of ['/', '/headers', '/events', '/bytes/10']) {
    const response = await fetch(`${sample.url}${path}`, { method: 'HEAD' });
    assert.equal(response.status, 200, path);
    assert.equal(await response.text(), '', path);
  }
});

test('/events sends its first event at once', async (t) => {
  const sample = await origin(t);
  const response = await respond(`${sample.url}/events`);
  t.after(() => response.destroy());
  const [chunk] = await once(response, 'data');
  assert.match(String(chunk), /^id: 1\ndata: \d{4}-\d\d-\d\dT[\d:.]+Z\n\n$/);
});

test('the WebSocket echoes text and binary of every length form, and answers ping', async (t) => {
  const socket = await echoSocket(t, await origin(t));
  for (const length of [0, 1, 125, 126, 65_535]) {
    const sent = randomBytes(length);
    socket.send(sent);
    const [binary, isBinary] = await once(socket, 'message');
    assert.ok(isBinary);
    assert.deepEqual(binary, sent);
  }
  socket.send('héllo');
  assert.equal(String((await once(socket, 'message'))[0]), 'héllo');
  socket.ping('p');
  assert.equal(String((await once(socket, 'pong'))[0]), 'p');
});

test('the WebSocket echoes a frame that arrives byte by byte', async (t) => {
  const sample = await origin(t);
  const socket = connect({ port: sample.port, host: '127.0.0.1', noDelay: true });
  t.after(() => socket.destroy());
  socket.write(
    'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  assert.match(String((await once(socket, 'data'))[0]), /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
  for (const byte of [0x81, 0x82, 1, 2, 3, 4, 0x68 ^ 1, 0x69 ^ 2]) {
    await new Promise((sent) => socket.write(Uint8Array.of(byte), sent));
  }
  assert.deepEqual((await once(socket, 'data'))[0], Buffer.from([0x81, 0x02, 0x68, 0x69]));
});

test('the WebSocket returns the close code, and refuses what it does not speak', async (t) => {
  const sample = await origin(t);
  const cases: [send: (socket: WebSocket) => void, closeCode: number][] = [
    [(socket) => socket.close(4001), 4001],
    [(socket) => socket.send(randomBytes(65_536)), 1009],
    [(socket) => socket.send('part', { fin: false }), 1003],
    [(socket) => socket.send('unmasked', { mask: false }), 1002],
  ];
  for (const [send, closeCode] of cases) {
    const socket = await echoSocket(t, sample);
    send(socket);
    assert.equal((await once(socket, 'close'))[0], closeCode);
  }
});

test('an upgrade to anything else is refused', async (t) => {
  const sample = await origin(t);
  const asked = request(`${sample.url}/ws`, { headers: { connection: 'upgrade', upgrade: 'h2c' }, agent: false }).end();
  const [response] = await once(asked, 'response');
  assert.equal(response.statusCode, 400);
});

test('close ends open downloads, events and WebSockets, and may be called again', async (t) => {
  const sample = await origin(t);
  const socket = await echoSocket(t, sample);
  const endless = [await respond(`${sample.url}/events`), await respond(`${sample.url}/bytes/1073741824`)];
  const ends = [once(socket, 'close'), ...endless.map((response) => new Promise((end) => response.on('close', end)))];
  for (const response of endless) response.on('error', () => {}).resume();
  await sample.close();
  await Promise.all(ends);
  await sample.close();
  await assert.rejects(fetch(`${sample.url}/`));
});
