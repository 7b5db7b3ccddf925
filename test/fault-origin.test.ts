/** The origin is down, slow or broken: the visitor learns which, the relay counts it, and nothing stays behind. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '../bench/free-port.js';
import type { ErrorCode } from '../shared/errors.js';
import { startBlackHole } from './support/black-hole.js';
import { Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { requireTool } from './support/require-tool.js';
import { AT_ONCE_MS, until, within } from './support/within.js';
import { type ClientWorldOptions, RelayHome, type RunningClient, type RunningRelay } from './support/world.js';

interface World {
  readonly relay: RunningRelay;
  readonly client: RunningClient;
  readonly site: Site;
}

async function makeWorld(t: TestContext, tunnel: string, options: ClientWorldOptions = {}): Promise<World> {
  const relay = await new RelayHome(t).start(t);
  const client = await relay.client(t, [tunnel], options);
  return { relay, client, site: { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca } };
}

/** A raw origin that reads whatever comes and then does as told. */
function afterRequest(t: TestContext, act: (socket: Socket) => void): Promise<Origin> {
  return Origin.raw(t, (socket) => {
    socket.once('data', () => act(socket));
    socket.resume();
  });
}

function refusals(world: World, code: ErrorCode): number {
  return world.relay.relay.status().refusals[code] ?? 0;
}

/** Both ends know of no stream any more. */
async function nothingLeft(world: World, origin?: Origin): Promise<void> {
  await until(
    'end of all streams',
    () => {
      const relayStreams = world.relay.relay.status().streams.now;
      const clientStreams = world.client.client.status().tunnels[0]?.openStreams;
      return relayStreams === 0 && clientStreams === 0 && (origin?.sockets.size ?? 0) === 0 ? true : undefined;
    },
    AT_ONCE_MS,
  );
}

/** Asks once and expects the page of `code`. */
async function expectPage(world: World, status: number, code: ErrorCode): Promise<void> {
  const answer = await ask(world.site);
  assert.equal(answer.headers['x-sallyport-error'], code);
  assert.equal(answer.status, status);
  assert.equal(JSON.parse(answer.body).code, code);
  assert.equal(refusals(world, code), 1);
}

test('an origin that is down gives 502 ORIGIN_REFUSED, and the same connection is served once it is up', async (t) => {
  const port = await freePort();
  const world = await makeWorld(t, `{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:${port}" }`);
  await expectPage(world, 502, 'ORIGIN_REFUSED');
  const visitor = await VisitorConnection.open(t, world.site);
  visitor.get(world.site, '/');
  await visitor.received('ORIGIN_REFUSED');
  const origin = await Origin.http(t, (_request, response) => response.end('up again'), port);
  visitor.get(world.site, '/');
  await visitor.received('up again');
  visitor.socket.destroy();
  await nothingLeft(world, origin);
});

test('an origin that swallows the connection attempt gives 504 ORIGIN_TIMEOUT after connect_timeout', async (t) => {
  const port = await startBlackHole(t);
  const tunnel = `{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:${port}" }`;
  const world = await makeWorld(t, tunnel, { yaml: 'connect_timeout: 1s' });
  const beganAtMs = performance.now();
  await expectPage(world, 504, 'ORIGIN_TIMEOUT');
  const elapsedMs = performance.now() - beganAtMs;
  assert.ok(elapsedMs > 950 && elapsedMs < 8_000, `answered after ${elapsedMs.toFixed(0)} ms`);
  await nothingLeft(world);
});

test('a visitor who leaves while the origin is dialled ends the attempt', async (t) => {
  const port = await startBlackHole(t);
  const world = await makeWorld(t, `{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:${port}" }`);
  const visitor = await VisitorConnection.open(t, world.site);
  visitor.get(world.site, '/');
  await until('stream', () => world.client.client.status().tunnels[0]?.openStreams || undefined);
  visitor.socket.destroy();
  await nothingLeft(world);
});

test('an origin that accepts and says nothing gives 504 ORIGIN_TIMEOUT after response_timeout', async (t) => {
  const origin = await Origin.raw(t, (socket) => socket.resume());
  const world = await makeWorld(t, origin.tunnel('app', ', response_timeout: 1s'));
  await expectPage(world, 504, 'ORIGIN_TIMEOUT');
  await nothingLeft(world, origin);
});

test('an origin that begins its answer in time may take longer than response_timeout to finish it', async (t) => {
  const origin = await afterRequest(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin');
    setTimeout(() => socket.write('ended'), 1_500);
  });
  const world = await makeWorld(t, origin.tunnel('app', ', response_timeout: 500ms'));
  const answer = await ask(world.site);
  assert.equal(answer.body, 'beginended');
  assert.ok(answer.complete);
});

const brokenBodies = {
  'a body with a length': 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning',
  'a chunked body': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nthe beginning',
  'a body that ends with the connection': 'HTTP/1.1 200 OK\r\n\r\nthe beginning',
};

for (const [name, start] of Object.entries(brokenBodies)) {
  test(`an origin that resets within ${name} cuts the visitor's connection and counts STREAM_RESET`, async (t) => {
    const origin = await afterRequest(t, (socket) => socket.write(start));
    const world = await makeWorld(t, origin.tunnel('app'));
    const connected = origin.connection();
    const visitor = await VisitorConnection.open(t, world.site);
    visitor.get(world.site, '/');
    await visitor.received('the beginning');
    (await connected).resetAndDestroy();
    await within('end of the connection', visitor.closed, AT_ONCE_MS);
    assert.doesNotMatch(visitor.text, /\r\n0\r\n\r\n$/);
    assert.equal(refusals(world, 'STREAM_RESET'), 1);
    await nothingLeft(world, origin);
  });
}

test('HTTP/1.0 visitors, whose body ends with the connection, can tell a cut from an end by TLS', async (t) => {
  const openssl = requireTool(t, 'openssl', 'openssl');
  if (openssl === undefined) return;
  const origin = await Origin.http(t, (request, response) => {
    response.useChunkedEncodingByDefault = false;
    response.removeHeader('Connection');
    response.write('the beginning');
    if (request.url === '/whole') response.end(' and the end');
    else setTimeout(() => request.socket.resetAndDestroy(), 100);
  });
  const world = await makeWorld(t, origin.tunnel('app'));
  const { host, port } = world.site;
  const fetch = (path: string) => {
    const place = ['-connect', `127.0.0.1:${port}`, '-servername', host, '-CAfile', world.relay.home.caFile];
    const asking = promisify(execFile)(openssl, ['s_client', '-quiet', ...place], { timeout: 10_000 });
    asking.child.stdin?.write(`GET ${path} HTTP/1.0\r\nHost: ${host}\r\n\r\n`);
    return asking;
  };
  assert.match((await fetch('/whole')).stdout, /\r\n\r\nthe beginning and the end$/);
  await assert.rejects(fetch('/cut'), { code: 1, stdout: /\r\n\r\nthe beginning$/, stderr: /unexpected eof/ });
});

test('an origin that ends before its promised length cuts the connection; the answer never looks complete', async (t) => {
  const origin = await afterRequest(t, (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort'));
  const world = await makeWorld(t, origin.tunnel('app'));
  const answer = await ask(world.site);
  assert.deepEqual([answer.status, answer.body, answer.complete], [200, 'short', false]);
  assert.equal(refusals(world, 'ORIGIN_INVALID'), 1);
  await nothingLeft(world, origin);
});

test('an origin that closes without a response gives 502 ORIGIN_CLOSED', async (t) => {
  const origin = await afterRequest(t, (socket) => socket.end());
  const world = await makeWorld(t, origin.tunnel('app'));
  await expectPage(world, 502, 'ORIGIN_CLOSED');
  await nothingLeft(world, origin);
});

test('an origin that resets without a response gives 502 STREAM_RESET', async (t) => {
  const origin = await afterRequest(t, (socket) => socket.resetAndDestroy());
  const world = await makeWorld(t, origin.tunnel('app'));
  await expectPage(world, 502, 'STREAM_RESET');
  await nothingLeft(world, origin);
});

const malformed = {
  'another protocol': 'SSH-2.0-OpenSSH_9.2p1\r\n\r\n',
  'a TLS alert': '\x15\x03\x01\x00\x02\x02\x46\r\n\r\n',
  'a status that is none': 'HTTP/1.1 2000 OK\r\n\r\n',
  'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
  'a switch of protocols that nobody asked for': 'HTTP/1.1 101 Switching Protocols\r\n\r\n',
};

for (const [name, response] of Object.entries(malformed)) {
  test(`an origin whose answer is ${name} gives 502 ORIGIN_INVALID`, async (t) => {
    const origin = await afterRequest(t, (socket) => socket.write(response, 'latin1'));
    const world = await makeWorld(t, origin.tunnel('app'));
    await expectPage(world, 502, 'ORIGIN_INVALID');
    await nothingLeft(world, origin);
  });
}

test('an https origin that speaks plain HTTP gives 502 ORIGIN_TLS_FAILED', async (t) => {
  const origin = await Origin.http(t, (_request, response) => response.end('plain'));
  const tunnel = `{ name: app, host: app.relay.localhost, origin: "https://127.0.0.1:${origin.port}" }`;
  const world = await makeWorld(t, tunnel);
  await expectPage(world, 502, 'ORIGIN_TLS_FAILED');
  await nothingLeft(world, origin);
});

test('"the tunnel is down" and "the app is down" are different pages, for people and for programs', async (t) => {
  const relay = await new RelayHome(t, { yaml: 'limits: { hold_timeout: 100ms }' }).start(t);
  const port = await freePort();
  const client = await relay.client(t, [`{ name: app, host: app.relay.localhost, origin: "127.0.0.1:${port}" }`]);
  const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
  const page = (accept: string) => ask(site, { headers: { accept } });
  const appDown = { html: await page('text/html'), json: await page('application/json') };
  client.client.close();
  await client.done;
  await until('offline tunnel', () => relay.relay.status().tunnels[0]?.state === 'offline' || undefined, AT_ONCE_MS);
  const tunnelDown = { html: await page('text/html'), json: await page('application/json') };

  assert.deepEqual([appDown.html.status, appDown.json.status], [502, 502]);
  assert.deepEqual([tunnelDown.html.status, tunnelDown.json.status], [503, 503]);
  assert.equal(JSON.parse(appDown.json.body).code, 'ORIGIN_REFUSED');
  assert.equal(JSON.parse(tunnelDown.json.body).code, 'TUNNEL_OFFLINE');
  assert.match(appDown.html.headers['content-type'] ?? '', /^text\/html/);
  assert.match(appDown.html.body, /The app is not running/);
  assert.match(tunnelDown.html.body, /The home server is not connected/);
  assert.equal(appDown.html.headers['retry-after'], undefined);
  assert.match(tunnelDown.html.headers['retry-after'] ?? '', /^\d+$/);
  for (const { body } of [appDown.html, tunnelDown.html]) assert.doesNotMatch(body, new RegExp(`${port}|127\\.0`));
});
