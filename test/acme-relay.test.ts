/** `relay serve` with tls.mode acme against pebble: certificates by themselves, from the first start to one without CA. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { acmeWorld, getPlain, handshake, ordersAt, serialAt } from './support/acme-world.js';
import { APP, appTunnel } from './support/carry.js';
import { Chromium } from './support/chromium.js';
import { homeTrusting } from './support/chromium-trust.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { DOMAIN, RELAY_PROGRAM, startRelayProcess, startTunnelProcess } from './support/world.js';

test('a relay gets a certificate for its own name and for a claimed hostname, and keeps both', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  const world = await acmeWorld(t);
  if (!world || curl === undefined) return;
  const { home, pebble, https } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  const relay = await startRelayProcess(t, home);
  assert.match((await getPlain(relay.admin, '/readyz')).body, /^not ready: there is no certificate yet for relay\./);
  await relay.program.line('"event":"certificate_issued","hostname":"relay.localhost"');
  assert.deepEqual(await getPlain(relay.admin, '/readyz'), { status: 200, body: 'ready\n' });
  await startTunnelProcess(t, https, home, [appTunnel(origin.url)]);
  const visit = ['-q', '--noproxy', '*', '-sS', '--cacert', home.caFile, '--resolve', `${APP}:${https}:127.0.0.1`];
  const visited = await runTool(t, curl, [...visit, '-D', '-', `https://${APP}:${https}/`]);
  assert.match(visited.stdout, /strict-transport-security: max-age=31536000[\s\S]*from home$/i, visited.stderr);
  assert.equal(ordersAt(pebble), 2);
  const serials = [await serialAt(https), await serialAt(https, APP)];

  await relay.program.kill();
  pebble.process.child.kill('SIGKILL');
  await pebble.process.closed;
  const { program } = await startRelayProcess(t, home);
  assert.deepEqual([await serialAt(https), await serialAt(https, APP)], serials, 'without the CA');
  assert.equal(
    program.lines.some((line) => line.includes('certificate_failed')),
    false,
  );
});

test('a browser that trusts the CA opens the page', { timeout: 60_000 }, async (t) => {
  const chromium = requireTool(t, 'chromium', 'chromium');
  const world = await acmeWorld(t);
  if (!world || chromium === undefined) return;
  const browserHome = await homeTrusting(t, world.home.ca);
  if (browserHome === undefined) return;
  const page = "<!doctype html><script>fetch('/seen', { method: 'POST' })</script>";
  let seen = () => {};
  const wasSeen = new Promise<void>((resolve) => {
    seen = resolve;
  });
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url === '/seen') seen();
    response.setHeader('Content-Type', 'text/html').end(page);
  });
  const relay = await world.home.start(t);
  await relay.client(t, [appTunnel(origin.url)]);
  const browser = await Chromium.start(t, chromium, { home: browserHome });
  const stranger = await Chromium.start(t, chromium, { home: temporaryFolder(t) });
  await assert.rejects(stranger.open(`https://${APP}:${world.https}/`), /ERR_CERT_AUTHORITY_INVALID/);
  await browser.open(`https://${APP}:${world.https}/`);
  await wasSeen;
});

test('the operator sees certificates with and without a running relay, renews one, and changes the account key', async (t) => {
  const world = await acmeWorld(t, { acme: 'email: me@example.com' });
  if (!world) return;
  const { home, https } = world;
  const relay = await startRelayProcess(t, home);
  await relay.program.line('"event":"certificate_issued"');
  const config = ['--config', home.configFile];
  const relayVerb = (...args: string[]) => runTool(t, process.execPath, [RELAY_PROGRAM, ...args, ...config]);
  const listed = JSON.parse((await relayVerb('cert', 'list', '--json')).stdout);
  assert.equal(listed.length, 1);
  const [{ name, state, issuer, notAfter, lastError }] = listed;
  assert.deepEqual([name, state, lastError], [DOMAIN, 'valid', null]);
  assert.match(issuer, /^localhost-\d+-dir$/);
  assert.ok(Date.parse(notAfter) > Date.now());
  const before = await serialAt(https);
  const renewed = await relayVerb('cert', 'renew', DOMAIN);
  assert.match(renewed.stderr, /^Renewed relay\.localhost: valid until \d{4}-/);
  assert.notEqual(await serialAt(https), before);
  assert.match((await relayVerb('cert', 'rollover')).stderr, /^The account at localhost-\d+-dir has a new key/);
  assert.equal((await relayVerb('cert', 'renew', DOMAIN)).code, 0, 'with the new key');
  const unknown = await relayVerb('cert', 'renew', 'nobody.example.com');
  assert.match(
    unknown.stderr,
    /Cannot renew nobody\.example\.com: it has no certificate here\. Known: relay\.localhost/,
  );
  await relay.program.kill();
  const offline = await relayVerb('cert', 'list');
  assert.match(offline.stdout, /^NAME +STATE +ISSUER +EXPIRES +RENEWAL\nrelay\.localhost +valid +localhost-/);
  assert.match((await relayVerb('cert', 'renew', DOMAIN)).stderr, /the relay does not run/);
  assert.match((await relayVerb('check')).stdout, /ok \(relay\.localhost, tls acme, 1 token\)/);
});

test('a challenge that does not run gets no certificate, and a running one ends with its handshake', async (t) => {
  const env = { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '3' };
  const world = await acmeWorld(t, { acme: 'challenges: [tls-alpn-01]', pebble: { env } });
  if (!world) return;
  const { home, https, pebble } = world;
  await home.start(t);
  assert.equal(await handshake(https, 'other.example.com', ['acme-tls/1']), 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
  await pebble.process.line('Pulled a task');
  const scanner = await handshake(https, DOMAIN, ['acme-tls/1']);
  assert.ok(typeof scanner !== 'string', String(scanner));
  assert.equal(scanner.alpnProtocol, 'acme-tls/1');
  const ended = new Promise((resolve) => scanner.once('close', resolve));
  scanner.resume();
  await ended;
  assert.match(String(await handshake(https, DOMAIN)), /UNRECOGNIZED_NAME/, 'nothing but the challenge has one');
});
