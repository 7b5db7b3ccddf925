/** Every way in which a relay could be brought to end the TLS of a hostname that was claimed end-to-end, and none works. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type ConnectionOptions, connect } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { runHostForget, runHostList } from '../relay-server/host-command.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { ProtectedHosts } from '../relay-server/sessions/protected-hosts.js';
import { TunnelError } from '../shared/errors.js';
import type { Secret } from '../shared/secret.js';
import { Conversation } from './support/conversation.js';
import { type HomeCertificate, homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { HostileLink } from './support/hostile-link.js';
import { startHttpOrigin } from './support/origins.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { within } from './support/within.js';
import {
  type ClientWorldOptions,
  RelayHome,
  type RunningRelay,
  startRelayProcess,
  startTunnelProcess,
} from './support/world.js';

const OTHER = 'other.relay.localhost';
const relayTunnel = (origin: string, host = VAULT) => `{ name: plain, host: "${host}", origin: "${origin}" }`;

interface World {
  readonly home: RelayHome;
  readonly certificate: HomeCertificate;
  readonly origin: string;
}

async function makeWorld(t: TestContext): Promise<World> {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from the origin'));
  const yaml = 'limits: { hold_timeout: 100ms }';
  const home = new RelayHome(t, { yaml, httpsPort: await freePort() });
  return { home, certificate: await homeCertificate(t), origin: origin.url };
}

/** Claims VAULT end-to-end once and leaves, so that it is known and offline. */
async function claimOnce(
  t: TestContext,
  { certificate, origin }: World,
  relay: RunningRelay,
  host = VAULT,
): Promise<void> {
  const own = host === VAULT ? certificate : await homeCertificate(t, host);
  const { client, done } = await relay.client(t, [vaultTunnel(origin, own, '', host)], { clientId: 'first' });
  await client.drain();
  await done;
}

/** A token that the running relay knows: it looks four times a second, and answers wrong proofs five times a minute. */
async function newToken({ home }: World, name: string, hosts: readonly string[]): Promise<Secret> {
  const { text } = home.tokens.create(name, makeGrants(hosts, []));
  await delay(300);
  return text;
}

/** What a visitor with this SNI meets: the reason of the refusal, or whose certificate it is. */
async function knock(port: number, servername: string, options: ConnectionOptions = {}): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, servername, rejectUnauthorized: false, ...options });
  try {
    await within('answer to a hello', once(socket, 'secureConnect'));
    return `certificate ${socket.getPeerCertificate().subjectaltname}`;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  } finally {
    socket.destroy();
  }
}

/** What a client that asks for this one tunnel alone ends with. */
async function refused(
  t: TestContext,
  relay: RunningRelay,
  tunnel: string,
  options: ClientWorldOptions = {},
): Promise<TunnelError> {
  const { done } = await relay.client(t, [tunnel], { ...options, noWait: true });
  const error: unknown = await within(
    'refusal',
    done.then(
      () => undefined,
      (reason) => reason,
    ),
  );
  assert.ok(error instanceof TunnelError);
  return error;
}

const ALERT = 'ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR';

test('an offline end-to-end hostname gets an alert, and a page under no circumstances', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
});

test('another relay on the same state folder does not end its TLS either, by a wildcard that it serves since before', async (t) => {
  const { certificate, origin } = await makeWorld(t);
  const home = new RelayHome(t, { yaml: 'limits: { hold_timeout: 100ms }' });
  const world = { home, certificate, origin };
  const [first, second] = [await home.start(t), await home.start(t)];
  const port = second.port('https');
  await second.client(t, [relayTunnel(origin, '*.relay.localhost')], { clientId: 'wild' });
  assert.match(await knock(port, VAULT), /^certificate /);
  await claimOnce(t, world, first);
  assert.equal(await knock(port, VAULT), 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
  assert.match(await knock(port, OTHER), /^certificate /);
});

test('the same token cannot claim it with tls: relay, neither the same client nor another one', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  for (const clientId of ['first', 'second']) {
    const { code, message } = await refused(t, relay, relayTunnel(world.origin), { clientId });
    assert.equal(code, 'NOT_GRANTED');
    assert.match(
      message,
      /never ends at the relay\. Write tls: end-to-end\. Or, on the VPS: relay host forget 'vault\.relay\.localhost'$/,
    );
  }
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
});

test('another token cannot claim it with tls: relay, also one that grants exactly that name', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  const token = await newToken(world, 'other', [VAULT]);
  const { code } = await refused(t, relay, relayTunnel(world.origin), { token, clientId: 'other' });
  assert.equal(code, 'NOT_GRANTED');
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
});

test('while it is online its session cannot change it to tls: relay either', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await relay.client(t, [vaultTunnel(world.origin, world.certificate)], { clientId: 'same' });
  const { code } = await refused(t, relay, relayTunnel(world.origin), { clientId: 'same' });
  assert.equal(code, 'NOT_GRANTED');
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
});

test('a wildcard tunnel above it with tls: relay serves the other names and not this one', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
  const port = relay.port('https');
  assert.equal(await knock(port, OTHER), 'certificate DNS:*.relay.localhost');
  assert.equal(await knock(port, VAULT), ALERT);
});

test('case, a trailing dot and an SNI that is none change nothing', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
  const port = relay.port('https');
  for (const name of [
    'VAULT.relay.localhost',
    'vault.RELAY.localhost',
    'vault.relay.localhost.',
    'VaUlT.ReLaY.LoCaLhOsT.',
  ]) {
    assert.equal(await knock(port, name), ALERT, name);
  }
  for (const name of ['vault.relay.localhost..', 'vault\u0000.relay.localhost', 'vault.relay.localhost\u0000']) {
    assert.doesNotMatch(await knock(port, name), /certificate/, JSON.stringify(name));
  }
});

test('its Host on a connection that was made for another tunnel is misdirected, online or offline', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
  const where = { host: '127.0.0.1', port: relay.port('https'), servername: OTHER, ca: world.home.ca };
  const ask = async () => {
    const socket = connect(where);
    t.after(() => void socket.destroy());
    await once(socket, 'secureConnect');
    const conversation = new Conversation(socket);
    for (const host of [VAULT, VAULT.toUpperCase(), `${VAULT}.`]) {
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      assert.equal((await conversation.response()).status, 421, host);
    }
    socket.write(`GET / HTTP/1.1\r\nHost: ${OTHER}\r\n\r\n`);
    assert.equal((await conversation.response()).body, 'from the origin');
  };
  await ask();
  await relay.client(t, [vaultTunnel(world.origin, world.certificate)], { clientId: 'first' });
  await ask();
});

test('a visitor whose TLS ended at the relay before the claim is misdirected after it', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  const first = await relay.client(t, [relayTunnel(world.origin)], { clientId: 'first' });
  const where = { host: '127.0.0.1', port: relay.port('https'), servername: VAULT, ca: world.home.ca };
  const socket = connect(where);
  t.after(() => void socket.destroy());
  const conversation = new Conversation(socket);
  const get = `GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`;
  socket.write(get);
  assert.equal((await conversation.response()).body, 'from the origin');
  await first.client.drain();
  await relay.client(t, [vaultTunnel(world.origin, world.certificate)], { clientId: 'first' });
  socket.write(get);
  assert.equal((await conversation.response()).status, 421);
});

test('the port for plain HTTP redirects it to https and serves nothing', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await relay.client(t, [vaultTunnel(world.origin, world.certificate)]);
  const asked = request({ host: '127.0.0.1', port: relay.port('http'), headers: { host: VAULT }, path: '/a?b' }).end();
  const [response] = await once(asked, 'response');
  response.resume();
  assert.equal(response.statusCode, 308);
  assert.equal(response.headers.location, `https://${VAULT}:${relay.port('https')}/a?b`);
});

test('a relay that was killed and started again still knows, also without the token, and makes no certificate', async (t) => {
  const world = await makeWorld(t);
  const first = await startRelayProcess(t, world.home);
  await startTunnelProcess(t, first.https, world.home, [vaultTunnel(world.origin, world.certificate)]);
  await first.program.kill();
  world.home.tokens.revoke('home');
  const token = world.home.tokens.create('heir', makeGrants(['*.relay.localhost', VAULT], [])).text;
  const relay = await world.home.start(t);
  await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { token, clientId: 'wild' });
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
  assert.equal(await knock(relay.port('https'), OTHER), 'certificate DNS:*.relay.localhost');
  const { code } = await refused(t, relay, relayTunnel(world.origin), { token, clientId: 'heir' });
  assert.equal(code, 'NOT_GRANTED');
  const certificates = readdirSync(join(world.home.config.stateDir, 'local-ca', 'certs'));
  assert.deepEqual(certificates.sort(), ['_wildcard.relay.localhost.pem', 'relay.localhost.pem']);
});

test('below an end-to-end wildcard no name can be claimed with tls: relay, also one that a grant names', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay, '*.relay.localhost');
  const token = await newToken(world, 'exact', [OTHER, '*.relay.localhost']);
  assert.equal(await knock(relay.port('https'), OTHER), ALERT);
  assert.equal(await knock(relay.port('https'), 'new.relay.localhost'), ALERT);
  for (const host of [OTHER, '*.relay.localhost']) {
    const { code } = await refused(t, relay, relayTunnel(world.origin, host), { token, clientId: 'second' });
    assert.equal(code, 'NOT_GRANTED', host);
  }
  await relay.relay.close();
  const again = await world.home.start(t);
  assert.equal(await knock(again.port('https'), OTHER), ALERT);
  assert.equal(await knock(again.port('https'), 'relay.localhost'), 'certificate DNS:relay.localhost');
});

test('an end-to-end wildcard waits until a name below it is no longer in use with tls: relay', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await relay.client(t, [relayTunnel(world.origin, OTHER)], { clientId: 'first' });
  const certificate = await homeCertificate(t, '*.relay.localhost');
  const second = await relay.client(t, [vaultTunnel(world.origin, certificate, '', '*.relay.localhost')], {
    clientId: 'second',
    noWait: true,
  });
  await second.event('denied vault HOSTNAME_TAKEN');
  assert.equal(await knock(relay.port('https'), OTHER), `certificate DNS:${OTHER}`);
});

test('the operator sees the names, and after relay host forget a client may claim one with tls: relay', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  const config = world.home.configFile;
  const io = recordingIo();
  runHostList({ config }, io);
  assert.match(io.printed.join('\n'), /vault\.relay\.localhost +at the client +home/);
  await assert.rejects(runHostForget(OTHER, { config }, io), { code: 'USAGE_INVALID' });
  await runHostForget('Vault.relay.localhost', { config }, io);
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
  await relay.client(t, [relayTunnel(world.origin)], { clientId: 'second' });
  assert.equal(await knock(relay.port('https'), VAULT), `certificate DNS:${VAULT}`);
});

test('a relay does not start on a memory that it cannot read', async (t) => {
  const { home } = await makeWorld(t);
  const folder = join(home.config.stateDir, 'protected-hosts');
  mkdirSync(folder, { mode: 0o700, recursive: true });
  writeFileSync(join(folder, `${VAULT}.json`), '{"host":"vault.relay.localhost","tls":"origin"}', { mode: 0o600 });
  await assert.rejects(home.start(t), { code: 'CONFIG_INVALID', message: /protected-hosts.*Restore it from a backup/ });
});

test('neither one token nor all together can protect names without end', (t) => {
  const hosts = ProtectedHosts.open(temporaryFolder(t), { perToken: 3, inAll: 5 });
  const entry = (number: number) => ({ host: `h${number}.example.com`, tokenId: 'a', tls: 'end-to-end' as const });
  for (let number = 0; number < 3; number += 1) hosts.protect(entry(number));
  assert.throws(() => hosts.protect(entry(3)), { code: 'LIMIT_EXCEEDED', message: /its token has 3 names/ });
  for (const number of [3, 4]) hosts.protect({ ...entry(number), tokenId: 'b' });
  assert.throws(() => hosts.protect({ ...entry(5), tokenId: 'c' }), { message: /the relay has 5 names/ });
});

test('plain HTTP on the TLS port, and TLS without SNI, reach nobody', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  const { client } = await relay.client(t, [vaultTunnel(world.origin, world.certificate)]);
  const socket = connectTcp(relay.port('https'), '127.0.0.1');
  t.after(() => void socket.destroy());
  socket.write(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`);
  await within('end', new Conversation(socket).ended());
  assert.doesNotMatch(await knock(relay.port('https'), ''), /certificate/);
  assert.equal(client.status().tunnels[0]?.totalStreams, 0);
});

test('however a claim writes the name, and whatever it says of TLS, it is that name', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  const token = await newToken(world, 'by-hand', [VAULT, '*.relay.localhost']);
  const link = await HostileLink.proven(t, relay, token);
  for (const host of [VAULT, `${VAULT}.`, VAULT.toUpperCase(), 'Vault.Relay.Localhost.']) {
    for (const tls of ['relay', undefined]) {
      const { type, code } = await within('answer', link.claim({ name: 'plain', host, tls }));
      assert.deepEqual([type, code], ['denied', 'NOT_GRANTED'], `${host} ${tls}`);
    }
  }
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
});

test('a damaged or emptied note still protects, and the relay does not start on it', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await claimOnce(t, world, relay);
  const note = join(world.home.config.stateDir, 'protected-hosts', `${VAULT}.json`);
  for (const text of ['', '{', `{"host":"${OTHER}","tokenId":"a","tls":"end-to-end"}`]) {
    writeFileSync(note, text);
    const { code } = await refused(t, relay, relayTunnel(world.origin), { clientId: 'second' });
    assert.equal(code, 'NOT_GRANTED', text);
  }
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
  await relay.relay.close();
  for (const text of ['', '{', `{"host":"${VAULT}","tokenId":"a","tls":"relay"}`]) {
    writeFileSync(note, text);
    await assert.rejects(world.home.start(t), { code: 'CONFIG_INVALID' }, text);
  }
});

test('a note that is taken away while the relay runs opens nothing by itself', async (t) => {
  const world = await makeWorld(t);
  const relay = await world.home.start(t);
  await relay.client(t, [vaultTunnel(world.origin, world.certificate)], { clientId: 'first' });
  await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
  rmSync(join(world.home.config.stateDir, 'protected-hosts', `${VAULT}.json`));
  const second = await relay.client(t, [relayTunnel(world.origin)], { clientId: 'second', noWait: true });
  await within('refusal', second.event('denied plain HOSTNAME_TAKEN'));
  const socket = connect({ host: '127.0.0.1', port: relay.port('https'), servername: VAULT, ca: world.certificate.ca });
  t.after(() => void socket.destroy());
  await once(socket, 'secureConnect');
  assert.ok(socket.authorized, 'by the CA of home');
});

test('a certificate that the relay made before is not used again, also after a restart that remembers the name', async (t) => {
  const world = await makeWorld(t);
  const first = await world.home.start(t);
  const plain = await first.client(t, [relayTunnel(world.origin)], { clientId: 'first' });
  assert.equal(await knock(first.port('https'), VAULT), `certificate DNS:${VAULT}`);
  await plain.client.drain();
  await plain.done;
  await claimOnce(t, world, first);
  assert.equal(await knock(first.port('https'), VAULT), ALERT);
  await first.relay.close();
  const second = await world.home.start(t);
  assert.equal(await knock(second.port('https'), VAULT), ALERT);
  await second.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
  assert.equal(await knock(second.port('https'), VAULT), ALERT);
});

test('tls.mode files: a certificate that covers the name is not shown for it', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from the origin'));
  const [own, wild] = [await homeCertificate(t, 'relay.localhost'), await homeCertificate(t, '*.relay.localhost')];
  const pairs = [own, wild].map(({ certFile, keyFile }) => `{ cert_file: ${certFile}, key_file: ${keyFile} }`);
  const yaml = `limits: { hold_timeout: 100ms }\ntls: { mode: files, certificates: [${pairs.join(', ')}] }`;
  const home = new RelayHome(t, { yaml, httpsPort: await freePort() });
  mkdirSync(dirname(home.caFile), { recursive: true });
  copyFileSync(own.caFile, home.caFile);
  const world = { home, certificate: await homeCertificate(t), origin: origin.url };
  const relay = await home.start(t);
  await claimOnce(t, world, relay);
  await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
  assert.equal(await knock(relay.port('https'), OTHER), 'certificate DNS:*.relay.localhost');
  assert.equal(await knock(relay.port('https'), VAULT), ALERT);
  assert.equal((await refused(t, relay, relayTunnel(world.origin), { clientId: 'second' })).code, 'NOT_GRANTED');
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a ${version} session that began at the relay is not taken up again for the name`, async (t) => {
    const world = await makeWorld(t);
    const relay = await world.home.start(t);
    const plain = await relay.client(t, [relayTunnel(world.origin)], { clientId: 'first' });
    const wild = await relay.client(t, [relayTunnel(world.origin, '*.relay.localhost')], { clientId: 'wild' });
    const port = relay.port('https');
    const where = { host: '127.0.0.1', port, ca: world.home.ca, minVersion: version, maxVersion: version };
    const sessionOf = async (servername: string): Promise<Buffer> => {
      const socket = connect({ ...where, servername });
      const [session] = await within('session', once(socket, 'session'));
      socket.on('error', () => {}).destroy();
      return session as Buffer;
    };
    const [own, other] = [await sessionOf(VAULT), await sessionOf(OTHER)];
    await plain.client.drain();
    await claimOnce(t, world, relay);
    for (const session of [own, other]) assert.equal(await knock(port, VAULT, { ...where, session }), ALERT);

    await relay.client(t, [vaultTunnel(world.origin, world.certificate)], { clientId: 'first' });
    for (const session of [own, other]) {
      const socket = connect({ ...where, servername: VAULT, ca: world.certificate.ca, session });
      t.after(() => void socket.destroy());
      await within('handshake with home', once(socket, 'secureConnect'));
      assert.deepEqual([socket.isSessionReused(), socket.authorized], [false, true]);
      socket.on('error', () => {}).destroy();
    }
    // Where it may be taken up again, it leads to its own tunnel and no other.
    const socket = connect({ ...where, servername: OTHER, session: other });
    t.after(() => void socket.destroy());
    socket.write(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`);
    assert.equal((await new Conversation(socket).response()).status, 421);
    assert.equal(wild.client.status().tunnels[0]?.state, 'online');
  });
}
