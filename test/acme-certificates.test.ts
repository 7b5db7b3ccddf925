/** All certificates of a program: which names have one, which are looked after, and which are let go. */
import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { AcmeCertificates, type AcmeCertificatesOptions } from '../shared/certs/acme-certificates.js';
import { CertificateStore } from '../shared/certs/certificate-store.js';
import { silentLog } from '../shared/log.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestIssuer } from './support/test-issuer.js';
import { watchedLog } from './support/watched-log.js';
import { until } from './support/within.js';

function world(t: TestContext, options: Partial<AcmeCertificatesOptions> = {}) {
  const issuer = new TestIssuer();
  const stateDir = temporaryFolder(t);
  const store = CertificateStore.open(stateDir);
  const open = () => {
    const shared = { store, issuer, now: issuer.now, log: silentLog, maxHostnames: 10, lookMs: 5 };
    const certificates = new AcmeCertificates({ ...shared, ...options });
    t.after(() => certificates.close());
    return certificates;
  };
  return { issuer, open, stateDir };
}

test('a name has a certificate when somebody asked for it, and no visitor can ask', async (t) => {
  const { issuer, open } = world(t);
  const certificates = open();
  assert.equal(certificates.contextFor('a.example.com'), undefined);
  assert.equal(certificates.load('a.example.com'), false, 'nothing in the store, and nothing is ordered');
  assert.deepEqual([issuer.orders, certificates.list()], [[], []]);
  await certificates.prepare('A.example.com.');
  assert.notEqual(certificates.contextFor('A.EXAMPLE.com'), undefined);
  const later = open();
  assert.equal(later.load('a.example.com'), true);
  assert.notEqual(later.contextFor('a.example.com'), undefined);
  assert.deepEqual(issuer.orders, ['a.example.com']);
});

test('what is due is renewed by itself; what nobody wants any more is not, and is let go', async (t) => {
  const unwanted = new Set<string>();
  const { issuer, open } = world(t, { isWanted: (name) => !unwanted.has(name) });
  const certificates = open();
  await Promise.all([certificates.prepare('a.example.com'), certificates.prepare('b.example.com')]);
  unwanted.add('b.example.com');
  issuer.passDays(65);
  await until('renewal', () => (issuer.orders.length === 3 ? true : undefined));
  assert.equal(issuer.orders[2], 'a.example.com');
  assert.equal(certificates.contextFor('b.example.com'), undefined);
  assert.deepEqual(
    certificates.list().map(({ name }) => name),
    ['a.example.com'],
  );
});

test('no more names than allowed have certificates, unless one is not wanted any more', async (t) => {
  const unwanted = new Set<string>();
  const { issuer, open } = world(t, { maxHostnames: 2, lookMs: 600_000, isWanted: (name) => !unwanted.has(name) });
  const certificates = open();
  await Promise.all([certificates.prepare('a.example.com'), certificates.prepare('b.example.com')]);
  const refused = { code: 'LIMIT_EXCEEDED', message: /2 hostnames have certificates\. Raise acme\.max_hostnames/ };
  await assert.rejects(certificates.prepare('c.example.com'), refused);
  assert.equal(issuer.orders.length, 2);
  unwanted.add('a.example.com');
  await certificates.prepare('c.example.com');
  assert.deepEqual(issuer.orders.toSorted(), ['a.example.com', 'b.example.com', 'c.example.com']);
});

test('a configured wildcard is ordered once for all names beside each other, and for none deeper', async (t) => {
  const { issuer, open } = world(t, { wildcards: ['*.example.com'] });
  const certificates = open();
  await Promise.all(['a', 'b', 'c'].map((label) => certificates.prepare(`${label}.example.com`)));
  await certificates.prepare('deep.a.example.com');
  assert.deepEqual(issuer.orders.sort(), ['*.example.com', 'deep.a.example.com']);
  assert.equal(certificates.contextFor('a.example.com'), certificates.contextFor('b.example.com'));
});

test('a wildcard that could not be had does not stand before a name that can', async (t) => {
  const { issuer, open } = world(t);
  const certificates = open();
  issuer.failure = new Error('a wildcard needs dns-01');
  await assert.rejects(certificates.prepare('*.example.com'));
  issuer.failure = undefined;
  await certificates.prepare('a.example.com');
  assert.deepEqual(issuer.orders, ['*.example.com', 'a.example.com']);
});

test('renew replaces a fresh certificate, and says which names there are', async (t) => {
  const { issuer, open } = world(t);
  const certificates = open();
  await certificates.prepare('a.example.com');
  const before = certificates.contextFor('a.example.com');
  await certificates.renew('a.example.com');
  assert.notEqual(certificates.contextFor('a.example.com'), before);
  assert.equal(issuer.orders.length, 2);
  await assert.rejects(certificates.renew('x.example.com'), /it has no certificate here\. Known: a\.example\.com/);
});

test('whoever waits when it is closed is told, and nothing is ordered afterwards', async (t) => {
  const { issuer, open } = world(t);
  const certificates = open();
  const waiting = certificates.prepare('a.example.com');
  certificates.close();
  await assert.rejects(waiting, { code: 'RELAY_DRAINING' });
  await assert.rejects(certificates.prepare('b.example.com'), { code: 'RELAY_DRAINING' });
  assert.ok(issuer.orders.length <= 1);
});

test('a name that never got a certificate is given up when nobody waits for it', async (t) => {
  const { issuer, open } = world(t, { isWanted: (_name, hasCertificate) => hasCertificate });
  const certificates = open();
  issuer.failure = new Error('no');
  await assert.rejects(certificates.prepare('a.example.com'));
  await until('nothing left', () => (certificates.list().length === 0 ? true : undefined));
  issuer.passDays(1);
  issuer.failure = undefined;
  await certificates.prepare('a.example.com');
  assert.deepEqual(issuer.orders, ['a.example.com', 'a.example.com']);
});

test('a store that cannot be read at a reload is logged, and the old certificate serves', async (t) => {
  const watched = watchedLog();
  const { open, stateDir } = world(t, { log: watched.log });
  const certificates = open();
  await certificates.prepare('a.example.com');
  const before = certificates.contextFor('a.example.com');
  chmodSync(join(stateDir, 'certificates', 'test-ca', 'a.example.com', 'privkey.pem'), 0o644);
  certificates.reload();
  assert.equal(certificates.contextFor('a.example.com'), before);
  assert.match(watched.lines.join(''), /lets other users in.*certificate not loaded, the old one serves on/);
});
