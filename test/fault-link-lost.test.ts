/** One of a session's links breaks: its streams end, everything else goes on, and the link comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CountingProxy } from './support/counting-proxy.js';
import { downloads, Origin } from './support/fault-origin.js';
import { ask, VisitorConnection } from './support/fault-visitor.js';
import { AT_ONCE_MS, until, within } from './support/within.js';
import { RelayHome, startClient } from './support/world.js';

const GIB = 2 ** 30;

test('a broken link costs its own streams; the session, its tunnel and its other streams stay, and it is replaced', async (t) => {
  const origin = await Origin.http(t, downloads(GIB));
  const relay = await new RelayHome(t).start(t);
  const proxy = await CountingProxy.start(t, relay.port('https'));
  const client = await startClient(t, proxy.port, relay.home, [origin.tunnel('app')], { yaml: 'links: 2' });
  const session = () => relay.relay.status().sessions[0];
  await until('second link', () => session()?.links.length === 2 || undefined);
  const { id } = session() ?? {};

  const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
  const visitors = await Promise.all([VisitorConnection.open(t, site), VisitorConnection.open(t, site)]);
  for (const visitor of visitors) {
    visitor.get(site, '/film');
    await visitor.receivedBytes(2 ** 20);
  }
  assert.deepEqual(
    session()?.links.map(({ streams }) => streams),
    [1, 1],
  );
  proxy.cut();
  const first = await within(
    'end of one download',
    Promise.race(visitors.map(({ closed }, at) => closed.then(() => at))),
    AT_ONCE_MS,
  );
  const survivor = visitors[1 - first];
  const before = survivor?.bytes ?? 0;
  await within(
    'progress of the other download',
    survivor?.receivedBytes(before + 16 * 2 ** 20) ?? Promise.reject(),
    AT_ONCE_MS,
  );
  assert.equal((await ask(site, { path: '/small' })).body, 'small');
  await until('new link', () => session()?.links.length === 2 || undefined, AT_ONCE_MS);
  assert.equal(session()?.id, id);
  assert.equal(relay.relay.status().tunnels[0]?.state, 'online');
  assert.deepEqual(client.events, ['up app']);
  assert.equal(proxy.count, 3);
  for (const visitor of visitors) visitor.leave('end');
});

test('a session whose links all break comes back as a new one; requests in between wait and are served', async (t) => {
  const origin = await Origin.http(t, downloads(GIB));
  const relay = await new RelayHome(t).start(t);
  const proxy = await CountingProxy.start(t, relay.port('https'));
  const client = await startClient(t, proxy.port, relay.home, [origin.tunnel('app')], { yaml: 'links: 1' });
  const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
  proxy.hold();
  proxy.cut();
  await until('held tunnel', () => relay.relay.status().tunnels[0]?.state === 'held' || undefined, AT_ONCE_MS);
  const answers = Array.from({ length: 20 }, () => ask(site, { path: '/small' }));
  await until('requests', () => relay.relay.status().tunnels[0]?.requests === answers.length || undefined);
  proxy.letGo();
  for (const { status, body } of await within('answers', Promise.all(answers), AT_ONCE_MS)) {
    assert.deepEqual([status, body], [200, 'small']);
  }
  assert.deepEqual(client.events, ['up app', 'down app LINK_LOST', 'reconnecting LINK_LOST', 'up app']);
  assert.equal(proxy.count, 2);
});

test('a client that is replaced while it opens a link learns it there, and leaves its successor alone', async (t) => {
  const origin = await Origin.http(t, downloads(GIB));
  const relay = await new RelayHome(t).start(t);
  const proxy = await CountingProxy.start(t, relay.port('https'));
  const old = await startClient(t, proxy.port, relay.home, [origin.tunnel('app')], { yaml: 'links: 2' });
  await until('second link', () => relay.relay.status().sessions[0]?.links.length === 2 || undefined);
  proxy.hold();
  proxy.cut();
  await until('attempt', () => proxy.count === 3 || undefined);
  proxy.freeze();
  const heir = await relay.client(t, [origin.tunnel('app')]);
  const { id } = relay.relay.status().sessions[0] ?? {};
  proxy.letGo();
  await assert.rejects(within('end of the old client', old.done, AT_ONCE_MS), { code: 'SESSION_REPLACED' });
  assert.deepEqual(heir.events, ['up app']);
  assert.equal(relay.relay.status().sessions[0]?.id, id);
});
