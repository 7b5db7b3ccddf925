/** Addresses to listen on and to connect to, and networks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  formatAddress,
  networkMatcher,
  parseDialAddress,
  parseListenAddress,
  parseNetwork,
} from '../shared/address.js';
import { refusalOf, unlessRefused } from './support/config-error.js';

const LISTEN: [written: string, host: string, port: number][] = [
  ['0.0.0.0:443', '0.0.0.0', 443],
  ['[::]:443', '::', 443],
  ['[2001:DB8::1]:0', '2001:db8::1', 0],
  [':443', '::', 443],
  ['443', '::', 443],
  ['localhost:8443', 'localhost', 8443],
  ['[fe80::1%eth0]:80', 'fe80::1%eth0', 80],
  ['my_container:80', 'my_container', 80],
];

for (const [written, host, port] of LISTEN) {
  test(`${written} listens on ${host}, port ${port}`, () => {
    assert.deepEqual(parseListenAddress(written), { host, port });
  });
}

const NO_LISTENERS = [
  '',
  ':',
  '0.0.0.0',
  '0.0.0.0:',
  '0.0.0.0:65536',
  '0.0.0.0:-1',
  '0.0.0.0:1e3',
  '::443',
  '[::1',
  '[]:1',
];
for (const written of [
  ...NO_LISTENERS,
  '[1.2.3.4]:80',
  '1.2.3:80',
  '0x7f.1:80',
  'a b:80',
  'http://a:80',
  '[::1]80',
  '99999',
]) {
  test(`${JSON.stringify(written)} is no address to listen on`, () => {
    assert.match(
      refusalOf(() => parseListenAddress(written, 'listen.https')),
      /^listen\.https must be an address such as 0\.0\.0\.0:443/,
    );
  });
}

test('an address to connect to has a host and a port', () => {
  assert.deepEqual(parseDialAddress('203.0.113.7:443'), { host: '203.0.113.7', port: 443 });
  assert.deepEqual(parseDialAddress('[::ffff:203.0.113.7]:443'), { host: '203.0.113.7', port: 443 });
  assert.deepEqual(parseDialAddress('Relay.LAN:443'), { host: 'relay.lan', port: 443 });
  for (const written of ['443', ':443', '203.0.113.7', '203.0.113.7:0']) refusalOf(() => parseDialAddress(written));
});

test('what is formatted reads back as the same address', () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), (written, port) => {
      const address = unlessRefused(() =>
        parseDialAddress(written.includes(':') ? `[${written}]:${port}` : `${written}:${port}`),
      );
      if (address) assert.deepEqual(parseDialAddress(formatAddress(address)), address);
    }),
  );
});

test('any text is an address, or refused', () => {
  const piece = fc.constantFrom('[', ']', ':', '::', '1', '0', '255', '.', 'a', '%', '/', '*', ' ');
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(piece).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (written) => {
      const address = unlessRefused(() => parseListenAddress(written));
      if (address) assert.deepEqual(parseListenAddress(formatAddress(address)), address);
      const network = unlessRefused(() => parseNetwork(written));
      if (network !== undefined) assert.equal(parseNetwork(network), network);
    }),
    { numRuns: 2_000 },
  );
});

test('a matcher knows IPv4, IPv6, mapped and zoned addresses of its networks', () => {
  const matches = networkMatcher(['10.0.0.0/8', '192.0.2.7', 'fd00::/8', '::1', '::ffff:198.51.100.1', 'fe80::/10']);
  const inside = [
    '10.255.0.1',
    '::ffff:10.1.2.3',
    '::ffff:a01:203',
    '192.0.2.7',
    'fd12::1',
    '::1',
    '198.51.100.1',
    'fe80::1%eth0',
  ];
  for (const address of inside) assert.equal(matches(address), true, address);
  for (const address of ['11.0.0.1', '192.0.2.8', 'fc00::1', '::2', '::ffff:11.0.0.1', '', 'garbage', '10.0.0.0/8']) {
    assert.equal(matches(address), false, address);
  }
});

test('a matcher without networks matches nothing', () => {
  assert.equal(networkMatcher([])('127.0.0.1'), false);
});

test('the widest networks match their own family', () => {
  assert.equal(networkMatcher(['0.0.0.0/0'])('203.0.113.7'), true);
  assert.equal(networkMatcher(['0.0.0.0/0'])('2001:db8::1'), false);
  assert.equal(networkMatcher(['::/0'])('2001:db8::1'), true);
});

for (const written of [
  '',
  '10.0.0.0/33',
  'fd00::/129',
  '10.0.0.0/',
  '10.0.0.0/08',
  '10.0.0.0/8/8',
  '10.0.0/8',
  '10.0.0.0/-1',
  'fe80::1%eth0',
  'example.com',
  '/8',
]) {
  test(`${JSON.stringify(written)} is no network`, () => {
    refusalOf(() => parseNetwork(written));
    refusalOf(() => networkMatcher([written]));
  });
}
