/** Text of others on our terminal: one line, in its own order, with nothing hidden. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { printable, quoted, shortened } from '../shared/printable.js';

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

test('control, format and separator characters become escapes', () => {
  assert.equal(printable('a\n\t\u001b[2J\u007f\u0085\u009b'), 'a\\n\\t\\u001b[2J\\u007f\\u0085\\u009b');
  assert.equal(printable('\u2028\u2029\u202e\u2066\u200b\ufeff'), '\\u2028\\u2029\\u202e\\u2066\\u200b\\ufeff');
  assert.equal(printable('\u{e0041}'), '\\udb40\\udc41');
  assert.equal(printable('\ud800 \udc00'), '\\ud800 \\udc00');
});

test('what people write stays as it is', () => {
  const text = 'Grüße, 日本 😀 "quoted" \\ back';
  assert.equal(printable(text), text);
});

test('no text keeps an unprintable character', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.doesNotMatch(printable(text), UNPRINTABLE);
      assert.doesNotMatch(quoted(text), UNPRINTABLE);
    }),
    { numRuns: 2_000 },
  );
});

test('escapes inside JSON mean the characters that they replaced', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) =>
      assert.equal(JSON.parse(printable(JSON.stringify(text))), text),
    ),
  );
});

test('a long text is cut, never inside a character', () => {
  assert.equal(shortened('abcdef', 6), 'abcdef');
  assert.equal(shortened('abcdefg', 6), 'abcde…');
  assert.equal(shortened('abcd😀fg', 6), 'abcd…');
  assert.equal(quoted('x'.repeat(1_000)).length, 82);
});
