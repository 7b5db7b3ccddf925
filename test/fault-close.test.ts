/** `close` leaves nothing behind, in whatever state it comes: the process ends by itself. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { WebSocketServer } from 'ws';
import { freePort } from '../bench/free-port.js';
import { startBlackHole } from './support/black-hole.js';
import { downloads, Origin } from './support/fault-origin.js';
import { type Site, VisitorConnection } from './support/fault-visitor.js';
import { ProgramChild } from './support/program-child.js';
import { statusUntil } from './support/relay-probe.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { RelayHome, startClient, writeTunnelConfig } from './support/world.js';

const GIB = 2 ** 30;
/** The process must end by itself, and before the shortest timer that could keep it (5 s). */
const ENDS_MS = 4_000;

interface RelayWorld {
  readonly home: RelayHome;
  readonly relay: ProgramChild;
  readonly site: Site;
  readonly admin: number;
}

async function startRelay(t: TestContext, yaml = ''): Promise<RelayWorld> {
  const home = new RelayHome(t, { hosts: ['app.relay.localhost'], tcpPorts: ['1024-65535'], yaml });
  const { child, https, admin } = await ProgramChild.relay(t, home.configFile);
  return { home, relay: child, admin, site: { host: 'app.relay.localhost', port: https, ca: home.ca } };
}

/** Visitors in every phase of their lives, through a client of this process. */
async function startTraffic(t: TestContext, { home, site, admin }: RelayWorld): Promise<void> {
  const origin = await Origin.http(t, downloads(GIB));
  const chat = await Origin.raw(t, (socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome'));
  });
  const port = await freePort();
  const raw = `{ name: raw, tcp_port: ${port}, origin: "tcp://127.0.0.1:${chat.port}" }`;
  await startClient(t, site.port, home, [origin.tunnel('app'), raw]);
  const open = () => VisitorConnection.open(t, site);
  const [reading, stalled, idle, uploading] = await Promise.all([open(), open(), open(), open()]);
  reading.get(site, '/film');
  stalled.get(site, '/film');
  idle.get(site, '/small');
  await Promise.all([reading.receivedBytes(2 ** 20), stalled.receivedBytes(2 ** 20), idle.received('small')]);
  stalled.socket.pause();
  uploading.socket.write(`POST / HTTP/1.1\r\nHost: ${site.host}\r\nContent-Length: 1000\r\n\r\npart`);
  const terminal = connect(port, '127.0.0.1');
  t.after(() => terminal.destroy());
  terminal.on('error', () => {}).write('hello');
  await statusUntil(admin, ({ streams }) => streams.now === 5);
}

describe('a relay that is closed', { concurrency: 2 }, () => {
  test('just started', async (t) => {
    const { relay } = await startRelay(t);
    await relay.close(ENDS_MS);
  });

  test('while visitors and clients are in the middle of their handshakes', async (t) => {
    const { relay, site, home, admin } = await startRelay(t);
    const silent = connect(site.port, '127.0.0.1');
    const half = connect(site.port, '127.0.0.1');
    for (const socket of [silent, half]) t.after(() => socket.destroy());
    half.on('error', () => {}).write(Buffer.from('160301010001', 'hex'));
    silent.on('error', () => {});
    await VisitorConnection.open(t, site);
    const begun = await VisitorConnection.open(t, site);
    begun.socket.write('GET / HT');
    const own = await VisitorConnection.open(t, { ...site, host: home.config.domain });
    own.socket.write(linkRequest(home.config.domain));
    await own.received('"challenge"');
    await statusUntil(admin, ({ connections }) => connections.now === 5);
    await relay.close(ENDS_MS);
  });

  test('while streams of every kind are open', async (t) => {
    const world = await startRelay(t);
    await startTraffic(t, world);
    await world.relay.close(ENDS_MS);
  });

  test('while tunnels are held and visitors wait', async (t) => {
    const { relay, site, admin } = await startRelay(t);
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/');
    await statusUntil(admin, ({ connections }) => connections.now === 1);
    await relay.close(ENDS_MS);
  });

  test('while it drains', async (t) => {
    const world = await startRelay(t);
    await startTraffic(t, world);
    world.relay.say('drain');
    await statusUntil(world.admin, ({ state }) => state === 'draining');
    await world.relay.close(ENDS_MS);
  });
});

describe('a client that is closed', { concurrency: 2 }, () => {
  test('while it serves streams of every kind, one of them to an origin that does not answer the dial', async (t) => {
    const relay = await new RelayHome(t).start(t);
    const origin = await Origin.http(t, downloads(GIB));
    const hole = await startBlackHole(t);
    const tunnels = [
      origin.tunnel('app'),
      `{ name: hole, host: hole.relay.localhost, origin: "http://127.0.0.1:${hole}" }`,
    ];
    const file = writeTunnelConfig(temporaryFolder(t), relay.port('https'), relay.home, tunnels);
    const client = ProgramChild.client(t, file);
    assert.deepEqual([await client.line(), await client.line()], ['up', 'up']);
    const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
    const open = async (path: string, host = site.host) => {
      const visitor = await VisitorConnection.open(t, { ...site, host });
      visitor.get({ ...site, host }, path);
      return visitor;
    };
    await (await open('/film')).receivedBytes(2 ** 20);
    const stalled = await open('/film');
    await stalled.receivedBytes(2 ** 20);
    stalled.socket.pause();
    await (await open('/small')).received('small');
    await open('/', 'hole.relay.localhost');
    await statusUntil(relay.port('admin'), ({ streams }) => streams.now === 4);
    await client.close(ENDS_MS);
  });

  test('while it drains', async (t) => {
    const relay = await new RelayHome(t).start(t);
    const origin = await Origin.http(t, downloads(GIB));
    const file = writeTunnelConfig(temporaryFolder(t), relay.port('https'), relay.home, [origin.tunnel('app')]);
    const client = ProgramChild.client(t, file);
    await client.line();
    const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/film');
    await visitor.receivedBytes(2 ** 20);
    client.say('drain');
    await statusUntil(relay.port('admin'), ({ tunnels }) => tunnels[0]?.state === 'offline');
    await client.close(ENDS_MS);
  });

  test('while it waits to try again', async (t) => {
    const relay = await new RelayHome(t).start(t);
    const port = await freePort();
    const tunnel = '{ name: app, host: app.relay.localhost, origin: "127.0.0.1:1" }';
    const client = ProgramChild.client(t, writeTunnelConfig(temporaryFolder(t), port, relay.home, [tunnel]));
    for (let attempt = 0; attempt < 3; attempt += 1) assert.equal(await client.line(), 'reconnecting');
    await client.close(ENDS_MS);
  });

  test('while its connection attempt is not answered', async (t) => {
    const relay = await new RelayHome(t).start(t);
    const port = await startBlackHole(t);
    const tunnel = '{ name: app, host: app.relay.localhost, origin: "127.0.0.1:1" }';
    const client = ProgramChild.client(t, writeTunnelConfig(temporaryFolder(t), port, relay.home, [tunnel]));
    await client.close(ENDS_MS);
  });

  test('while the relay says nothing in the TLS handshake', async (t) => {
    const relay = await new RelayHome(t).start(t);
    const silent = await Origin.raw(t, (socket) => socket.resume());
    const tunnel = '{ name: app, host: app.relay.localhost, origin: "127.0.0.1:1" }';
    const file = writeTunnelConfig(temporaryFolder(t), silent.port, relay.home, [tunnel]);
    const connected = silent.connection();
    const client = ProgramChild.client(t, file);
    await connected;
    await client.close(ENDS_MS);
  });

  test('while the relay sends no challenge', async (t) => {
    const server = createServer();
    const sockets = new WebSocketServer({ server, handleProtocols: () => 'sallyport.v1' });
    const relay = await Origin.listen(t, server);
    const folder = temporaryFolder(t);
    const home = new RelayHome(t);
    writeFileSync(join(folder, 'token'), home.token.reveal(), { mode: 0o600 });
    const file = join(folder, 'tunnel.yaml');
    const tunnel = '{ name: app, host: app.relay.localhost, origin: "127.0.0.1:1" }';
    writeFileSync(file, `relay_url: http://127.0.0.1:${relay.port}\ntoken_file: token\ntunnels: [${tunnel}]\n`);
    const opened = once(sockets, 'connection');
    const client = ProgramChild.client(t, file);
    await opened;
    await client.close(ENDS_MS);
  });

  test('after it gave up', async (t) => {
    const relay = await new RelayHome(t).start(t);
    const stranger = new RelayHome(t);
    const tunnel = '{ name: app, host: app.relay.localhost, origin: "127.0.0.1:1" }';
    const options = { token: stranger.token };
    const file = writeTunnelConfig(temporaryFolder(t), relay.port('https'), relay.home, [tunnel], options);
    const client = ProgramChild.client(t, file);
    assert.equal(await client.line(), 'failed TOKEN_REJECTED');
    await client.close(ENDS_MS);
  });
});

function linkRequest(domain: string): string {
  const fields = [
    `Host: ${domain}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Protocol: sallyport.v1',
  ];
  return `GET /.sallyport/link HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`;
}
