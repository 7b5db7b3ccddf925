/** A relay process and a CA that takes its time, refuses nonces, sees the wrong server, or does not like a name. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { startAcmeProxy } from './support/acme-proxy.js';
import { acmeHome, acmeWorld, getPlain, handshake, ordersAt, serialAt } from './support/acme-world.js';
import { APP, appTunnel } from './support/carry.js';
import { Gate } from './support/gate.js';
import { endConnections, listen } from './support/origins.js';
import { startPebble } from './support/pebble.js';
import { startTcpProxy } from './support/tcp-proxy.js';
import { TestCa } from './support/test-ca.js';
import { runTool } from './support/tool-process.js';
import { within } from './support/within.js';
import { DOMAIN, RELAY_PROGRAM, type RelayHome, startRelayProcess, startTunnelProcess } from './support/world.js';

const NOBODY = 'http://127.0.0.1:9';
const UNKNOWN = /UNRECOGNIZED_NAME/;

const certVerb = (t: TestContext, home: RelayHome, ...args: string[]) =>
  runTool(t, process.execPath, [RELAY_PROGRAM, 'cert', ...args, '--config', home.configFile]);

test('while the CA looks, claim and visitors wait or are told; refused nonces cost nothing but time', {
  timeout: 60_000,
}, async (t) => {
  const outside = await freePort();
  const env = { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '2', PEBBLE_AUTHZREUSE: '0' };
  const world = await acmeWorld(t, { pebble: { tlsPort: outside, nonceReject: 50, env } });
  if (!world) return;
  const { home, https, pebble } = world;
  const gate = await Gate.start(t, outside, https);
  const looksAtRelay = gate.close();
  const relay = await startRelayProcess(t, home);
  const ready = () => getPlain(relay.admin, '/readyz');
  await within('look at the relay', looksAtRelay);
  const before = await ready();
  assert.equal(before.status, 503);
  assert.match(before.body, /there is no certificate yet for relay\.localhost/);
  assert.match(String(await handshake(https, DOMAIN)), UNKNOWN);
  gate.open();
  await within('certificate', relay.program.line('certificate_issued'));
  assert.equal((await ready()).status, 200);

  const looksAtApp = gate.close();
  const tunnel = await startTunnelProcess(t, https, home, [appTunnel(NOBODY)], { noWait: true });
  await within('look at the tunnel', looksAtApp);
  assert.match(String(await handshake(https, APP)), UNKNOWN);
  assert.ok(!tunnel.lines.some((line) => line.includes('"event":"up"')));
  gate.open();
  await within('claim', tunnel.line('"event":"up"'));
  assert.match(await serialAt(https, APP), /^[0-9A-F]{8,}$/);
  assert.deepEqual(
    relay.program.lines.filter((line) => line.includes('certificate_failed')),
    [],
  );
  assert.equal(ordersAt(pebble), 2);
});

test('an order that fails because another server answers is explained, and succeeds when that one is gone', {
  timeout: 60_000,
}, async (t) => {
  const strange = await (await TestCa.make()).issue('strange.example.com');
  const server = createTlsServer({ ...strange, ALPNProtocols: ['acme-tls/1'] }, (socket) => socket.end());
  endConnections(t, server);
  const outside = await listen(t, server);
  const env = { PEBBLE_AUTHZREUSE: '100' };
  const world = await acmeWorld(t, { acme: 'challenges: [tls-alpn-01]', pebble: { tlsPort: outside, env } });
  if (!world) return;
  const { home, https, pebble } = world;
  const relay = await startRelayProcess(t, home);
  const failed = JSON.parse(await within('failure', relay.program.line('certificate_failed')));
  assert.match(failed.reason, /the CA got another answer than ours \(tls-alpn-01\)\. It saw: ‘/);
  assert.match(failed.reason, /Check that the A and AAAA records .* and that no proxy stands before it/);
  assert.ok(Date.parse(failed.retryAt) > Date.now());
  assert.match((await certVerb(t, home, 'list')).stdout, /^relay\.localhost +waiting /m);
  const { status, body } = await getPlain(relay.admin, '/readyz');
  assert.deepEqual([status, /another answer than ours/.test(body)], [503, true]);

  server.close();
  await startTcpProxy(t, https, '', outside);
  const renewed = await certVerb(t, home, 'renew', DOMAIN);
  assert.equal(renewed.code, 0, renewed.stderr);
  const looks = () => pebble.process.lines.filter((line) => line.includes('Pulled a task')).length;
  const [serial, before] = [await serialAt(https), looks()];
  // The CA remembers that the name was proven, and does not look again.
  const again = await certVerb(t, home, 'renew', DOMAIN);
  assert.equal(again.code, 0, again.stderr);
  assert.notEqual(await serialAt(https), serial);
  assert.equal(looks(), before);
});

test('a name that the CA will not have is denied with its reason, and the others are served', {
  timeout: 60_000,
}, async (t) => {
  const [https, http] = [await freePort(), await freePort()];
  const pebble = await startPebble(t, { tlsPort: https, httpPort: http, nonceReject: 0 });
  if (!pebble) return;
  const proxy = await startAcmeProxy(t, pebble, { refused: [APP] });
  const { caFile, root } = pebble;
  const home = await acmeHome(t, { directoryUrl: proxy.directoryUrl, caFile, root }, { https, http });
  const relay = await startRelayProcess(t, home);
  await within('certificate', relay.program.line('certificate_issued'));
  const tunnels = [appTunnel(NOBODY), `{ name: other, host: other.${DOMAIN}, origin: "${NOBODY}" }`];
  const tunnel = await startTunnelProcess(t, https, home, tunnels, { noWait: true });
  const denied = JSON.parse(await within('refusal', tunnel.line('"event":"denied"')));
  assert.deepEqual([denied.name, denied.code], ['app', 'CERTIFICATE_FAILED']);
  assert.match(
    denied.message,
    /Cannot get a certificate for app\.relay\.localhost .*the CA refused. It says: ‘This name is forbidden by policy’/,
  );
  await within('other tunnel', tunnel.line('"event":"up"'));
  assert.match(await serialAt(https, `other.${DOMAIN}`), /^[0-9A-F]{8,}$/);
  assert.match(String(await handshake(https, APP)), UNKNOWN);
  assert.deepEqual(proxy.ordered.toSorted(), [APP, `other.${DOMAIN}`, DOMAIN].toSorted());
});
