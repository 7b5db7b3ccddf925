/** "Did you mean …?" */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearestWord } from '../shared/config/nearest-word.js';

const KEYS = ['domain', 'state_dir', 'relay_url', 'relay_address', 'host', 'tls'];

const NEAREST: [word: string, meant: string | undefined][] = [
  ['state_dri', 'state_dir'],
  ['statedir', 'state_dir'],
  ['DOMAIN', 'domain'],
  ['hots', 'host'],
  ['tsl', 'tls'],
  ['relay', 'relay_url'],
  ['relay_adress', 'relay_address'],
  ['colour', undefined],
  ['', undefined],
  ['x'.repeat(10_000), undefined],
];

for (const [word, meant] of NEAREST) {
  test(`${JSON.stringify(word.slice(0, 20))} most likely meant ${meant ?? 'nothing that is known'}`, () => {
    assert.equal(nearestWord(word, KEYS), meant);
  });
}

test('a swap of neighbours is one mistake', () => {
  assert.equal(editDistance('abcd', 'abdc'), 1);
  assert.equal(editDistance('abcd', 'abcd'), 0);
  assert.equal(editDistance('', 'abc'), 3);
  assert.equal(editDistance('kitten', 'sitting'), 3);
});
