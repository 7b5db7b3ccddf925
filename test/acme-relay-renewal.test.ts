/** Renewal at a relay under load, near the end of a certificate's life, and while the CA is away. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { connect } from 'node:tls';
import { freePort } from '../bench/free-port.js';
import { acmeWorld, getPlain, ordersAt, serialAt } from './support/acme-world.js';
import { APP, appTunnel } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { startHttpOrigin } from './support/origins.js';
import { startPebble } from './support/pebble.js';
import { runTool } from './support/tool-process.js';
import { watchedLog } from './support/watched-log.js';
import { DOMAIN, RELAY_PROGRAM, startRelayProcess, startTunnelProcess } from './support/world.js';

const DAY_MS = 86_400_000;
const NINETY_DAYS = 90 * 86_400;
const GET = `GET / HTTP/1.1\r\nHost: ${APP}\r\n\r\n`;

test('certificates are renewed under load, and no visitor fails', async (t) => {
  const world = await acmeWorld(t);
  if (!world) return;
  const { home, https } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  await startRelayProcess(t, home);
  await startTunnelProcess(t, https, home, [appTunnel(origin.url)]);
  const serials: string[] = [];
  const failures: unknown[] = [];
  let visits = 0;
  let isOver = false;
  const visit = async (): Promise<void> => {
    const socket = connect({ host: '127.0.0.1', port: https, servername: APP, ca: home.ca });
    try {
      socket.write(GET);
      const { status, body } = await new Conversation(socket).response();
      if (status !== 200 || body !== 'from home') failures.push(`${status} ${body}`);
      const { serialNumber } = socket.getPeerCertificate();
      if (serials.at(-1) !== serialNumber) serials.push(serialNumber);
      visits += 1;
    } finally {
      socket.destroy();
    }
  };
  const visitor = async (): Promise<void> => {
    while (!isOver) await visit().catch((error: unknown) => failures.push(error));
  };
  const visitors = Array.from({ length: 6 }, visitor);
  const staying = connect({ host: '127.0.0.1', port: https, servername: APP, ca: home.ca });
  t.after(() => void staying.destroy());
  const conversation = new Conversation(staying);
  for (let renewal = 0; renewal < 3; renewal += 1) {
    staying.write(GET);
    assert.equal((await conversation.response()).status, 200, 'a connection that stays');
    const args = [RELAY_PROGRAM, 'cert', 'renew', APP, '--config', home.configFile];
    const { code, stderr } = await runTool(t, process.execPath, args);
    assert.equal(code, 0, stderr);
    await visit();
  }
  isOver = true;
  await Promise.all(visitors);
  assert.deepEqual(failures, []);
  assert.ok(visits > 30, `${visits} visits`);
  assert.equal(new Set(serials).size, 4, 'the first certificate and three new ones');
});

test('a day before its end a certificate serves while the CA is away, and is replaced when it is back', async (t) => {
  const watched = watchedLog();
  let aheadMs = 0;
  const options = { relay: { now: () => Date.now() + aheadMs }, log: watched.log };
  const pebbleOptions = { validitySeconds: NINETY_DAYS };
  const world = await acmeWorld(t, { ...options, pebble: pebbleOptions });
  if (!world) return;
  const { home, pebble, https, http } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end('from home'));
  const running = await home.start(t);
  await running.client(t, [appTunnel(origin.url)]);
  const before = await serialAt(https, APP);
  const status = () => running.relay.status().certificates.find(({ name }) => name === APP);
  const said = (event: string) => watched.said(`"event":"${event}","hostname":"${APP}"`);
  const renewAtMs = status()?.renewAtMs ?? 0;
  assert.ok(renewAtMs > Date.now() + 59 * DAY_MS && renewAtMs < Date.now() + 65 * DAY_MS, 'two thirds of 90 days');

  pebble.process.child.kill('SIGKILL');
  await pebble.process.closed;
  aheadMs = 89 * DAY_MS;
  const hasFailed = said('certificate_failed');
  running.relay.reload();
  await hasFailed;
  assert.equal(await serialAt(https, APP), before);
  const failed = status();
  assert.equal(failed?.state, 'waiting');
  assert.match(failed?.lastError ?? '', /Cannot reach|ECONNREFUSED/);
  assert.ok((failed?.retryAtMs ?? 0) > Date.now() + aheadMs + 50_000);
  const visitor = connect({ host: '127.0.0.1', port: https, servername: APP, ca: home.ca });
  t.after(() => void visitor.destroy());
  visitor.write(GET);
  assert.equal((await new Conversation(visitor).response()).body, 'from home');

  const again = { tlsPort: https, httpPort: http, nonceReject: 0, ...pebbleOptions };
  assert.ok(await startPebble(t, { ...again, port: pebble.port, ca: pebble.ca }));
  // On a busy machine the CA may look in vain once, and then the relay waits before it asks again.
  for (let isIssued = false; !isIssued; ) {
    aheadMs += 60 * 60_000;
    const news = [said('certificate_issued').then(() => true), said('certificate_failed').then(() => false)];
    running.relay.reload();
    isIssued = await Promise.race(news);
  }
  assert.notEqual(await serialAt(https, APP), before);
  assert.equal(status()?.lastError, undefined);
});

test('while the CA is down at the start the relay says so, denies claims with the cure, and catches up', async (t) => {
  const caPort = await freePort();
  const world = await acmeWorld(t, { pebble: { port: caPort } });
  if (!world) return;
  const { home, pebble, https, http } = world;
  pebble.process.child.kill('SIGKILL');
  await pebble.process.closed;
  const relay = await startRelayProcess(t, home);
  await relay.program.line('"event":"certificate_failed"');
  assert.match(
    (await getPlain(relay.admin, '/readyz')).body,
    /^not ready: there is no certificate yet for relay\.localhost\. Cannot reach /,
  );
  const again = await startPebble(t, { tlsPort: https, httpPort: http, nonceReject: 0, port: caPort, ca: pebble.ca });
  assert.ok(again);
  const renew = (name: string) =>
    runTool(t, process.execPath, [RELAY_PROGRAM, 'cert', 'renew', name, '--config', home.configFile]);
  assert.equal((await renew(DOMAIN)).code, 0);
  assert.equal((await getPlain(relay.admin, '/readyz')).status, 200);
  assert.equal(ordersAt(again), 1);
});
