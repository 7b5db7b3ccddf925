/** A relay that gets certificates by itself never asks a CA for a hostname whose TLS was claimed to end at home. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import type { Secret } from '../shared/secret.js';
import { startTestDns } from './support/acme-dns.js';
import { type AcmeProxy, startAcmeProxy } from './support/acme-proxy.js';
import { acmeHome, handshake } from './support/acme-world.js';
import { Gate } from './support/gate.js';
import { homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { type PebbleOptions, startPebble } from './support/pebble.js';
import { runTool, type ToolOutput } from './support/tool-process.js';
import { within } from './support/within.js';
import { DOMAIN, RELAY_PROGRAM, type RelayHome, startClient, startRelayProcess } from './support/world.js';

const NOBODY = 'http://127.0.0.1:9';
const WILDCARD = `*.${DOMAIN}`;
const OTHER = `other.${DOMAIN}`;
const ALERT = 'ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR';
const relayTunnel = (host: string) => `{ name: plain, host: "${host}", origin: "${NOBODY}" }`;

interface World {
  readonly home: RelayHome;
  readonly https: number;
  readonly http: number;
  readonly proxy: AcmeProxy;
}

async function makeWorld(
  t: TestContext,
  acme = '',
  { dnsServer, httpPort }: Pick<PebbleOptions, 'dnsServer' | 'httpPort'> = {},
): Promise<World | undefined> {
  const [https, http] = [await freePort(), await freePort()];
  const ports = { tlsPort: https, httpPort: httpPort ?? http, nonceReject: 0 };
  const pebble = await startPebble(t, { ...ports, ...(dnsServer === undefined ? {} : { dnsServer }) });
  if (pebble === undefined) return undefined;
  const proxy = await startAcmeProxy(t, pebble);
  const { caFile, root } = pebble;
  const yaml = 'limits: { hold_timeout: 100ms }';
  const home = await acmeHome(t, { directoryUrl: proxy.directoryUrl, caFile, root }, { https, http, acme, yaml });
  return { home, https, http, proxy };
}

/** Claims a name end-to-end, with a certificate of somebody else's, and leaves. */
async function claimAtHome(t: TestContext, { home, https }: World, host = VAULT): Promise<void> {
  const certificate = await homeCertificate(t, host);
  const { client, done } = await startClient(t, https, home, [vaultTunnel(NOBODY, certificate, '', host)], {
    clientId: 'first',
  });
  await client.drain();
  await done;
}

/** Asks for a name with tls: relay, once; what came of it. */
async function claimAtRelay(
  t: TestContext,
  { home, https }: World,
  host: string,
  { clientId = 'second', token }: { clientId?: string; token?: Secret } = {},
): Promise<string> {
  const options = { noWait: true, clientId, ...(token === undefined ? {} : { token }) };
  const { client, events, event } = await startClient(t, https, home, [relayTunnel(host)], options);
  await within('answer', Promise.race([event('denied plain '), event('up plain')]));
  const [outcome = ''] = events;
  if (outcome === 'up plain') await client.drain();
  else client.close();
  return outcome.replace(/^denied plain | plain$/, '');
}

const relayVerb = (t: TestContext, { home }: World, ...args: string[]): Promise<ToolOutput> =>
  runTool(t, process.execPath, [RELAY_PROGRAM, ...args, '--config', home.configFile]);

test('not for a claim of the same token or another, not after a restart, not when the operator says renew', {
  timeout: 60_000,
}, async (t) => {
  const world = await makeWorld(t);
  if (world === undefined) return;
  const { home, https, proxy } = world;
  const first = await startRelayProcess(t, home);
  await first.program.line('certificate_issued');
  await claimAtHome(t, world);
  for (const clientId of ['first', 'second']) {
    assert.equal(await claimAtRelay(t, world, VAULT, { clientId }), 'NOT_GRANTED');
  }
  const token = home.tokens.create('exact', makeGrants([VAULT], [])).text;
  await first.program.kill();

  await startRelayProcess(t, home);
  // Whoever knocks waits for the owner, until the name is held no longer.
  assert.equal(await handshake(https, VAULT), ALERT);
  assert.equal(await claimAtRelay(t, world, VAULT, { token }), 'NOT_GRANTED');
  assert.equal(await claimAtRelay(t, world, VAULT), 'NOT_GRANTED');
  const { stderr } = await relayVerb(t, world, 'cert', 'renew', VAULT);
  assert.match(stderr, /Cannot renew vault\.relay\.localhost: it has no certificate here\. Known: relay\.localhost$/m);
  assert.equal(await handshake(https, VAULT), ALERT);
  assert.deepEqual(proxy.ordered, [DOMAIN]);
});

test('not once more for a name that it had a certificate for, before the TLS of that name moved home', {
  timeout: 60_000,
}, async (t) => {
  const world = await makeWorld(t);
  if (world === undefined) return;
  const { home, proxy, https } = world;
  const relay = await startRelayProcess(t, home);
  await relay.program.line('certificate_issued');
  assert.equal(await claimAtRelay(t, world, OTHER, { clientId: 'first' }), 'up');
  assert.deepEqual(proxy.ordered, [DOMAIN, OTHER]);
  await claimAtHome(t, world, OTHER);
  const { code, stderr } = await relayVerb(t, world, 'cert', 'renew', OTHER);
  assert.notEqual(code, 0);
  assert.match(stderr, /Cannot renew other\.relay\.localhost: it has no certificate here/);
  assert.equal(await handshake(https, OTHER), ALERT);
  await relay.program.kill();
  await startRelayProcess(t, home);
  assert.equal(await handshake(https, OTHER), ALERT);
  assert.deepEqual(proxy.ordered, [DOMAIN, OTHER]);
});

test('a wildcard of its own that covers the name is not shown for it, whoever claims the wildcard', {
  timeout: 60_000,
}, async (t) => {
  const dns = await startTestDns(t);
  if (dns === undefined) return;
  const acme = `dns: { command: "${dns.hook}", resolvers: ["${dns.server}"] }, wildcards: ["${WILDCARD}"]`;
  const world = await makeWorld(t, acme, { dnsServer: dns.server });
  if (world === undefined) return;
  const { home, https, proxy } = world;
  const first = await startRelayProcess(t, home);
  await first.program.line('certificate_issued');
  await claimAtHome(t, world);
  const servesWildcard = async () => {
    const { client, done } = await startClient(t, https, home, [relayTunnel(WILDCARD)], { clientId: 'wild' });
    const below = await handshake(https, OTHER);
    assert.ok(typeof below !== 'string', String(below));
    assert.equal(below.getPeerCertificate().subjectaltname, `DNS:${WILDCARD}`);
    below.destroy();
    assert.equal(await handshake(https, VAULT), ALERT);
    assert.equal(await claimAtRelay(t, world, VAULT), 'NOT_GRANTED');
    await client.drain();
    await done;
  };
  await servesWildcard();
  await first.program.kill();
  await startRelayProcess(t, home);
  assert.equal(await handshake(https, VAULT), ALERT);
  await servesWildcard();
  assert.deepEqual(proxy.ordered.toSorted(), [WILDCARD, DOMAIN]);
  // What the operator may renew is the wildcard, and it is called so.
  const { stderr } = await relayVerb(t, world, 'cert', 'renew', VAULT);
  assert.match(stderr, /^Renewed \*\.relay\.localhost: valid until \d{4}-/);
  assert.equal(await handshake(https, VAULT), ALERT);
  assert.deepEqual(proxy.ordered.toSorted(), [WILDCARD, DOMAIN]);
});

test('an order that was under way when the name was claimed end-to-end proves nothing any more, and its claim is denied', {
  timeout: 60_000,
}, async (t) => {
  const outside = await freePort();
  const world = await makeWorld(t, 'challenges: [http-01]', { httpPort: outside });
  if (world === undefined) return;
  const { home, https, http, proxy } = world;
  const gate = await Gate.start(t, outside, http);
  const relay = await startRelayProcess(t, home);
  await relay.program.line('certificate_issued');
  const looks = gate.close();
  const claimed = claimAtRelay(t, world, VAULT);
  await within('look of the CA', looks);
  const certificate = await homeCertificate(t);
  await startClient(t, https, home, [vaultTunnel(NOBODY, certificate)], { clientId: 'first' });
  gate.open();
  assert.equal(await claimed, 'CERTIFICATE_FAILED');
  const socket = connect({ host: '127.0.0.1', port: https, servername: VAULT, ca: certificate.ca });
  t.after(() => void socket.destroy());
  await within('handshake with home', once(socket, 'secureConnect'));
  assert.match((await relayVerb(t, world, 'cert', 'renew', VAULT)).stderr, /it has no certificate here/);
  assert.deepEqual(proxy.ordered, [DOMAIN, VAULT], 'nothing after the claim at home');
});
