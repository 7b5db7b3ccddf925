/** TLS workers that die, and a relay that dies or ends over its workers: who loses what, and that nothing is left over. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import { Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { statusOf, statusUntil } from './support/relay-probe.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until, within } from './support/within.js';
import { RelayHome, type RunningProgram, startRelayProcess, startTunnelProcess } from './support/world.js';

const WORKERS = 2;

interface World {
  readonly origin: Origin;
  readonly relay: RunningProgram;
  readonly site: Site;
  readonly admin: number;
  readonly pids: readonly number[];
  /** Of the relay's temporary things. */
  readonly folder: string;
}

/** The origin answers nothing by itself. */
async function makeWorld(t: TestContext): Promise<World> {
  const origin = await Origin.http(t, () => {});
  const home = new RelayHome(t, { yaml: `workers: ${WORKERS}` });
  const folder = temporaryFolder(t);
  const { program, https, admin } = await startRelayProcess(t, home, { TMPDIR: folder });
  const { workers = [] } = await statusUntil(admin, (status) => status.workers?.length === WORKERS);
  await startTunnelProcess(t, https, home, [origin.tunnel('app')]);
  const site = { host: 'app.relay.localhost', port: https, ca: home.ca };
  return { origin, relay: program, admin, site, pids: workers.map(({ pid }) => pid), folder };
}

/** A visitor in the middle of a response, what the origin needs to finish it, and the worker that it met. */
async function begin(t: TestContext, world: World) {
  const before = (await statusOf(world.admin)).workers ?? [];
  const visitor = await VisitorConnection.open(t, world.site);
  const asked = once(world.origin.server, 'request');
  visitor.get(world.site, '/film');
  const response = (await asked)[1] as ServerResponse;
  response.writeHead(200, { 'Content-Length': 14 });
  response.write('beginning');
  await visitor.received('beginning');
  const after = (await statusOf(world.admin)).workers ?? [];
  const met = after.find(({ pid, visitors }) => visitors > (before.find((one) => one.pid === pid)?.visitors ?? 0));
  return { visitor, response, pid: met?.pid ?? 0 };
}

function isAlive(pid: number): boolean {
  // A process that nobody has waited for yet is dead all the same.
  return existsSync(`/proc/${pid}/exe`);
}

async function allGone(pids: readonly number[]): Promise<void> {
  await until('end of the workers', () => (pids.some(isAlive) ? undefined : true));
}

test('a killed worker loses its own visitors and nobody else; another takes its place', async (t) => {
  const world = await makeWorld(t);
  const films = [await begin(t, world), await begin(t, world)];
  assert.deepEqual(films.map(({ pid }) => pid).sort(), [...world.pids].sort());
  const [lost, kept] = films;
  assert.ok(lost && kept);
  const { sessions } = await statusOf(world.admin);
  process.kill(lost.pid, 'SIGKILL');
  await within('end of the lost visitor', lost.visitor.closed);
  const status = await statusUntil(
    world.admin,
    ({ workers = [] }) => workers.length === WORKERS && workers.every(({ pid }) => pid !== lost.pid),
  );
  assert.equal(status.sessions[0]?.id, sessions[0]?.id, 'the session lives on by its other link');
  kept.response.end(' + en');
  await within('rest of the response', kept.visitor.received('beginning + en'));
  world.origin.server.once('request', (_request, response) => response.end('again'));
  assert.equal((await ask(world.site)).body, 'again');
});

test('a killed relay leaves no worker behind', async (t) => {
  const world = await makeWorld(t);
  const { visitor } = await begin(t, world);
  const { folder } = world;
  assert.equal(readdirSync(folder).length, 1);
  await world.relay.kill();
  await within('end of the visitor', visitor.closed);
  await allGone(world.pids);
  assert.deepEqual(readdirSync(folder), []);
});

test('a relay that drains lets the visitors of its workers finish, also when the signal reaches the workers', async (t) => {
  const world = await makeWorld(t);
  const films = [await begin(t, world), await begin(t, world)];
  for (const pid of world.pids) process.kill(pid, 'SIGTERM');
  world.relay.child.kill('SIGTERM');
  await world.relay.line('relay draining');
  for (const { response, visitor } of films) {
    response.end(' + en');
    await within('rest of the response', visitor.received('beginning + en'));
  }
  assert.equal(await within('end of the relay', world.relay.exited), 0);
  await allGone(world.pids);
  assert.deepEqual(readdirSync(world.folder), []);
});

test('a second signal ends the relay and its workers at once, whatever their visitors do', async (t) => {
  const world = await makeWorld(t);
  const { visitor } = await begin(t, world);
  world.relay.child.kill('SIGTERM');
  await world.relay.line('relay draining');
  world.relay.child.kill('SIGTERM');
  assert.equal(await within('end of the relay', world.relay.exited), 0);
  await within('end of the visitor', visitor.closed);
  await allGone(world.pids);
});

test('a worker that hangs does not keep the relay from ending', async (t) => {
  const world = await makeWorld(t);
  await begin(t, world);
  for (const pid of world.pids) process.kill(pid, 'SIGSTOP');
  world.relay.child.kill('SIGTERM');
  await world.relay.line('relay draining');
  world.relay.child.kill('SIGTERM');
  assert.equal(await within('end of the relay', world.relay.exited), 0);
  await allGone(world.pids);
});
