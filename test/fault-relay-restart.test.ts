/** The relay restarts under load: everybody comes back soon, nobody hammers, visitors who come meanwhile are served. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import { freePort } from '../bench/free-port.js';
import { CountingProxy } from './support/counting-proxy.js';
import { Origin } from './support/fault-origin.js';
import { ask } from './support/fault-visitor.js';
import { AT_ONCE_MS, within } from './support/within.js';
import { RelayHome, type RunningClient, type RunningProgram, startClient, startRelayProcess } from './support/world.js';

const CLIENTS = 20;
const SOCKETS_PER_CLIENT = 10;
/** An outage of two seconds is worth a handful of attempts; full jitter may roll some small numbers in a row. */
const MAX_ATTEMPTS = 12;

interface Home {
  readonly host: string;
  readonly client: RunningClient;
  readonly proxy: CountingProxy;
}

interface World {
  readonly port: number;
  readonly home: RelayHome;
  readonly relay: RunningProgram;
  readonly homes: readonly Home[];
}

/** An origin whose WebSockets echo, and whose pages are small. */
async function startEchoOrigin(t: TestContext): Promise<Origin> {
  const server = createServer((_request, response) => response.end('page'));
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  return Origin.listen(t, server);
}

async function makeWorld(t: TestContext, yaml: string): Promise<World> {
  const origin = await startEchoOrigin(t);
  const port = await freePort();
  const home = new RelayHome(t, { yaml, httpsPort: port });
  const { program: relay } = await startRelayProcess(t, home);
  const homes = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, index): Promise<Home> => {
      const name = `home${index}`;
      const proxy = await CountingProxy.start(t, port);
      const client = await startClient(t, proxy.port, home, [origin.tunnel(name)], { clientId: name });
      return { host: `${name}.relay.localhost`, client, proxy };
    }),
  );
  return { port, home, relay, homes };
}

async function openWebSocket(t: TestContext, world: World, host: string): Promise<WebSocket> {
  const { port, home } = world;
  const createConnection = () => connect({ host: '127.0.0.1', port, servername: host, ca: home.ca });
  const socket = new WebSocket(`wss://${host}/`, { createConnection });
  t.after(() => socket.terminate());
  await once(socket, 'open');
  socket.on('error', () => {});
  return socket;
}

async function echoes(socket: WebSocket): Promise<void> {
  const text = `hello ${Math.random()}`;
  const answer = once(socket, 'message');
  socket.send(text);
  assert.equal(String((await answer)[0]), text);
}

function openAll(t: TestContext, world: World): Promise<WebSocket[]> {
  const hosts = world.homes.flatMap(({ host }) => Array.from({ length: SOCKETS_PER_CLIENT }, () => host));
  return Promise.all(hosts.map((host) => openWebSocket(t, world, host)));
}

/** Restarts the relay with `signal` under 200 WebSockets and looks at everybody. */
async function restartUnderLoad(t: TestContext, yaml: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const world = await makeWorld(t, yaml);
  const sockets = await openAll(t, world);
  await Promise.all(sockets.map(echoes));
  const ended = Promise.all(sockets.map((socket) => once(socket, 'close')));
  const attemptsBefore = world.homes.map(({ proxy }) => proxy.count);

  const signalledAtMs = performance.now();
  world.relay.child.kill(signal);
  assert.equal(await within('end of the relay', world.relay.exited), signal === 'SIGTERM' ? 0 : null);
  await within('end of the WebSockets', ended, AT_ONCE_MS);
  await startRelayProcess(t, world.home);
  const listeningAtMs = performance.now();
  const attempts = world.homes.map(({ proxy }, index) => proxy.count - (attemptsBefore[index] ?? 0));

  const site = (host: string) => ({ host, port: world.port, ca: world.home.ca });
  const visits = world.homes.map(async ({ host }) => {
    const { status, body } = await ask(site(host));
    assert.deepEqual([status, body], [200, 'page']);
    return performance.now() - listeningAtMs;
  });
  const waitedMs = await within('service of all tunnels', Promise.all(visits), AT_ONCE_MS);
  await Promise.all(world.homes.map(async ({ host }) => echoes(await openWebSocket(t, world, host))));

  for (const { client } of world.homes) {
    assert.deepEqual(
      client.events.filter((event) => event.startsWith('denied')),
      [],
    );
  }
  const most = Math.max(...attempts);
  assert.ok(most <= MAX_ATTEMPTS, `a client tried ${most} times: ${attempts.join(' ')}`);
  const outageMs = listeningAtMs - signalledAtMs;
  t.diagnostic(
    `outage ${outageMs.toFixed(0)} ms; last client back ${Math.max(...waitedMs).toFixed(0)} ms after; attempts ${attempts.join(' ')}`,
  );
}

test('kill -9 and restart of the relay under 200 WebSockets: all 20 clients serve again within 5 s', async (t) => {
  await restartUnderLoad(t, '', 'SIGKILL');
});

test('SIGTERM and restart of the relay under 200 WebSockets: all 20 clients serve again within 5 s', async (t) => {
  await restartUnderLoad(t, 'drain_timeout: 1s', 'SIGTERM');
});
