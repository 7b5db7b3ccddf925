/** What is news about a tunnel, a certificate and a client, and what is not. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { AlertMemory } from '../relay-server/ops/alerts/alert-memory.js';
import { AlertWatch } from '../relay-server/ops/alerts/alert-watch.js';
import { CertificateHealth } from '../relay-server/ops/alerts/certificate-health.js';
import { TunnelHealth } from '../relay-server/ops/alerts/tunnel-health.js';
import type { RelayStatus } from '../relay-server/ops/relay-status.js';
import { relayStatus } from './support/relay-status.js';
import { temporaryFolder } from './support/temporary-folder.js';

const RULES = {
  downAfterMs: 60,
  flappingAfter: 4,
  flappingWindowMs: 600,
  certificateWithinMs: 10_000,
  clientAddresses: true,
};

/** The news of a tunnel that is looked at every 10 ms; `#` is online, `.` is not. */
function newsOf(life: string, before?: 'up' | 'down'): string[] {
  const health = new TunnelHealth(RULES, before, 0);
  return [...life].flatMap((mark, at) => {
    const news = health.look(mark === '#', (at + 1) * 10);
    return news === undefined ? [] : [`${news} ${at}`];
  });
}

test('a break shorter than the grace is silent, a longer one is down and up', () => {
  assert.deepEqual(newsOf(`##.....###`), []);
  assert.deepEqual(newsOf(`##${'.'.repeat(20)}##`), ['down 8', 'up 22']);
});

test('a tunnel that comes and goes is one alert, and one more when it is steady', () => {
  const life = `${'#.'.repeat(20)}${'#'.repeat(100)}`;
  assert.deepEqual(newsOf(life), ['flapping 7', 'steady 100']);
  assert.deepEqual(newsOf(`${'#.'.repeat(4)}${'.'.repeat(100)}`), ['flapping 7', 'down 67']);
  assert.deepEqual(newsOf(`${'#.'.repeat(4)}${'.'.repeat(100)}#`), ['flapping 7', 'down 67', 'up 108']);
});

test('losses that lie far apart are no flapping', () => {
  assert.deepEqual(newsOf(`.${'#'.repeat(40)}`.repeat(10)), []);
});

test('after a restart a tunnel that was up is missed, and one that was down comes up', () => {
  assert.deepEqual(newsOf('.'.repeat(20), 'up'), ['down 5']);
  assert.deepEqual(newsOf('..##', 'up'), []);
  assert.deepEqual(newsOf('..##', 'down'), ['up 2']);
});

test('whatever a tunnel does, the news alternate and are few', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 300 }), (looks) => {
      const news = newsOf(looks.map((isOnline) => (isOnline ? '#' : '.')).join('')).map((text) => text.split(' ')[0]);
      const isBad = news.map((word) => word === 'down' || word === 'flapping');
      for (const [at, word] of news.entries()) {
        if (word === 'up') assert.equal(news[at - 1], 'down');
        if (word === 'steady') assert.equal(news[at - 1], 'flapping');
      }
      // In the 60 looks of a window: never more than each loss after its grace, and one flapping.
      assert.ok(isBad.filter(Boolean).length <= looks.length / 7 + 2);
    }),
  );
});

test('a certificate is told of once for each worse trouble, and once when it is well', () => {
  const health = new CertificateHealth(RULES);
  const look = (nowMs: number, notAfterMs?: number, lastError?: string) =>
    health.look({ name: 'a', state: 'valid', notAfterMs, lastError }, nowMs);
  assert.equal(look(0, 100_000), undefined);
  assert.equal(look(10, 100_000, 'no'), undefined);
  assert.equal(look(50, 100_000, 'no'), undefined);
  assert.equal(look(70, 100_000, 'no'), 'failing');
  assert.equal(look(80, 100_000, 'no'), undefined);
  assert.equal(look(95_000, 100_000, 'no'), 'expiring');
  assert.equal(look(100_000, 100_000), 'expired');
  assert.equal(look(100_001, 100_000), undefined);
  assert.equal(look(100_002, 900_000), 'well');
  assert.equal(look(100_003, 900_000), undefined);
});

const URL = 'https://home.example.com';
const offline = (tunnels: RelayStatus['tunnels']) =>
  tunnels.map((tunnel) => ({ ...tunnel, state: 'offline' }) as const);

const withClient = (clientAddress: string): RelayStatus => {
  const [session] = relayStatus().sessions;
  return relayStatus({ sessions: session === undefined ? [] : [{ ...session, clientAddress }], certificates: [] });
};

test('a client at a new address is news, at its first and at known ones it is not', (t) => {
  const watch = new AlertWatch(RULES, new AlertMemory(temporaryFolder(t)), 0);
  const eventsAt = (address: string) => watch.look(withClient(address), 0, 0).map(({ event }) => event);
  assert.deepEqual(eventsAt('203.0.113.9'), []);
  assert.deepEqual(eventsAt('203.0.113.9'), []);
  assert.deepEqual(eventsAt('198.51.100.1'), ['client-address']);
  assert.deepEqual(eventsAt('203.0.113.9'), []);
  assert.deepEqual(eventsAt('2001:db8:1:2::5'), ['client-address']);
  assert.deepEqual(eventsAt('2001:db8:1:2:aaaa:bbbb:cccc:dddd'), []);
  assert.deepEqual(eventsAt('2001:db8:1:3::5'), ['client-address']);
});

test('news spends the share of the token whose client served the tunnel, and the relay has its own', (t) => {
  const watch = new AlertWatch(RULES, new AlertMemory(temporaryFolder(t)), 0);
  const failing = (name: string) => ({ name, state: 'waiting', lastError: 'no' }) as const;
  const names = ['example.com', 'home.example.com', 'other.example.com'];
  const status = (changes: Partial<RelayStatus>) =>
    relayStatus({ sessions: [], tunnels: offline(tunnels), certificates: names.map(failing), ...changes });
  const { sessions, tunnels } = relayStatus();
  watch.look(status({ sessions, tunnels }), 0, 0);
  watch.look(status({}), 1, 1);
  const news = watch.look(status({}), 100, 100).map(({ event, subject, share }) => [event, subject, share]);
  assert.deepEqual(news, [
    ['tunnel-down', 'https://home.example.com', 'laptop'],
    ['certificate-trouble', 'example.com', 'example.com'],
    ['certificate-trouble', 'home.example.com', 'laptop'],
    ['certificate-trouble', 'other.example.com', ''],
  ]);
});

test('the memory outlives a restart, is private, and a damaged one is only forgotten', (t) => {
  const folder = temporaryFolder(t);
  const first = new AlertMemory(folder);
  const watch = new AlertWatch(RULES, first, 0);
  watch.look(withClient('203.0.113.9'), 0, 0);
  first.save();
  const file = join(folder, 'alerts.json');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const again = new AlertWatch(RULES, new AlertMemory(folder), 0);
  const gone = { ...withClient('198.51.100.1'), tunnels: offline(relayStatus().tunnels) };
  assert.deepEqual(
    again.look(gone, 0, 0).map(({ event }) => event),
    ['client-address'],
  );
  assert.deepEqual(
    again.look(gone, 60, 0).map(({ event, subject }) => [event, subject]),
    [['tunnel-down', URL]],
  );
  for (const text of ['', '{', '[]', '{"tunnels":{"x":5},"addresses":{"y":[1]}}', '{"tunnels":null}']) {
    writeFileSync(file, text);
    assert.deepEqual([...new AlertMemory(folder).tunnels], []);
  }
});

test('the memory stays small whatever clients do', (t) => {
  const folder = temporaryFolder(t);
  const memory = new AlertMemory(folder);
  for (let at = 0; at < 1_200; at += 1) {
    memory.rememberTunnel(`https://h${at}.example.com`, 'up');
    for (let host = 0; host < 20; host += 1) memory.isNewAddress(`token${at}`, `203.0.113.${host}`);
  }
  memory.save();
  const { tunnels, addresses } = JSON.parse(readFileSync(join(folder, 'alerts.json'), 'utf8'));
  assert.deepEqual([Object.keys(tunnels).length, Object.keys(addresses).length], [1_000, 1_000]);
  assert.equal(addresses.token1199.length, 16);
});
