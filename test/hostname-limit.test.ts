/** How many hostnames a token may have certificates for by its wildcard grants, in every tls.mode. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { RememberedHosts } from '../relay-server/sessions/remembered-hosts.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { DOMAIN, RelayHome } from './support/world.js';

const DAY_MS = 86_400_000;

const tunnel = (label: string) => `{ name: ${label}, host: ${label}.${DOMAIN}, origin: "127.0.0.1:1" }`;

test('a client cannot make the relay issue certificates without limit', async (t) => {
  const hosts = [`*.${DOMAIN}`, `exact.${DOMAIN}`];
  const home = new RelayHome(t, { hosts, yaml: 'limits: { hostnames_per_token: 2 }' });
  const relay = await home.start(t);
  const first = await relay.client(t, [tunnel('one'), tunnel('two'), tunnel('exact')]);
  const more = await relay.client(t, ['three', 'four', 'one'].map(tunnel), { clientId: 'other', noWait: true });
  await Promise.all([more.event('denied three LIMIT_EXCEEDED'), more.event('denied four LIMIT_EXCEEDED')]);
  first.client.close();
  await first.done;
  const again = await relay.client(t, ['two', 'one'].map(tunnel), { clientId: 'third' });
  assert.deepEqual([...again.events].sort(), ['up one', 'up two']);
  const issued = readdirSync(join(home.config.stateDir, 'local-ca', 'certs')).sort();
  assert.deepEqual(
    issued,
    ['exact', 'one', 'two']
      .map((label) => `${label}.${DOMAIN}.pem`)
      .concat(`${DOMAIN}.pem`)
      .sort(),
  );

  await relay.relay.close();
  const restarted = await home.start(t);
  const late = await restarted.client(t, [tunnel('five')], { clientId: 'fourth', noWait: true });
  await late.event('denied five LIMIT_EXCEEDED');
});

test('a name that nobody has used for a week makes room, one in use never does', (t) => {
  const folder = temporaryFolder(t);
  let nowMs = 1_800_000_000_000;
  const open = () => new RememberedHosts(folder, () => nowMs);
  const hosts = open();
  const room = { max: 2, isInUse: (host: string) => host === 'b.example.com' };
  for (const host of ['b.example.com', 'a.example.com']) {
    hosts.makeRoom(host, 'token', room);
    hosts.remember(host, 'token');
  }
  hosts.makeRoom('a.example.com', 'token', room);
  nowMs += 6 * DAY_MS;
  assert.throws(() => hosts.makeRoom('c.example.com', 'token', room), {
    code: 'LIMIT_EXCEEDED',
    message: /its token has 2 hostnames under wildcard grants\. .* \(limits\.hostnames_per_token\)\.$/,
  });
  hosts.makeRoom('c.example.com', 'another token', room);
  nowMs += 2 * DAY_MS;
  const later = open();
  later.makeRoom('c.example.com', 'token', room);
  assert.equal(later.has('a.example.com'), false);
  assert.equal(later.has('b.example.com'), true);
  later.remember('c.example.com', 'token');
  assert.throws(() => later.makeRoom('d.example.com', 'token', room), { code: 'LIMIT_EXCEEDED' });
  assert.deepEqual(open().of('token'), ['b.example.com', 'c.example.com']);
});

test('a name that is claimed again and again stays, and the file of version 0.1 is read', (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'hosts.json');
  writeFileSync(file, JSON.stringify({ 'a.example.com': 'token', 'not a host': 'token', 'b.example.com': 7 }));
  let nowMs = 1_800_000_000_000;
  const hosts = new RememberedHosts(folder, () => nowMs);
  assert.deepEqual(hosts.of('token'), ['a.example.com']);
  const room = { max: 1, isInUse: () => false };
  for (let day = 0; day < 20; day += 1, nowMs += DAY_MS) hosts.remember('a.example.com', 'token');
  assert.throws(() => hosts.makeRoom('b.example.com', 'token', room), { code: 'LIMIT_EXCEEDED' });
  hosts.remember('a.example.com', 'token');
  nowMs += 60_000;
  hosts.remember('a.example.com', 'token');
  assert.equal(JSON.parse(readFileSync(file, 'utf8'))['a.example.com'].claimedAtMs, nowMs - 60_000);
});
