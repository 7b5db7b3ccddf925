/** How wide text is on a terminal, how it is cut, and how figures are rounded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  counted,
  displayWidth,
  fitted,
  padded,
  roundedBytes,
  roundedSpan,
  tableLines,
} from '../shared/command/terminal-text.js';

const anyText = fc.string({ unit: 'grapheme' });

test('width counts columns: two for wide characters and emoji, none for marks', () => {
  const widths: [text: string, width: number][] = [
    ['', 0],
    ['plain', 5],
    ['héllo', 5],
    ['e\u0301', 1],
    ['\u0301', 0],
    ['日本', 4],
    ['한국', 4],
    ['ｗｉｄｅ', 8],
    ['👍🏽', 2],
    ['👩‍👩‍👧', 2],
    ['🇩🇪', 2],
    ['→ ✗ ● …', 7],
  ];
  for (const [text, width] of widths) assert.equal(displayWidth(text), width, text);
});

test('fitted text is never wider than its columns, and a beginning of the original', () => {
  fc.assert(
    fc.property(anyText, fc.integer({ min: 0, max: 30 }), (text, columns) => {
      const shown = fitted(text, columns);
      assert.ok(displayWidth(shown) <= columns);
      if (displayWidth(text) <= columns) assert.equal(shown, columns === 0 ? '' : text);
      else assert.ok(columns === 0 || (shown.endsWith('…') && text.startsWith(shown.slice(0, -1))));
    }),
  );
});

test('a wide character that would be cut in half is left out', () => {
  assert.equal(fitted('日本語', 4), '日…');
  assert.equal(fitted('日本語', 5), '日本…');
  assert.equal(fitted('日本語', 6), '日本語');
});

test('padding fills up to the columns and never cuts', () => {
  assert.equal(padded('日', 4), '日  ');
  assert.equal(padded('long', 2), 'long');
});

test('a table aligns its columns by display width', () => {
  const lines = tableLines([
    ['NAME', 'STATE', 'N'],
    ['日本', 'online', '1'],
    ['x', '', ''],
  ]);
  assert.deepEqual(lines, ['NAME  STATE   N', '日本  online  1', 'x']);
});

test('bytes are rounded to one unit, without a jump between units', () => {
  const texts: [bytes: number, text: string][] = [
    [-5, '0 B'],
    [0, '0 B'],
    [1_023, '1023 B'],
    [1_023.6, '1.0 KiB'],
    [1_536, '1.5 KiB'],
    [10_189, '10 KiB'],
    [1_048_575, '1.0 MiB'],
    [5 * 1_024 ** 3, '5.0 GiB'],
    [1_024 ** 5, '1024 TiB'],
  ];
  for (const [bytes, text] of texts) assert.equal(roundedBytes(bytes), text);
});

test('spans of time show their two largest units', () => {
  const texts: [ms: number, text: string][] = [
    [-1, '0s'],
    [999, '0s'],
    [59_999, '59s'],
    [60_000, '1m 0s'],
    [3_599_999, '59m 59s'],
    [7_500_000, '2h 5m'],
    [90_000_000, '1d 1h'],
  ];
  for (const [ms, text] of texts) assert.equal(roundedSpan(ms), text);
});

test('a noun agrees with its number', () => {
  assert.deepEqual(
    [0, 1, 2].map((count) => counted(count, 'link')),
    ['0 links', '1 link', '2 links'],
  );
});
