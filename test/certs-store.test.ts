/** The folder of issued certificates: readable to people, whole after any crash, one writer for each name. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { caNameOf } from '../shared/certs/account-store.js';
import { directoryUrlOf } from '../shared/certs/acme-issuer.js';
import { importCertbot } from '../shared/certs/certbot-import.js';
import { CertificateStore, IMPORTED_CA } from '../shared/certs/certificate-store.js';
import { readRecord } from '../shared/certs/stored-record.js';
import { Secret } from '../shared/secret.js';
import { startNode } from './support/node-process.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { until } from './support/within.js';

const never = new AbortController().signal;
const made = TestCa.make();

async function certificate(hostname: string, days?: number) {
  const { key, cert } = await (await made).issue(hostname, days);
  return { chainPem: cert, keyPem: new Secret(key) };
}

function openStore(t: TestContext): { store: CertificateStore; stateDir: string; folder: string } {
  const stateDir = temporaryFolder(t);
  return { store: CertificateStore.open(stateDir), stateDir, folder: path.join(stateDir, 'certificates') };
}

test('a certificate is kept as three readable files that only their owner can read', async (t) => {
  const { store, folder } = openStore(t);
  const one = await certificate('app.example.com');
  store.save('ca.test-dir', 'app.example.com', { ...one, record: { issuedAtMs: 1 } });
  const place = path.join(folder, 'ca.test-dir', 'app.example.com');
  assert.deepEqual(fs.readdirSync(place).sort(), ['certificate.json', 'fullchain.pem', 'privkey.pem']);
  for (const name of fs.readdirSync(place)) assert.equal(modeOf(path.join(place, name)), '600', name);
  for (const name of ['.', 'ca.test-dir', 'ca.test-dir/app.example.com'])
    assert.equal(modeOf(path.join(folder, name)), '700');
  assert.equal(fs.readFileSync(path.join(place, 'fullchain.pem'), 'utf8'), one.chainPem);
  const said = JSON.parse(fs.readFileSync(path.join(place, 'certificate.json'), 'utf8'));
  assert.deepEqual([said.hostname, said.hostnames, said.issuedAtMs], ['app.example.com', ['app.example.com'], 1]);
  const read = store.read('ca.test-dir', 'app.example.com');
  assert.equal(read?.keyPem.reveal(), one.keyPem.reveal());
  assert.deepEqual(read?.record, { issuedAtMs: 1 });
});

test('of several CAs the certificate that lives longest counts, and a wildcard is a name like any other', async (t) => {
  const { store } = openStore(t);
  store.save('one', '*.example.com', await certificate('*.example.com', 5));
  store.save('two', '*.example.com', await certificate('*.example.com', 9));
  store.save('one', 'a.test', await certificate('a.test'));
  assert.equal(store.newest('*.example.com')?.ca, 'two');
  assert.deepEqual(
    store.list().map(({ hostname, ca }) => `${hostname} ${ca}`),
    ['*.example.com two', 'a.test one'],
  );
  assert.equal(store.remove('two', '*.example.com'), true);
  assert.equal(store.newest('*.example.com')?.ca, 'one');
  assert.equal(store.newest('b.example.com'), undefined);
});

test('of two the one that came last counts, unless it has expired', async (t) => {
  const { store } = openStore(t);
  const nowMs = Date.now();
  store.save('one', 'a.test', { ...(await certificate('a.test', 9)), record: { issuedAtMs: nowMs - 5 * 86_400_000 } });
  store.save('two', 'a.test', { ...(await certificate('a.test', 5)), record: { issuedAtMs: nowMs } });
  assert.equal(store.newest('a.test')?.ca, 'two', 'the older one may be the one that was revoked');
  assert.equal(store.newest('a.test', nowMs + 6 * 86_400_000)?.ca, 'one');
});

test('what expired long ago, and what is known of attempts that old, leaves the disk', async (t) => {
  const { store } = openStore(t);
  const nowMs = Date.now();
  store.save('one', 'a.test', await certificate('a.test', 5));
  store.save('one', 'b.test', await certificate('b.test', 40));
  store.saveAttempts('c.test', { failures: 1 });
  store.removeOld(nowMs + 34 * 86_400_000);
  assert.deepEqual(
    store.list().map(({ hostname }) => hostname),
    ['a.test', 'b.test'],
  );
  store.removeOld(nowMs + 36 * 86_400_000);
  assert.deepEqual(
    store.list().map(({ hostname }) => hostname),
    ['b.test'],
  );
  assert.deepEqual(store.readAttempts('c.test'), {});
});

test('a process that dies between the files loses nothing: the new certificate counts and is completed later', async (t) => {
  const { store, folder } = openStore(t);
  const [older, newer] = [await certificate('a.test', 5), await certificate('a.test', 9)];
  store.save('ca', 'a.test', older);
  const place = path.join(folder, 'ca', 'a.test');
  const next = { hostname: 'a.test', fullchain: newer.chainPem, privkey: newer.keyPem.reveal(), record: {} };
  fs.writeFileSync(path.join(place, 'next.json'), JSON.stringify(next), { mode: 0o600 });
  fs.writeFileSync(path.join(place, 'privkey.pem'), newer.keyPem.reveal(), { mode: 0o600 });
  assert.equal(store.read('ca', 'a.test')?.chainPem, newer.chainPem);
  store.saveRecord('ca', 'a.test', { failures: 1, lastError: 'no' });
  assert.deepEqual(fs.readdirSync(place).sort(), ['certificate.json', 'fullchain.pem', 'privkey.pem']);
  assert.equal(fs.readFileSync(path.join(place, 'fullchain.pem'), 'utf8'), newer.chainPem);
  assert.deepEqual(store.read('ca', 'a.test')?.record, { failures: 1, lastError: 'no' });
});

test('kill -9 at any moment of a replacement leaves the old certificate or the new one', async (t) => {
  const { store, stateDir } = openStore(t);
  const code = `
    const [stateDir, ...texts] = process.argv.slice(1);
    const { CertificateStore } = await load('shared/certs/certificate-store.js');
    const { Secret } = await load('shared/secret.js');
    const [a, b] = texts.map((text) => JSON.parse(text)).map(({ chainPem, key }) => ({ chainPem, keyPem: new Secret(key) }));
    const store = CertificateStore.open(stateDir);
    store.save('ca', 'a.test', a);
    console.log('begun');
    for (;;) { store.save('ca', 'a.test', b); store.save('ca', 'a.test', a); }
  `;
  const pair = [await certificate('a.test', 5), await certificate('a.test', 9)];
  const args = pair.map(({ chainPem, keyPem }) => JSON.stringify({ chainPem, key: keyPem.reveal() }));
  for (let round = 0; round < 6; round += 1) {
    const writer = startNode(t, code, [stateDir, ...args]);
    await writer.line();
    const atMs = performance.now() + 7 * round;
    // Readers beside the writer always see one of the two, whole.
    while (performance.now() < atMs) assert.ok(store.read('ca', 'a.test'));
    writer.child.kill('SIGKILL');
    await writer.ended();
    const chainPem = store.read('ca', 'a.test')?.chainPem;
    assert.ok(pair.some((one) => one.chainPem === chainPem));
  }
});

test('damaged, foreign and mismatched files count as none; a key that others can read is refused', async (t) => {
  const { store, folder } = openStore(t);
  const [one, other] = [await certificate('a.test'), await certificate('a.test')];
  assert.throws(() => store.save('ca', 'a.test', { ...one, keyPem: other.keyPem }), { code: 'CONFIG_INVALID' });
  store.save('ca', 'a.test', one);
  const keyFile = path.join(folder, 'ca', 'a.test', 'privkey.pem');
  fs.writeFileSync(keyFile, other.keyPem.reveal());
  assert.equal(store.read('ca', 'a.test'), undefined);
  fs.writeFileSync(keyFile, 'torn');
  assert.equal(store.read('ca', 'a.test'), undefined);
  store.save('ca', 'a.test', one);
  fs.chmodSync(keyFile, 0o644);
  assert.throws(() => store.read('ca', 'a.test'), /lets other users in/);
});

test('the certificate of another name counts as none, whoever put it there', async (t) => {
  const { store } = openStore(t);
  store.save('ca', 'a.test', await certificate('b.test'));
  assert.equal(store.read('ca', 'a.test'), undefined);
  assert.equal(store.newest('a.test'), undefined);
  store.save('ca', 'a.test', await certificate('*.test'));
  assert.ok(store.newest('a.test'), 'a wildcard covers it');
});

test('what staging made counts only while staging is configured', async (t) => {
  const { store } = openStore(t);
  const staging = caNameOf(directoryUrlOf('staging'));
  store.save(staging, 'a.test', await certificate('a.test'));
  assert.equal(store.newest('a.test', Date.now(), [staging, IMPORTED_CA])?.ca, staging);
  assert.equal(store.newest('a.test', Date.now(), ['production', IMPORTED_CA]), undefined);
  store.save(IMPORTED_CA, 'a.test', await certificate('a.test'));
  assert.equal(store.newest('a.test', Date.now(), ['production', IMPORTED_CA])?.ca, IMPORTED_CA);
});

test('a certificate of a former CA counts while it lives, until the CA that is configured now has given one', async (t) => {
  const { store } = openStore(t);
  const cas = ['new', IMPORTED_CA];
  store.save('old', 'a.test', await certificate('a.test', 9));
  assert.equal(store.newest('a.test', Date.now(), cas)?.ca, 'old');
  assert.equal(store.newest('a.test', Date.now() + 10 * 86_400_000, cas), undefined);
  store.save('new', 'a.test', { ...(await certificate('a.test', 5)), record: { issuedAtMs: 1 } });
  assert.equal(store.newest('a.test', Date.now(), cas)?.ca, 'new');
  assert.equal(store.newest('a.test', Date.now() + 6 * 86_400_000, cas)?.ca, 'old', 'better than none');
});

test('no name leaves the folder', async (t) => {
  const { store, stateDir, folder } = openStore(t);
  const one = await certificate('a.test');
  for (const name of ['../../x', '/etc/x', '..', 'a/b', `${'long.'.repeat(50)}test`]) store.save(name, name, one);
  assert.deepEqual(fs.readdirSync(stateDir), ['certificates']);
  assert.ok(fs.existsSync(path.join(folder, '_', '_', 'fullchain.pem')));
});

test('any record reads as a record, and a good one as itself', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void readRecord(value)));
  const time = fc.nat();
  const window = fc
    .tuple(time, fc.integer({ min: 1, max: 1e9 }))
    .map(([startMs, more]) => ({ startMs, endMs: startMs + more }));
  const records = fc.record(
    {
      issuedAtMs: time,
      renewAtMs: time,
      window,
      askAgainAtMs: time,
      failures: time,
      lastError: fc.string(),
      retryAtMs: time,
      askedCas: fc.array(fc.string(), { maxLength: 20 }),
    },
    { requiredKeys: [], noNullPrototype: true },
  );
  fc.assert(fc.property(records, (record) => assert.deepEqual(readRecord(JSON.parse(JSON.stringify(record))), record)));
});

test('one lock for each name: the second waits until the first is done', async (t) => {
  const { store } = openStore(t);
  const first = await store.lock('a.test', never);
  const other = await store.lock('b.test', never);
  let taken = false;
  const second = store.lock('a.test', never).then((lock) => {
    taken = true;
    return lock;
  });
  await assert.rejects(store.lock('a.test', AbortSignal.timeout(50)), { name: 'TimeoutError' });
  assert.equal(taken, false);
  first.release();
  const lock = await second;
  assert.ok(lock.isHeld() && !first.isHeld());
  assert.throws(() => first.refuseLost(), /taken by another process/);
  first.release();
  assert.ok(lock.isHeld(), 'who lost it cannot release it');
  lock.release();
  other.release();
});

const HOLDER = `
  const { CertificateStore } = await load('shared/certs/certificate-store.js');
  await CertificateStore.open(process.argv[1]).lock('a.test', new AbortController().signal);
  console.log('held');
  setInterval(() => {}, 1_000);
`;

test('the lock of a process that was killed is free at once', async (t) => {
  const { store, stateDir } = openStore(t);
  const holder = startNode(t, HOLDER, [stateDir]);
  await holder.line();
  await assert.rejects(store.lock('a.test', AbortSignal.timeout(300)), { name: 'TimeoutError' });
  holder.child.kill('SIGKILL');
  await holder.ended();
  const lock = await store.lock('a.test', AbortSignal.timeout(5_000));
  lock.release();
});

test('a lock of another machine is free when nobody touches it any more, and so is a torn one', async (t) => {
  const stateDir = temporaryFolder(t);
  const store = CertificateStore.open(stateDir, { staleMs: 200, beatMs: 50, lookMs: 10 });
  const file = path.join(stateDir, 'certificates', 'locks', 'a.test.lock');
  for (const text of [JSON.stringify({ id: 'x', pid: 1, machine: 'elsewhere' }), 'torn']) {
    fs.writeFileSync(file, text);
    const lock = await store.lock('a.test', AbortSignal.timeout(5_000));
    const touchedMs = fs.statSync(file).mtimeMs;
    await until('touch', () => fs.statSync(file).mtimeMs > touchedMs || undefined);
    lock.release();
  }
});

test('of many processes that meet a stale lock exactly one holds it at any time', async (t) => {
  const stateDir = temporaryFolder(t);
  CertificateStore.open(stateDir);
  fs.writeFileSync(
    path.join(stateDir, 'certificates', 'locks', 'a.test.lock'),
    JSON.stringify({ id: 'x', pid: 0, machine: hostname() }),
  );
  const code = `
    const fs = await import('node:fs');
    const { CertificateStore } = await load('shared/certs/certificate-store.js');
    const store = CertificateStore.open(process.argv[1], { staleMs: 60_000, lookMs: 1 });
    const inside = process.argv[1] + '/inside';
    for (let round = 0; round < 15; round += 1) {
      const lock = await store.lock('a.test', AbortSignal.timeout(20_000));
      fs.closeSync(fs.openSync(inside, 'wx'));
      await new Promise((go) => setTimeout(go, 2));
      fs.rmSync(inside);
      lock.release();
    }
    console.log('done');
  `;
  const processes = Array.from({ length: 4 }, () => startNode(t, code, [stateDir]));
  assert.deepEqual(await Promise.all(processes.map((one) => one.line())), Array(4).fill('done'));
});

test('certbot files come in under each of their names, and an older one replaces nothing', async (t) => {
  const { store } = openStore(t);
  const live = temporaryFolder(t);
  const write = ({ chainPem, keyPem }: Awaited<ReturnType<typeof certificate>>) => {
    fs.writeFileSync(path.join(live, 'fullchain.pem'), chainPem);
    fs.writeFileSync(path.join(live, 'privkey.pem'), keyPem.reveal());
  };
  const newer = await certificate('*.example.com', 9);
  write(newer);
  assert.deepEqual(await importCertbot(store, 'ca', live, never), ['*.example.com']);
  write(await certificate('*.example.com', 5));
  await importCertbot(store, 'ca', live, never);
  assert.equal(store.newest('*.example.com')?.chainPem, newer.chainPem);
  await assert.rejects(importCertbot(store, 'ca', live, never, Date.now() + 99 * 86_400_000), /it expired on/);
  fs.writeFileSync(path.join(live, 'privkey.pem'), newer.keyPem.reveal());
  await assert.rejects(importCertbot(store, 'ca', live, never), /does not belong to privkey\.pem/);
  await assert.rejects(importCertbot(store, 'ca', path.join(live, 'none'), never), { code: 'CONFIG_INVALID' });
});
