/** What a relay says when a CA gives no certificate, to the operator and to the one at home. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import test from 'node:test';
import { freePort } from '../bench/free-port.js';
import { acmeHome, acmeWorld, ordersAt, serialAt } from './support/acme-world.js';
import { APP, appTunnel } from './support/carry.js';
import { endConnections, listen } from './support/origins.js';
import { startTcpProxy } from './support/tcp-proxy.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { TestCa } from './support/test-ca.js';
import { runTool } from './support/tool-process.js';
import { watchedLog } from './support/watched-log.js';
import { DOMAIN, RELAY_PROGRAM } from './support/world.js';

const TUNNEL = appTunnel('http://127.0.0.1:9');

test('a port that the CA cannot reach: what it saw, the cure at both ends, and `relay cert renew` when it is open', async (t) => {
  const outside = await freePort();
  const world = await acmeWorld(t, { acme: 'challenges: [tls-alpn-01]', pebble: { tlsPort: outside } });
  if (!world) return;
  const { home, pebble, https } = world;
  const imported = await TestCa.make();
  const own = await imported.issue(DOMAIN);
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'fullchain.pem'), own.cert);
  writeFileSync(join(folder, 'privkey.pem'), own.key);
  const verb = (...args: string[]) =>
    runTool(t, process.execPath, [RELAY_PROGRAM, 'cert', ...args, '--config', home.configFile]);
  assert.match((await verb('import', folder)).stderr, /^Imported relay\.localhost\. The relay uses it when it starts/);
  const old = join(folder, 'old');
  mkdirSync(old);
  const other = await (await TestCa.make()).issue('old.example.com');
  writeFileSync(join(old, 'fullchain.pem'), other.cert);
  writeFileSync(join(old, 'privkey.pem'), other.key, { mode: 0o600 });
  assert.match((await verb('import', old)).stderr, /Not used now: no token may claim old\.example\.com\./);
  assert.match((await verb('list')).stdout, /^relay\.localhost +valid +imported /m);
  const relay = await home.start(t);
  assert.equal(ordersAt(pebble), 0, 'the imported certificate is good');

  writeFileSync(home.caFile, imported.certPem);
  const watched = watchedLog();
  const client = await relay.client(t, [TUNNEL], { noWait: true, log: watched.log });
  await client.event('denied app CERTIFICATE_FAILED');
  const said = watched.lines.find((line) => line.includes('claim denied')) ?? '';
  assert.match(said, /the CA could not reach port 443 \(tls-alpn-01\)\. It saw: .*Failed to connect to 127\.0\.0\.1/);
  assert.match(said, /Open port 443 in the firewall and check that the A and AAAA records of app\.relay\.localhost/);
  assert.match(said, /The next attempt is in \d+s; at once, on the VPS: relay cert renew app\.relay\.localhost/);
  const listed = (await verb('list')).stdout;
  assert.match(listed, /^app\.relay\.localhost +waiting +- +- +next attempt in \d+/m);
  assert.match(listed, /^app\.relay\.localhost: .*could not reach port 443/m);
  const orders = ordersAt(pebble);
  const second = await relay.client(t, [TUNNEL], { noWait: true, clientId: 'second' });
  await second.event('denied app CERTIFICATE_FAILED');
  assert.equal(ordersAt(pebble), orders, 'a claim that comes again costs no order');

  // The operator opens the port.
  await startTcpProxy(t, https, '', outside);
  assert.equal((await verb('renew', APP)).code, 0);
  assert.match(await serialAt(https, APP), /^[0-9A-F]{8,}$/);
  await relay.client(t, [TUNNEL], { clientId: 'third' });
});

test('a CA that says when to come back is not asked earlier, and the relay serves what it has', async (t) => {
  const ca = await TestCa.make();
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'ca.pem'), ca.certPem);
  let asked = 0;
  const server = createServer(await ca.issue('localhost'), (_request, response) => {
    asked += 1;
    response.writeHead(503, { 'Retry-After': '7200', 'Content-Type': 'application/problem+json' });
    const type = 'urn:ietf:params:acme:error:rateLimited';
    response.end(JSON.stringify({ type, detail: 'Service busy; retry later.' }));
  });
  endConnections(t, server);
  const directoryUrl = `https://localhost:${await listen(t, server)}/dir`;
  const watched = watchedLog();
  const pebble = { directoryUrl, caFile: join(folder, 'ca.pem'), root: async () => ca.certPem };
  const home = await acmeHome(t, pebble, { https: await freePort(), http: await freePort(), log: watched.log });
  const failed = watched.said('certificate_failed');
  const running = await home.start(t);
  const { retryAt, reason } = JSON.parse(await failed);
  assert.ok(Date.parse(retryAt) >= Date.now() + 7_190_000, retryAt);
  assert.match(
    reason,
    /the CA limits how much it issues\. It says: ‘Service busy; retry later’\. Wait: .* for 120 min/,
  );
  const before = asked;
  await running.relay.close();
  const again = await home.start(t);
  again.relay.reload();
  const { certificates } = again.relay.status();
  assert.deepEqual(
    certificates.map(({ name, state }) => [name, state]),
    [[DOMAIN, 'waiting']],
  );
  assert.equal(asked, before, 'not even after a restart');
});
