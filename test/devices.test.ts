/** Which clients a relay remembers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Devices } from '../relay-server/sessions/devices.js';

const session = (id: string, clientId: string) => ({
  id,
  owner: { tokenId: 't', tokenName: 'home', clientId },
  clientAddress: `192.0.2.${id.length}`,
});

test('a client that came anew is one device, and the end of its older session does not make it absent', () => {
  const devices = new Devices();
  const old = session('s1', 'box');
  devices.came(old, 'sallyport/1');
  devices.came(session('s22', 'box'), 'sallyport/2');
  devices.left(old);
  const [device, ...others] = devices.all();
  assert.deepEqual(others, []);
  assert.deepEqual([device?.sessionId, device?.agent, device?.sessions], ['s22', 'sallyport/2', 2]);
  assert.equal(device?.address, '192.0.2.3');
});

test('an absent device was last seen when it left, a connected one is seen now', () => {
  const devices = new Devices();
  const one = session('s1', 'one');
  devices.came(one, 'a');
  devices.came(session('s2', 'two'), 'a');
  devices.left(one);
  const farMs = Date.now() + 60_000;
  const [gone, here] = devices.all(farMs).sort((a, b) => a.lastSeenAtMs - b.lastSeenAtMs);
  assert.equal(gone?.sessionId, undefined);
  assert.ok((gone?.lastSeenAtMs ?? farMs) < farMs);
  assert.equal(here?.lastSeenAtMs, farMs);
});

test('clients that make up names push out absent ones, never those that are connected', () => {
  const devices = new Devices();
  devices.came(session('first', 'first'), 'a');
  for (let count = 0; count < 3_000; count += 1) {
    const stranger = session(`s${count}`, `stranger-${count}`);
    devices.came(stranger, 'a');
    devices.left(stranger);
  }
  const all = devices.all();
  assert.equal(all.length, 2_000);
  assert.ok(all.some(({ sessionId }) => sessionId === 'first'));
});
