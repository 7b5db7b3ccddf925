/** One end freezes without a word (SIGSTOP): the other one notices in ten seconds at most, and all is well afterwards. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { downloads, Origin } from './support/fault-origin.js';
import { ask, VisitorConnection } from './support/fault-visitor.js';
import { statusUntil } from './support/relay-probe.js';
import { AT_ONCE_MS, within } from './support/within.js';
import { RelayHome, startClient, startRelayProcess, startTunnelProcess } from './support/world.js';

const NOTICED_MS = 10_000;
const GIB = 2 ** 30;

describe('silence', { concurrency: true }, () => {
  test('a relay that goes silent is noticed by the client in 10 s, and serves again after it wakes up', async (t) => {
    const origin = await Origin.http(t, downloads(GIB));
    const home = new RelayHome(t);
    const { program, https } = await startRelayProcess(t, home);
    const client = await startClient(t, https, home, [origin.tunnel('app')]);
    const frozenAtMs = performance.now();
    program.child.kill('SIGSTOP');
    await within('reconnecting', client.event('reconnecting'), NOTICED_MS);
    t.diagnostic(`the client noticed after ${(performance.now() - frozenAtMs).toFixed(0)} ms`);
    assert.deepEqual(client.events, ['up app', 'down app HEARTBEAT_LOST', 'reconnecting HEARTBEAT_LOST']);
    program.child.kill('SIGCONT');
    await within('new session', client.event('up app', 2));
    const answer = await ask({ host: 'app.relay.localhost', port: https, ca: home.ca }, { path: '/small' });
    assert.equal(answer.body, 'small');
  });

  test('a client that goes silent is noticed by the relay in 10 s: its visitors end, its tunnel is held for it', async (t) => {
    const origin = await Origin.http(t, downloads(GIB));
    const home = new RelayHome(t);
    const { https, admin } = await startRelayProcess(t, home);
    const client = await startTunnelProcess(t, https, home, [origin.tunnel('app')]);
    const site = { host: 'app.relay.localhost', port: https, ca: home.ca };
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/film');
    await visitor.receivedBytes(2 ** 20);
    const frozenAtMs = performance.now();
    client.child.kill('SIGSTOP');
    await statusUntil(admin, ({ tunnels }) => tunnels[0]?.state === 'held', NOTICED_MS);
    t.diagnostic(`the relay noticed after ${(performance.now() - frozenAtMs).toFixed(0)} ms`);
    await within('end of the download', visitor.closed, AT_ONCE_MS);
    await statusUntil(admin, ({ sessions, streams }) => sessions.length === 0 && streams.now === 0, AT_ONCE_MS);
    client.child.kill('SIGCONT');
    await statusUntil(admin, ({ tunnels }) => tunnels[0]?.state === 'online');
    assert.equal((await ask(site, { path: '/small' })).body, 'small');
  });
});
