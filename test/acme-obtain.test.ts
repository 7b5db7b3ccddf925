/** Several processes on one state folder, and one that is killed while the CA works: each name is ordered once. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { AccountStore } from '../shared/certs/account-store.js';
import { AcmeIssuer } from '../shared/certs/acme-issuer.js';
import { CertificateStore } from '../shared/certs/certificate-store.js';
import { obtainCertificate } from '../shared/certs/obtain-certificate.js';
import { silentLog } from '../shared/log.js';
import { type AcmePorts, openAcmePorts } from './support/acme-visitor-ports.js';
import { startNode } from './support/node-process.js';
import { type Pebble, startPebble } from './support/pebble.js';
import { temporaryFolder } from './support/temporary-folder.js';

function obtain(stateDir: string, pebble: Pebble, ports: AcmePorts, signal = AbortSignal.timeout(30_000)) {
  const accounts = new AccountStore(join(stateDir, 'accounts'));
  const { directoryUrl: directory, caFile } = pebble;
  const issuer = new AcmeIssuer({ directory, caFile, accounts, solvers: [ports.http], log: silentLog, pollMs: 20 });
  const store = CertificateStore.open(stateDir);
  return obtainCertificate({ store, issuer, hostname: 'a.example.com', isFresh: () => true, signal });
}

function ordersAt(pebble: Pebble): number {
  return pebble.process.lines.filter((line) => line.includes('Added order')).length;
}

test('what one process has renewed, another one that waited takes from the store', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, { ...ports, nonceReject: 0 });
  if (!pebble) return;
  const stateDir = temporaryFolder(t);
  const all = await Promise.all([1, 2, 3].map(() => obtain(stateDir, pebble, ports)));
  assert.equal(new Set(all.map(({ chainPem }) => chainPem)).size, 1);
  assert.equal(ordersAt(pebble), 1);
});

/** Orders with a challenge that never ends, and says when the CA could look. */
const ORDERS_FOR_EVER = `
  const [stateDir, directory, caFile] = process.argv.slice(1);
  const { AccountStore } = await load('shared/certs/account-store.js');
  const { AcmeIssuer } = await load('shared/certs/acme-issuer.js');
  const { CertificateStore } = await load('shared/certs/certificate-store.js');
  const { obtainCertificate } = await load('shared/certs/obtain-certificate.js');
  const { silentLog } = await load('shared/log.js');
  const slow = {
    type: 'http-01',
    supports: () => true,
    present: () => { console.log('presenting'); return new Promise(() => setInterval(() => {}, 1_000)); },
    cleanup: async () => {},
  };
  const accounts = new AccountStore(stateDir + '/accounts');
  const issuer = new AcmeIssuer({ directory, caFile, accounts, solvers: [slow], log: silentLog });
  const store = CertificateStore.open(stateDir);
  const signal = new AbortController().signal;
  await obtainCertificate({ store, issuer, hostname: 'a.example.com', isFresh: () => true, signal });
`;

test('kill -9 during an order: the next process takes over at once, with the same account', async (t: TestContext) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, { ...ports, nonceReject: 0 });
  if (!pebble) return;
  const stateDir = temporaryFolder(t);
  const killed = startNode(t, ORDERS_FOR_EVER, [stateDir, pebble.directoryUrl, pebble.caFile]);
  assert.equal(await killed.line(), 'presenting');
  const account = await new AccountStore(join(stateDir, 'accounts')).open(pebble.directoryUrl);
  await assert.rejects(obtain(stateDir, pebble, ports, AbortSignal.timeout(300)), { name: 'TimeoutError' });
  killed.child.kill('SIGKILL');
  await killed.ended();
  const { hostnames } = await obtain(stateDir, pebble, ports, AbortSignal.timeout(10_000));
  assert.deepEqual(hostnames, ['a.example.com']);
  const after = await new AccountStore(join(stateDir, 'accounts')).open(pebble.directoryUrl);
  assert.equal(after.url, account.url);
  assert.equal(after.keyPem.reveal(), account.keyPem.reveal());
});
