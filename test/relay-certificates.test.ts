/** What the relay makes of its source of certificates: bounded waits, readiness, and names whose TLS ends elsewhere. */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import test from 'node:test';
import { RelayCertificates } from '../relay-server/certs/relay-certificates.js';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { silentLog } from '../shared/log.js';
import { acmeWorld, ordersAt } from './support/acme-world.js';
import { APP, appTunnel } from './support/carry.js';
import { endConnections, listen } from './support/origins.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';

const NOBODY = 'http://127.0.0.1:9';

test('a claim does not wait for ever for a CA that says nothing', async (t) => {
  const silent = createServer();
  endConnections(t, silent);
  const port = await listen(t, silent);
  const folder = temporaryFolder(t);
  const acme = `acme: { directory_url: "https://localhost:${port}/dir" }`;
  const config = parseRelayConfig(
    `domain: a.example\nstate_dir: state\ntls: { mode: acme }\n${acme}`,
    `${folder}/relay.yaml`,
  );
  const certificates = await RelayCertificates.open(config, { log: silentLog, isWanted: () => true, claimWaitMs: 50 });
  t.after(() => certificates.close());
  await certificates.prepareAtStart('a.example');
  assert.equal(certificates.problemOf('a.example'), 'there is no certificate yet for a.example');
  await assert.rejects(certificates.prepareForClaim('b.a.example'), {
    code: 'CERTIFICATE_FAILED',
    message: /^Cannot serve b\.a\.example yet: the CA has not issued its certificate for .*\. It is still asked\.$/,
  });
  assert.deepEqual(
    certificates.list().map(({ name, state }) => [name, state]),
    [['b.a.example', 'issuing']],
  );
});

test('wildcards are ordered at the start, after the relay’s own name', async (t) => {
  const silent = createServer();
  endConnections(t, silent);
  const port = await listen(t, silent);
  const lines = [
    'domain: a.example',
    'state_dir: state',
    'tls: { mode: acme }',
    `acme: { directory_url: "https://localhost:${port}/dir", wildcards: ["*.b.example"], dns: { command: "true" } }`,
  ];
  const config = parseRelayConfig(lines.join('\n'), `${temporaryFolder(t)}/relay.yaml`);
  const certificates = await RelayCertificates.open(config, { log: silentLog, isWanted: () => true });
  t.after(() => certificates.close());
  await certificates.prepareAtStart('a.example');
  assert.deepEqual(certificates.list(), []);
  certificates.begin('a.example');
  const names = certificates.list().map(({ name, state }) => [name, state]);
  assert.deepEqual(names, [
    ['a.example', 'issuing'],
    ['*.b.example', 'issuing'],
  ]);
});

test('a hostname whose TLS moves home is let go, and is never ordered again', async (t) => {
  const world = await acmeWorld(t);
  if (!world) return;
  const running = await world.home.start(t);
  const first = await running.client(t, [appTunnel(NOBODY)]);
  assert.equal(ordersAt(world.pebble), 2);
  first.client.close();
  await first.done;
  const passed = `{ name: vault, host: ${APP}, origin: "tcp://127.0.0.1:9", tls: passthrough }`;
  await running.client(t, [passed]);
  assert.equal(ordersAt(world.pebble), 2, 'nothing is ordered for a name that passes through');
  running.relay.reload();
  const isThere = () => running.relay.status().certificates.some(({ name }) => name === APP);
  await until('end of the certificate', () => (isThere() ? undefined : true));
});
