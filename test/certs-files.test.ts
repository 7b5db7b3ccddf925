/** The operator's own certificates: found by name, reloaded when they change, never replaced by broken ones. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import { makeCaCertificate, makeKey, makeServerCertificate } from '../relay-server/certs/local-issuer.js';
import { CertificateFiles, type CertificateFilesOptions } from '../shared/certs/certificate-files.js';
import type { PairFiles } from '../shared/certs/certificate-pair.js';
import type { CertificateLog } from '../shared/certs/certificates.js';
import { makePrivateKey } from '../shared/certs/private-key.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { shakeHands, startTlsServer } from './support/tls-handshake.js';

const dayMs = 86_400_000;
const validity = { fromMs: Date.now() - dayMs, toMs: Date.now() + 90 * dayMs };
const caKey = await makeKey();
const ca = { keyPem: caKey, certPem: await makeCaCertificate(caKey, { ...validity, toMs: Date.now() + 999 * dayMs }) };

/** Writes a certificate for `hostname` and its key as `<name>.pem` and `<name>.key`. */
async function writePair(folder: string, name: string, hostname: string, toMs = validity.toMs): Promise<PairFiles> {
  const files = { certFile: path.join(folder, `${name}.pem`), keyFile: path.join(folder, `${name}.key`) };
  const keyPem = await makeKey();
  const certPem = await makeServerCertificate(ca, hostname, keyPem, { ...validity, toMs });
  fs.writeFileSync(files.certFile, certPem + ca.certPem);
  fs.writeFileSync(files.keyFile, keyPem);
  return files;
}

/** A log that keeps its messages and lets a test wait for the next one. */
function recordingLog() {
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  const record = (_fields: object, message: string) => {
    lines.push(message);
    for (const resolve of waiting.splice(0)) resolve();
  };
  const log: CertificateLog = { info: record, warn: record };
  return { log, lines, next: () => new Promise<void>((resolve) => void waiting.push(resolve)) };
}

function open(t: TestContext, pairs: readonly PairFiles[], options: CertificateFilesOptions = {}): CertificateFiles {
  const source = CertificateFiles.open(pairs, options);
  t.after(() => source.close());
  return source;
}

async function fingerprintFor(t: TestContext, source: CertificateFiles, hostname: string): Promise<string> {
  const seen = await shakeHands(await startTlsServer(t, source), hostname, { ca: ca.certPem });
  assert.equal(seen.distrust, undefined);
  return seen.certificate.fingerprint256;
}

test('each visitor sees the certificate of its hostname: the exact one, else the wildcard, else none', async (t) => {
  const folder = temporaryFolder(t);
  const wildcard = await writePair(folder, 'wildcard', '*.example.com');
  const exact = await writePair(folder, 'exact', 'app.example.com');
  const source = open(t, [exact, wildcard]);
  const port = await startTlsServer(t, source);
  const nameFor = async (servername: string) =>
    (await shakeHands(port, servername, { ca: ca.certPem })).certificate.subjectaltname;
  assert.equal(await nameFor('App.Example.com'), 'DNS:app.example.com');
  assert.equal(await nameFor('other.example.com'), 'DNS:*.example.com');
  for (const hostname of ['example.com', 'a.b.example.com', 'example.org', '']) {
    assert.equal(source.contextFor(hostname), undefined, hostname);
  }
});

test('a hostname that no certificate covers is refused with what is covered', async (t) => {
  const source = open(t, [await writePair(temporaryFolder(t), 'a', '*.example.com')]);
  await source.prepare('app.example.com');
  await source.prepare('*.example.com');
  for (const hostname of ['example.com', '*.home.example.com']) {
    await assert.rejects(source.prepare(hostname), { code: 'CONFIG_INVALID', message: /cover: \*\.example\.com/ });
  }
});

test('a pair that cannot serve stops the start, and the message names the file and the cure', async (t) => {
  const folder = temporaryFolder(t);
  const one = await writePair(folder, 'one', 'one.example.com');
  const two = await writePair(folder, 'two', 'two.example.com');
  const written = (name: string, text: string) => {
    fs.writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const cipher = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' } as const;
  const locked = createPrivateKey((await makePrivateKey()).reveal()).export(cipher);
  const cases: [PairFiles, RegExp][] = [
    [{ certFile: one.certFile, keyFile: two.keyFile }, /one\.pem: it does not belong to the key .*two\.key/],
    [{ ...one, certFile: path.join(folder, 'none') }, /Cannot read certificate .*none/],
    [{ ...one, keyFile: path.join(folder, 'none') }, /Cannot read private key .*none/],
    [{ ...one, certFile: one.keyFile }, /it is no PEM certificate.*fullchain\.pem/],
    [{ ...one, keyFile: one.certFile }, /it is no PEM private key/],
    [{ ...one, keyFile: written('locked.key', String(locked)) }, /it has a passphrase.*openssl pkey/],
    [{ certFile: written('ca.pem', ca.certPem), keyFile: written('ca.key', ca.keyPem) }, /names no hostname/],
  ];
  for (const [pair, message] of cases) {
    assert.throws(() => CertificateFiles.open([two, pair]), { code: 'CONFIG_INVALID', message });
  }
  assert.throws(() => CertificateFiles.open([]), { code: 'CONFIG_INVALID', message: /no certificate is configured/ });
});

test('renewed files are loaded by themselves, also through a symbolic link as certbot has them', async (t) => {
  const folder = temporaryFolder(t);
  fs.mkdirSync(path.join(folder, 'v1'));
  fs.mkdirSync(path.join(folder, 'v2'));
  await writePair(path.join(folder, 'v1'), 'app', 'app.example.com');
  await writePair(path.join(folder, 'v2'), 'app', 'app.example.com');
  const live = path.join(folder, 'live');
  fs.symlinkSync('v1', live);
  const { log, lines, next } = recordingLog();
  const pair = { certFile: path.join(live, 'app.pem'), keyFile: path.join(live, 'app.key') };
  const source = open(t, [pair], { intervalMs: 10, log });
  const before = await fingerprintFor(t, source, 'app.example.com');
  const loaded = next();
  fs.symlinkSync('v2', path.join(folder, 'new'));
  fs.renameSync(path.join(folder, 'new'), live);
  await loaded;
  assert.notEqual(await fingerprintFor(t, source, 'app.example.com'), before);
  assert.deepEqual(lines, ['certificate loaded']);
});

test('while a pair is broken the old one serves, with one line of log, until the pair is whole again', async (t) => {
  const folder = temporaryFolder(t);
  const files = await writePair(folder, 'app', 'app.example.com');
  const renewed = await writePair(folder, 'renewed', 'app.example.com');
  const { log, lines, next } = recordingLog();
  const source = open(t, [files], { log, intervalMs: 3_600_000 });
  const before = await fingerprintFor(t, source, 'app.example.com');
  fs.copyFileSync(renewed.certFile, files.certFile);
  for (let looks = 0; looks < 3; looks += 1) source.reload();
  assert.deepEqual(lines, ['certificate not loaded, the old one serves on']);
  assert.equal(await fingerprintFor(t, source, 'app.example.com'), before);
  const loaded = next();
  fs.copyFileSync(renewed.keyFile, files.keyFile);
  source.reload();
  await loaded;
  assert.equal(lines.at(-1), 'certificate loaded');
  assert.notEqual(await fingerprintFor(t, source, 'app.example.com'), before);
});

test('files that vanish while the relay runs do not end what it serves', async (t) => {
  const files = await writePair(temporaryFolder(t), 'app', 'app.example.com');
  const { log, lines, next } = recordingLog();
  const source = open(t, [files], { log, intervalMs: 10 });
  const noticed = next();
  fs.rmSync(files.certFile);
  await noticed;
  assert.deepEqual(lines, ['certificate not loaded, the old one serves on']);
  assert.ok(source.contextFor('app.example.com'));
});

test('of two certificates for one hostname the one that lives longer serves', async (t) => {
  const folder = temporaryFolder(t);
  const longer = await writePair(folder, 'longer', 'app.example.com');
  const shorter = await writePair(folder, 'shorter', 'app.example.com', Date.now() + dayMs);
  const alone = await fingerprintFor(t, open(t, [longer]), 'app.example.com');
  for (const pairs of [
    [longer, shorter],
    [shorter, longer],
  ]) {
    assert.equal(await fingerprintFor(t, open(t, pairs), 'app.example.com'), alone);
  }
});

test('an expired certificate is served, and the log says so', async (t) => {
  const files = await writePair(temporaryFolder(t), 'app', 'app.example.com');
  const { log, lines } = recordingLog();
  const source = open(t, [files], { log, now: () => Date.now() + 91 * dayMs });
  assert.deepEqual(lines, ['certificate has expired']);
  assert.ok(source.contextFor('app.example.com'));
});

test('a relay never loads the library that signs before something must be signed', () => {
  const shared = ['certificate-files', 'certificate-pair', 'certificates'].map((name) => `shared/certs/${name}`);
  for (const name of [...shared, 'relay-server/certs/local-ca', 'relay-server/certs/local-authority']) {
    const text = fs.readFileSync(new URL(`../${name}.js`, import.meta.url), 'utf8');
    assert.doesNotMatch(text, /from '.*(local-issuer|@peculiar)/, name);
  }
});
