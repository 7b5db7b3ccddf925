/** A visitor leaves at the worst moment: stream and origin connection are freed at once, at both ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { downloads, Origin } from './support/fault-origin.js';
import { type Site, VisitorConnection } from './support/fault-visitor.js';
import { AT_ONCE_MS, until, within } from './support/within.js';
import { RelayHome, type RelayWorldOptions, type RunningClient, type RunningRelay } from './support/world.js';

const GIB = 2 ** 30;

interface World {
  readonly relay: RunningRelay;
  readonly client: RunningClient;
  readonly site: Site;
}

async function makeWorld(t: TestContext, tunnel: string, options: RelayWorldOptions = {}): Promise<World> {
  const relay = await new RelayHome(t, { tcpPorts: ['1024-65535'], ...options }).start(t);
  const client = await relay.client(t, [tunnel]);
  return { relay, client, site: { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca } };
}

/** Counts of both ends and the origin's own sockets are zero. */
async function everythingFreed({ relay, client }: World, origin: Origin): Promise<void> {
  const left = () => {
    const { streams, connections } = relay.relay.status();
    const atClient = client.client.status();
    const linkStreams = atClient.links.reduce((sum, link) => sum + link.streams, 0);
    const tunnelStreams = atClient.tunnels[0]?.openStreams ?? 0;
    // The client's links are connections of the relay, too.
    const visitors = connections.now - atClient.links.length;
    return [streams.now, visitors, linkStreams, tunnelStreams, origin.sockets.size];
  };
  try {
    await until('freeing', () => (left().every((count) => count === 0) ? true : undefined), AT_ONCE_MS);
  } catch {
    assert.deepEqual(left(), [0, 0, 0, 0, 0], 'streams, visitors, streams on links, streams of the tunnel, origin');
  }
}

for (const how of ['end', 'reset'] as const) {
  test(`a visitor who leaves mid-response frees everything at once (${how})`, async (t) => {
    const origin = await Origin.http(t, downloads(GIB));
    const world = await makeWorld(t, origin.tunnel('app'));
    const visitor = await VisitorConnection.open(t, world.site);
    visitor.get(world.site, '/film');
    await visitor.receivedBytes(2 ** 20);
    visitor.leave(how);
    await everythingFreed(world, origin);
  });

  test(`a visitor who stopped reading and leaves frees everything at once (${how})`, async (t) => {
    const origin = await Origin.http(t, downloads(GIB));
    const world = await makeWorld(t, origin.tunnel('app'));
    const visitor = await VisitorConnection.open(t, world.site);
    visitor.get(world.site, '/film');
    await visitor.receivedBytes(2 ** 20);
    visitor.socket.pause();
    await standsStill(() => world.relay.relay.status().tunnels[0]?.bytesOut ?? 0);
    visitor.leave(how);
    await everythingFreed(world, origin);
  });

  test(`a visitor who leaves mid-upload frees everything at once (${how})`, async (t) => {
    let received = 0;
    const origin = await Origin.http(t, (request) => {
      request.on('data', (chunk) => {
        received += chunk.length;
      });
    });
    const world = await makeWorld(t, origin.tunnel('app'));
    const visitor = await VisitorConnection.open(t, world.site);
    upload(visitor, world.site);
    await until('upload', () => received > 2 ** 20 || undefined);
    visitor.leave(how);
    await everythingFreed(world, origin);
  });

  test(`a visitor who leaves while the origin takes its time frees everything at once (${how})`, async (t) => {
    const origin = await Origin.http(t, () => {});
    const world = await makeWorld(t, origin.tunnel('app'));
    const visitor = await VisitorConnection.open(t, world.site);
    const asked = once(origin.server, 'request');
    visitor.get(world.site, '/slow');
    await asked;
    visitor.leave(how);
    await everythingFreed(world, origin);
  });

  test(`a visitor who leaves an idle upgraded connection frees everything at once (${how})`, async (t) => {
    const origin = await Origin.raw(t, (socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome'));
      socket.on('end', () => socket.end());
    });
    const world = await makeWorld(t, origin.tunnel('app'));
    const visitor = await VisitorConnection.open(t, world.site);
    visitor.get(world.site, '/', 'Connection: Upgrade\r\nUpgrade: chat\r\n');
    await visitor.received('welcome');
    visitor.leave(how);
    await everythingFreed(world, origin);
  });

  test(`a visitor who leaves an idle kept-alive connection frees everything at once (${how})`, async (t) => {
    const origin = await Origin.http(t, (_request, response) => response.end('page'));
    const world = await makeWorld(t, origin.tunnel('app'));
    const visitor = await VisitorConnection.open(t, world.site);
    visitor.get(world.site, '/');
    await visitor.received('page');
    visitor.leave(how);
    await everythingFreed(world, origin);
  });

  test(`a visitor who leaves a raw TCP tunnel frees everything at once (${how})`, async (t) => {
    const origin = await Origin.raw(t, (socket) => socket.on('end', () => socket.end()).resume());
    const port = await freePort();
    const world = await makeWorld(t, `{ name: ssh, tcp_port: ${port}, origin: "tcp://127.0.0.1:${origin.port}" }`);
    const connected = origin.connection();
    const visitor = connect(port, '127.0.0.1');
    t.after(() => visitor.destroy());
    visitor.write('hello');
    await within('connection', connected);
    if (how === 'end') visitor.destroy();
    else visitor.resetAndDestroy();
    await everythingFreed(world, origin);
  });
}

test('an upload to an origin that stopped reading ends after body_idle_timeout', async (t) => {
  const stalled: IncomingMessage[] = [];
  const origin = await Origin.http(t, (request) => {
    request.once('data', () => stalled.push(request.pause()));
  });
  const world = await makeWorld(t, origin.tunnel('app'), { yaml: 'limits: { body_idle_timeout: 500ms }' });
  const visitor = await VisitorConnection.open(t, world.site);
  upload(visitor, world.site);
  await standsStill(() => world.relay.relay.status().tunnels[0]?.bytesIn ?? 0);
  visitor.leave('end');
  await until(
    'end of the stream',
    () => world.client.client.status().tunnels[0]?.openStreams === 0 || undefined,
    AT_ONCE_MS,
  );
  for (const request of stalled) request.resume();
  await everythingFreed(world, origin);
});

test('a visitor who leaves while a held tunnel waits for its client gives up the place', async (t) => {
  const origin = await Origin.http(t, (_request, response) => response.end('page'));
  const options = { yaml: 'limits: { held_visitors: 1 }', hosts: ['app.relay.localhost'] };
  const home = new RelayHome(t, options);
  const before = await home.start(t);
  const served = await before.client(t, [origin.tunnel('app')]);
  await served.client.drain();
  await served.done;
  await before.relay.close();
  // Its status shows what a client has served, and after a start such a tunnel is held.
  const relay = await home.start(t);
  const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
  const requests = (count: number) =>
    until('request', () => relay.relay.status().tunnels[0]?.requests === count || undefined);
  const first = await VisitorConnection.open(t, site);
  first.get(site, '/');
  await requests(1);
  first.leave('end');
  await until('end of the visit', () => relay.relay.status().connections.now === 0 || undefined, AT_ONCE_MS);
  const second = await VisitorConnection.open(t, site);
  second.get(site, '/');
  await requests(2);
  await relay.client(t, [origin.tunnel('app')]);
  await within('answer', second.received('HTTP/1.1 200'));
});

/** Resolves once `figure` is above zero and has not changed for a while: everything in between is full. */
async function standsStill(figure: () => number): Promise<void> {
  let seen = 0;
  let sinceMs = performance.now();
  await until('standstill', () => {
    const now = figure();
    if (now !== seen) sinceMs = performance.now();
    seen = now;
    return seen > 0 && performance.now() - sinceMs > 300 ? true : undefined;
  });
}

/** Sends a request with an endless body, as fast as it is taken. */
function upload(visitor: VisitorConnection, site: Site): void {
  visitor.socket.write(`POST /upload HTTP/1.1\r\nHost: ${site.host}\r\nContent-Length: ${GIB}\r\n\r\n`);
  const piece = Buffer.alloc(64 * 1024);
  const more = () => {
    while (!visitor.socket.destroyed && visitor.socket.write(piece));
  };
  visitor.socket.on('drain', more);
  more();
}
