import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import { Backoff } from '../tunnel-client/session/backoff.js';

const LOST = new TunnelError('LINK_LOST', 'lost');

/** The waits of one outage when every draw is `random`. */
function waits(random: () => number, count: number): number[] {
  const backoff = new Backoff(random);
  return Array.from({ length: count }, () => backoff.next(LOST, 0));
}

test('the first retry comes within 300 ms and later spans double up to 20 s', () => {
  assert.deepEqual(
    waits(() => 1, 9),
    [300, 1_000, 1_300, 2_600, 5_200, 10_400, 20_000, 20_000, 20_000],
  );
});

test('waits are drawn from nothing to the whole span', () => {
  assert.deepEqual(
    waits(() => 0, 3),
    [0, 0, 0],
  );
});

test('no wait is longer than all waits before it, so short draws do not lead to a long one', () => {
  const draws = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1];
  let next = 0;
  const all = waits(() => draws[next++] ?? 0, draws.length);
  const before = all.slice(0, -1).reduce((sum, ms) => sum + ms, 0);
  assert.ok(before < 1_000);
  assert.equal(all.at(-1), 1_000);
});

test('the series starts anew after 10 s of service, and not before', () => {
  const backoff = new Backoff(() => 1);
  for (let round = 0; round < 4; round += 1) backoff.next(LOST, 0);
  assert.equal(backoff.next(LOST, 9_999), 5_200);
  assert.equal(backoff.next(LOST, 10_000), 300);
  assert.equal(backoff.next(LOST, 0), 1_000);
});

test('what the relay asks for is waited in addition, and a taken hostname is asked for slowly', () => {
  const draining = new TunnelError('RELAY_DRAINING', 'restarting', { retryInMs: 500 });
  assert.equal(new Backoff(() => 0.5).next(draining, 0), 650);
  assert.equal(new Backoff(() => 1).next(new TunnelError('HOSTNAME_TAKEN', 'taken'), 0), 30_000);
});
