/** `relay doctor` and `relay why`: what the operator of a VPS asks first, answered on the VPS. */
import assert from 'node:assert/strict';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { runDoctor } from '../relay-server/doctor-command.js';
import { Relay } from '../relay-server/relay.js';
import { readRelayConfig } from '../relay-server/relay-config.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { TokenStore } from '../relay-server/sessions/token-store.js';
import { runWhy } from '../relay-server/why-command.js';
import type { CheckResult, Report } from '../shared/doctor/check.js';
import { silentLog } from '../shared/log.js';
import { RELAY_HOPS } from '../shared/messages.js';
import type { Way } from '../shared/why/way.js';
import { APP, appTunnel } from './support/carry.js';
import { startHttpOrigin } from './support/origins.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { RELAY_PROGRAM, RelayHome, RunningProgram, startRelayProcess, startTunnelProcess } from './support/world.js';

/** A relay under the one public name that leads to every machine: localhost. */
async function startLocalhost(t: TestContext, more = '') {
  const folder = temporaryFolder(t);
  const hasIpv6 = (await lookup('localhost', { all: true })).some(({ family }) => family === 6);
  const config = join(folder, 'relay.yaml');
  const listen = `{ https: "${hasIpv6 ? '[::]' : '127.0.0.1'}:0", http: off, admin: "127.0.0.1:0" }`;
  writeFileSync(config, `domain: localhost\nlisten: ${listen}\nstate_dir: state\n${more}\n`);
  const stateDir = join(folder, 'state');
  mkdirSync(stateDir, { mode: 0o700 });
  const relay = await Relay.start(readRelayConfig(config), silentLog);
  t.after(() => relay.close());
  return { config, stateDir, relay, tokens: TokenStore.open(stateDir) };
}

async function diagnose(config: string, relay?: Relay, caFile?: string) {
  const io = recordingIo();
  const fetchStatus = relay && (async () => relay.status());
  const exit = await runDoctor(
    { config, json: true, ...(caFile ? { caFile } : {}), ...(fetchStatus ? { fetchStatus } : {}) },
    io,
  );
  const report = JSON.parse(io.printed.join('')) as Report;
  const of = (name: string): CheckResult =>
    report.checks.find(({ check }) => check === name) ?? assert.fail(`no check ${name}`);
  const failed = report.checks.filter(({ state }) => state === 'FAIL').map(({ check }) => check);
  for (const result of report.checks) if (result.state === 'FAIL') assert.ok(result.cure, `${result.check} has a cure`);
  return { report, exit, of, failed };
}

test('a relay that is well passes, from its configuration to a WebSocket at its public address', async (t) => {
  const { config, relay, tokens } = await startLocalhost(t);
  tokens.create('home', makeGrants([], ['2222']));
  const { failed, exit, of } = await diagnose(config, relay);
  assert.deepEqual([failed, exit], [[], 0]);
  for (const check of [
    'config',
    'permissions',
    'tokens',
    'relay',
    'certificates',
    'dns',
    'port',
    'identity',
    'tls',
    'websocket',
  ]) {
    assert.equal(of(check).state, 'PASS', check);
  }
  for (const check of ['hostnames', 'plain port', 'clients', 'alerts']) assert.equal(of(check).state, 'SKIP', check);
});

test('a token that is missing, a folder that is open and a name that leads nowhere are told with their cures', async (t) => {
  const { config, relay, tokens, stateDir } = await startLocalhost(t);
  const none = await diagnose(config, relay);
  assert.deepEqual([none.failed, none.exit], [['tokens'], 77]);
  tokens.create('home', makeGrants(['*.no-such-name.test'], []));
  const astray = await diagnose(config, relay);
  assert.deepEqual([astray.failed, astray.exit], [['hostnames'], 69]);
  assert.match(astray.of('hostnames').found, /^\*\.no-such-name\.test: /);
  chmodSync(stateDir, 0o755);
  const open = await diagnose(config, relay);
  assert.deepEqual([open.failed[0], open.exit], ['permissions', 78]);
  assert.equal(open.of('permissions').cure, `Do: chmod go= ${stateDir}`);
});

test('another server at the public address is told from this relay', async (t) => {
  const here = await startLocalhost(t);
  const other = await startLocalhost(t);
  here.tokens.create('home', makeGrants([], ['2222']));
  const [https] = other.relay.listeners;
  const port = Number(https?.address.replace(/^.*:/, ''));
  writeFileSync(here.config, `${readFileSync(here.config, 'utf8')}\npublic_port: ${port}\n`);
  const { failed, of } = await diagnose(here.config, here.relay);
  assert.deepEqual(failed, ['identity', 'tls']);
  assert.match(of('identity').found, /shows another certificate/);
  assert.match(of('tls').cure ?? '', /Is it a private CA\? Name its root: --ca-file ROOT\.pem/);
  const named = await diagnose(here.config, here.relay, join(other.stateDir, 'local-ca', 'ca.pem'));
  assert.deepEqual(named.failed, ['identity'], 'a private CA that is named is trusted');
});

test('a relay without a certificate fails once', async (t) => {
  const { config, relay, tokens } = await startLocalhost(t);
  tokens.create('home', makeGrants([], ['2222']));
  const certificates = [{ name: 'localhost', state: 'waiting', lastError: 'the CA said no' } as const];
  const io = recordingIo();
  await runDoctor({ config, json: true, fetchStatus: async () => ({ ...relay.status(), certificates }) }, io);
  const { checks } = JSON.parse(io.printed.join('')) as Report;
  const failed = checks.filter(({ state }) => state === 'FAIL').map(({ check }) => check);
  assert.deepEqual(failed, ['certificates']);
  const tls = checks.find(({ check }) => check === 'tls');
  assert.deepEqual([tls?.state, tls?.found], ['SKIP', 'needs a certificate, see above']);
});

test('a relay that does not run is the first thing to mend; a certificate in trouble is named', async (t) => {
  const { config, relay, tokens } = await startLocalhost(t);
  tokens.create('home', makeGrants([], ['2222']));
  const certificates = [{ name: 'a.example.com', state: 'waiting', lastError: 'the CA said no' } as const];
  const io = recordingIo();
  const fetchStatus = async () => ({ ...relay.status(), version: '0.0.1', certificates });
  assert.equal(await runDoctor({ config, fetchStatus }, io), 69);
  const text = io.printed.join('\n');
  assert.match(text, /FAIL {2}certificates {2}a\.example\.com: the CA said no/);
  assert.match(text, /PASS {2}relay .*version 0\.0\.1[\s\S]*→ Version .* is installed: restart the relay/);
  const stopped = new RelayHome(t, {});
  writeFileSync(
    stopped.configFile,
    readFileSync(stopped.configFile, 'utf8').replace('admin: "127.0.0.1:0"', `admin: "127.0.0.1:${await freePort()}"`),
  );
  const program = new RunningProgram(t, RELAY_PROGRAM, ['doctor', '--config', stopped.configFile]);
  assert.equal(await program.exited, 69);
  assert.match(program.lines.join('\n'), /FAIL {2}relay {9}Cannot ask the relay[\s\S]*Begin with: relay\.$/m);
  const missing = await diagnose('/nowhere/relay.yaml');
  assert.deepEqual([missing.failed, missing.exit], [['config'], 78]);
});

test('relay why follows a request through a running relay, by its control socket', async (t) => {
  const origin = await startHttpOrigin(t, (_request, response) => void response.end('hi'));
  const home = new RelayHome(t);
  const { https } = await startRelayProcess(t, home);
  await startTunnelProcess(t, https, home, [appTunnel(origin.url)]);
  const why = async (host: string) => {
    const flags = ['--config', home.configFile, '--address', `127.0.0.1:${https}`, '--json'];
    const program = new RunningProgram(t, RELAY_PROGRAM, ['why', `https://${host}/`, ...flags]);
    const exit = await program.exited;
    return { exit, way: JSON.parse(program.lines.join('')) as Way };
  };
  const { exit, way } = await why(APP);
  assert.equal(exit, 0);
  const passed = way.hops.filter(({ state, ms }) => state === 'PASS' && ms !== undefined).map(({ hop }) => hop);
  assert.deepEqual(passed, ['connect', 'tls', ...RELAY_HOPS]);
  const unknown = await why('nobody.relay.localhost');
  assert.deepEqual([unknown.exit, unknown.way.hops.at(-1)?.hop], [69, 'route']);
  assert.equal(unknown.way.hops.at(-1)?.found, 'no client has claimed nobody.relay.localhost');
  const ungranted = (await why('app.elsewhere.test')).way.hops.at(-1);
  assert.deepEqual([ungranted?.hop, ungranted?.found], ['route', 'no token may serve app.elsewhere.test']);
  assert.match(ungranted?.cure ?? '', /relay token list/);
});

test('relay why follows a raw TCP tunnel to the first byte, to an app that waits, and to where it ends', async (t) => {
  const server = createServer((socket) => void (isSilent ? socket : socket.write('SSH-2.0\r\n')));
  let isSilent = false;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const origin = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const [port, dead] = [await freePort(), await freePort()];
  const home = new RelayHome(t, { tcpPorts: [String(port), String(dead)] });
  const { https } = await startRelayProcess(t, home);
  const tunnels = [
    `{ name: ssh, tcp_port: ${port}, origin: "${origin}" }`,
    `{ name: dead, tcp_port: ${dead}, origin: "tcp://127.0.0.1:1" }`,
  ];
  const client = await startTunnelProcess(t, https, home, tunnels);
  await client.line('"name":"dead","url"');
  const why = async (of: number) => {
    const io = recordingIo();
    const address = `127.0.0.1:${of}`;
    const exit = await runWhy(`tcp://relay.localhost:${of}`, { config: home.configFile, address, json: true }, io);
    const { hops } = JSON.parse(io.printed.join('')) as Way;
    return [exit, ...hops.slice(1).map(({ hop, state, found }) => `${hop} ${state} ${found}`)];
  };
  const before = ['connect PASS', 'session PASS the client of token home is connected'];
  const of = (at: number) => [`${before[0]} 127.0.0.1:${at}`, before[1]];
  assert.deepEqual(await why(port), [
    0,
    ...of(port),
    'dial PASS the connection stays open',
    'app PASS the app spoke first',
  ]);
  isSilent = true;
  assert.match(String((await why(port)).at(-1)), /^app PASS the app waits for its visitor/);
  assert.match(String((await why(dead)).at(-1)), /^dial FAIL the connection ended/);
  client.child.kill('SIGTERM');
  await client.exited;
  assert.match(String((await why(port)).at(-1)), /^connect FAIL /);
});

test('the admin listener takes no watch from a web page, and none for an id that could be guessed', async (t) => {
  const relay = await new RelayHome(t).start(t);
  const ask = async (path: string, headers = {}) => {
    const asked = request({ host: '127.0.0.1', port: relay.port('admin'), path, headers, agent: false }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response) body += chunk;
    return { status: response.statusCode, body };
  };
  const path = `/api/v1/requests/${'a'.repeat(24)}?host=${APP}`;
  assert.equal((await ask(path, { origin: 'https://evil.example' })).status, 403);
  assert.equal(JSON.parse((await ask(`/api/v1/requests/short?host=${APP}`)).body).code, 'REQUEST_INVALID');
  assert.equal(JSON.parse((await ask(`/api/v1/requests/${'a'.repeat(24)}?host=%00`)).body).hops.length, 0);
  assert.equal((await ask('/api/v1/requests/x')).status, 404);
});
