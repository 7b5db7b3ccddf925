/** An end-to-end tunnel gets its certificate by itself, at home, through the relay, which sees a hostname and ciphertext. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { caNameOf } from '../shared/certs/account-store.js';
import { CertificateStore, IMPORTED_CA } from '../shared/certs/certificate-store.js';
import { Secret } from '../shared/secret.js';
import { acmeTunnel, startAcmeHome } from './support/acme-home.js';
import { Chromium } from './support/chromium.js';
import { homeTrusting } from './support/chromium-trust.js';
import { Conversation } from './support/conversation.js';
import { VAULT } from './support/home-tls.js';
import { visitHome } from './support/home-visitor.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { runTool } from './support/tool-process.js';
import { within } from './support/within.js';
import { type RunningProgram, startRelayProcess, startTunnelProcess } from './support/world.js';

const PAGE = '<title>from home</title>';
/** The page may still be loading. */
const TITLE = `new Promise((done) => {
  const look = () => (document.title === '' ? setTimeout(look, 10) : done(document.title));
  look();
})`;

const OTHER = 'other.relay.localhost';

/** The body of what a visitor gets who trusts this CA alone. */
async function ask(port: number, ca: string, path = '/', host = VAULT): Promise<string> {
  return (await visitHome(port, ca, path, host)).body;
}

async function visit(port: number, ca: string): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, servername: VAULT, ca });
  await once(socket, 'secureConnect');
  return socket;
}

async function certificateEvent(tunnel: RunningProgram, state: string): Promise<Record<string, unknown>> {
  return JSON.parse(await within(state, tunnel.line(`"event":"certificate","name":"vault","state":"${state}"`)));
}

test('the certificate comes through the tunnel, and curl and Chromium accept its root', {
  timeout: 60_000,
}, async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  const world = await startAcmeHome(t);
  if (world === undefined || curl === undefined) return;
  const { pebble, home, httpsPort, stateDir, yaml } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end(PAGE));
  await startRelayProcess(t, home);
  const tunnel = await startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url)], { yaml });
  await certificateEvent(tunnel, 'issuing');
  const { host, notAfter } = await certificateEvent(tunnel, 'valid');
  assert.equal(host, VAULT);
  assert.ok(Date.parse(String(notAfter)) > Date.now());
  const folder = join(stateDir, 'certificates', caNameOf(pebble.directoryUrl), VAULT);
  assert.deepEqual(readdirSync(folder).sort(), ['certificate.json', 'fullchain.pem', 'privkey.pem']);
  assert.deepEqual([modeOf(stateDir), modeOf(join(folder, 'privkey.pem'))], ['700', '600']);
  const root = join(temporaryFolder(t), 'root.pem');
  writeFileSync(root, await pebble.root());
  const here = ['--resolve', `${VAULT}:${httpsPort}:127.0.0.1`];
  const args = ['-q', '--noproxy', '*', '-sS', '--max-time', '20', '--cacert', root, ...here];
  const { stdout, stderr } = await runTool(t, curl, [...args, `https://${VAULT}:${httpsPort}/`]);
  assert.equal(stdout, PAGE, stderr);
  const chromium = requireTool(t, 'chromium', 'chromium');
  if (chromium === undefined) return;
  const browserHome = await homeTrusting(t, await pebble.root());
  if (browserHome === undefined) return;
  const browser = await Chromium.start(t, chromium, { home: browserHome });
  const stranger = await Chromium.start(t, chromium, { home: temporaryFolder(t) });
  await assert.rejects(stranger.open(`https://${VAULT}:${httpsPort}/`), /ERR_CERT_AUTHORITY_INVALID/);
  await browser.open(`https://${VAULT}:${httpsPort}/`);
  assert.equal(await browser.evaluate(TITLE), 'from home');
});

test('without the CA: an alert and the reason first; a stored certificate is served at once', {
  timeout: 60_000,
}, async (t) => {
  const world = await startAcmeHome(t);
  if (world === undefined) return;
  const { pebble, home, httpsPort, yaml } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  await startRelayProcess(t, home);
  const start = () => startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url)], { yaml });
  const root = await pebble.root();
  // Somebody put the certificate of another name where ours would lie.
  const ca = await TestCa.make();
  const other = await ca.issue(OTHER);
  const store = CertificateStore.open(world.stateDir);
  store.save(caNameOf(pebble.directoryUrl), VAULT, { chainPem: other.cert, keyPem: new Secret(other.key) });
  pebble.process.child.kill('SIGKILL');
  await pebble.process.closed;
  const first = await start();
  const failed = await certificateEvent(first, 'failed');
  assert.match(String(failed.error), /Cannot reach the CA at localhost/);
  assert.ok(Date.parse(String(failed.retryAt)) > Date.now());
  for (const trusted of [root, ca.certPem]) {
    await assert.rejects(ask(httpsPort, trusted), { code: /ALERT|EPROTO/ });
  }
  first.child.kill('SIGTERM');
  await first.exited;

  const { cert, key } = await ca.issue(VAULT);
  store.save(IMPORTED_CA, VAULT, { chainPem: cert, keyPem: new Secret(key) });
  const second = await start();
  const valid = await certificateEvent(second, 'valid');
  assert.equal(valid.issuer, IMPORTED_CA);
  assert.deepEqual(valid.caa, []);
  assert.equal(await ask(httpsPort, ca.certPem), 'from home');
});

test('a client that is killed while it orders gets the certificate at its next start', {
  timeout: 60_000,
}, async (t) => {
  const world = await startAcmeHome(t, { env: { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '1' } });
  if (world === undefined) return;
  const { pebble, home, httpsPort, yaml, stateDir } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  await startRelayProcess(t, home);
  const start = () => startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url)], { yaml, clientId: 'home' });
  for (const moment of ['"state":"issuing"', 'account registered']) {
    const killed = await start();
    await killed.line(moment);
    await killed.kill();
  }
  const client = await start();
  await certificateEvent(client, 'valid');
  assert.equal(await ask(httpsPort, await pebble.root()), 'from home');
  const ca = caNameOf(pebble.directoryUrl);
  assert.deepEqual(readdirSync(join(stateDir, 'accounts', ca)).sort(), ['account-key.pem', 'account.json']);
  const locks = readdirSync(join(stateDir, 'certificates', 'locks')).filter((name) => !name.startsWith('.'));
  assert.deepEqual(locks, [], 'a dead process holds no lock');
});

test('a certificate is renewed while visitors come and stream, and none of them fails', {
  timeout: 60_000,
}, async (t) => {
  const world = await startAcmeHome(t);
  if (world === undefined) return;
  const { pebble, home, httpsPort, yaml, stateDir } = world;
  const streaming: ServerResponse[] = [];
  const origin = await startHttpOrigin(t, (asked, response) => {
    if (asked.url === '/stream') streaming.push(response.writeHead(200));
    else response.end('from home');
    for (const stream of streaming) stream.write('piece ');
  });
  await startRelayProcess(t, home);
  const start = () => startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url)], { yaml });
  const first = await start();
  await certificateEvent(first, 'valid');
  first.child.kill('SIGTERM');
  await first.exited;
  const store = CertificateStore.open(stateDir);
  const ca = caNameOf(pebble.directoryUrl);
  const record = { ...store.read(ca, VAULT)?.record, renewAtMs: Date.now() + 2_000 };
  store.saveRecord(ca, VAULT, record);

  await start();
  const root = await pebble.root();
  const stream = ask(httpsPort, root, '/stream');
  const serials = new Set<string>();
  let visitors = 0;
  const serve = async () => {
    while (serials.size < 2) {
      const socket = await visit(httpsPort, root);
      serials.add(socket.getPeerCertificate().serialNumber);
      socket.write(`GET / HTTP/1.1\r\nHost: ${VAULT}\r\nConnection: close\r\n\r\n`);
      assert.match(await new Conversation(socket).rest(), /from home$/);
      visitors += 1;
    }
  };
  await within('both certificates', Promise.all([serve(), serve(), serve()]));
  for (const response of streaming) response.end('last');
  assert.match(await stream, /^(?:piece )+last$/);
  assert.ok(visitors > 3);
});

test('two clients on one state folder share the account, and each gets what it needs', {
  timeout: 60_000,
}, async (t) => {
  const world = await startAcmeHome(t);
  if (world === undefined) return;
  const { pebble, home, httpsPort, yaml, stateDir } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  await startRelayProcess(t, home);
  const start = (clientId: string, host: string) =>
    startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url, host)], { yaml, clientId });
  const clients = await Promise.all([start('one', VAULT), start('two', OTHER)]);
  await Promise.all(clients.map((client) => certificateEvent(client, 'valid')));
  const root = await pebble.root();
  assert.deepEqual([await ask(httpsPort, root), await ask(httpsPort, root, '/', OTHER)], ['from home', 'from home']);
  const accounts = pebble.process.lines.filter((line) => /There are now \d+ accounts in memory/.test(line)).length;
  assert.ok(accounts <= 1, `${accounts} accounts`);
  assert.equal(readdirSync(join(stateDir, 'accounts')).length, 1);
});
