/** A token ends: so does the session that it opened, within a second, and the client knows that no retry helps. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { Secret } from '../shared/secret.js';
import { Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { statusOf, statusUntil } from './support/relay-probe.js';
import { until, within } from './support/within.js';
import {
  RELAY_PROGRAM,
  RelayHome,
  RunningProgram,
  type RunningRelay,
  startRelayProcess,
  startTunnelProcess,
} from './support/world.js';

const ENDS_MS = 1_000;
/** What a loaded machine may take to look at it. */
const GRACE_MS = 2_000;

interface World {
  readonly home: RelayHome;
  readonly client: RunningProgram;
  readonly admin: number;
  readonly site: Site;
  readonly https: number;
  readonly tunnel: string;
}

async function makeWorld(t: TestContext): Promise<World> {
  const origin = await Origin.http(t, (_request, response) => response.write('endless'));
  const home = new RelayHome(t);
  const { https, admin } = await startRelayProcess(t, home);
  const tunnel = origin.tunnel('app');
  const client = await startTunnelProcess(t, https, home, [tunnel]);
  return { home, client, admin, tunnel, https, site: { host: 'app.relay.localhost', port: https, ca: home.ca } };
}

/** Runs a verb of `relay token` as a process; resolves with what it printed. */
async function token(t: TestContext, home: RelayHome, ...args: readonly string[]): Promise<string> {
  const verb = new RunningProgram(t, RELAY_PROGRAM, ['token', ...args, '--config', home.configFile]);
  assert.equal(await verb.exited, 0, verb.lines.join('\n'));
  return verb.lines.join('\n');
}

/** The session is gone in time, its visitor is cut, its tunnel is not held for anybody, and the client gave up with 77. */
async function expectEnd(t: TestContext, world: World, visitor: VisitorConnection, sinceMs: number): Promise<void> {
  await statusUntil(world.admin, ({ sessions }) => sessions.length === 0, ENDS_MS + GRACE_MS);
  const endMs = performance.now() - sinceMs;
  await within('end of the visitor', visitor.closed);
  assert.equal(await within('end of the client', world.client.exited), 77);
  assert.match(world.client.lines.join('\n'), /TOKEN_REJECTED/);
  const { streams, tunnels } = await statusOf(world.admin);
  assert.deepEqual([streams.now, tunnels.filter(({ state }) => state !== 'offline')], [0, []]);
  assert.equal((await ask(world.site)).headers['x-sallyport-error'], 'TUNNEL_OFFLINE');
  t.diagnostic(`the session ended after ${endMs.toFixed(0)} ms`);
}

async function visit(t: TestContext, world: World): Promise<VisitorConnection> {
  const visitor = await VisitorConnection.open(t, world.site);
  visitor.get(world.site, '/');
  await visitor.received('endless');
  return visitor;
}

/** The states of its tunnels, as `relay status` tells them. */
function statesOf({ relay }: RunningRelay): string[] {
  return relay.status().tunnels.map(({ state }) => state);
}

describe('the end of a token', { concurrency: 2 }, () => {
  test('"relay token revoke" ends the running session within a second, and the client exits with 77', async (t) => {
    const world = await makeWorld(t);
    const visitor = await visit(t, world);
    await token(t, world.home, 'revoke', 'home');
    await expectEnd(t, world, visitor, performance.now());
  });

  test('"relay token rotate" ends the running session within a second, and the new token opens the next one', async (t) => {
    const world = await makeWorld(t);
    const visitor = await visit(t, world);
    const printed = await token(t, world.home, 'rotate', 'home', '--json');
    await expectEnd(t, world, visitor, performance.now());
    const renewed = new Secret(JSON.parse(printed).token);
    await startTunnelProcess(t, world.https, world.home, [world.tunnel], { token: renewed });
    await visit(t, world);
  });

  test('a token that expires ends its session within a second, and the client exits with 77', async (t) => {
    const origin = await Origin.http(t, (_request, response) => response.write('endless'));
    const home = new RelayHome(t);
    const { https, admin } = await startRelayProcess(t, home);
    const tunnel = origin.tunnel('app');
    const expiresMs = 5_000;
    const created = ['create', 'short', '--host', 'app.relay.localhost', '--expires', `${expiresMs}ms`, '--json'];
    const printed = await token(t, home, ...created);
    const sinceMs = performance.now();
    const short = new Secret(JSON.parse(printed).token);
    const client = await startTunnelProcess(t, https, home, [tunnel], { token: short });
    const site = { host: 'app.relay.localhost', port: https, ca: home.ca };
    const world = { home, client, admin, tunnel, https, site };
    const visitor = await visit(t, world);
    await within('end of the visitor', visitor.closed, expiresMs + ENDS_MS + GRACE_MS);
    await expectEnd(t, world, visitor, sinceMs + expiresMs);
  });

  test('a client that starts with a revoked token exits with 77 and does not try again', async (t) => {
    const world = await makeWorld(t);
    await token(t, world.home, 'revoke', 'home');
    await world.client.exited;
    const late = await startTunnelProcess(t, world.https, world.home, [world.tunnel], { noWait: true });
    assert.equal(await within('end of the client', late.exited), 77);
    assert.equal((await statusOf(world.admin)).refusals.TOKEN_REJECTED, 1);
  });

  test('a hostname that is held for a token is free for its successor when the token is rotated', async (t) => {
    const home = new RelayHome(t);
    const tunnel = '{ name: app, host: app.relay.localhost, origin: "http://127.0.0.1:1" }';
    const before = await home.start(t);
    const early = await before.client(t, [tunnel]);
    early.client.close();
    await before.relay.close();
    const after = await home.start(t);
    assert.deepEqual(statesOf(after), ['held']);
    const { text } = home.tokens.rotate('home');
    await until('the hold ends', () => (statesOf(after).includes('held') ? undefined : true), ENDS_MS + GRACE_MS);
    const late = await after.client(t, [tunnel], { token: text, clientId: 'another' });
    assert.deepEqual(late.events, ['up app']);
  });
});

test('a token that is a moment old is known at once', async (t) => {
  const relay = await new RelayHome(t, { hosts: ['other.relay.localhost'] }).start(t);
  const { text } = relay.home.tokens.create('newcomer', makeGrants(['new.relay.localhost'], []));
  const client = await relay.client(t, ['{ name: new, host: new.relay.localhost, origin: "http://127.0.0.1:9" }'], {
    token: text,
  });
  assert.deepEqual(client.events, ['up new']);
});
