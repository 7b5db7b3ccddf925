/** A relay that drains: whoever came before still gets an answer, and whoever wants none does not hold it up. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { VisitorConnection } from './support/fault-visitor.js';
import { within } from './support/within.js';
import { DOMAIN, RelayHome } from './support/world.js';

test('a visitor of the own name of the relay who came before and asks now is answered', async (t) => {
  const running = await new RelayHome(t).start(t);
  const site = { host: DOMAIN, port: running.port('https'), ca: running.home.ca };
  const visitor = await VisitorConnection.open(t, site);
  // The last that the relay says in its handshake; Node loses what is written while it tells of it.
  await within('session ticket', once(visitor.socket, 'session'));
  await setImmediate();
  const ended = running.relay.drain();
  // The relay has looked who is left before the request comes.
  for (let turns = 0; turns < 5; turns += 1) await setImmediate();
  visitor.get(site, '/');
  await within('answer', visitor.received('HTTP/1.1 404'));
  await within('end of the relay', ended);
});

test('a visitor of the own name of the relay who asks nothing is not waited for as long as a drain may take', async (t) => {
  const running = await new RelayHome(t).start(t);
  const visitor = await VisitorConnection.open(t, { host: DOMAIN, port: running.port('https'), ca: running.home.ca });
  await within('end of the relay', running.relay.drain());
  await within('end of the visitor', visitor.closed);
  assert.equal(running.relay.state, 'stopped');
});
