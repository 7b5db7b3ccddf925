/** Public names: their stored form, who is refused, and what a wildcard covers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { hostnameMatches, hostnameOf, normaliseHostname, normalisePattern } from '../shared/hostname.js';
import { refusalOf, unlessRefused } from './support/config-error.js';

const LABEL_63 = 'a'.repeat(63);

const STORED: [written: string, stored: string][] = [
  ['app.example.com', 'app.example.com'],
  ['App.EXAMPLE.com.', 'app.example.com'],
  ['müller.example', 'xn--mller-kva.example'],
  ['MÜLLER.example', 'xn--mller-kva.example'],
  ['XN--MLLER-KVA.example', 'xn--mller-kva.example'],
  ['app。example.com', 'app.example.com'],
  ['ex\u00adample.com', 'example.com'],
  ['1.example.com', '1.example.com'],
  ['a--b.example.com', 'a--b.example.com'],
  ['localhost', 'localhost'],
  ['app.localhost', 'app.localhost'],
  ['nas.home.arpa', 'nas.home.arpa'],
  [`${LABEL_63}.com`, `${LABEL_63}.com`],
];

for (const [written, stored] of STORED) {
  test(`${JSON.stringify(written)} is stored as ${stored}`, () => {
    assert.equal(normaliseHostname(written), stored);
    assert.equal(hostnameOf(written), stored);
  });
}

const REFUSED: [written: string, expected: RegExp][] = [
  ['', /must be a hostname such as/],
  ['.', /must be a hostname such as/],
  ['a..b', /must be a hostname such as/],
  ['example.com..', /must be a hostname such as/],
  ['.example.com', /must be a hostname such as/],
  ['-a.example.com', /must be a hostname such as/],
  ['a-.example.com', /must be a hostname such as/],
  ['a_b.example.com', /must be a hostname such as/],
  ['a b.example.com', /must be a hostname such as/],
  ['a%2eb.com', /must be a hostname such as/],
  ['example.com\0', /must be a hostname such as/],
  ['xn--zzzz.com', /must be a hostname such as/],
  [`${LABEL_63}a.com`, /must be a hostname such as/],
  [`${`${LABEL_63}.`.repeat(4)}com`, /must be a hostname such as/],
  ['a.'.repeat(10_000), /must be a hostname such as/],
  ['127.1', /must be a hostname such as/],
  ['app.0x7f', /must be a hostname such as/],
  ['１２７.０.０.１', /must be a hostname such as/],
  ['192.0.2.1', /not an IP address/],
  ['::1', /not an IP address/],
  ['https://example.com', /without scheme, port or path/],
  ['example.com:443', /without scheme, port or path/],
  ['example.com/app', /without scheme, port or path/],
  ['sallyport', /with a dot/],
  ['*.example.com', /one exact hostname, without \*/],
  ['relay.onion', /not under the reserved \.onion/],
  ['Relay.Invalid.', /not under the reserved \.invalid/],
  ['1.0.0.127.in-addr.arpa', /not under the reserved \.arpa/],
];

for (const [written, expected] of REFUSED) {
  test(`${JSON.stringify(written.slice(0, 40))} is no public hostname`, () => {
    assert.match(
      refusalOf(() => normaliseHostname(written, 'domain')),
      expected,
    );
  });
}

test('a message shows control characters and bidi marks as escapes', () => {
  const message = refusalOf(() => normaliseHostname('\u001b[2J\u202eexample', 'domain'));
  assert.equal(message, 'domain must be a hostname such as app.example.com, got "\\u001b[2J\\u202eexample"');
});

test('a wildcard is stored like the name below its star', () => {
  assert.equal(normalisePattern('*.Home.Example.com.'), '*.home.example.com');
  assert.equal(normalisePattern('*.müller.example'), '*.xn--mller-kva.example');
  assert.equal(normalisePattern('*.localhost'), '*.localhost');
  assert.equal(normalisePattern('*.home.arpa'), '*.home.arpa');
  assert.equal(normalisePattern('app.example.com'), 'app.example.com');
});

for (const written of [
  '*',
  '*.',
  '**.example.com',
  'a.*.example.com',
  '*a.example.com',
  '*.*.example.com',
  '*.com',
  '*.192.0.2.1',
]) {
  test(`${written} is no wildcard`, () => {
    refusalOf(() => normalisePattern(written));
  });
}

test('a wildcard counts towards the longest name', () => {
  const parent = `${`${LABEL_63}.`.repeat(3)}${'a'.repeat(60)}`;
  assert.equal(normaliseHostname(parent), parent);
  assert.match(
    refusalOf(() => normalisePattern(`*.${parent}`)),
    /at most 253 characters/,
  );
});

test('a wildcard covers exactly one label', () => {
  const covered = ['a.home.example.com', 'xn--mller-kva.home.example.com', '*.home.example.com'];
  const others = [
    'home.example.com',
    'a.b.home.example.com',
    '.home.example.com',
    'ahome.example.com',
    'example.com',
    '',
  ];
  for (const hostname of covered) assert.equal(hostnameMatches('*.home.example.com', hostname), true, hostname);
  for (const hostname of others) assert.equal(hostnameMatches('*.home.example.com', hostname), false, hostname);
});

test('an exact name covers itself alone', () => {
  assert.equal(hostnameMatches('app.example.com', 'app.example.com'), true);
  assert.equal(hostnameMatches('app.example.com', 'a.app.example.com'), false);
  assert.equal(hostnameMatches('app.example.com', '*.example.com'), false);
});

const nameLike = fc.oneof(
  fc.domain(),
  fc.string({ unit: 'binary' }),
  fc
    .array(fc.constantFrom('a', 'B', '-', '.', '*', 'xn--', 'ü', '。', '1', '0x', '\u00ad', 'ß', '\ud800', '_'))
    .map((p) => p.join('')),
);

test('the stored form of a stored form is itself', () => {
  fc.assert(
    fc.property(nameLike, (written) => {
      const stored = unlessRefused(() => normalisePattern(written));
      if (stored === undefined) return;
      assert.equal(normalisePattern(stored), stored);
      assert.match(stored, /^(?:\*\.)?[a-z0-9.-]{1,253}$/);
    }),
    { numRuns: 2_000 },
  );
});

test('a name that a visitor sends never throws', () => {
  fc.assert(
    fc.property(nameLike, (written) => {
      const stored = hostnameOf(written);
      if (stored !== undefined) assert.equal(hostnameOf(stored), stored);
    }),
    { numRuns: 2_000 },
  );
});

test('most domains are public hostnames', () => {
  const domains = fc.sample(fc.domain(), 100);
  const accepted = domains.filter((name) => unlessRefused(() => normaliseHostname(name)) !== undefined);
  assert.ok(accepted.length > 90, `only ${accepted.length} of 100`);
});
