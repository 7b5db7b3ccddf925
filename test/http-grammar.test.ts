import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAuthority } from '../shared/http/authority.js';
import { isFieldValue, isToken, skipOriginForm } from '../shared/http/grammar.js';

/** RFC 9110 §5.6.2, written down once more and differently. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** RFC 9110 §5.5. */
const FIELD_VALUE = /^(?:[!-~\u0080-\u00ff](?:[\t -~\u0080-\u00ff]*[!-~\u0080-\u00ff])?)?$/;
/** RFC 3986 §3.3–3.4, and what browsers send beside it. */
const TARGET = /^\/(?:[\w.~!$&'()*+,;=:@/[\]|^-]|%[0-9A-Fa-f]{2})*(?:\?[\w.~!$&'()*+,;=:@/?[\]|^{}\\`%-]*)?$/;

const character = fc.oneof(
  fc.integer({ min: 0, max: 0x17f }).map((code) => String.fromCharCode(code)),
  fc.constantFrom('a', 'Z', '0', '%41', '?', '/', ' ', '\t'),
);
const text = fc.array(character, { maxLength: 6 }).map((characters) => characters.join(''));

test('every character is in the classes that the RFCs put it in', () => {
  for (let code = 0; code <= 0x17f; code += 1) {
    const one = String.fromCharCode(code);
    assert.equal(isToken(one), TOKEN.test(one), `token ${code}`);
    assert.equal(isFieldValue(one), FIELD_VALUE.test(one), `field value ${code}`);
    assert.equal(isFieldValue(`a${one}a`), FIELD_VALUE.test(`a${one}a`), `inner field value ${code}`);
    for (const target of [`/${one}`, `/?${one}`]) {
      assert.equal(skipOriginForm(target, 0) === target.length, TARGET.test(target), `target ${code}`);
    }
  }
});

test('tokens, field values and targets are told as the RFCs tell them', () => {
  assert.equal(isToken(''), false);
  assert.equal(isFieldValue(''), true);
  fc.assert(
    fc.property(text, (any) => {
      assert.equal(isToken(any), TOKEN.test(any));
      assert.equal(isFieldValue(any), FIELD_VALUE.test(any));
      assert.equal(skipOriginForm(`/${any}`, 0) === any.length + 1, TARGET.test(`/${any}`));
    }),
    { numRuns: 2000 },
  );
});

test('an authority that was read is read again as itself', () => {
  const part = fc.constantFrom('a', 'B-1', '_x', '.', ':', ':80', '[::1]', '[2001:DB8::A]', '192.0.2.1', '%', '@', ' ');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      const once = parseAuthority(parts.join(''));
      if (once === undefined) return;
      assert.deepEqual(parseAuthority(once.authority), once);
      assert.match(once.authority, /^[a-z0-9._:[\]-]+$/);
      assert.ok(once.authority.startsWith(once.hostname) && !once.hostname.endsWith('.'));
    }),
    { numRuns: 1000 },
  );
});
