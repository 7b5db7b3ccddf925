/** When certificates are renewed and failed attempts repeated: tables and properties, without a clock. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Life, renewalTime, retryDelay } from '../shared/certs/renewal-time.js';

const dayMs = 86_400_000;
const minuteMs = 60_000;
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const lives = fc.record({ notBeforeMs: fc.integer({ min: 0, max: 4e12 }), days: fc.integer({ min: 1, max: 400 }) });

function life(days: number): Life {
  return { notBeforeMs: 0, notAfterMs: days * dayMs };
}

test('without a window a certificate is renewed two thirds into its life, or a little later', () => {
  const days = (total: number, random: number) => renewalTime(life(total), undefined, random) / dayMs;
  assert.deepEqual([days(90, 0), days(45, 0), days(6, 0)], [60, 30, 4]);
  assert.ok(days(90, 0.999) > 64.4 && days(90, 0.999) < 64.5);
  assert.ok(days(6, 0.999) < 4.31);
});

test('the window of the CA decides, the chance picks a moment in it', () => {
  const window = { startMs: 10 * dayMs, endMs: 12 * dayMs };
  assert.equal(renewalTime(life(90), window, 0), 10 * dayMs);
  assert.equal(renewalTime(life(90), window, 0.5), 11 * dayMs);
  // In the past: the certificate was revoked, and is renewed at once.
  assert.ok(renewalTime(life(90), { startMs: -2 * dayMs, endMs: -dayMs }, 0.5) < 0);
});

test('a window in the last twentieth of the life does not count', () => {
  const late = { startMs: 89 * dayMs, endMs: 95 * dayMs };
  assert.equal(renewalTime(life(90), late, 0.9), 85.5 * dayMs);
});

test('whatever the window, at least a twentieth of the life is left', () => {
  fc.assert(
    fc.property(lives, chance, fc.option(fc.tuple(fc.integer(), fc.nat())), (made, random, wished) => {
      const one = { notBeforeMs: made.notBeforeMs, notAfterMs: made.notBeforeMs + made.days * dayMs };
      const window = wished ? { startMs: wished[0] * 1e5, endMs: wished[0] * 1e5 + wished[1] * 1e5 + 1 } : undefined;
      assert.ok(one.notAfterMs - renewalTime(one, window, random) >= (made.days * dayMs) / 20 - 1);
    }),
  );
});

test('retries follow the schedule, then come every six hours', () => {
  const minutes = Array.from({ length: 25 }, (_, index) => retryDelay(index + 1, 0) / minuteMs);
  const expected = [
    1, 2, 2, 5, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30, 30, 30, 60, 60, 60, 120, 180, 360, 360, 360,
  ];
  assert.deepEqual(minutes, expected);
});

test('a CA that says when to come back is never undercut, unless it asks for more than a week', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), chance, fc.nat({ max: 7 * dayMs }), (failures, random, toldMs) => {
      assert.ok(retryDelay(failures, random, toldMs) >= toldMs);
      assert.ok(retryDelay(failures, random) >= 0.9 * retryDelay(failures, 0));
    }),
  );
  assert.ok(retryDelay(1, 0.5, 365 * dayMs) < 8 * dayMs);
});
