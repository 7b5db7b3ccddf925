/** How a relay proves its hostnames to pebble: each challenge type, from one to the next, two CAs, external accounts. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { CertificateStore, IMPORTED_CA } from '../shared/certs/certificate-store.js';
import { Secret } from '../shared/secret.js';
import { startTestDns } from './support/acme-dns.js';
import { type AcmeWorld, acmeHome, acmeWorld, getPlain, handshake, ordersAt, serialAt } from './support/acme-world.js';
import { recordingLog } from './support/attack.js';
import { APP, appTunnel } from './support/carry.js';
import { startHostileCa } from './support/hostile-ca.js';
import { startPebble } from './support/pebble.js';
import { TestCa } from './support/test-ca.js';
import { until } from './support/within.js';
import { DOMAIN, type RunningRelay } from './support/world.js';

const NOBODY = 'http://127.0.0.1:9';

/** A relay in this process whose tunnel APP is up; resolves with the relay. */
async function servingApp(t: TestContext, { home }: Pick<AcmeWorld, 'home'>): Promise<RunningRelay> {
  const relay = await home.start(t);
  const client = await relay.client(t, [appTunnel(NOBODY)], { noWait: true });
  await client.event('up app');
  return relay;
}

/** Names of the SAN that visitors of a hostname see. */
async function namesAt(port: number, servername: string): Promise<string> {
  const socket = await handshake(port, servername);
  if (typeof socket === 'string') return socket;
  const { subjectaltname } = socket.getPeerCertificate();
  socket.destroy();
  return subjectaltname ?? '';
}

for (const type of ['tls-alpn-01', 'http-01'] as const) {
  test(`${type} alone proves the relay's name and a tunnel's`, async (t) => {
    const lines: string[] = [];
    const world = await acmeWorld(t, { acme: `challenges: [${type}]`, log: recordingLog(lines) });
    if (!world) return;
    await servingApp(t, world);
    assert.equal(await namesAt(world.https, APP), `DNS:${APP}`);
    assert.equal(ordersAt(world.pebble), 2);
    assert.doesNotMatch(lines.join('\n'), /failed/);
  });
}

for (const [from, to, closed] of [
  ['tls-alpn-01', 'http-01', 'tlsPort'],
  ['http-01', 'tls-alpn-01', 'httpPort'],
] as const) {
  test(`where ${from} cannot work ${to} takes its place`, async (t) => {
    const lines: string[] = [];
    const world = await acmeWorld(t, {
      acme: `challenges: [${from}, ${to}]`,
      log: recordingLog(lines),
      pebble: { [closed]: await freePort() },
    });
    if (!world) return;
    await servingApp(t, world);
    assert.equal(await namesAt(world.https, APP), `DNS:${APP}`);
    assert.match(lines.join('\n'), new RegExp(`"challenge":"${from}".*challenge failed, trying another`));
  });
}

test('a hostname that is claimed to end at home while its order runs is not proven any more', async (t) => {
  const ca = await startHostileCa(t, APP);
  const challenges = [{ type: 'http-01', url: `${ca.directoryUrl}/wait`, token: 'token', status: 'pending' }];
  const identifier = { type: 'dns', value: APP };
  ca.answers.set('/authz', { status: 'pending', identifier, challenges });
  const [https, http] = [await freePort(), await freePort()];
  const own = await TestCa.make();
  const options = { acme: 'challenges: [http-01]', https, http };
  const home = await acmeHome(t, { ...ca, root: async () => own.certPem }, options);
  const { key, cert } = await own.issue(DOMAIN);
  CertificateStore.open(home.config.stateDir).save(IMPORTED_CA, DOMAIN, { chainPem: cert, keyPem: new Secret(key) });
  const relay = await home.start(t);
  await relay.client(t, [appTunnel(NOBODY)], { noWait: true });
  const ask = () => getPlain(http, '/.well-known/acme-challenge/token', APP);
  await until('the answer', async () => ((await ask()).status === 200 ? true : undefined));
  await relay.client(t, [appTunnel('tcp://127.0.0.1:9', 'tls: passthrough')], { clientId: 'another' });
  assert.equal((await ask()).status, 308);
});

test('with DNS-01 a wildcard serves every name below it, and no name has a certificate of its own', async (t) => {
  const dns = await startTestDns(t);
  if (!dns) return;
  const world = await acmeWorld(t, {
    acme: `dns: { command: "${dns.hook}", resolvers: ["${dns.server}"] }, wildcards: ["*.${DOMAIN}"]`,
    pebble: { dnsServer: dns.server },
  });
  if (!world) return;
  const relay = await servingApp(t, world);
  const other = `{ name: other, host: other.${DOMAIN}, origin: "${NOBODY}" }`;
  await relay.client(t, [other], { clientId: 'another' });
  assert.equal(await namesAt(world.https, APP), `DNS:*.${DOMAIN}`);
  assert.equal(await serialAt(world.https, `other.${DOMAIN}`), await serialAt(world.https, APP));
  assert.equal(await namesAt(world.https, DOMAIN), `DNS:${DOMAIN}`);
  const names = relay.relay.status().certificates.map(({ name }) => name);
  assert.deepEqual(names.toSorted(), [`*.${DOMAIN}`, DOMAIN], 'the relay itself, and the wildcard');
  assert.match(String(await handshake(world.https, `nobody.${DOMAIN}`)), /UNRECOGNIZED_NAME/);
});

test('a wildcard without DNS-01 is denied before the CA hears of it', async (t) => {
  const world = await acmeWorld(t);
  if (!world) return;
  const relay = await world.home.start(t);
  const messages: string[] = [];
  const log = recordingLog(messages);
  const wild = `{ name: wild, host: "*.${DOMAIN}", origin: "${NOBODY}" }`;
  const client = await relay.client(t, [wild], { noWait: true, log });
  await client.event('denied wild CERTIFICATE_FAILED');
  assert.match(messages.join('\n'), /we can do tls-alpn-01, http-01\. A wildcard needs dns-01: set up acme\.dns/);
  assert.ok(ordersAt(world.pebble) <= 1);
});

test('the CA asks for an external account, and the second CA issues while the first one is gone', async (t) => {
  const hmac = Buffer.from('a key of thirty-two bytes, exactly').toString('base64url');
  const [https, http] = [await freePort(), await freePort()];
  const second = await startPebble(t, { tlsPort: https, httpPort: http, externalAccounts: { 'kid-1': hmac } });
  if (!second) return;
  const fallback = `{ directory_url: "${second.directoryUrl}", ca_file: "${second.caFile}", external_account: { kid: kid-1, hmac: ${hmac} } }`;
  const gone = { ...second, directoryUrl: `https://localhost:${await freePort()}/dir` };
  const lines: string[] = [];
  const log = recordingLog(lines);
  const home = await acmeHome(t, gone, { https, http, log, acme: `fallbacks: [${fallback}]` });
  await servingApp(t, { home });
  assert.equal(await namesAt(https, APP), `DNS:${APP}`);
  const kept = readdirSync(join(home.config.stateDir, 'certificates')).filter((name) => name.startsWith('localhost'));
  assert.deepEqual(kept, [`localhost-${second.port}-dir`]);
  const account = join(home.config.stateDir, 'accounts', `localhost-${second.port}-dir`);
  assert.ok(existsSync(join(account, 'account.json')));
  const said = lines.join('\n');
  assert.match(said, /account registered/);
  const secrets = [hmac, ...readFileSync(join(account, 'account-key.pem'), 'utf8').split('\n').slice(1, -2)];
  for (const secret of [...secrets, 'PRIVATE KEY']) assert.ok(!said.includes(secret), 'no key is logged');
});
