/** Durations and sizes as they are written in config files. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatBytes, formatDuration, parseBytes, parseDuration } from '../shared/config/units.js';
import { refusalOf, unlessRefused } from './support/config-error.js';

test('durations are read in milliseconds', () => {
  const written = ['0s', '500ms', '10s', '1m', '1h', '90d', '007s'];
  assert.deepEqual(
    written.map((text) => parseDuration(text)),
    [0, 500, 10_000, 60_000, 3_600_000, 7_776_000_000, 7_000],
  );
});

test('sizes are read in bytes', () => {
  const written = ['0B', '512B', '16KiB', '1MiB', '2GiB'];
  assert.deepEqual(
    written.map((text) => parseBytes(text)),
    [0, 512, 16_384, 1_048_576, 2_147_483_648],
  );
});

test('a duration is shown with the largest unit that fits', () => {
  const shown = [0, 1, 1_500, 60_000, 90_000, 86_400_000].map(formatDuration);
  assert.deepEqual(shown, ['0s', '1ms', '1500ms', '1m', '90s', '1d']);
});

for (const text of [
  '',
  '10',
  's',
  '-1s',
  '1.5s',
  '1 s',
  '1S',
  '1h30m',
  '10secs',
  '1e3s',
  '9999999999999999d',
  '1s\n',
]) {
  test(`${JSON.stringify(text)} is no duration`, () => {
    const message = refusalOf(() => parseDuration(text, 'head_timeout'));
    assert.equal(
      message,
      `head_timeout must be a duration such as 500ms, 10s, 5m, 1h or 90d, got ${JSON.stringify(text)}`,
    );
  });
}

for (const text of ['', '16', '16K', '16KB', '16kib', '1.5MiB', '-1B', '9999999999999999GiB']) {
  test(`${JSON.stringify(text)} is no size`, () => {
    assert.match(
      refusalOf(() => parseBytes(text)),
      /^size must be a size such as 512B, 16KiB or 1MiB, got "/,
    );
  });
}

test('what is formatted reads back as the same number', () => {
  const whole = fc.oneof(
    fc.maxSafeNat(),
    fc.nat(),
    fc.nat(100_000).map((n) => n * 60_000),
  );
  fc.assert(
    fc.property(whole, (n) => {
      assert.equal(parseDuration(formatDuration(n)), n);
      assert.equal(parseBytes(formatBytes(n)), n);
    }),
  );
});

test('any text is a whole number of units, or refused', () => {
  const unit = fc.constantFrom('ms', 's', 'm', 'h', 'd', 'B', 'KiB', 'MiB', 'GiB', 'x', '');
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.tuple(fc.bigInt(), unit).map(([n, u]) => `${n}${u}`),
  );
  fc.assert(
    fc.property(text, (written) => {
      for (const parse of [parseDuration, parseBytes]) {
        const value = unlessRefused(() => parse(written));
        assert.ok(value === undefined || (Number.isSafeInteger(value) && value >= 0));
      }
    }),
  );
});
