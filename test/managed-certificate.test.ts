/** The life of one certificate, by a clock of the test's own: when it is renewed, asked about, tried again. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { CertificateStore, IMPORTED_CA } from '../shared/certs/certificate-store.js';
import { IssueFailure } from '../shared/certs/issue-failure.js';
import type { IssueRequest } from '../shared/certs/issuer.js';
import { type CertificateTools, ManagedCertificate } from '../shared/certs/managed-certificate.js';
import { OrderBudget } from '../shared/certs/order-budget.js';
import { silentLog } from '../shared/log.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestIssuer } from './support/test-issuer.js';

const NAME = 'app.example.com';
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

function world(t: TestContext, random = 0) {
  const issuer = new TestIssuer();
  const [orders, questions] = [new OrderBudget({ orders: 1_000 }), new OrderBudget({ orders: 1_000 })];
  t.after(() => {
    orders.close();
    questions.close();
  });
  const store = CertificateStore.open(temporaryFolder(t));
  const shared = {
    store,
    issuer,
    orders,
    questions,
    cas: undefined,
    onIssued: undefined,
    onChange: () => {},
    mayHave: () => true,
    keyType: undefined,
    log: silentLog,
  };
  const open = (tools: Partial<CertificateTools> = {}) =>
    new ManagedCertificate(NAME, { ...shared, now: issuer.now, random: () => random, ...tools });
  return { issuer, store, open };
}

for (const days of [90, 45, 6]) {
  test(`a certificate for ${days} days is renewed two thirds into its life, and not before`, async (t) => {
    const { issuer, open } = world(t);
    issuer.lifeDays = days;
    const certificate = open();
    await certificate.ready();
    await certificate.look();
    assert.equal(issuer.questions, 1, 'the CA is asked when it wants to see us again');
    const first = certificate.context;
    issuer.passDays((days * 2) / 3 - 0.01);
    await certificate.look();
    assert.deepEqual(issuer.orders, [NAME]);
    issuer.passDays(0.02);
    await certificate.look();
    assert.deepEqual(issuer.orders, [NAME, NAME]);
    assert.ok(certificate.context !== undefined && certificate.context !== first);
    assert.equal(certificate.status.notAfterMs, Math.floor(issuer.nowMs / 1_000) * 1_000 + days * DAY_MS);
  });
}

test('the window of the CA decides; one that has begun, as after a revocation, means now', async (t) => {
  const { issuer, open } = world(t);
  const certificate = open();
  issuer.window = { startMs: issuer.nowMs + 80 * DAY_MS, endMs: issuer.nowMs + 82 * DAY_MS, askAgainInMs: DAY_MS };
  await certificate.ready();
  await certificate.look();
  assert.equal(certificate.status.renewAtMs, issuer.window.startMs);
  issuer.passDays(70);
  await certificate.look();
  assert.equal(issuer.orders.length, 1, 'later than two thirds, because the CA said so');
  issuer.window = { startMs: issuer.nowMs - 2 * DAY_MS, endMs: issuer.nowMs - DAY_MS, askAgainInMs: DAY_MS };
  await certificate.look();
  assert.equal(issuer.orders.length, 1, 'not asked again before its time');
  issuer.passDays(1);
  await certificate.look();
  assert.equal(issuer.orders.length, 2, 'asked and replaced in one look');
});

test('a moment that was chosen in a window is kept over a restart', async (t) => {
  const { issuer, open } = world(t, 0.5);
  issuer.window = { startMs: issuer.nowMs + 50 * DAY_MS, endMs: issuer.nowMs + 60 * DAY_MS, askAgainInMs: DAY_MS };
  const certificate = open();
  await certificate.ready();
  await certificate.look();
  const again = open();
  assert.equal(again.status.renewAtMs, certificate.status.renewAtMs);
  assert.ok(again.dueAtMs > issuer.nowMs, 'nothing to do after a restart');
});

test('after a failure the attempts follow the schedule, also over a restart, and the old certificate serves', async (t) => {
  const { issuer, open } = world(t);
  const certificate = open();
  await certificate.ready();
  const serving = certificate.context;
  issuer.passDays(61);
  issuer.failure = new IssueFailure('unreachable', 'the CA could not reach port 443');
  await certificate.look();
  for (const [index, minutes] of [1, 2, 2, 5, 10].entries()) {
    assert.equal(certificate.status.state, 'waiting');
    assert.match(certificate.status.lastError ?? '', /could not reach port 443/);
    issuer.nowMs += minutes * MINUTE_MS - 1_000;
    await (index === 2 ? open() : certificate).look();
    assert.equal(issuer.orders.length, index + 2, `not before ${minutes} min`);
    issuer.nowMs += 2_000;
    await certificate.look();
    assert.equal(issuer.orders.length, index + 3);
  }
  assert.equal(certificate.context, serving);
  issuer.failure = undefined;
  issuer.nowMs += 11 * MINUTE_MS;
  await certificate.look();
  assert.notEqual(certificate.context, serving);
  assert.deepEqual([certificate.status.state, certificate.status.lastError], ['valid', undefined]);
});

test('whoever waits for a name that failed is refused at once, with the reason and the time the CA named', async (t) => {
  const { issuer, open } = world(t);
  issuer.failure = new IssueFailure('rate-limited', 'too many certificates', { retryInMs: 3 * 3_600_000 });
  const certificate = open();
  await assert.rejects(certificate.ready(), { code: 'CERTIFICATE_FAILED', message: 'too many certificates' });
  for (const again of [certificate, open()]) {
    await assert.rejects(again.ready(), (error: IssueFailure) => {
      assert.ok((error.retryInMs ?? 0) >= 3 * 3_600_000 - 1_000, 'never undercut');
      return error.code === 'CERTIFICATE_FAILED';
    });
  }
  assert.equal(issuer.orders.length, 1, 'a client that claims again and again costs the CA nothing');
  issuer.failure = undefined;
  await certificate.renew();
  assert.equal(certificate.status.state, 'valid', 'an operator need not wait');
});

test('an expired certificate serves until there is another, and a claim orders that', async (t) => {
  const { issuer, open } = world(t);
  const certificate = open();
  await certificate.ready();
  issuer.passDays(91);
  assert.notEqual(certificate.context, undefined);
  issuer.failure = new IssueFailure('ca-down', 'the CA is down');
  await assert.rejects(certificate.ready(), /the CA is down/);
  issuer.failure = undefined;
  issuer.nowMs += 2 * MINUTE_MS;
  await certificate.ready();
  assert.ok((certificate.status.notAfterMs ?? 0) > issuer.nowMs);
});

test('what another process has put into the store is taken, and is not ordered again', async (t) => {
  const { issuer, open } = world(t);
  const [one, other] = [open(), open()];
  await one.ready();
  assert.equal(other.context, undefined);
  await other.ready();
  assert.equal(issuer.orders.length, 1);
  issuer.passDays(61);
  await one.look();
  const before = other.context;
  other.reload();
  assert.notEqual(other.context, before);
  await other.look();
  assert.equal(issuer.orders.length, 2);
});

test('many who wait for one name share one order', async (t) => {
  const { issuer, open } = world(t);
  const certificate = open();
  await Promise.all(Array.from({ length: 50 }, () => certificate.ready()));
  assert.equal(issuer.orders.length, 1);
  await certificate.ready();
  assert.equal(issuer.orders.length, 1);
});

test('a failure holds up the CAs that were asked, and no other; a program that starts into a pause says so', async (t) => {
  const { issuer, open } = world(t);
  const lines: object[] = [];
  const log = { info: () => {}, warn: (fields: object) => lines.push(fields) };
  issuer.failure = new IssueFailure('unreachable', 'the CA could not reach port 443', { retryInMs: 6 * 3_600_000 });
  await assert.rejects(open({ cas: ['one', 'two', IMPORTED_CA] }).ready());

  const same = open({ cas: ['two', IMPORTED_CA], log });
  assert.equal(same.status.state, 'waiting', 'one of them was asked');
  const retryAt = new Date(same.status.retryAtMs ?? 0).toISOString();
  const reason = 'the CA could not reach port 443';
  assert.deepEqual(lines, [{ event: 'certificate_waiting', hostname: NAME, retryAt, reason }]);

  const other = open({ cas: [issuer.name, IMPORTED_CA] });
  assert.deepEqual([other.status.state, other.status.lastError], ['missing', undefined]);
  assert.ok(other.dueAtMs <= issuer.nowMs);
  issuer.failure = undefined;
  await other.ready();
  assert.equal(other.status.state, 'valid');
});

test('a certificate of a former CA serves on, is replaced now, and the new CA is not asked about it', async (t) => {
  const { issuer, store, open } = world(t);
  const before = open();
  await before.ready();
  const cas = ['new-ca', IMPORTED_CA];
  const replaced: (string | undefined)[] = [];
  const next = {
    name: 'new-ca',
    renewalWindow: () => issuer.renewalWindow(),
    issue: async (request: IssueRequest) => {
      replaced.push(request.replaces);
      return { ...(await issuer.issue(request)), issuer: 'new-ca' };
    },
  };
  issuer.failure = new IssueFailure('unreachable', 'the new CA is down');
  const certificate = open({ cas, issuer: next });
  await certificate.ready();
  assert.ok(certificate.context, 'nobody waits for the new CA');
  assert.ok(certificate.dueAtMs <= issuer.nowMs);
  await certificate.look();
  assert.deepEqual([certificate.status.state, certificate.status.issuer], ['waiting', 'test-ca']);
  assert.ok(certificate.dueAtMs > issuer.nowMs, 'the pause holds for it too');
  issuer.failure = undefined;
  issuer.nowMs += 2 * MINUTE_MS;
  await certificate.look();
  assert.equal(certificate.status.issuer, 'new-ca');
  assert.equal(store.newest(NAME, issuer.nowMs, cas)?.ca, 'new-ca');
  assert.deepEqual([replaced, issuer.questions], [[undefined, undefined], 0]);
});
