/** The client behind a router that hides it and lets nobody in, and an "ISP" that forgets the router's connections. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NetworkNamespace } from './support/network-namespaces.js';
import { requireTool } from './support/require-tool.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { until, within } from './support/within.js';
import { RELAY_PROGRAM, RelayHome, RunningProgram, TUNNEL_PROGRAM } from './support/world.js';

const RELAY = '203.0.113.1';
const ROUTER = '203.0.113.2';
const RELAY_FOR_VISITORS = '198.51.100.1';
const HOME = '192.168.77.2';
const PORT = 8443;
const HOST = 'app.relay.localhost';
const BACK_MS = 15_000;

const ORIGIN = `
  import { createServer } from 'node:http';
  createServer((request, response) => response.end('at home')).listen(8080, () => console.log('ready'));
`;

type Machines = Record<'relay' | 'router' | 'home' | 'visitor', NetworkNamespace>;

/** Relay and visitor have public addresses; home has a private one that only its router knows. */
async function makeNetwork(t: TestContext): Promise<Machines | undefined> {
  if (requireTool(t, 'nft', 'nftables') === undefined || requireTool(t, 'curl', 'curl') === undefined) return undefined;
  const machines = await NetworkNamespace.make(t, ['relay', 'router', 'home', 'visitor']);
  if (machines === undefined) return undefined;
  const { relay, router, home, visitor } = machines;
  await relay.connect('wan', `${RELAY}/24`, router, 'wan', `${ROUTER}/24`);
  await relay.connect('visitors', `${RELAY_FOR_VISITORS}/24`, visitor, 'wan', '198.51.100.2/24');
  await router.connect('lan', '192.168.77.1/24', home, 'lan', `${HOME}/24`);
  await home.exec('ip', 'route', 'add', 'default', 'via', '192.168.77.1');
  await relay.exec('ip', 'route', 'add', '192.168.77.0/24', 'via', ROUTER);
  await router.exec('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  await nft(router, 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }');
  await nft(router, 'add rule ip nat out oifname "wan" masquerade');
  await nft(router, 'add table ip guard; add chain ip guard in { type filter hook forward priority 0; policy drop; }');
  await nft(router, 'add rule ip guard in iifname "lan" accept; add rule ip guard in ct state established accept');
  return machines;
}

function nft(machine: NetworkNamespace, commands: string): Promise<string> {
  return machine.exec('nft', commands);
}

/** Relay, client and origin on their machines; resolves with the file of the relay's CA. */
async function startPrograms(t: TestContext, { relay, home }: Machines): Promise<string> {
  const state = new RelayHome(t);
  const listen = `{ https: "0.0.0.0:${PORT}", http: off, admin: "127.0.0.1:9180" }`;
  const relayFile = join(state.folder, 'nat.yaml');
  writeFileSync(relayFile, `domain: relay.localhost\nlisten: ${listen}\nstate_dir: state\n`);
  const serving = new RunningProgram(t, RELAY_PROGRAM, ['serve', '--config', relayFile], {}, relay.wrapper);
  await serving.line('"event":"listening"');

  const origin = new RunningProgram(t, '--input-type=module', ['-e', ORIGIN], {}, home.wrapper);
  await origin.line('ready');
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'token'), state.token.reveal(), { mode: 0o600 });
  const lines = [
    `relay_url: https://relay.localhost:${PORT}`,
    `relay_address: "${RELAY}:${PORT}"`,
    `relay_ca_file: ${state.caFile}`,
    'token_file: token',
    `tunnels: [{ name: app, host: ${HOST}, origin: "http://127.0.0.1:8080" }]`,
  ];
  const clientFile = join(folder, 'tunnel.yaml');
  writeFileSync(clientFile, lines.join('\n'));
  const environment = { XDG_RUNTIME_DIR: folder };
  const args = ['up', '--json', '--config', clientFile];
  const client = new RunningProgram(t, TUNNEL_PROGRAM, args, environment, home.wrapper);
  await within('tunnel', client.line('"event":"up"'));
  return state.caFile;
}

/** What a visitor sees who gives up after two seconds; undefined when nothing came. */
async function visit({ visitor }: Machines, caFile: string): Promise<string | undefined> {
  const place = ['--cacert', caFile, '--resolve', `${HOST}:${PORT}:${RELAY_FOR_VISITORS}`, `https://${HOST}:${PORT}/`];
  return visitor.exec('curl', '-sf', '--max-time', '2', ...place).catch(() => undefined);
}

/** Ports of the client's connections to the relay, as the router sees them inside. */
async function linkPorts({ home }: Machines): Promise<string[]> {
  const connections = await home.exec('ss', '-Htn', 'state', 'established', 'dport', '=', `:${PORT}`);
  return [...connections.matchAll(new RegExp(`${HOME}:(\\d+)`, 'g'))].map(([, port]) => port ?? '');
}

test('a client behind NAT serves, and serves again within 15 s after the ISP has dropped its connections', async (t) => {
  const machines = await makeNetwork(t);
  if (machines === undefined) return;
  const caFile = await startPrograms(t, machines);
  assert.equal(await visit(machines, caFile), 'at home');
  const status = await machines.relay.exec('curl', '-s', 'http://127.0.0.1:9180/api/v1/status');
  assert.equal(JSON.parse(status).sessions[0].clientAddress, ROUTER);
  assert.equal((await machines.home.exec('curl', '-s', `http://${HOME}:8080/`)).trim(), 'at home');
  const inbound = machines.relay.exec('curl', '-s', '--max-time', '1', `http://${HOME}:8080/`);
  await assert.rejects(inbound, { code: 28 }, 'curl must time out: nobody gets in');

  const ports = await linkPorts(machines);
  assert.equal(ports.length, 2);
  const forgotten = `{ ${ports.join(', ')} }`;
  const droppedAtMs = performance.now();
  await nft(
    machines.router,
    `insert rule ip guard in tcp sport ${forgotten} drop; insert rule ip guard in tcp dport ${forgotten} drop`,
  );
  assert.equal(await visit(machines, caFile), undefined);
  const answer = await until('service', () => visit(machines, caFile), BACK_MS);
  const backMs = performance.now() - droppedAtMs;
  assert.equal(answer, 'at home');
  assert.ok(backMs < BACK_MS, `back after ${backMs.toFixed(0)} ms`);
  assert.ok((await linkPorts(machines)).every((port) => !ports.includes(port)));
  t.diagnostic(`back ${backMs.toFixed(0)} ms after the connections were dropped`);
});
