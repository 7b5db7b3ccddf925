/** Clocks that jump, CAs that never have enough, and folders that other programs wrote into. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { AcmeCertificates } from '../shared/certs/acme-certificates.js';
import { CertificateStore } from '../shared/certs/certificate-store.js';
import { IssueFailure } from '../shared/certs/issue-failure.js';
import { ManagedCertificate } from '../shared/certs/managed-certificate.js';
import { OrderBudget } from '../shared/certs/order-budget.js';
import { StoreLock } from '../shared/certs/store-lock.js';
import { silentLog } from '../shared/log.js';
import { Secret } from '../shared/secret.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { TestIssuer } from './support/test-issuer.js';

const NAME = 'app.example.com';
const DAY_MS = 86_400_000;
const TEN_YEARS_MS = 3_650 * DAY_MS;
const BROKEN = '-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n';

function world(t: TestContext) {
  const issuer = new TestIssuer();
  const [orders, questions] = [new OrderBudget({ orders: 1_000 }), new OrderBudget({ orders: 1_000 })];
  t.after(() => {
    orders.close();
    questions.close();
  });
  const stateDir = temporaryFolder(t);
  const store = CertificateStore.open(stateDir);
  const shared = { store, issuer, orders, questions, cas: undefined, keyType: undefined, log: silentLog };
  const wishes = { onIssued: undefined, onChange: () => {}, mayHave: () => true, random: () => 0 };
  const open = () => new ManagedCertificate(NAME, { ...shared, ...wishes, now: issuer.now });
  return { issuer, store, open, folder: join(stateDir, 'certificates') };
}

/** A look in every second of an hour in which something is due. */
async function watchFor(certificate: ManagedCertificate, issuer: TestIssuer, ms: number): Promise<void> {
  const endMs = issuer.nowMs + ms;
  while (issuer.nowMs < endMs) {
    await certificate.look();
    issuer.nowMs = Math.min(endMs, Math.max(certificate.dueAtMs, issuer.nowMs + 1_000));
  }
}

test('a CA that wants every certificate replaced at once is obeyed once, and then with growing pauses', async (t) => {
  const { issuer, open } = world(t);
  issuer.window = { startMs: issuer.nowMs - 2 * DAY_MS, endMs: issuer.nowMs - DAY_MS, askAgainInMs: 60_000 };
  const certificate = open();
  await certificate.ready();
  await certificate.look();
  assert.equal(issuer.orders.length, 2, 'one revocation is answered at once');
  await watchFor(certificate, issuer, DAY_MS / 24);
  assert.ok(issuer.orders.length <= 10, `${issuer.orders.length} orders in an hour`);
  await watchFor(open(), issuer, DAY_MS);
  assert.ok(issuer.orders.length <= 40, `${issuer.orders.length} orders in a day, restart included`);
});

test('a certificate that is over when it comes is refused, and not ordered again and again', async (t) => {
  const { issuer, open } = world(t);
  issuer.lifeDays = -1;
  const certificate = open();
  await assert.rejects(certificate.ready(), { code: 'CERTIFICATE_FAILED', message: /Check the clock/ });
  await watchFor(certificate, issuer, DAY_MS / 24);
  assert.ok(issuer.orders.length <= 10, `${issuer.orders.length} orders in an hour`);
  assert.equal(certificate.context, undefined);
});

test('what failed while the clock was ten years ahead does not wait ten years', async (t) => {
  const { issuer, open } = world(t);
  issuer.nowMs += TEN_YEARS_MS;
  issuer.failure = new IssueFailure('ca-down', "the CA's own certificate has expired");
  const certificate = open();
  await assert.rejects(certificate.ready());
  issuer.nowMs -= TEN_YEARS_MS;
  issuer.failure = undefined;
  const again = open();
  await again.ready();
  assert.equal(again.status.state, 'valid');
  await certificate.look();
  assert.equal(certificate.status.state, 'valid', 'also without a restart');
});

test('a start with a clock ten years ahead removes no certificate', async (t) => {
  const { issuer, store, open } = world(t);
  await open().ready();
  store.removeOld(issuer.nowMs + TEN_YEARS_MS);
  assert.ok(store.newest(NAME) !== undefined);
});

test('a stored chain that TLS cannot use stops no start, and is ordered anew', async (t) => {
  const { issuer, store, open } = world(t);
  const { key, cert } = await (await TestCa.make()).issue(NAME);
  store.save('other', NAME, { chainPem: `${cert}${BROKEN}`, keyPem: new Secret(key) });
  const certificate = open();
  assert.equal(certificate.context, undefined);
  await certificate.ready();
  assert.ok(certificate.context !== undefined);
  assert.deepEqual(issuer.orders, [NAME]);
});

test('files that others left among the certificates stop no start', async (t) => {
  const { issuer, store, open, folder } = world(t);
  await open().ready();
  for (const place of [folder, join(folder, issuer.name), join(folder, issuer.name, NAME)])
    fs.writeFileSync(join(place, '.DS_Store'), 'x');
  store.removeOld(issuer.nowMs);
  assert.deepEqual(
    store.list().map(({ hostname }) => hostname),
    [NAME],
  );
});

test('a lock that the disk does not tell about ends no process, and is named to who wants it', async (t) => {
  const file = join(temporaryFolder(t), 'name.lock');
  t.mock.timers.enable({ apis: ['setInterval'] });
  const lock = await StoreLock.take(file, AbortSignal.timeout(1_000), { beatMs: 10 });
  fs.rmSync(file);
  fs.mkdirSync(file);
  // Thrown in a timer, it would be nobody's to catch.
  t.mock.timers.tick(10);
  lock.release();
  const taken = StoreLock.take(file, AbortSignal.timeout(1_000));
  await assert.rejects(taken, { code: 'CONFIG_INVALID', message: /Cannot use lock .*name\.lock/ });
});

test('a name that nobody may claim any more when its turn comes is not ordered', async (t) => {
  const issuer = new TestIssuer();
  const store = CertificateStore.open(temporaryFolder(t));
  const revoked = new Set<string>();
  const isWanted = (name: string) => !revoked.has(name);
  const orders = new OrderBudget({ orders: 1, perMs: 200 });
  const certificates = new AcmeCertificates({ store, issuer, orders, isWanted, maxHostnames: 9, log: silentLog });
  t.after(() => certificates.close());
  const first = certificates.prepare('a.example.com');
  const second = certificates.prepare('b.example.com');
  revoked.add('b.example.com');
  await first;
  await assert.rejects(second, { code: 'CERTIFICATE_FAILED', message: /nobody may claim it/ });
  revoked.add('a.example.com');
  await assert.rejects(certificates.renew('a.example.com'), {
    code: 'CERTIFICATE_FAILED',
    message: /no certificate here/,
  });
  assert.deepEqual(issuer.orders, ['a.example.com']);
});
