/** What operators run a relay with, in the hands of somebody who means harm, or of an operator with bad luck. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { AlertBudget } from '../relay-server/ops/alerts/alert-budget.js';
import { AlertMemory } from '../relay-server/ops/alerts/alert-memory.js';
import { AlertWatch } from '../relay-server/ops/alerts/alert-watch.js';
import { Traces } from '../relay-server/ops/traces.js';
import { AdminServer } from '../shared/admin-server.js';
import { fetchJson } from '../shared/fetch-json.js';
import { ConfigWatch } from '../tunnel-client/config-watch.js';
import { relayStatus } from './support/relay-status.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { RelayHome } from './support/world.js';

const LIMITS = { timeoutMs: 5_000, maxBytes: 64 * 1024 };

/** The status of an answer. */
async function statusAt(port: number, path: string): Promise<number> {
  return (await fetch(`http://127.0.0.1:${port}${path}`)).status;
}

test('an admin token whose file cannot be reached lets nobody in', async (t) => {
  const home = new RelayHome(t);
  const relay = await home.start(t);
  const file = join(home.config.stateDir, 'admin-token');
  assert.equal(await statusAt(relay.port('admin'), '/api/v1/status'), 200);
  symlinkSync(join(home.folder, 'not-mounted-yet'), file);
  assert.equal(await statusAt(relay.port('admin'), '/api/v1/status'), 500);
  assert.equal(await statusAt(relay.port('admin'), '/healthz'), 200);
  rmSync(file);
  symlinkSync(file, file);
  assert.equal(await statusAt(relay.port('admin'), '/metrics'), 500);
});

test('a question that cannot be answered is an answer, and not the end of the program', async (t) => {
  const answer = () => {
    throw new Error('a file of the package is gone');
  };
  const server = await AdminServer.listen({ host: '127.0.0.1', port: 0 }, { option: 'listen.admin', answer });
  t.after(() => server.close());
  assert.equal(await statusAt(server.address.port, '/api/v1/openapi.json'), 500);
  await assert.rejects(fetchJson({ ...server.address, path: '/' }, LIMITS), /500/);
});

test('a reload that is refused leaves every listener where it was', async (t) => {
  const home = new RelayHome(t);
  const { relay } = await home.start(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  const before = relay.listeners;
  const { listen } = home.config;
  const https = { host: '127.0.0.2', port: 0 };
  const wanted = { ...home.config, listen: { ...listen, https, http: undefined, admin: { host: '127.0.0.1', port } } };
  await assert.rejects(relay.reload(wanted), { code: 'CONFIG_INVALID' });
  assert.deepEqual(relay.listeners, before);
  for (const { address } of before) await canConnect(address);
  const { applied } = await relay.reload({ ...wanted, listen: { ...wanted.listen, admin: listen.admin } });
  assert.deepEqual(applied, ['listen.https', 'listen.http']);
  assert.equal(relay.listeners[0]?.address.startsWith('127.0.0.2:'), true);
});

function canConnect(address: string): Promise<void> {
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port) });
    socket.once('error', reject).once('connect', () => resolve());
    socket.once('connect', () => socket.destroy());
  });
}

test('LISTEN_FDS that says too much costs Node none of its own descriptors', () => {
  const module = new URL('../shared/service/listen-sockets.js', import.meta.url).href;
  const program = `const { ListenSockets } = await import('${module}');
    ListenSockets.ofProcess().close();
    setTimeout(() => console.log('alive'), 10);`;
  const asItself = 'LISTEN_FDS=1000 LISTEN_PID=$$ exec "$@"';
  const args = ['-c', asItself, 'sh', process.execPath, '--input-type=module', '--eval', program];
  assert.equal(execFileSync('/bin/sh', args, { encoding: 'utf8', timeout: 20_000 }), 'alive\n');
});

test('a client that claims ever new hostnames does not grow what alerts watch', (t) => {
  const rules = {
    downAfterMs: 60_000,
    flappingAfter: 4,
    flappingWindowMs: 600_000,
    certificateWithinMs: 10_000,
    clientAddresses: false,
  };
  const watch = new AlertWatch(rules, new AlertMemory(temporaryFolder(t)), 0);
  const [pattern] = relayStatus().tunnels;
  assert.ok(pattern);
  const steady = { ...pattern, public: 'https://steady.example.com' };
  for (let at = 0; at < 30; at += 1) {
    const fresh = Array.from({ length: 100 }, (_, n) => ({ ...pattern, public: `https://h${at}-${n}.example.com` }));
    watch.look(relayStatus({ tunnels: [steady, ...fresh], certificates: [] }), at * 2_000, at);
  }
  const gone = [steady].map((tunnel) => ({ ...tunnel, state: 'offline' }) as const);
  const news = watch.look(relayStatus({ tunnels: gone, certificates: [] }), 62_000, 0);
  const later = watch.look(relayStatus({ tunnels: gone, certificates: [] }), 10 * 60_000, 0);
  assert.ok(news.length + later.length <= 1_000, `${news.length} and ${later.length} alerts`);
  assert.ok([...news, ...later].some(({ subject }) => subject === steady.public));
});

test('a config file that becomes a pipe is not read, and one that comes back is', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const file = join(temporaryFolder(t), 'tunnel.yaml');
  writeFileSync(file, 'one');
  let calls = 0;
  const watch = new ConfigWatch(file, { onChange: () => (calls += 1) });
  t.after(() => watch.stop());
  rmSync(file);
  execFileSync('mkfifo', [file]);
  t.mock.timers.tick(5_000);
  assert.equal(calls, 0);
  rmSync(file);
  writeFileSync(file, 'two');
  t.mock.timers.tick(5_000);
  assert.equal(calls, 1);
});

test('a client that comes and goes with ever new hostnames floods no operator, and hides no other trouble', () => {
  const budget = new AlertBudget();
  const MINUTE = 60_000;
  const news = (event: 'tunnel-down' | 'certificate-trouble', subject: string, share = 'noisy') => {
    return { event, subject, share, title: subject, text: 'It happened.', cure: '' };
  };
  const flood = Array.from({ length: 1_000 }, (_, at) => budget.admit(news('tunnel-down', `h${at}`), at));
  const told = flood.filter((one) => one !== undefined);
  assert.equal(told.length, 20);
  assert.equal(told[0]?.text, 'It happened.');
  assert.match(told.at(-1)?.text ?? '', /20 of this kind about noisy within 1h.*: no more of them for 59m/);
  assert.equal(budget.admit(news('certificate-trouble', 'c'), 30 * MINUTE)?.text, 'It happened.');
  assert.equal(budget.admit(news('tunnel-down', 'q', 'quiet'), 30 * MINUTE)?.text, 'It happened.');
  const after = budget.admit(news('tunnel-down', 'later'), 61 * MINUTE);
  assert.equal(after?.text, 'It happened. 980 more of this kind were not told: see the log of the relay.');
});

test('however many tokens are noisy, alerts stay few, and the first about each other token is told', () => {
  const budget = new AlertBudget();
  const admit = (share: string) =>
    budget.admit({ event: 'tunnel-down', subject: 's', share, title: 't', text: 'It happened.', cure: '' }, 1);
  const told = Array.from({ length: 1_000 }, (_, at) => admit(`noisy${at % 10}`)).filter((one) => one !== undefined);
  assert.equal(told.length, 60);
  assert.match(told.at(-1)?.text ?? '', /60 of this kind within 1h.*only the first about each token/);
  assert.match(admit('quiet')?.text ?? '', /^It happened\./);
  assert.equal(admit('quiet'), undefined);
});

test('one token that announces ever new requests takes no watch from another one, nor from the operator', async (t) => {
  const traces = new Traces();
  t.after(() => traces.close());
  const watch = (asker: string) => traces.watch(randomBytes(18).toString('base64url'), 'app.example.com', asker);
  const flood = Array.from({ length: 100 }, () =>
    watch('hostile').then(
      () => 'told',
      ({ code }) => code,
    ),
  );
  const others = [watch('other'), watch('')];
  traces.close();
  const outcomes = await Promise.all(flood);
  assert.equal(outcomes.filter((outcome) => outcome === 'LIMIT_EXCEEDED').length, 92);
  for (const { code } of await Promise.all(others)) assert.equal(code, 'RELAY_DRAINING');
});
