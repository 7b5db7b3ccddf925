/** The client's process dies or freezes in the middle of its work; its visitors, the relay and its successor notice. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { downloads, Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { statusOf, statusUntil } from './support/relay-probe.js';
import { AT_ONCE_MS, within } from './support/within.js';
import { RelayHome, type RunningProgram, startRelayProcess, startTunnelProcess } from './support/world.js';

const GIB = 2 ** 30;
const CLIENT = { clientId: 'home-server' };

interface World {
  readonly origin: Origin;
  readonly site: Site;
  readonly admin: number;
  readonly client: RunningProgram;
  /** Starts one more client process. */
  another(options?: { clientId: string; noWait?: boolean }): Promise<RunningProgram>;
}

/** A relay and a client as processes, and an origin with a long download. */
async function makeWorld(t: TestContext, yaml = ''): Promise<World> {
  const origin = await Origin.http(t, downloads(GIB));
  const home = new RelayHome(t, { yaml });
  const { https, admin } = await startRelayProcess(t, home);
  const another = (options: { clientId: string; noWait?: boolean } = CLIENT) =>
    startTunnelProcess(t, https, home, [origin.tunnel('app')], options);
  const client = await another();
  return { origin, admin, client, another, site: { host: 'app.relay.localhost', port: https, ca: home.ca } };
}

describe('a client that dies', { concurrency: 3 }, () => {
  test('kill -9 of the client during a download ends the visitor at once, frees the relay, and a restart takes over', async (t) => {
    const { site, admin, client, another } = await makeWorld(t);
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/film');
    await visitor.receivedBytes(4 * 2 ** 20);
    const killedAtMs = performance.now();
    await client.kill();
    await within('end of the download', visitor.closed, AT_ONCE_MS);
    const endMs = performance.now() - killedAtMs;
    assert.ok(visitor.bytes < GIB);

    const freed = await statusUntil(admin, ({ sessions }) => sessions.length === 0, AT_ONCE_MS);
    assert.equal(freed.streams.now, 0);
    assert.deepEqual(
      freed.tunnels.map(({ name, state }) => [name, state]),
      [['app', 'held']],
    );
    const heir = await another();
    assert.deepEqual(
      heir.lines.filter((line) => line.includes('denied')),
      [],
    );
    assert.equal((await ask(site, { path: '/small' })).body, 'small');
    t.diagnostic(`the visitor's connection ended ${endMs.toFixed(0)} ms after kill -9`);
  });

  test('a visitor who comes while the client is dead waits, and is served when it is back', async (t) => {
    const { site, admin, client, another } = await makeWorld(t);
    await client.kill();
    await statusUntil(admin, ({ tunnels }) => tunnels[0]?.state === 'held', AT_ONCE_MS);
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/small');
    await statusUntil(admin, ({ connections }) => connections.now === 1, AT_ONCE_MS);
    assert.equal(visitor.text, '');
    await another();
    await within('answer', visitor.received('\r\n\r\nsmall'), AT_ONCE_MS);
  });

  test('when nobody comes back in time the waiting visitor and later ones get TUNNEL_OFFLINE with Retry-After', async (t) => {
    const { site, admin, client } = await makeWorld(t, 'limits: { hold_timeout: 1s }');
    await client.kill();
    await statusUntil(admin, ({ tunnels }) => tunnels[0]?.state === 'held', AT_ONCE_MS);
    const waited = await within('end of the hold', ask(site));
    const later = await ask(site);
    for (const answer of [waited, later]) {
      assert.equal(answer.status, 503);
      assert.equal(answer.headers['x-sallyport-error'], 'TUNNEL_OFFLINE');
      assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d*$/);
    }
  });

  test('a frozen client is replaced at once by a new one with its id, and ends with exit code 0 when it wakes up', async (t) => {
    const { origin, site, admin, client, another } = await makeWorld(t);
    const before = (await statusOf(admin)).sessions.map(({ id }) => id);
    client.child.kill('SIGSTOP');
    const heir = await another();
    const after = await statusOf(admin);
    assert.equal(after.sessions.length, 1);
    assert.ok(!before.includes(after.sessions[0]?.id ?? ''));
    const connected = origin.connection();
    assert.equal((await ask(site, { path: '/small' })).body, 'small');
    await connected;

    client.child.kill('SIGCONT');
    assert.equal(await within('end of the replaced client', client.exited), 0);
    assert.match(client.lines.join('\n'), /SESSION_REPLACED/);
    assert.equal(heir.child.exitCode, null);
    assert.deepEqual(
      (await statusOf(admin)).sessions.map(({ id }) => id),
      after.sessions.map(({ id }) => id),
    );
  });

  test('another client that asks for a taken hostname is denied with HOSTNAME_TAKEN, and its owner keeps it', async (t) => {
    const { site, admin, another } = await makeWorld(t);
    const owner = (await statusOf(admin)).tunnels[0]?.sessionId;
    const stranger = await another({ clientId: 'stranger', noWait: true });
    const denied = JSON.parse(await within('denial', stranger.line('"event":"denied"')));
    assert.equal(denied.code, 'HOSTNAME_TAKEN');
    assert.equal((await statusOf(admin)).tunnels[0]?.sessionId, owner);
    assert.equal((await ask(site, { path: '/small' })).body, 'small');
    assert.equal(stranger.child.exitCode, null);
  });

  test('a hostname held for a dead client is denied to another client', async (t) => {
    const { admin, client, another } = await makeWorld(t);
    await client.kill();
    await statusUntil(admin, ({ tunnels }) => tunnels[0]?.state === 'held', AT_ONCE_MS);
    const stranger = await another({ clientId: 'stranger', noWait: true });
    const denied = JSON.parse(await within('denial', stranger.line('"event":"denied"')));
    assert.equal(denied.code, 'HOSTNAME_TAKEN');
  });
});
