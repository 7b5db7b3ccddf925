/** `relay reload` and SIGHUP: what can change does, at once and without losing a visitor; what cannot is named. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { relayChanges, reloaded } from '../relay-server/relay-reload.js';
import { Origin } from './support/fault-origin.js';
import { ask, type Site, VisitorConnection } from './support/fault-visitor.js';
import { statusUntil } from './support/relay-probe.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { until } from './support/within.js';
import {
  RELAY_PROGRAM,
  RelayHome,
  type RunningProgram,
  startRelayProcess,
  startTunnelProcess,
} from './support/world.js';

const LISTEN = 'listen: { https: "127.0.0.1:4430", http: "127.0.0.1:8000", admin: "127.0.0.1:9000" }';

/** A line more, or a line instead: what counts when it changes. */
const CASES: [instead: string, line: string, option: string, counts: 'applied' | 'waiting'][] = [
  ['domain: example.com', 'domain: example.org', 'domain', 'waiting'],
  [LISTEN, LISTEN.replace('4430', '4431'), 'listen.https', 'applied'],
  [LISTEN, LISTEN.replace('8000', '8001'), 'listen.http', 'applied'],
  [LISTEN, LISTEN.replace('9000', '9001'), 'listen.admin', 'applied'],
  [LISTEN, LISTEN.replace(' }', ', tcp_host: "127.0.0.2" }'), 'listen.tcp_host', 'waiting'],
  ['', 'public_port: 444', 'public_port', 'applied'],
  ['', 'state_dir: elsewhere', 'state_dir', 'waiting'],
  ['', 'trusted_proxies: [10.0.0.0/8]', 'trusted_proxies', 'applied'],
  ['', 'tls: { hsts: true }', 'tls.hsts', 'applied'],
  ['', 'http2: off', 'http2', 'applied'],
  ['', 'limits: { connections: 5 }', 'limits', 'applied'],
  ['', 'limits: { tls_handshake_timeout: 3s }', 'limits.tls_handshake_timeout', 'waiting'],
  ['', 'log: { level: debug }', 'log.level', 'applied'],
  ['', 'log: { format: text }', 'log.format', 'waiting'],
  ['', 'drain_timeout: 3s', 'drain_timeout', 'applied'],
];

test('each option either counts at once or waits; what has counted is no change any more, what waits still is', () => {
  const base = ['domain: example.com', LISTEN, 'public_port: 443'];
  const parse = (lines: string[]) => parseRelayConfig(`${lines.join('\n')}\n`, '/nowhere/relay.yaml', {});
  const running = parse(base);
  assert.deepEqual(relayChanges(running, parse(base)), { applied: [], waiting: [] });
  for (const [instead, line, option, counts] of CASES) {
    const kept = base.filter(
      (old) => old !== instead && !(line.startsWith('public_port') && old.startsWith('public_port')),
    );
    const wanted = parse([...kept, line]);
    const report = relayChanges(running, wanted);
    assert.deepEqual(report, { applied: [], waiting: [], [counts]: [option] }, line);
    const left = relayChanges(reloaded(running, wanted), wanted);
    assert.deepEqual(left, { applied: [], waiting: counts === 'waiting' ? [option] : [] }, line);
  }
});

test('a secret that reads otherwise is a change, wherever it stands, and no report holds it', (t) => {
  const folder = temporaryFolder(t);
  const parse = (...lines: string[]) =>
    parseRelayConfig(`domain: example.com\n${lines.join('\n')}\n`, join(folder, 'relay.yaml'), {});
  const hookIn = (text: string) => {
    writeFileSync(join(folder, 'hook'), text, { mode: 0o600 });
    return parse('alerts: { webhook_url_file: hook }');
  };
  const running = hookIn('https://hooks.example.net/one');
  assert.deepEqual(relayChanges(running, hookIn('https://hooks.example.net/one\n')).applied, []);
  assert.deepEqual(relayChanges(running, hookIn('https://hooks.example.net/two')), {
    applied: ['alerts'],
    waiting: [],
  });
});

test('HSTS waits for the certificates that it is about, unless it is written', () => {
  const parse = (...lines: string[]) => parseRelayConfig(`domain: example.com\n${lines.join('\n')}\n`, '/r.yaml', {});
  const running = parse('tls: { mode: local-ca }');
  const wanted = parse('tls: { mode: acme }', 'acme: { directory_url: production }');
  assert.deepEqual(relayChanges(running, wanted).applied, []);
  assert.ok(relayChanges(running, wanted).waiting.includes('tls'));
  assert.deepEqual([wanted.hsts, reloaded(running, wanted).hsts], [true, false]);
  const written = parse('tls: { mode: acme, hsts: true }');
  assert.deepEqual([relayChanges(running, written).applied, reloaded(running, written).hsts], [['tls.hsts'], true]);
  const trial = parse('tls: { mode: acme }', 'acme: { directory_url: staging }');
  assert.equal(reloaded(trial, wanted).hsts, false, 'the CA of the start still holds');
});

interface World {
  readonly home: RelayHome;
  readonly relay: RunningProgram;
  readonly https: number;
  readonly admin: number;
  readonly site: Site;
}

async function makeWorld(t: TestContext, hosts?: string[]): Promise<World> {
  const server = createServer((request, response) => {
    if (request.url === '/slow') response.writeHead(200).write('beginning ');
    else response.end('page');
  });
  const origin = await Origin.listen(t, server);
  const home = new RelayHome(t, hosts === undefined ? {} : { hosts });
  const { program: relay, https, admin } = await startRelayProcess(t, home);
  await startTunnelProcess(t, https, home, [origin.tunnel('app')]);
  return { home, relay, https, admin, site: { host: 'app.relay.localhost', port: https, ca: home.ca } };
}

async function reload(t: TestContext, { home }: World): Promise<{ code: number | null; said: string }> {
  const args = [RELAY_PROGRAM, 'reload', '--json', '--config', home.configFile];
  const { code, stdout, stderr } = await runTool(t, process.execPath, args);
  return { code, said: stdout + stderr };
}

function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(false)).once('error', () => resolve(true));
    socket.once('connect', () => socket.destroy());
  });
}

describe('relay reload', { concurrency: 3 }, () => {
  test('listeners move, running responses go on, and the log says what counts', async (t) => {
    const world = await makeWorld(t);
    const { home, https, site, relay } = world;
    const visitor = await VisitorConnection.open(t, site);
    visitor.get(site, '/slow');
    await visitor.received('beginning');
    const [port, admin] = [await freePort(), await freePort()];
    const text = readFileSync(home.configFile, 'utf8');
    const moved = `listen: { https: "127.0.0.1:${port}", http: "off", admin: "127.0.0.1:${admin}" }\nlog: { format: text }`;
    writeFileSync(home.configFile, text.replace(/^listen:.*$/m, moved));
    const { code, said } = await reload(t, world);
    assert.equal(code, 0, said);
    const { applied, waiting } = JSON.parse(said);
    // The URL that visitors are told has the port of listen.https unless public_port says otherwise.
    assert.deepEqual(applied, ['public_port', 'listen.https', 'listen.http', 'listen.admin']);
    assert.deepEqual(waiting, ['log.format']);
    await relay.line('"event":"reloaded"');
    assert.equal((await ask({ ...site, port })).body, 'page');
    assert.equal(await isRefused(https), true);
    assert.equal(visitor.socket.destroyed, false);
    const { listeners } = await statusUntil(admin, ({ state }) => state === 'running');
    assert.deepEqual(
      listeners.map(({ name }) => name),
      ['https', 'admin'],
    );
  });

  test('SIGHUP applies limits and the log level to a relay that goes on serving', async (t) => {
    const { home, relay, site } = await makeWorld(t);
    const visitor = await VisitorConnection.open(t, site);
    const text = readFileSync(home.configFile, 'utf8');
    writeFileSync(
      home.configFile,
      `${text}limits: { head_size: 1KiB, keep_alive_timeout: 100ms }\nlog: { level: error }\n`,
    );
    relay.child.kill('SIGHUP');
    await until('new limit', async () => {
      const { status } = await ask(site, { headers: { 'x-long': 'x'.repeat(2_000) } });
      return status === 431 ? true : undefined;
    });
    // Idle connections meet the new limit with their next request.
    visitor.get(site, '/');
    await visitor.received('page');
    assert.equal(await visitor.closed, 'ended');
    const lines = relay.lines.length;
    assert.equal((await ask(site)).status, 200);
    relay.child.kill('SIGTERM');
    assert.equal(await relay.exited, 0);
    assert.deepEqual(
      relay.lines.slice(lines).filter((line) => line.includes('"level":"info"')),
      [],
    );
  });

  test('a wrong file and an address that is taken are refused with the reason, and nothing changes', async (t) => {
    const world = await makeWorld(t);
    const { home, site } = world;
    const text = readFileSync(home.configFile, 'utf8');
    writeFileSync(home.configFile, `${text}nonsense: 1\n`);
    const wrong = await reload(t, world);
    assert.deepEqual([wrong.code, /nonsense/.test(wrong.said)], [78, true]);
    const other = await Origin.raw(t, () => {});
    writeFileSync(home.configFile, text.replace(/https: "[^"]*"/, `https: "127.0.0.1:${other.port}"`));
    const taken = await reload(t, world);
    assert.equal(taken.code, 78);
    assert.match(taken.said, /Cannot listen on .*listen\.https.*EADDRINUSE/);
    assert.equal((await ask(site)).body, 'page');
  });

  test('a tunnel whose grant is taken from its token is withdrawn at once, with the reason', async (t) => {
    const world = await makeWorld(t, ['app.relay.localhost', 'other.relay.localhost']);
    const file = join(world.home.config.stateDir, 'tokens', 'home.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('app.relay.localhost', 'another.relay.localhost'));
    await statusUntil(world.admin, ({ tunnels }) => tunnels.every(({ name }) => name !== 'app'));
    assert.equal((await ask(world.site)).headers['x-sallyport-error'], 'TUNNEL_OFFLINE');
    // The relay makes itself ready for the new name; the test must not end under its hands.
    const isReady = (name: string) => name === 'another.relay.localhost';
    await statusUntil(world.admin, ({ certificates }) => certificates.some(({ name }) => isReady(name)));
  });

  test('relay reload without a relay says so', async (t) => {
    const home = new RelayHome(t);
    const { code, stderr } = await runTool(t, process.execPath, [RELAY_PROGRAM, 'reload', '--config', home.configFile]);
    assert.equal(code, 69);
    assert.match(stderr, /Cannot ask the relay .* it is not running\. Start it with `relay serve`/);
  });
});
