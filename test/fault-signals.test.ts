/** SIGTERM lets visitors finish, a second one does not; whatever else is broken at that moment. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, type TestContext, test } from 'node:test';
import { Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { statusUntil } from './support/relay-probe.js';
import { within } from './support/within.js';
import {
  RelayHome,
  type RelayWorldOptions,
  type RunningProgram,
  startRelayProcess,
  startTunnelProcess,
} from './support/world.js';

interface World {
  readonly origin: Origin;
  readonly relay: RunningProgram;
  readonly client: RunningProgram;
  readonly site: Site;
  readonly admin: number;
}

/** The origin answers nothing by itself: each test does, with the response that `begin` resolves with. */
async function makeWorld(t: TestContext, options: RelayWorldOptions & { tunnelYaml?: string } = {}): Promise<World> {
  const origin = await Origin.http(t, () => {});
  const home = new RelayHome(t, options);
  const { program, https, admin } = await startRelayProcess(t, home);
  const yaml = options.tunnelYaml ?? '';
  const client = await startTunnelProcess(t, https, home, [origin.tunnel('app')], { yaml });
  const site = { host: 'app.relay.localhost', port: https, ca: home.ca };
  return { origin, relay: program, client, admin, site };
}

/** A visitor in the middle of a response, and what the origin needs to finish it. */
async function begin(t: TestContext, world: World): Promise<{ visitor: VisitorConnection; response: ServerResponse }> {
  const visitor = await VisitorConnection.open(t, world.site);
  const asked = once(world.origin.server, 'request');
  visitor.get(world.site, '/film');
  const response = (await asked)[1] as ServerResponse;
  response.writeHead(200, { 'Content-Length': 14 });
  response.write('beginning');
  await visitor.received('beginning');
  return { visitor, response };
}

describe('a stop signal', { concurrency: 3 }, () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`the client finishes a running response after ${signal}, meets new visitors with 503, and exits with 0`, async (t) => {
      const world = await makeWorld(t);
      const { visitor, response } = await begin(t, world);
      world.client.child.kill(signal);
      await statusUntil(world.admin, ({ tunnels }) => tunnels[0]?.state === 'offline');
      const newcomer = await ask(world.site);
      assert.equal(newcomer.headers['x-sallyport-error'], 'TUNNEL_OFFLINE');
      assert.equal(world.client.child.exitCode, null);
      response.end(' + en');
      await within('rest of the response', visitor.received('beginning + en'));
      visitor.socket.end();
      assert.equal(await within('end of the client', world.client.exited), 0);
    });
  }

  test('an idle visitor does not hold up a client that stops', async (t) => {
    const world = await makeWorld(t);
    const { visitor, response } = await begin(t, world);
    response.end(' + en');
    await visitor.received('beginning + en');
    world.client.child.kill('SIGTERM');
    assert.equal(await within('end of the client', world.client.exited), 0);
  });

  test('a second SIGTERM ends the client at once, with 0', async (t) => {
    const world = await makeWorld(t);
    const { visitor } = await begin(t, world);
    world.client.child.kill('SIGTERM');
    await statusUntil(world.admin, ({ tunnels }) => tunnels[0]?.state === 'offline');
    world.client.child.kill('SIGTERM');
    assert.equal(await within('end of the client', world.client.exited), 0);
    await within('end of the visitor', visitor.closed);
  });

  test('the client stops waiting for its visitors after drain_timeout', async (t) => {
    const world = await makeWorld(t, { tunnelYaml: 'drain_timeout: 1s' });
    const { visitor } = await begin(t, world);
    const beganAtMs = performance.now();
    world.client.child.kill('SIGTERM');
    assert.equal(await within('end of the client', world.client.exited), 0);
    assert.ok(performance.now() - beganAtMs > 900);
    await within('end of the visitor', visitor.closed);
  });

  test('a client that drains while its relay dies exits with 0', async (t) => {
    const world = await makeWorld(t);
    await begin(t, world);
    world.client.child.kill('SIGTERM');
    await statusUntil(world.admin, ({ tunnels }) => tunnels[0]?.state === 'offline');
    await world.relay.kill();
    assert.equal(await within('end of the client', world.client.exited), 0);
  });

  test('a client that waits for its relay exits with 0 at the first SIGTERM', async (t) => {
    const world = await makeWorld(t);
    await world.relay.kill();
    await within('reconnecting', world.client.line('"event":"reconnecting"'));
    world.client.child.kill('SIGTERM');
    assert.equal(await within('end of the client', world.client.exited), 0);
  });

  test('a client whose relay is frozen exits with 0, soon', async (t) => {
    const world = await makeWorld(t);
    world.relay.child.kill('SIGSTOP');
    world.client.child.kill('SIGTERM');
    assert.equal(await within('end of the client', world.client.exited), 0);
  });

  test('the relay finishes a running response after SIGTERM, accepts nobody, and exits with 0', async (t) => {
    const world = await makeWorld(t);
    const { visitor, response } = await begin(t, world);
    world.relay.child.kill('SIGTERM');
    await statusUntil(world.admin, ({ state }) => state === 'draining');
    await assert.rejects(ask(world.site), { code: 'ECONNREFUSED' });
    response.end(' + en');
    await within('rest of the response', visitor.received('beginning + en'));
    assert.equal(await within('end of the visitor', visitor.closed), 'ended');
    assert.equal(await within('end of the relay', world.relay.exited), 0);
    assert.equal(world.client.child.exitCode, null);
    await world.client.line('RELAY_DRAINING');
  });

  test('a second SIGTERM ends the relay at once, with 0', async (t) => {
    const world = await makeWorld(t);
    const { visitor } = await begin(t, world);
    world.relay.child.kill('SIGTERM');
    await statusUntil(world.admin, ({ state }) => state === 'draining');
    world.relay.child.kill('SIGTERM');
    assert.equal(await within('end of the relay', world.relay.exited), 0);
    await within('end of the visitor', visitor.closed);
  });

  test('the relay stops waiting for its visitors after drain_timeout', async (t) => {
    const world = await makeWorld(t, { yaml: 'drain_timeout: 1s' });
    await begin(t, world);
    const beganAtMs = performance.now();
    world.relay.child.kill('SIGTERM');
    assert.equal(await within('end of the relay', world.relay.exited), 0);
    assert.ok(performance.now() - beganAtMs > 900);
  });

  test('a relay without visitors stops at once', async (t) => {
    const world = await makeWorld(t);
    world.relay.child.kill('SIGTERM');
    assert.equal(await within('end of the relay', world.relay.exited), 0);
  });
});
