/** Ten thousand visitors come and go: what they used is given back, all of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { Origin } from './support/fault-origin.js';
import type { Site } from './support/fault-visitor.js';
import { type NodeProcess, startNode } from './support/node-process.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';
import { RelayHome, writeTunnelConfig } from './support/world.js';

const WARM_UP = 2_000;
const CONNECTIONS = 10_000;
/** Raw connections move so few bytes that V8 lets the buffers of many more of them pile up first (Node 24: 35 MiB). */
const RAW_WARM_UP = 10_000;
const PARALLEL = 100;
/** What the heap may grow by for each connection after the warm-up. Measured: noise of 40; a forgotten socket has 6,000. */
const HEAP_BYTES_PER_CONNECTION = 80;
/** Pages that the allocator keeps are no leak; a forgotten socket for each connection was measured as 48. */
const RESIDENT_MIB = 32;

// V8 may reserve 100 MiB for young objects whenever it likes, which says nothing about leaks. For the child process.
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --max-semi-space-size=2`;

interface Figures {
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly relayStreams: number;
  readonly clientStreams: number;
  readonly connections: number;
  readonly totalStreams: number;
}

/** Relay and client in one process; it prints their ports, then figures for each line on stdin. */
const BOTH = `
  import { createInterface } from 'node:readline';
  const { Relay } = await load('relay-server/relay.js');
  const { Client } = await load('tunnel-client/client.js');
  const { readRelayConfig } = await load('relay-server/relay-config.js');
  const { readTunnelConfig } = await load('tunnel-client/tunnel-config.js');
  const { silentLog } = await load('shared/log.js');
  const { collectedUntil } = await load('test/support/collect-garbage.js');
  const relay = await Relay.start(readRelayConfig(process.argv[1]), silentLog);
  const nothing = () => {};
  const events = { up: () => console.log('up'), denied: nothing, down: nothing, reconnecting: nothing, changed: nothing };
  console.log('listening');
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.startsWith('client ')) {
      const config = readTunnelConfig(line.slice(7), {});
      globalThis.client = new Client({ config, clientId: 'child', once: false, log: silentLog, events });
      void globalThis.client.run();
    } else {
      await collectedUntil(() => false);
      const { rss, heapUsed, external } = process.memoryUsage();
      const { streams, connections } = relay.status();
      const { tunnels, links } = globalThis.client.status();
      console.log(JSON.stringify({
        residentBytes: rss,
        heapBytes: heapUsed + external,
        relayStreams: streams.now,
        clientStreams: tunnels.reduce((sum, { openStreams }) => sum + openStreams, 0),
        connections: connections.now - links.length,
        totalStreams: streams.total,
      }));
    }
  }
`;

interface World {
  readonly figures: () => Promise<Figures>;
  readonly site: Site;
  readonly rawPort: number;
}

async function makeWorld(t: TestContext): Promise<World> {
  const origin = await Origin.http(t, (_request, response) => response.end('page'));
  const echo = await Origin.raw(t, (socket) => socket.pipe(socket));
  const [https, rawPort] = [await freePort(), await freePort()];
  const home = new RelayHome(t, { httpsPort: https, tcpPorts: [String(rawPort)] });
  const both = startNode(t, BOTH, [home.configFile]);
  await both.line();
  const raw = `{ name: raw, tcp_port: ${rawPort}, origin: "tcp://127.0.0.1:${echo.port}" }`;
  both.child.stdin?.write(
    `client ${writeTunnelConfig(temporaryFolder(t), https, home, [origin.tunnel('app'), raw])}\n`,
  );
  await both.line();
  await both.line();
  return { figures: () => figuresOf(both), rawPort, site: { host: 'app.relay.localhost', port: https, ca: home.ca } };
}

async function figuresOf(both: NodeProcess): Promise<Figures> {
  both.child.stdin?.write('figures\n');
  return JSON.parse(await both.line());
}

/** Runs `visit` `count` times, PARALLEL at a time. */
async function inParallel(count: number, visit: () => Promise<void>): Promise<void> {
  let left = count;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      await visit();
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/** Visitors of a site who ask once and leave, with the TLS session of the first one. */
function pageVisitors({ host, port, ca }: Site): () => Promise<void> {
  let session: Buffer | undefined;
  return async () => {
    const socket = connectTls({ host: '127.0.0.1', port, servername: host, ca, ...(session ? { session } : {}) });
    socket.once('session', (ticket) => {
      session ??= ticket;
    });
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await answered(socket, 'page');
  };
}

/** Visitors of a raw port who say something, hear it back and leave. */
function rawVisitors(port: number): () => Promise<void> {
  return async () => {
    const socket = connect(port, '127.0.0.1');
    socket.write('hello');
    await answered(socket, 'hello');
  };
}

async function answered(socket: Socket, text: string): Promise<void> {
  let read = '';
  await new Promise<void>((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString('latin1');
      if (read.endsWith(text)) resolve();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`closed before the answer came: ${read}`)));
  });
  socket.destroy();
  if (!socket.closed) await once(socket, 'close');
}

async function expectFlat(t: TestContext, world: World, warmUp: number, visit: () => Promise<void>): Promise<void> {
  const calm = () =>
    until('end of all streams', async () => {
      const figures = await world.figures();
      return figures.relayStreams + figures.clientStreams + figures.connections === 0 ? figures : undefined;
    });
  await inParallel(warmUp, visit);
  const before = await calm();
  await inParallel(CONNECTIONS - WARM_UP, visit);
  const after = await calm();
  const connections = after.totalStreams - before.totalStreams;
  const heapBytes = after.heapBytes - before.heapBytes;
  const residentMiB = (after.residentBytes - before.residentBytes) / 2 ** 20;
  t.diagnostic(
    `${connections} connections: heap ${(heapBytes / 1024).toFixed(0)} KiB, RSS ${residentMiB.toFixed(1)} MiB`,
  );
  assert.equal(connections, CONNECTIONS - WARM_UP);
  assert.ok(heapBytes < HEAP_BYTES_PER_CONNECTION * connections, `the heap grew by ${heapBytes} bytes`);
  assert.ok(residentMiB < RESIDENT_MIB, `the process grew by ${residentMiB.toFixed(1)} MiB`);
}

test('10,000 connections of visitors who ask for a page leave nothing behind', { timeout: 90_000 }, async (t) => {
  const world = await makeWorld(t);
  await expectFlat(t, world, WARM_UP, pageVisitors(world.site));
});

test('10,000 connections to a raw port leave nothing behind', { timeout: 90_000 }, async (t) => {
  const world = await makeWorld(t);
  await expectFlat(t, world, RAW_WARM_UP, rawVisitors(world.rawPort));
});
