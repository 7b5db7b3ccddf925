/** Names that strangers think up cost no order, no certificate and no memory. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { acmeWorld, getPlain, ordersAt } from './support/acme-world.js';
import { APP, appTunnel } from './support/carry.js';
import { collectedUntil } from './support/collect-garbage.js';
import { clientHello } from './support/raw-tls.js';
import { DOMAIN } from './support/world.js';

const NAMES = 10_000;
const AT_ONCE = 100;
const ALERT_UNRECOGNIZED_NAME = '1503030002' + '0270';

/** Sends a hello and resolves with what comes back, in hex. */
function answerTo(port: number, hello: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write(hello));
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(pieces).toString('hex')));
  });
}

test('10,000 unknown names cause no order, no certificate and no growth', { timeout: 60_000 }, async (t) => {
  const world = await acmeWorld(t);
  if (!world) return;
  const { home, pebble, https, http } = world;
  const running = await home.start(t);
  await running.client(t, [appTunnel('http://127.0.0.1:9')]);
  const stateOf = () => ({
    orders: ordersAt(pebble),
    certificates: running.relay.status().certificates.map(({ name }) => name),
    files: readdirSync(join(home.config.stateDir, 'certificates'), { recursive: true }).sort(),
  });
  const before = stateOf();
  assert.deepEqual(before.certificates, [DOMAIN, APP]);
  // Names below the wildcard that the token grants: what nobody has claimed is as unknown as any other.
  const template = (await clientHello(t, `00000.${DOMAIN}`)).toString('latin1');
  const acme = (await clientHello(t, `00000.${DOMAIN}`, ['acme-tls/1'])).toString('latin1');
  const scan = async (from: number, count: number): Promise<void> => {
    for (let at = from; at < from + count; at += AT_ONCE) {
      const batch = Array.from({ length: AT_ONCE }, (_, index) => {
        const label = String(at + index).padStart(5, '0');
        const hello = (index % 2 === 0 ? template : acme).replace(`00000.${DOMAIN}`, `${label}.${DOMAIN}`);
        return answerTo(https, Buffer.from(hello, 'latin1'));
      });
      for (const answer of await Promise.all(batch)) assert.equal(answer, ALERT_UNRECOGNIZED_NAME);
    }
  };
  await scan(0, 1_000);
  await collectedUntil(() => false);
  const heapBefore = process.memoryUsage().heapUsed;
  await scan(1_000, NAMES - 1_000);
  const grownBytes = () => process.memoryUsage().heapUsed - heapBefore;
  assert.ok(await collectedUntil(() => grownBytes() < 2_000_000), `${grownBytes()} bytes more`);
  assert.deepEqual(stateOf(), before);
  assert.equal(running.relay.status().connections.now <= 2, true, 'the links alone');
  const path = '/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA';
  assert.equal((await getPlain(http, path, `nobody.${DOMAIN}`)).status, 404);
  assert.equal((await getPlain(http, path, APP)).status, 308, 'no challenge runs: sent to https as any path');
});
