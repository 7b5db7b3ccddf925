/** The local CA: made once, trusted once, and every hostname that the relay vouches for gets a certificate from it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import test, { type TestContext } from 'node:test';
import * as tls from 'node:tls';
import { promisify } from 'node:util';
import { LocalCa, type LocalCaOptions } from '../relay-server/certs/local-ca.js';
import { type CertificateLog, tlsServerOptions } from '../shared/certs/certificates.js';
import { startNode } from './support/node-process.js';
import { requireTool } from './support/require-tool.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { shakeHands, startTlsServer } from './support/tls-handshake.js';

const run = promisify(execFile);
const dayMs = 86_400_000;
type SniDone = (error: Error | null, context?: tls.SecureContext) => void;

async function openCa(t: TestContext, stateDir: string, options: LocalCaOptions = {}): Promise<LocalCa> {
  const ca = await LocalCa.open(stateDir, options);
  t.after(() => ca.close());
  return ca;
}

/** The certificate that a visitor of `hostname` sees. */
async function shown(t: TestContext, ca: LocalCa, hostname: string) {
  return shakeHands(await startTlsServer(t, ca), hostname, { ca: ca.certificatePem });
}

function recordingLog(): CertificateLog & { readonly lines: string[] } {
  const lines: string[] = [];
  return {
    lines,
    info: (_fields, message) => void lines.push(message),
    warn: (_fields, message) => void lines.push(message),
  };
}

test('the first start makes a private folder, a key that nobody else can read, and a CA', async (t) => {
  const stateDir = path.join(temporaryFolder(t), 'state');
  const ca = await openCa(t, stateDir);
  const folder = path.join(stateDir, 'local-ca');
  const modes = ['.', 'certs', 'ca-key.pem', 'ca.pem'].map((name) => modeOf(path.join(folder, name)));
  assert.deepEqual(modes, ['700', '700', '600', '644']);
  const certificate = new X509Certificate(fs.readFileSync(ca.certificateFile));
  assert.equal(certificate.ca, true);
  assert.match(certificate.subject, /^CN=Sallyport local CA [0-9a-f]{8}$/);
  assert.ok(Date.parse(certificate.validTo) - Date.now() > 3_600 * dayMs);
});

test('a later start has the same CA and shows the same certificates', async (t) => {
  const stateDir = temporaryFolder(t);
  const first = await openCa(t, stateDir);
  await first.prepare('app.example.com');
  const before = await shown(t, first, 'app.example.com');
  const log = recordingLog();
  const second = await openCa(t, stateDir, { log });
  assert.equal(second.contextFor('app.example.com'), undefined, 'nothing is shown before the relay vouches for it');
  await second.prepare('app.example.com');
  const after = await shown(t, second, 'app.example.com');
  assert.equal(second.certificatePem, first.certificatePem);
  assert.equal(after.certificate.fingerprint256, before.certificate.fingerprint256);
  assert.deepEqual(log.lines, []);
});

test('two relays that start at once in one folder agree on one CA', async (t) => {
  const stateDir = temporaryFolder(t);
  const code = `
    const { LocalCa } = await load('relay-server/certs/local-ca.js');
    await load('relay-server/certs/local-issuer.js');
    console.log('ready');
    process.stdin.once('data', async () => {
      const ca = await LocalCa.open(process.argv.at(-1));
      console.log(JSON.stringify(ca.certificatePem));
      process.exit();
    });`;
  const relays = [1, 2, 3].map(() => startNode(t, code, [stateDir]));
  for (const relay of relays) assert.equal(await relay.line(), 'ready');
  for (const { child } of relays) child.stdin?.write('go\n');
  const made = await Promise.all(relays.map((relay) => relay.line()));
  assert.equal(new Set(made).size, 1);
});

test('a visitor who trusts the CA trusts the certificate for its hostname and for no other', async (t) => {
  const ca = await openCa(t, temporaryFolder(t));
  await ca.prepare('app.example.com');
  const port = await startTlsServer(t, ca);
  const good = await shakeHands(port, 'APP.example.com', { ca: ca.certificatePem });
  assert.equal(good.distrust, undefined);
  assert.equal(good.certificate.subjectaltname, 'DNS:app.example.com');
  const stranger = await shakeHands(port, 'app.example.com');
  assert.match(stranger.distrust ?? '', /UNABLE_TO_VERIFY|SELF_SIGNED/);
  await assert.rejects(shakeHands(port, 'other.example.com'), 'a name that nobody vouched for gets no certificate');
});

test('a wildcard certificate serves each name with one label in place of the star', async (t) => {
  const ca = await openCa(t, temporaryFolder(t));
  await ca.prepare('*.home.example.com');
  const seen = await shown(t, ca, 'a.home.example.com');
  assert.equal(seen.distrust, undefined);
  assert.equal(seen.certificate.subjectaltname, 'DNS:*.home.example.com');
  for (const name of ['home.example.com', 'a.b.home.example.com', 'example.com', 'localhost', '']) {
    assert.equal(ca.contextFor(name), undefined, name);
  }
});

test('certificates are what browsers and strict verifiers ask for', async (t) => {
  const ca = await openCa(t, temporaryFolder(t));
  const long = `${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(50)}.example.com`;
  for (const name of ['app.example.com', long]) {
    await ca.prepare(name);
    const { raw } = (await shown(t, ca, name)).certificate;
    const certificate = new X509Certificate(raw);
    const lifeMs = Date.parse(certificate.validTo) - Date.parse(certificate.validFrom);
    assert.ok(lifeMs <= 397 * dayMs, `${lifeMs / dayMs} days`);
    assert.equal(certificate.ca, false);
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    assert.equal(certificate.checkHost(name), name);
    assert.match(certificate.serialNumber, /^[4-7][0-9A-F]{31}$/);
  }
});

test('openssl accepts the chain under its strict rules', async (t) => {
  const openssl = requireTool(t, 'openssl', 'openssl');
  if (openssl === undefined) return;
  const stateDir = temporaryFolder(t);
  const ca = await openCa(t, stateDir);
  await ca.prepare('app.example.com');
  const file = path.join(stateDir, 'local-ca', 'certs', 'app.example.com.pem');
  assert.equal(modeOf(file), '600');
  const strict = ['verify', '-x509_strict', '-purpose', 'sslserver', '-verify_hostname', 'app.example.com'];
  const { stdout } = await run(openssl, [...strict, '-CAfile', ca.certificateFile, file]);
  assert.match(stdout, /: OK/);
});

test('curl trusts the relay with --cacert', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const ca = await openCa(t, temporaryFolder(t));
  await ca.prepare('app.example.com');
  const port = await startTlsServer(t, ca);
  const target = ['--resolve', `app.example.com:${port}:127.0.0.1`, `https://app.example.com:${port}/`];
  const { stdout } = await run(curl, ['-sS', '--cacert', ca.certificateFile, ...target]);
  assert.equal(stdout, 'ok');
  await assert.rejects(run(curl, ['-sS', ...target]), { code: 60 });
});

test('many claims of one hostname at once make one certificate', async (t) => {
  const log = recordingLog();
  const ca = await openCa(t, temporaryFolder(t), { log });
  await Promise.all(Array.from({ length: 20 }, () => ca.prepare('app.example.com')));
  assert.deepEqual(log.lines, ['certificate made by local CA']);
});

test('a certificate is renewed when fewer than 30 days are left, and visitors see the new one', async (t) => {
  let nowMs = Date.now();
  const log = recordingLog();
  const ca = await openCa(t, temporaryFolder(t), { now: () => nowMs, log });
  await ca.prepare('app.example.com');
  const port = await startTlsServer(t, ca);
  const first = await shakeHands(port, 'app.example.com');
  nowMs += 365 * dayMs;
  await ca.renew();
  const same = await shakeHands(port, 'app.example.com');
  nowMs += 2 * dayMs;
  await ca.renew();
  const renewed = await shakeHands(port, 'app.example.com');
  assert.equal(same.certificate.fingerprint256, first.certificate.fingerprint256);
  assert.notEqual(renewed.certificate.fingerprint256, first.certificate.fingerprint256);
  assert.ok(Date.parse(renewed.certificate.valid_to) - nowMs > 390 * dayMs);
  assert.equal(log.lines.length, 2);
});

test('a renewal that fails is logged, and the old certificate serves on', async (t) => {
  let nowMs = Date.now();
  const log = recordingLog();
  const stateDir = temporaryFolder(t);
  const ca = await openCa(t, stateDir, { now: () => nowMs, log });
  await ca.prepare('app.example.com');
  nowMs += 380 * dayMs;
  fs.rmSync(path.join(stateDir, 'local-ca', 'certs'), { recursive: true });
  await ca.renew();
  assert.deepEqual(log.lines, ['certificate made by local CA', 'certificate not renewed']);
  assert.ok(ca.contextFor('app.example.com'));
});

test('a stored certificate that is damaged, foreign or for another name is made anew', async (t) => {
  const stateDir = temporaryFolder(t);
  const file = (name: string) => path.join(stateDir, 'local-ca', 'certs', `${name}.pem`);
  const first = await openCa(t, stateDir);
  for (const name of ['a.example.com', 'b.example.com', 'c.example.com']) await first.prepare(name);
  fs.writeFileSync(file('a.example.com'), 'damaged');
  fs.copyFileSync(file('c.example.com'), file('b.example.com'));
  const foreignDir = temporaryFolder(t);
  const foreign = await openCa(t, foreignDir);
  await foreign.prepare('c.example.com');
  fs.copyFileSync(path.join(foreignDir, 'local-ca', 'certs', 'c.example.com.pem'), file('c.example.com'));
  const second = await openCa(t, stateDir);
  for (const name of ['a.example.com', 'b.example.com', 'c.example.com']) {
    await second.prepare(name);
    const seen = await shown(t, second, name);
    assert.deepEqual([seen.distrust, seen.certificate.subjectaltname], [undefined, `DNS:${name}`]);
  }
});

test('names that are no hostnames are refused and touch no file', async (t) => {
  const stateDir = temporaryFolder(t);
  const ca = await openCa(t, stateDir);
  for (const name of [
    '../escape',
    'a/b.example.com',
    '',
    '*',
    '203.0.113.7',
    'a\0.example.com',
    `${'a.'.repeat(130)}com`,
  ]) {
    await assert.rejects(ca.prepare(name), { code: 'CONFIG_INVALID' }, name);
  }
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'local-ca', 'certs')), []);
});

test('only the most recently used certificates are kept, in memory and on disk', async (t) => {
  const stateDir = temporaryFolder(t);
  const ca = await openCa(t, stateDir, { maxCertificates: 2 });
  await ca.prepare('a.example.com');
  await ca.prepare('b.example.com');
  assert.ok(ca.contextFor('a.example.com'));
  await ca.prepare('c.example.com');
  const known = ['a', 'b', 'c'].filter((label) => ca.contextFor(`${label}.example.com`));
  assert.deepEqual(known, ['a', 'c']);
  const folder = path.join(stateDir, 'local-ca', 'certs');
  assert.deepEqual(fs.readdirSync(folder).sort(), ['a.example.com.pem', 'c.example.com.pem']);
  await openCa(t, stateDir, { maxCertificates: 1 });
  assert.equal(fs.readdirSync(folder).length, 1);
});

test('certificates of hostnames that nobody claimed for more than a year leave the disk', async (t) => {
  const stateDir = temporaryFolder(t);
  const first = await openCa(t, stateDir);
  await first.prepare('a.example.com');
  await openCa(t, stateDir, { now: () => Date.now() + 398 * dayMs });
  assert.deepEqual(fs.readdirSync(path.join(stateDir, 'local-ca', 'certs')), []);
});

test('a CA that is incomplete, damaged, expired or open to others is refused, and nothing is replaced', async (t) => {
  const stateDir = temporaryFolder(t);
  await openCa(t, stateDir);
  const certFile = path.join(stateDir, 'local-ca', 'ca.pem');
  const keyFile = path.join(stateDir, 'local-ca', 'ca-key.pem');
  const [cert, key] = [fs.readFileSync(certFile), fs.readFileSync(keyFile)];
  const otherDir = temporaryFolder(t);
  await openCa(t, otherDir);
  const refused = async (message: RegExp, options: LocalCaOptions = {}) => {
    await assert.rejects(LocalCa.open(stateDir, options), { code: 'CONFIG_INVALID', message });
  };
  fs.rmSync(keyFile);
  await refused(/its key ca-key\.pem is missing.*clients? must join again/);
  fs.writeFileSync(keyFile, 'damaged', { mode: 0o600 });
  await refused(/Cannot use local CA/);
  fs.copyFileSync(path.join(otherDir, 'local-ca', 'ca-key.pem'), keyFile);
  await refused(/does not belong to ca-key\.pem/);
  fs.writeFileSync(keyFile, key);
  fs.writeFileSync(certFile, 'damaged');
  await refused(/Cannot use local CA/);
  assert.equal(fs.readFileSync(certFile, 'utf8'), 'damaged');
  fs.writeFileSync(certFile, cert);
  await refused(/it expired on/, { now: () => Date.now() + 3_660 * dayMs });
  fs.chmodSync(keyFile, 0o640);
  await refused(/chmod go= .*ca-key\.pem/);
  fs.chmodSync(keyFile, 0o600);
  await openCa(t, stateDir);
});

test('a start that died between key and certificate is completed by the next one', async (t) => {
  const stateDir = temporaryFolder(t);
  const first = await openCa(t, stateDir);
  const key = fs.readFileSync(path.join(stateDir, 'local-ca', 'ca-key.pem'), 'utf8');
  fs.rmSync(first.certificateFile);
  const second = await openCa(t, stateDir);
  assert.equal(fs.readFileSync(path.join(stateDir, 'local-ca', 'ca-key.pem'), 'utf8'), key);
  await second.prepare('app.example.com');
  assert.equal((await shown(t, second, 'app.example.com')).distrust, undefined);
});

test('old protocols, ciphers without AEAD and other curves are refused, the rest is agreed on', async (t) => {
  const ca = await openCa(t, temporaryFolder(t));
  await ca.prepare('app.example.com');
  const port = await startTlsServer(t, ca);
  const weak: tls.ConnectionOptions[] = [
    { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
    { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' },
    { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES256-SHA' },
    { ecdhCurve: 'P-384' },
  ];
  for (const options of weak)
    await assert.rejects(shakeHands(port, 'app.example.com', options), JSON.stringify(options));
  const agreed = async (options: tls.ConnectionOptions) => {
    const { protocol, cipher } = await shakeHands(port, 'app.example.com', options);
    return `${protocol} ${cipher}`;
  };
  assert.equal(await agreed({}), 'TLSv1.3 TLS_AES_128_GCM_SHA256');
  assert.equal(await agreed({ maxVersion: 'TLSv1.2' }), 'TLSv1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256');
  assert.equal(await agreed({ ecdhCurve: 'P-256' }), 'TLSv1.3 TLS_AES_128_GCM_SHA256');
  const mobile = { ciphers: 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256' };
  assert.equal(await agreed(mobile), 'TLSv1.3 TLS_CHACHA20_POLY1305_SHA256');
});

test('a visitor who asks for a renegotiation gets none', async (t) => {
  const ca = await openCa(t, temporaryFolder(t));
  await ca.prepare('app.example.com');
  const options = {
    ...tlsServerOptions,
    SNICallback: (name: string, done: SniDone) => done(null, ca.contextFor(name)),
  };
  const server = tls.createServer(options, (socket) => socket.on('error', () => {}).resume());
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = tls.connect({ port, servername: 'app.example.com', rejectUnauthorized: false, maxVersion: 'TLSv1.2' });
  t.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  const outcome = await new Promise<string>((resolve) => {
    socket.once('error', (error) => resolve(error.message));
    socket.renegotiate({}, (error) => resolve(error ? error.message : 'renegotiated'));
  });
  assert.match(outcome, /no.renegotiation/i);
});
