/** One definition of "down" for metrics, `relay status`, `relay doctor`, the API and alerts: served once, no client now. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../bench/free-port.js';
import { runHostForget } from '../relay-server/host-command.js';
import { checkClients } from '../relay-server/ops/doctor/local-checks.js';
import { RelayPatient } from '../relay-server/ops/doctor/relay-patient.js';
import { formatRelayStatus, type RelayStatus } from '../relay-server/ops/relay-status.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { readServedTunnels } from '../relay-server/sessions/served-tunnels.js';
import { runTokenList } from '../relay-server/token-command.js';
import { scrape } from './support/metrics.js';
import { recordingIo } from './support/recording-io.js';
import { statusOf, statusUntil } from './support/relay-probe.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until } from './support/within.js';
import {
  RelayHome,
  RunningProgram,
  type RunningRelay,
  startRelayProcess,
  startTunnelProcess,
  TUNNEL_PROGRAM,
  writeTunnelConfig,
} from './support/world.js';

const SHORT_HOLD = 'limits: { hold_timeout: 100ms }';
const tunnelOf = (name: string) => `{ name: ${name}, host: ${name}.relay.localhost, origin: "1" }`;

/** What every room says of the tunnels of a relay. */
async function told(home: RelayHome, admin: number) {
  const status = await statusOf(admin);
  const { samples } = await scrape(admin);
  const up = samples.filter(({ name }) => name === 'sallyport_tunnel_up');
  return {
    states: statesOf(status),
    up: up.map(({ labels, value }) => `${labels.tunnel} ${value}`).sort(),
    doctor: diagnosis(home, status),
    text: formatRelayStatus(status),
  };
}

function statesOf({ tunnels }: RelayStatus): string[] {
  return tunnels.map(({ name, state, tokenName }) => `${name} ${state} ${tokenName}`).sort();
}

function diagnosis(home: RelayHome, status: RelayStatus) {
  const patient = new RelayPatient(home.configFile, async () => status);
  patient.status = status;
  return checkClients(patient);
}

/** A relay that has served `app`, whose client stopped, and a token that nobody used. */
async function startWithLost(t: TestContext, tunnels: readonly string[], tcpPorts: readonly string[] = []) {
  const home = new RelayHome(t, { yaml: SHORT_HOLD, tcpPorts });
  home.tokens.create('unused', makeGrants(['unused.relay.localhost'], []));
  const relay = await home.start(t);
  const { client, done } = await relay.client(t, tunnels);
  client.close();
  await done;
  await offline(relay, tunnels.length);
  return { home, relay };
}

async function offline({ relay }: RunningRelay, count: number): Promise<void> {
  const down = () => relay.status().tunnels.filter(({ state }) => state === 'offline').length;
  await until(`${count} offline tunnels`, () => (down() === count ? true : undefined));
}

test('a client that was killed and one that stopped leave their tunnels down, for everybody who asks', async (t) => {
  const home = new RelayHome(t, { yaml: SHORT_HOLD });
  home.tokens.create('unused', makeGrants(['unused.relay.localhost'], []));
  const { admin, https } = await startRelayProcess(t, home);
  assert.deepEqual((await told(home, admin)).up, [], 'a token that was never used is not down');
  const killed = await startTunnelProcess(t, https, home, [tunnelOf('killed')], { clientId: 'one' });
  const stopped = await startTunnelProcess(t, https, home, [tunnelOf('stopped')], { clientId: 'two' });
  await killed.kill();
  stopped.child.kill('SIGTERM');
  await statusUntil(admin, ({ tunnels }) => tunnels.every(({ state }) => state === 'offline'));
  const { states, up, doctor, text } = await told(home, admin);
  assert.deepEqual(states, ['killed offline home', 'stopped offline home']);
  assert.deepEqual(up, ['killed.relay.localhost 0', 'stopped.relay.localhost 0']);
  assert.equal(doctor.state, 'FAIL');
  assert.match(doctor.found, /^https:\/\/(killed|stopped)\.relay\.localhost\S*: no client for \d+s, token home$/m);
  assert.match(doctor.cure ?? '', /tunnel doctor.*relay host forget NAME.*relay token revoke NAME/);
  assert.match(text, /^ {2}killed +offline for \d+s +https:\S+ +relay +home +–/m);
});

test('a restart of the relay changes nothing of that: raw TCP ports are missed, unused tokens are not', async (t) => {
  const port = await freePort();
  const tunnels = [tunnelOf('app'), `{ name: ssh, tcp_port: ${port}, origin: "tcp://127.0.0.1:1" }`];
  const { home, relay } = await startWithLost(t, tunnels, [String(port)]);
  await relay.relay.close();
  const again = await home.start(t);
  assert.deepEqual((await told(home, again.port('admin'))).up, [`:${port} 0`, 'app.relay.localhost 0']);
  await until('the end of the hold', () =>
    again.relay.status().tunnels.some(({ state }) => state === 'held') ? undefined : true,
  );
  const { states, doctor } = await told(home, again.port('admin'));
  assert.deepEqual(states, ['app offline home', 'ssh offline home']);
  assert.equal(doctor.state, 'FAIL');
  const { client } = await again.client(t, tunnels);
  assert.equal((await told(home, again.port('admin'))).doctor.state, 'PASS');
  client.close();
});

test('only tokens that nobody has used make a relay with nothing to miss', async (t) => {
  const home = new RelayHome(t, { hosts: ['app.relay.localhost'] });
  const first = await home.start(t);
  await first.relay.close();
  const again = await home.start(t);
  const { states, up, doctor } = await told(home, again.port('admin'));
  assert.deepEqual([states, up, doctor.state], [[], [], 'SKIP']);
});

test('the operator ends it with relay host forget, with the relay running or not', async (t) => {
  const port = await freePort();
  const tunnels = [tunnelOf('app'), tunnelOf('other'), `{ name: ssh, tcp_port: ${port}, origin: "tcp://127.0.0.1:1" }`];
  const { home, relay } = await startWithLost(t, tunnels, [String(port)]);
  // What the relay listens on is known to this test alone.
  const { configFile } = home;
  const text = readFileSync(configFile, 'utf8');
  writeFileSync(configFile, text.replace('admin: "127.0.0.1:0"', `admin: "127.0.0.1:${relay.port('admin')}"`));
  const forget = (name: string) => runHostForget(name, { config: configFile }, recordingIo());
  await forget('app.relay.localhost');
  await forget(`:${port}`);
  assert.deepEqual(statesOf(relay.relay.status()), ['other offline home']);
  await assert.rejects(forget('app.relay.localhost'), { code: 'USAGE_INVALID', message: /no client has served it/ });
  await relay.relay.close();
  assert.deepEqual([...readServedTunnels(home.config.stateDir).keys()], ['other.relay.localhost']);
  await forget('other.relay.localhost');
  assert.deepEqual(statesOf((await home.start(t)).relay.status()), []);
});

test('a tunnel that its client takes out of tunnel.yaml is not missed', async (t) => {
  const home = new RelayHome(t, { yaml: SHORT_HOLD });
  const { admin, https } = await startRelayProcess(t, home);
  const folder = temporaryFolder(t);
  const file = writeTunnelConfig(folder, https, home, [tunnelOf('kept'), tunnelOf('dropped')]);
  const client = new RunningProgram(t, TUNNEL_PROGRAM, ['up', '--json', '--config', file], { XDG_RUNTIME_DIR: folder });
  await statusUntil(admin, ({ tunnels }) => tunnels.length === 2);
  writeTunnelConfig(folder, https, home, [tunnelOf('kept')]);
  client.child.kill('SIGHUP');
  const { tunnels } = await statusUntil(admin, (status) => status.tunnels.length === 1);
  assert.deepEqual(
    tunnels.map(({ name, state }) => [name, state]),
    [['kept', 'online']],
  );
});

test('the operator ends it by revoking the token, and not by rotating it', async (t) => {
  const { home, relay } = await startWithLost(t, [tunnelOf('app')]);
  home.tokens.rotate('home');
  home.tokens.revoke('unused');
  const tokens = () => relay.relay.adminSubject().tokens();
  await until('a look at the tokens', () => (tokens().length === 1 ? true : undefined));
  assert.deepEqual(statesOf(relay.relay.status()), ['app offline home']);
  home.tokens.revoke('home');
  await until('nothing missed', () => (relay.relay.status().tunnels.length === 0 ? true : undefined));
});

test('relay token list tells when each token was made and last used, also without a relay', async (t) => {
  const { home, relay } = await startWithLost(t, [tunnelOf('app')]);
  const used = () =>
    relay.relay
      .adminSubject()
      .tokens()
      .map(({ name, lastUsedAt }) => [name, typeof lastUsedAt]);
  assert.deepEqual(used(), [
    ['home', 'string'],
    ['unused', 'object'],
  ]);
  await relay.relay.close();
  const io = recordingIo();
  runTokenList({ config: home.configFile }, io);
  assert.match(
    io.printed.join('\n'),
    /^NAME +CREATED +LAST USED .*\nhome +\d{4}-\d\d-\d\d +\d{4}-\d\d-\d\d +never .*\nunused +\S+ +not this week +never/,
  );
});

test('a damaged memory of what was served is only forgotten', (t) => {
  const { config } = new RelayHome(t);
  const good = { name: 'app', tokenName: 'home', seenAtMs: 5 };
  for (const text of ['', '[]', 'null', '{"a.example":5}', '{"a.example":{"name":"x"}}']) {
    writeFileSync(join(config.stateDir, 'served-tunnels.json'), text);
    assert.deepEqual([...readServedTunnels(config.stateDir)], []);
  }
  writeFileSync(join(config.stateDir, 'served-tunnels.json'), JSON.stringify({ 'a.example': good, b: null }));
  assert.deepEqual([...readServedTunnels(config.stateDir)], [['a.example', good]]);
});
