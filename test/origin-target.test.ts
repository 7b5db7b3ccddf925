/** The forms of an origin target in contract.md, and what each is refused for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type OriginTarget, parseOriginTarget } from '../tunnel-client/origin/origin-target.js';
import { refusalOf, unlessRefused } from './support/config-error.js';

const HTTP = { scheme: 'http', verifyTls: true, path: undefined } as const;
const HTTPS = { scheme: 'https', verifyTls: true, path: undefined } as const;

const TARGETS: [written: string, target: OriginTarget][] = [
  ['3000', { ...HTTP, text: 'http://127.0.0.1:3000', host: '127.0.0.1', port: 3000 }],
  [':3000', { ...HTTP, text: 'http://127.0.0.1:3000', host: '127.0.0.1', port: 3000 }],
  ['NAS.lan:5000', { ...HTTP, text: 'http://nas.lan:5000', host: 'nas.lan', port: 5000 }],
  ['localhost:3000', { ...HTTP, text: 'http://localhost:3000', host: 'localhost', port: 3000 }],
  ['my_service:80', { ...HTTP, text: 'http://my_service:80', host: 'my_service', port: 80 }],
  ['[::1]:3000', { ...HTTP, text: 'http://[::1]:3000', host: '::1', port: 3000 }],
  ['http://192.0.2.1', { ...HTTP, text: 'http://192.0.2.1:80', host: '192.0.2.1', port: 80 }],
  ['HTTP://192.0.2.1:8123/', { ...HTTP, text: 'http://192.0.2.1:8123', host: '192.0.2.1', port: 8123 }],
  ['https://nas.lan', { ...HTTPS, text: 'https://nas.lan:443', host: 'nas.lan', port: 443 }],
  ['https://[fe80::1%eth0]:8443', { ...HTTPS, text: 'https://[fe80::1%eth0]:8443', host: 'fe80::1%eth0', port: 8443 }],
  [
    'https+insecure://nas.lan:5001',
    { ...HTTPS, verifyTls: false, text: 'https+insecure://nas.lan:5001', host: 'nas.lan', port: 5001 },
  ],
  ['h2c://127.0.0.1:50051', { ...HTTP, scheme: 'h2c', text: 'h2c://127.0.0.1:50051', host: '127.0.0.1', port: 50_051 }],
  ['tcp://127.0.0.1:22', { ...HTTP, scheme: 'tcp', text: 'tcp://127.0.0.1:22', host: '127.0.0.1', port: 22 }],
  ['unix:/run/app.sock', { ...HTTP, text: 'unix:/run/app.sock', host: 'localhost', port: 0, path: '/run/app.sock' }],
  [
    'unix:///run/app@1.sock',
    { ...HTTP, text: 'unix:/run/app@1.sock', host: 'localhost', port: 0, path: '/run/app@1.sock' },
  ],
];

for (const [written, target] of TARGETS) {
  test(`${written} is ${target.text}`, () => {
    assert.deepEqual(parseOriginTarget(written), target);
    assert.deepEqual(parseOriginTarget(target.text), target);
  });
}

test('a target without a scheme is raw TCP for a raw TCP tunnel', () => {
  assert.equal(parseOriginTarget('22', 'origin', 'tcp').text, 'tcp://127.0.0.1:22');
  assert.equal(parseOriginTarget('unix:/run/x', 'origin', 'tcp').scheme, 'tcp');
  assert.equal(parseOriginTarget('https://a.lan', 'origin', 'tcp').scheme, 'https');
});

const REFUSED: [written: string, message: string][] = [
  ['8123x', 'target must be host:port, got "8123x"'],
  ['', 'target must be host:port, got ""'],
  ['nas.lan', 'target must be host:port, got "nas.lan"'],
  ['nas.lan:', 'target must be host:port, got "nas.lan:"'],
  ['nas lan:80', 'target must be host:port, got "nas lan:80"'],
  ['0', 'target must be host:port with a port from 1 to 65535, got "0"'],
  ['65536', 'target must be host:port with a port from 1 to 65535, got "65536"'],
  ['nas.lan:99999', 'target must be host:port with a port from 1 to 65535, got "nas.lan:99999"'],
  ['::1:3000', 'target must be written with brackets around the IPv6 address and with a port, got "::1:3000"'],
  ['tcp://nas.lan', 'target must be host:port, got "tcp://nas.lan"'],
  ['http://', 'target must be a URL such as http://127.0.0.1:3000, got "http://"'],
  ['http://:3000', 'target must be a URL such as http://127.0.0.1:3000, got "http://:3000"'],
  ['http://nas.lan/app', 'target must be without a path, got "http://nas.lan/app". Write http://nas.lan:80'],
  ['nas.lan:80/?q', 'target must be without a path, got "nas.lan:80/?q". Write http://nas.lan:80'],
  ['http://nas.lan?q=1', 'target must be without a path, got "http://nas.lan?q=1". Write http://nas.lan:80'],
  [
    'ftp://nas.lan',
    'target must be host:port, or start with http, https, https+insecure, h2c, tcp or unix, got "ftp://nas.lan"',
  ],
  ['http://me:secret@nas.lan', 'target must be without user name and password'],
  ['unix:run/app.sock', 'target must be unix: and an absolute path, got "unix:run/app.sock"'],
  ['unix:', 'target must be unix: and an absolute path, got "unix:"'],
  ['unix:/a\0b', 'target must be unix: and an absolute path, got "unix:/a\\u0000b"'],
];

for (const [written, message] of REFUSED) {
  test(`${JSON.stringify(written)} is refused: ${message}`, () => {
    assert.equal(
      refusalOf(() => parseOriginTarget(written)),
      message,
    );
  });
}

test('a unix path longer than the system takes is refused', () => {
  assert.match(
    refusalOf(() => parseOriginTarget(`unix:/${'ü'.repeat(52)}`)),
    /at most 103 bytes/,
  );
});

test('any text is a target that reads back as itself, or refused', () => {
  const piece = fc.constantFrom(
    'http',
    'https',
    'https+insecure',
    'h2c',
    'tcp',
    'unix',
    '://',
    ':',
    '/',
    '[',
    ']',
    '::1',
    '3000',
    '127.0.0.1',
    'nas',
    '.',
    '@',
    '?',
    '#',
    '\\',
    ' ',
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.webUrl(),
    fc.array(piece).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (written) => {
      const target = unlessRefused(() => parseOriginTarget(written));
      if (target) assert.deepEqual(parseOriginTarget(target.text), target);
    }),
    { numRuns: 3_000 },
  );
});
