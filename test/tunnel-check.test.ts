/** What `tunnel check` finds out about end-to-end tunnels without asking anybody. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AccountStore, caNameOf } from '../shared/certs/account-store.js';
import { directoryUrlOf } from '../shared/certs/acme-issuer.js';
import { CertificateStore } from '../shared/certs/certificate-store.js';
import { Secret } from '../shared/secret.js';
import { generateToken } from '../shared/token.js';
import { runCheck } from '../tunnel-client/check-command.js';
import { acmeTunnel } from './support/acme-home.js';
import { type HomeCertificate, homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';

const ORIGIN = 'http://127.0.0.1:3000';
const PRODUCTION = directoryUrlOf('production');

interface Home {
  readonly folder: string;
  /** What check prints below its first line. @throws as check does. */
  check(tunnel: string, yaml?: string): readonly string[];
}

function makeHome(t: TestContext): Home {
  const folder = temporaryFolder(t);
  const file = join(folder, 'tunnel.yaml');
  writeFileSync(join(folder, 'token'), generateToken().text.reveal(), { mode: 0o600 });
  const check = (tunnel: string, yaml = ''): readonly string[] => {
    const lines = ['relay_url: https://relay.localhost', 'token_file: token', yaml, 'tunnels:', `  - ${tunnel}`, ''];
    writeFileSync(file, lines.join('\n'), { mode: 0o600 });
    const io = recordingIo();
    runCheck({ config: file }, io);
    assert.equal(io.printed[0], `${file}: ok (relay relay.localhost, 1 tunnels)`);
    return io.printed.slice(1);
  };
  return { folder, check };
}

/** The day on which a certificate ends. */
const endOf = (pem: string) => new Date(new X509Certificate(pem).validTo).toISOString().slice(0, 10);

function assertRefused(home: Home, certificate: HomeCertificate, message: RegExp): void {
  assert.throws(() => home.check(vaultTunnel(ORIGIN, certificate)), { code: 'CONFIG_INVALID', message });
}

test('files that fit: which, and until when', async (t) => {
  const certificate = await homeCertificate(t);
  assert.deepEqual(makeHome(t).check(vaultTunnel(ORIGIN, certificate)), [
    `vault: ends TLS here with ${certificate.certFile}, until ${endOf(readFileSync(certificate.certFile, 'utf8'))}`,
  ]);
});

test('files that have expired are named as such, and are no mistake of the config file', async (t) => {
  const certificate = await homeCertificate(t);
  const { cert, key } = await (await TestCa.make()).issue(VAULT, -0.5);
  writeFileSync(certificate.certFile, cert);
  writeFileSync(certificate.keyFile, key);
  assert.deepEqual(makeHome(t).check(vaultTunnel(ORIGIN, certificate)), [
    `vault: ends TLS here with ${certificate.certFile}, which no visitor accepts: it expired on ${endOf(cert)}`,
  ]);
});

test('a file that is missing, or is something else, is named', async (t) => {
  const home = makeHome(t);
  const certificate = await homeCertificate(t);
  const { certFile } = certificate;
  writeFileSync(certFile, 'no certificate');
  assertRefused(
    home,
    certificate,
    /^Cannot use .*cert\.pem: it is no PEM certificate\. Give the file with the whole chain/,
  );
  rmSync(certFile);
  assertRefused(home, certificate, /^Cannot read certificate .*cert\.pem: ENOENT/);
  const other = await homeCertificate(t);
  rmSync(other.keyFile);
  assertRefused(home, other, /^Cannot read private key .*key\.pem: ENOENT/);
  writeFileSync(other.keyFile, '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n');
  assertRefused(home, other, /^Cannot use .*key\.pem: it has a passphrase\. Write it without: openssl pkey/);
});

test('a certificate for another name, and a key of another certificate, are refused with both names', async (t) => {
  const home = makeHome(t);
  const other = await homeCertificate(t, 'other.relay.localhost');
  assertRefused(
    home,
    other,
    /^Cannot serve tunnel vault: its certificate .*cert\.pem covers other\.relay\.localhost, not vault\.relay\.localhost\. Name one/,
  );
  const own = await homeCertificate(t);
  const mixed = { ...own, keyFile: other.keyFile };
  assertRefused(
    home,
    mixed,
    /^Cannot use .*cert\.pem: it does not belong to the key .*key\.pem\. Name the two files of one/,
  );
});

test('a certificate that comes by itself: from whom, or until when, where it is kept, and the records that protect it', async (t) => {
  const home = makeHome(t);
  const kept = `kept in ${home.folder}`;
  assert.deepEqual(home.check(acmeTunnel(ORIGIN)), [
    `vault: ends TLS here, gets a certificate from acme-v02.api.letsencrypt.org once it is up; ${kept}`,
  ]);
  assert.equal(existsSync(join(home.folder, 'certificates')), false, 'check writes nothing');

  const { cert, key } = await (await TestCa.make()).issue(VAULT);
  const store = CertificateStore.open(home.folder);
  store.save(caNameOf(PRODUCTION), VAULT, { chainPem: cert, keyPem: new Secret(key) });
  const accounts = new AccountStore(join(home.folder, 'accounts'));
  const accountUrl = 'https://acme-v02.api.letsencrypt.org/acme/acct/1';
  await accounts.open(PRODUCTION);
  accounts.saveRegistration(PRODUCTION, { url: accountUrl, contact: undefined, caaIdentities: ['letsencrypt.org'] });
  const [first, ...advice] = home.check(acmeTunnel(ORIGIN));
  assert.equal(
    first,
    `vault: ends TLS here, has a certificate until ${endOf(cert)}, from ${caNameOf(PRODUCTION)}; ${kept}`,
  );
  assert.deepEqual(advice, [
    'vault: with these DNS records nobody else, not even the relay, can get a certificate for its name:',
    `  ${VAULT}. CAA 0 issue "letsencrypt.org; accounturi=${accountUrl}"`,
    `  ${VAULT}. CAA 0 issuewild ";"`,
  ]);
  const [staging] = home.check(acmeTunnel(ORIGIN), 'acme: { directory_url: staging }');
  assert.match(
    staging ?? '',
    /has a certificate until .*, from acme-v02/,
    'that of the former CA serves until it is replaced',
  );
});

test('the section acme: a root that is none, a program that cannot be run, a wildcard that nobody proves', (t) => {
  const home = makeHome(t);
  const refused = (yaml: string, message: RegExp, tunnel = acmeTunnel(ORIGIN)) =>
    assert.throws(() => home.check(tunnel, yaml), { code: 'CONFIG_INVALID', message });
  refused('acme: { ca_file: nowhere.pem }', /acme\.ca_file.*nowhere\.pem/);
  writeFileSync(join(home.folder, 'root.pem'), 'no certificate');
  refused('acme: { ca_file: root.pem }', /acme\.ca_file.*root\.pem/);
  const hook = join(home.folder, 'hook');
  const dns = `acme: { dns: { command: "${hook}" } }`;
  refused(dns, /^acme\.dns\.command ".*hook" cannot be run\. Write its absolute path, and make it executable/);
  writeFileSync(hook, '#!/bin/sh\n');
  refused(dns, /cannot be run/);
  chmodSync(hook, 0o755);
  assert.equal(home.check(acmeTunnel(ORIGIN), dns).length, 1);
  const wildcard = acmeTunnel(ORIGIN, '*.relay.localhost');
  refused('', /tunnels\[0\]\.host is a wildcard: a CA proves those by dns-01 only\. Set up acme\.dns/, wildcard);
  assert.equal(home.check(wildcard, dns).length, 1);
});

test('tunnels whose TLS ends elsewhere have no line', (t) => {
  const home = makeHome(t);
  assert.deepEqual(home.check(`{ name: app, host: ${VAULT}, origin: "${ORIGIN}" }`), []);
  assert.deepEqual(home.check(`{ name: app, host: ${VAULT}, origin: "https://127.0.0.1:1", tls: passthrough }`), []);
});
