/** One of a session's links stands still, and nobody is told: what that does to the others, until the heartbeat ends it. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CountingProxy } from './support/counting-proxy.js';
import { Origin } from './support/fault-origin.js';
import { ask, VisitorConnection } from './support/fault-visitor.js';
import { AT_ONCE_MS, until } from './support/within.js';
import { RelayHome, startClient } from './support/world.js';

const WAITING = 30;
const REQUESTS = 20;
const REQUEST_EVERY_MS = 100;

test('a link that stands still gets no new streams after half a second, though the other one is busier', async (t) => {
  const waiting = new Set<ServerResponse>();
  const origin = await Origin.http(t, (request, response) => {
    if (request.url === '/small') response.end('small');
    else waiting.add(response.writeHead(200));
    response.flushHeaders();
  });
  const relay = await new RelayHome(t).start(t);
  const proxy = await CountingProxy.start(t, relay.port('https'));
  await startClient(t, proxy.port, relay.home, [origin.tunnel('app')], { yaml: 'links: 2' });
  const streams = () => relay.relay.status().sessions[0]?.links.map((link) => link.streams) ?? [];
  await until('second link', () => streams().length === 2 || undefined);

  const site = { host: 'app.relay.localhost', port: relay.port('https'), ca: relay.home.ca };
  const visitors = await Promise.all(Array.from({ length: WAITING }, () => VisitorConnection.open(t, site)));
  for (const visitor of visitors) {
    visitor.get(site, '/wait');
    await visitor.received('200 OK');
  }
  assert.deepEqual(streams(), [WAITING / 2, WAITING / 2]);
  proxy.freezeOldest();
  for (const response of waiting) response.write('still here');
  const served = () => visitors.filter(({ text }) => text.includes('still here'));
  await until('the visitors of the other link', () => served().length === WAITING / 2 || undefined, AT_ONCE_MS);
  for (const visitor of visitors) if (!served().includes(visitor)) visitor.leave('reset');
  await until('the others to leave', () => streams().includes(0) || undefined, AT_ONCE_MS);

  let answered = 0;
  for (let request = 0; request < REQUESTS; request += 1) {
    // Those that meet the link before it is known to stand still wait for its end.
    void ask(site, { path: '/small' }).then(
      () => {
        answered += 1;
      },
      () => {},
    );
    await delay(REQUEST_EVERY_MS);
  }
  // By the number of streams alone, 15 requests would have gone to the link that stands still.
  await until('answers', () => answered >= REQUESTS * 0.6 || undefined, AT_ONCE_MS);
});
