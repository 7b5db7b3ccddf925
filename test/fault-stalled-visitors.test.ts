/** A hundred visitors begin a film and stop reading: nobody's memory grows with them, and others stay fast. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { downloads, Origin } from './support/fault-origin.js';
import { type Site, VisitorConnection } from './support/fault-visitor.js';
import { isIdle, residentMiB, statusOf, statusUntil } from './support/relay-probe.js';
import { skipFor } from './support/require-tool.js';
import { AT_ONCE_MS, until } from './support/within.js';
import { RelayHome, startRelayProcess, startTunnelProcess } from './support/world.js';

const GIB = 2 ** 30;
const VISITORS = 100;
/** What each visitor reads first: enough for the windows of the fastest ones to have grown. */
const READ_BYTES = 2 * 2 ** 20;
const MAX_GROWTH_MIB = 100;
const ASKED = 100;

interface World {
  readonly origin: Origin;
  readonly site: Site;
  readonly admin: number;
  readonly pids: readonly [relay: number, client: number];
}

async function makeWorld(t: TestContext, yaml = ''): Promise<World> {
  const origin = await Origin.http(t, downloads(GIB));
  const home = new RelayHome(t, { yaml });
  const { program, https, admin } = await startRelayProcess(t, home);
  const client = await startTunnelProcess(t, https, home, [origin.tunnel('app')]);
  const site = { host: 'app.relay.localhost', port: https, ca: home.ca };
  return { origin, site, admin, pids: [program.pid, client.pid] };
}

/** Begins the download and stops reading after its first READ_BYTES. */
async function stall(t: TestContext, site: Site): Promise<VisitorConnection> {
  const visitor = await VisitorConnection.open(t, site);
  visitor.get(site, '/film');
  await visitor.receivedBytes(READ_BYTES);
  visitor.socket.pause();
  return visitor;
}

/**
 * As many visitors read as much, and leave without ever stopping: the buffers that V8 has not collected yet belong to any
 * busy program, and from then on to the idle one, too (40 MiB on Node 20, 60 on Node 24). What is measured after this is
 * what stalling adds.
 */
async function warmUp(t: TestContext, { site, admin }: World): Promise<void> {
  const read = async () => {
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/film');
    await visitor.receivedBytes(READ_BYTES);
    visitor.leave('end');
  };
  await Promise.all(Array.from({ length: VISITORS }, read));
  await statusUntil(admin, isIdle);
}

/** Resolves once no byte has moved through the tunnel for half a second. */
async function standstill(admin: number): Promise<void> {
  let bytes = 0;
  let sinceMs = performance.now();
  await until('standstill', async () => {
    const now = (await statusOf(admin)).tunnels[0]?.bytesOut ?? 0;
    if (now !== bytes) sinceMs = performance.now();
    bytes = now;
    return performance.now() - sinceMs > 500 ? true : undefined;
  });
}

/** The 99th percentile of small requests, one after the other on one connection, in milliseconds. */
async function slowest(t: TestContext, site: Site): Promise<number> {
  const visitor = await VisitorConnection.open(t, site);
  const latenciesMs: number[] = [];
  for (let asked = 0; asked < ASKED; asked += 1) {
    visitor.text = '';
    const beganAtMs = performance.now();
    visitor.get(site, '/small');
    await visitor.received('\r\n\r\nsmall');
    latenciesMs.push(performance.now() - beganAtMs);
  }
  visitor.socket.destroy();
  return latenciesMs.sort((a, b) => a - b)[Math.floor(ASKED * 0.99) - 1] ?? 0;
}

/** The most memory that each process has had since this began, in MiB. */
class MemoryPeaks {
  readonly peaks: number[];
  readonly #pids: readonly number[];
  readonly #timer: NodeJS.Timeout;

  constructor(t: TestContext, pids: readonly number[]) {
    this.#pids = pids;
    this.peaks = pids.map((pid) => residentMiB(pid) ?? 0);
    this.#timer = setInterval(() => this.look(), 50);
    t.after(() => clearInterval(this.#timer));
  }

  look(): void {
    for (const [index, pid] of this.#pids.entries()) {
      this.peaks[index] = Math.max(this.peaks[index] ?? 0, residentMiB(pid) ?? 0);
    }
  }
}

test('100 visitors who stop reading a film cost less than 100 MiB at either end, and others stay fast', async (t) => {
  if (residentMiB(process.pid) === undefined) return skipFor(t, 'no /proc; memory is measured on Linux');
  const world = await makeWorld(t);
  const { site, admin, pids, origin } = world;
  const started = pids.map((pid) => residentMiB(pid) ?? 0);
  await warmUp(t, world);
  const calmMs = await slowest(t, site);
  const idle = pids.map((pid) => residentMiB(pid) ?? 0);
  const memory = new MemoryPeaks(t, pids);

  const visitors = await Promise.all(Array.from({ length: VISITORS }, () => stall(t, site)));
  await standstill(admin);
  const busyMs = await slowest(t, site);
  memory.look();
  assert.equal((await statusOf(admin)).streams.now, VISITORS);

  const growth = memory.peaks.map((peak, index) => peak - (idle[index] ?? 0));
  t.diagnostic(`relay and client in MiB: ${mib(started)} at the start, ${mib(idle)} idle, ${mib(growth)} more`);
  t.diagnostic(`p99 of small requests: ${calmMs.toFixed(1)} ms calm, ${busyMs.toFixed(1)} ms beside stalled visitors`);
  for (const [index, end] of ['relay', 'client'].entries()) {
    assert.ok((growth[index] ?? 0) < MAX_GROWTH_MIB, `${end} grew by ${growth[index]?.toFixed(0)} MiB`);
  }
  assert.ok(busyMs <= Math.max(250, 20 * calmMs), `p99 ${busyMs.toFixed(1)} ms, calm ${calmMs.toFixed(1)} ms`);

  for (const visitor of visitors) visitor.leave('end');
  await statusUntil(admin, isIdle, AT_ONCE_MS);
  await until('end of origin connections', () => origin.sockets.size === 0 || undefined, AT_ONCE_MS);
});

test('visitors who stop reading are cut after body_idle_timeout, and everything is freed', async (t) => {
  const { site, admin, origin } = await makeWorld(t, 'limits: { body_idle_timeout: 1s }');
  await Promise.all(Array.from({ length: 20 }, () => stall(t, site)));
  await statusUntil(admin, (status) => isIdle(status) && status.connections.now === 2);
  await until('end of origin connections', () => origin.sockets.size === 0 || undefined, AT_ONCE_MS);
});

function mib(figures: readonly number[]): string {
  return figures.map((figure) => figure.toFixed(0)).join(' and ');
}
