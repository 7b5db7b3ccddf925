/** The issuer against pebble, which refuses half of all good nonces and is strict about RFC 8555. */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { AccountStore, caNameOf } from '../shared/certs/account-store.js';
import { AcmeIssuer, type AcmeIssuerOptions } from '../shared/certs/acme-issuer.js';
import { IssueFailure } from '../shared/certs/issue-failure.js';
import { certificatesIn } from '../shared/certs/issued-chain.js';
import type { ChallengeSolver, IssuedCertificate } from '../shared/certs/issuer.js';
import { type KeyType, makePrivateKey } from '../shared/certs/private-key.js';
import { silentLog } from '../shared/log.js';
import { Secret } from '../shared/secret.js';
import { openAcmePorts } from './support/acme-visitor-ports.js';
import { type Pebble, startPebble } from './support/pebble.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';

type Options = Partial<AcmeIssuerOptions> & { readonly solvers: readonly ChallengeSolver[]; readonly folder?: string };

function issuerAt(t: TestContext, { directoryUrl, caFile }: Pick<Pebble, 'directoryUrl' | 'caFile'>, options: Options) {
  const accounts = new AccountStore(options.folder ?? join(temporaryFolder(t), 'accounts'));
  return new AcmeIssuer({ directory: directoryUrl, caFile, accounts, log: silentLog, pollMs: 20, ...options });
}

async function issue(
  issuer: AcmeIssuer,
  hostnames: readonly string[],
  keyType?: KeyType,
  signal = AbortSignal.timeout(30_000),
) {
  const keyPem = await makePrivateKey(keyType);
  return { keyPem, ...(await issuer.issue({ hostnames, keyPem, signal })) };
}

async function assertTrusted(
  pebble: Pebble,
  { chainPem, keyPem }: IssuedCertificate & { keyPem: Secret },
  names: string[],
) {
  const [leaf, intermediate] = certificatesIn(chainPem).map((pem) => new X509Certificate(pem));
  const root = new X509Certificate(await pebble.root());
  assert.ok(leaf && intermediate);
  assert.ok(leaf.verify(intermediate.publicKey) && intermediate.verify(root.publicKey), 'chain up to the root');
  assert.ok(leaf.checkPrivateKey(createPrivateKey(keyPem.reveal())));
  assert.deepEqual(leaf.subjectAltName?.split(', ').sort(), names.map((name) => `DNS:${name}`).sort());
}

function accountFolder(folder: string, pebble: Pebble): string {
  return join(folder, caNameOf(pebble.directoryUrl));
}

test('TLS-ALPN-01 and HTTP-01 prove hostnames while half of all nonces are refused', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, ports);
  if (!pebble) return;
  const folder = join(temporaryFolder(t), 'accounts');
  const byAlpn = issuerAt(t, pebble, { solvers: [ports.tlsAlpn], email: 'me@example.com', folder });
  await assertTrusted(pebble, await issue(byAlpn, ['a.example.com']), ['a.example.com']);
  const byHttp = issuerAt(t, pebble, { solvers: [ports.http], email: 'me@example.com', folder });
  const two = await issue(byHttp, ['b.example.com', 'c.example.com'], 'rsa2048');
  await assertTrusted(pebble, two, ['b.example.com', 'c.example.com']);
  assert.equal(new X509Certificate(two.chainPem).publicKey.asymmetricKeyType, 'rsa');
  assert.equal(two.issuer, byHttp.name);
  const kinds = new Set(ports.asked.map((line) => line.split(' ')[0]));
  assert.deepEqual([...kinds].sort(), ['http-01', 'tls-alpn-01']);
  assert.equal(ports.tlsAlpn.contextFor('a.example.com'), undefined, 'nothing answers after the challenge');
});

test('one account serves every order, also of a later process, and only its owner can read the key', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, { ...ports, nonceReject: 0 });
  if (!pebble) return;
  const folder = join(temporaryFolder(t), 'accounts');
  const first = issuerAt(t, pebble, { solvers: [ports.http], folder, email: 'me@example.com' });
  await issue(first, ['a.example.com']);
  const { accountUrl } = await first.identity();
  const later = issuerAt(t, pebble, { solvers: [ports.http], folder, email: 'other@example.com' });
  await issue(later, ['b.example.com']);
  assert.equal((await later.identity()).accountUrl, accountUrl);
  const place = accountFolder(folder, pebble);
  assert.deepEqual(readdirSync(place).sort(), ['account-key.pem', 'account.json']);
  assert.equal(modeOf(join(place, 'account-key.pem')), '600');
  const stored = JSON.parse(readFileSync(join(place, 'account.json'), 'utf8'));
  assert.deepEqual(stored, {
    directoryUrl: pebble.directoryUrl,
    url: accountUrl,
    contact: 'other@example.com',
    caaIdentities: [],
  });
});

test('a lost registration is found again by the key, and a CA that lost its accounts gets a new one', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, { ...ports, nonceReject: 0 });
  if (!pebble) return;
  const folder = join(temporaryFolder(t), 'accounts');
  const accounts = new AccountStore(folder);
  const issuer = issuerAt(t, pebble, { solvers: [ports.http], folder });
  const { accountUrl } = await issuer.identity();
  accounts.forgetRegistration(pebble.directoryUrl);
  assert.equal((await issuer.identity()).accountUrl, accountUrl);
  pebble.process.child.kill('SIGKILL');
  await pebble.process.closed;
  const again = await startPebble(t, { ...ports, nonceReject: 0, port: pebble.port, ca: pebble.ca });
  assert.ok(again);
  await assertTrusted(again, await issue(issuer, ['a.example.com']), ['a.example.com']);
  assert.notEqual((await issuer.identity()).accountUrl, accountUrl);
});

test('the account key can be replaced, and an interrupted replacement is settled at the next order', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, ports);
  if (!pebble) return;
  const folder = join(temporaryFolder(t), 'accounts');
  const accounts = new AccountStore(folder);
  const issuer = issuerAt(t, pebble, { solvers: [ports.http], folder });
  const { accountUrl } = await issuer.identity();
  const before = await accounts.open(pebble.directoryUrl);
  await issuer.replaceAccountKey();
  const after = await accounts.open(pebble.directoryUrl);
  assert.notEqual(after.keyPem.reveal(), before.keyPem.reveal());
  // Died before the CA heard of the key that was to come.
  accounts.saveNextKey(pebble.directoryUrl, await makePrivateKey());
  await issue(issuer, ['a.example.com']);
  const settled = await accounts.open(pebble.directoryUrl);
  assert.equal(settled.nextKeyPem, undefined);
  assert.equal(settled.keyPem.reveal(), after.keyPem.reveal());
  // Died after the CA took the next key, which here is the one that it knows.
  const known = after.keyPem;
  accounts.saveNextKey(pebble.directoryUrl, before.keyPem);
  accounts.promoteNextKey(pebble.directoryUrl);
  accounts.saveNextKey(pebble.directoryUrl, known);
  await issue(issuer, ['b.example.com']);
  assert.equal((await accounts.open(pebble.directoryUrl)).keyPem.reveal(), known.reveal());
  assert.equal((await issuer.identity()).accountUrl, accountUrl);
});

test('when one challenge fails the next type is tried', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, { httpPort: ports.httpPort, tlsPort: await freePort() });
  if (!pebble) return;
  const issuer = issuerAt(t, pebble, { solvers: [ports.tlsAlpn, ports.http] });
  await assertTrusted(pebble, await issue(issuer, ['a.example.com', 'b.example.com']), [
    'a.example.com',
    'b.example.com',
  ]);
});

test('a challenge that cannot even be prepared makes room for the next within the same order', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, ports);
  if (!pebble) return;
  const taken: string[] = [];
  const broken: ChallengeSolver = {
    type: 'tls-alpn-01',
    supports: () => true,
    present: async () => Promise.reject(new Error('no')),
    cleanup: async ({ hostname }) => void taken.push(hostname),
  };
  await issue(issuerAt(t, pebble, { solvers: [broken, ports.http] }), ['a.example.com']);
  assert.deepEqual(taken, ['a.example.com'], 'and is taken back');
  await assert.rejects(issue(issuerAt(t, pebble, { solvers: [broken] }), ['b.example.com']), { reason: 'solver' });
});

test('the usual failures name what the CA saw and what to do', async (t) => {
  const ports = await openAcmePorts(t);
  const closed = await freePort();
  const pebble = await startPebble(t, { httpPort: ports.httpPort, tlsPort: closed, nonceReject: 0 });
  if (!pebble) return;
  const byAlpn = issuerAt(t, pebble, { solvers: [ports.tlsAlpn] });
  const unreachable = await failureOf(issue(byAlpn, ['app.example.com']));
  assert.equal(unreachable.reason, 'unreachable', unreachable.message);
  assert.match(
    unreachable.message,
    /^Cannot get a certificate for app\.example\.com from localhost:\d+: the CA could not reach port 443/,
  );
  assert.match(unreachable.message, /Failed to connect to 127\.0\.0\.1:\d+.*Open port 443 in the firewall/);
  const elsewhere: ChallengeSolver = {
    type: 'http-01',
    supports: () => true,
    present: async () => {},
    cleanup: async () => {},
  };
  const wrong = await failureOf(issue(issuerAt(t, pebble, { solvers: [elsewhere] }), ['app.example.com']));
  assert.equal(wrong.reason, 'wrong-answer');
  assert.match(wrong.message, /404.*A and AAAA records of app\.example\.com/);
  const wildcard = await failureOf(issue(byAlpn, ['*.example.com']));
  assert.equal(wildcard.reason, 'config');
  assert.match(wildcard.message, /Cannot prove \*\.example\.com.*needs dns-01/);
  const profile = await failureOf(
    issue(issuerAt(t, pebble, { solvers: [ports.http], profile: 'shortlived' }), ['a.example.com']),
  );
  assert.match(profile.message, /Cannot use profile shortlived.*offers none/);
});

test('external accounts: the CA takes the right key only', async (t) => {
  const ports = await openAcmePorts(t);
  const hmac = Buffer.alloc(48, 7).toString('base64url');
  const pebble = await startPebble(t, { ...ports, externalAccounts: { 'kid-1': hmac } });
  if (!pebble) return;
  const right = issuerAt(t, pebble, {
    solvers: [ports.http],
    externalAccount: { kid: 'kid-1', hmac: new Secret(hmac) },
  });
  await assertTrusted(pebble, await issue(right, ['a.example.com']), ['a.example.com']);
  const wrongKey = { kid: 'kid-1', hmac: new Secret(Buffer.alloc(48, 8).toString('base64url')) };
  for (const externalAccount of [wrongKey, undefined]) {
    const failure = await failureOf(
      issue(issuerAt(t, pebble, { solvers: [ports.http], externalAccount }), ['a.example.com']),
    );
    assert.equal(failure.reason, 'account');
    assert.match(failure.message, /external account binding/);
  }
});

test('a CA that is down, silent or signed by a stranger fails in time and says so', async (t) => {
  const ports = await openAcmePorts(t);
  const at = (port: number) => ({ directoryUrl: `https://localhost:${port}/dir`, caFile: pebble?.caFile ?? '' });
  const pebble = await startPebble(t, ports);
  if (!pebble) return;
  const solvers = [ports.http];
  const down = await failureOf(issue(issuerAt(t, at(await freePort()), { solvers }), ['a.example.com']));
  assert.equal(down.reason, 'ca-down');
  assert.match(down.message, /Cannot reach the CA at localhost:\d+: .*ECONNREFUSED/);
  const silent = createServer().listen(0, '127.0.0.1');
  t.after(() => silent.close());
  silent.on('connection', (socket) => void t.after(() => socket.destroy()));
  await once(silent, 'listening');
  const { port } = silent.address() as { port: number };
  const late = await failureOf(issue(issuerAt(t, at(port), { solvers, requestTimeoutMs: 200 }), ['a.example.com']));
  assert.match(late.message, /no answer in 200 ms/);
  const stranger = issuerAt(t, pebble, { solvers, caFile: undefined });
  assert.match((await failureOf(issue(stranger, ['a.example.com']))).message, /root named as ca_file/);
});

test('an order ends with its signal and with its time limit, and takes back its challenge', async (t) => {
  const ports = await openAcmePorts(t);
  const pebble = await startPebble(t, { ...ports, env: { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '30' } });
  if (!pebble) return;
  const stop = new AbortController();
  const cleaned: string[] = [];
  const watched: ChallengeSolver = {
    type: 'http-01',
    supports: () => true,
    present: async () => void setImmediate(() => stop.abort(new Error('stopping'))),
    cleanup: async () => void cleaned.push('cleaned'),
  };
  await assert.rejects(
    issue(issuerAt(t, pebble, { solvers: [watched] }), ['a.example.com'], 'p256', stop.signal),
    /stopping/,
  );
  assert.deepEqual(cleaned, ['cleaned']);
  const slow = issuerAt(t, pebble, { solvers: [ports.http], orderTimeoutMs: 500 });
  assert.match((await failureOf(issue(slow, ['b.example.com']))).message, /longer than 500 ms/);
});

async function failureOf(attempt: Promise<unknown>): Promise<IssueFailure> {
  const error = await attempt.then(
    () => assert.fail('it should have failed'),
    (failure: unknown) => failure,
  );
  assert.ok(error instanceof IssueFailure, String(error));
  return error;
}
