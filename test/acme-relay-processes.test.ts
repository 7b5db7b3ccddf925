/** What several relay processes on one state folder do to each other, and what is left of one that is killed. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { freePort } from '../bench/free-port.js';
import { caNameOf } from '../shared/certs/account-store.js';
import { startTestDns } from './support/acme-dns.js';
import { acmeHome, acmeWorld, ordersAt, serialAt } from './support/acme-world.js';
import { startPebble } from './support/pebble.js';
import { DOMAIN, RELAY_PROGRAM, RunningProgram, startRelayProcess } from './support/world.js';

/** What pebble says at each step of an order. */
const STEPS = ['There are now 1 accounts', 'Added order', 'Pulled a task', 'Issued certificate serial'];

test('a relay that is killed at any step of an order leaves nothing that stops the next one', async (t) => {
  const env = { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '1' };
  const world = await acmeWorld(t, { pebble: { env } });
  if (!world) return;
  const { home, pebble, https } = world;
  const accountFile = join(home.config.stateDir, 'accounts', caNameOf(pebble.directoryUrl), 'account.json');
  for (const step of STEPS) {
    const isThere = pebble.process.nextLine(step);
    const killed = new RunningProgram(t, RELAY_PROGRAM, ['serve', '--config', home.configFile]);
    await isThere;
    await killed.kill();
  }
  const { program } = await startRelayProcess(t, home);
  await program.line('certificate_issued');
  assert.match(await serialAt(https), /^[0-9A-F]{8,}$/);
  const failures = program.lines.filter((line) => line.includes('certificate_failed'));
  assert.deepEqual(failures, []);
  const { url } = JSON.parse(readFileSync(accountFile, 'utf8'));
  assert.match(url, /\/my-account\//);
  const accounts = pebble.process.lines.filter((line) => /There are now \d+ accounts/.test(line));
  assert.equal(accounts.length, 1, 'one account, whatever died');
});

test('two relays on one state folder order a name once, and both serve it', async (t) => {
  const dns = await startTestDns(t);
  if (!dns) return;
  const pebble = await startPebble(t, { dnsServer: dns.server, nonceReject: 0 });
  if (!pebble) return;
  const acme = `dns: { command: "${dns.hook}", resolvers: ["${dns.server}"] }`;
  const at = async () => acmeHome(t, pebble, { https: await freePort(), http: await freePort(), acme });
  const first = await at();
  const second = await at();
  // The later one of two equal keys would be a mistake, so the second file is written anew.
  const shared = readFileSync(second.configFile, 'utf8').replace(
    'state_dir: state',
    `state_dir: ${first.config.stateDir}`,
  );
  writeFileSync(second.configFile, shared);
  const relays = await Promise.all([startRelayProcess(t, first), startRelayProcess(t, second)]);
  await Promise.all(relays.map(({ program }) => program.line('certificate_issued')));
  const serials = await Promise.all(relays.map(({ https }) => serialAt(https, DOMAIN)));
  assert.match(serials[0] ?? '', /^[0-9A-F]{8,}$/);
  assert.equal(serials[0], serials[1]);
  assert.equal(ordersAt(pebble), 1);
});
