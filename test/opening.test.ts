import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import {
  OPENING_LIMIT_BYTES,
  OPENING_TEXT_LIMIT_BYTES,
  type Opening,
  type OpeningRead,
  originProxyHeader,
  readOpening,
  writeOpening,
} from '../shared/opening.js';
import { type ProxyHeader, readProxyHeader, type Tlv, writeProxyV1, writeProxyV2 } from '../shared/proxy-protocol.js';

const opening: Opening = {
  tunnel: 'home',
  visitorAddress: '192.0.2.7',
  visitorPort: 56_324,
  publicAddress: '198.51.100.1',
  publicPort: 443,
  authority: 'home.example.com',
  alpn: 'http/1.1',
  tlsVersion: 'TLSv1.3',
  id: 'r-0001',
};

function readWhole(bytes: Buffer): Extract<OpeningRead, { kind: 'opening' }> {
  const read = readOpening(bytes);
  assert(read.kind === 'opening');
  return read;
}

function withTlvs(tlvs: Tlv[]): Buffer {
  return writeProxyV2({ ...readWhole(writeOpening(opening)).header, tlvs });
}

function tlv(type: number, text: string): Tlv {
  return { type, value: Buffer.from(text) };
}

test('an opening is complete with its last byte and leaves the visitor bytes behind it alone', () => {
  const bytes = writeOpening(opening);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.deepEqual(readOpening(bytes.subarray(0, length)), { kind: 'more' });
  }
  const read = readWhole(Buffer.concat([bytes, Buffer.from('GET / HTTP/1.1')]));
  assert.deepEqual(read.opening, opening);
  assert.equal(read.bytes, bytes.length);
});

test('an opening is a PROXY version 2 header with the standard TLVs', () => {
  const read = readProxyHeader(writeOpening(opening));
  assert(read.kind === 'header');
  const { tlvs, ...addresses } = read.header;
  assert.deepEqual(addresses, {
    command: 'proxy',
    sourceAddress: '192.0.2.7',
    sourcePort: 56_324,
    destinationAddress: '198.51.100.1',
    destinationPort: 443,
  });
  assert.deepEqual(tlvs, [
    tlv(0xe0, 'home'),
    tlv(0xe1, 'r-0001'),
    tlv(0x02, 'home.example.com'),
    tlv(0x01, 'http/1.1'),
    { type: 0x20, value: Buffer.from('0100000001210007544c5376312e33', 'hex') },
  ]);
});

test('an opening without TLS, names or known addresses says just that', () => {
  const bare = { ...opening, authority: '', alpn: '', tlsVersion: '', id: '', visitorAddress: '', visitorPort: 0 };
  const bytes = writeOpening(bare);
  assert.equal(bytes.length, 16 + 3 + 'home'.length);
  assert.deepEqual(readWhole(bytes).opening, { ...bare, publicAddress: '', publicPort: 0 });
});

test('any opening is read back, and the longest stays within the limit', () => {
  const text = fc.string({ unit: fc.constantFrom(...'abz09.-_:/~!'), maxLength: OPENING_TEXT_LIMIT_BYTES });
  const port = fc.nat(65_535);
  const address = fc.constantFrom('192.0.2.7', '2001:db8::7', 'fe80::1', '::1');
  const any = fc.record(
    {
      tunnel: text.map((name) => name || 'x'),
      visitorAddress: address,
      visitorPort: port,
      publicAddress: address,
      publicPort: port,
      authority: text,
      alpn: text,
      tlsVersion: text,
      id: text,
    },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(any, (sent) => assert.deepEqual(readWhole(writeOpening(sent)).opening, sent)));
  const longest = 'x'.repeat(OPENING_TEXT_LIMIT_BYTES);
  const texts = { tunnel: longest, authority: longest, alpn: longest, tlsVersion: longest, id: longest };
  const bytes = writeOpening({ ...opening, ...texts, visitorAddress: '2001:db8::1' });
  assert(bytes.length <= OPENING_LIMIT_BYTES);
  assert.equal(readWhole(bytes).opening.tunnel, longest);
});

test('an opening with a text that is too long or not visible ASCII is not written', () => {
  const wrong = ['a\r\nb', 'a b', 'ü', '\0', 'x'.repeat(OPENING_TEXT_LIMIT_BYTES + 1)];
  for (const field of ['tunnel', 'authority', 'alpn', 'tlsVersion', 'id']) {
    for (const text of wrong) {
      assert.throws(() => writeOpening({ ...opening, [field]: text }), {
        code: 'INTERNAL',
        message: new RegExp(`its ${field} is`),
      });
    }
  }
  assert.throws(() => writeOpening({ ...opening, tunnel: '' }), { code: 'INTERNAL' });
});

test('an opening that contradicts itself or says nothing is a protocol violation', () => {
  const header = readWhole(writeOpening(opening)).header;
  const wrong = {
    'no tunnel': withTlvs([tlv(0x02, 'home.example.com')]),
    'an empty tunnel': withTlvs([tlv(0xe0, '')]),
    'two tunnels': withTlvs([tlv(0xe0, 'home'), tlv(0xe0, 'vault')]),
    'a line break in a text': withTlvs([tlv(0xe0, 'home'), tlv(0x02, 'a\r\nb')]),
    'a text over its limit': withTlvs([tlv(0xe0, 'x'.repeat(OPENING_TEXT_LIMIT_BYTES + 1))]),
    'an SSL TLV without its head': withTlvs([tlv(0xe0, 'home'), tlv(0x20, 'abcd')]),
    'an SSL TLV with half a TLV': withTlvs([tlv(0xe0, 'home'), tlv(0x20, '\x01\0\0\0\x01\x21\0\x07TLS')]),
    'two TLS versions': withTlvs([tlv(0xe0, 'home'), tlv(0x20, '\x01\0\0\0\x01\x21\0\x01a\x21\0\x01b')]),
    'a LOCAL header': writeProxyV2({ ...header, command: 'local' }),
    'a version 1 header': writeProxyV1(header),
    'too many bytes': withTlvs([tlv(0xe0, 'home'), tlv(0xe9, 'x'.repeat(OPENING_LIMIT_BYTES))]).subarray(0, 16),
  };
  for (const [name, bytes] of Object.entries(wrong)) {
    assert.throws(() => readOpening(bytes), { name: 'TunnelError', code: 'PROTOCOL_VIOLATION' }, name);
  }
});

test('TLVs of a newer relay are skipped', () => {
  const read = readWhole(withTlvs([tlv(0xe0, 'home'), tlv(0xe7, 'new'), tlv(0x05, '\0'), tlv(0x20, '\0\0\0\0\0')]));
  assert.deepEqual(read.opening, { ...opening, authority: '', alpn: '', tlsVersion: '', id: '' });
});

test('the origin gets the header without our private TLVs', () => {
  const { header } = readWhole(writeOpening(opening));
  const extra: ProxyHeader = { ...header, tlvs: [...header.tlvs, tlv(0xef, 'last'), tlv(0xf0, 'theirs')] };
  const v2 = readProxyHeader(originProxyHeader(extra, 'v2'));
  assert(v2.kind === 'header');
  const types = v2.header.tlvs.map(({ type }) => type);
  assert.deepEqual(types, [0x02, 0x01, 0x20, 0xf0]);
  assert.equal(v2.header.sourceAddress, '192.0.2.7');
  assert.equal(originProxyHeader(extra, 'v1').toString(), 'PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n');
});

test('an opening with changed bytes is an opening or a protocol violation', () => {
  const original = writeOpening(opening);
  const change = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(change, (changes) => {
      const bytes = Buffer.from(original);
      for (const [at, byte] of changes) bytes[at] = byte;
      staysWithinLimits(bytes);
    }),
    { numRuns: 2_000 },
  );
});

test('any TLVs behind the addresses are an opening or a protocol violation', () => {
  const types = fc.constantFrom(0x01, 0x02, 0x20, 0x21, 0xe0, 0xe1, 0xf0);
  const anyTlv = fc.tuple(types, fc.string({ maxLength: 500 })).map(([type, text]) => tlv(type, text));
  fc.assert(
    fc.property(fc.array(anyTlv, { maxLength: 8 }), (tlvs) => staysWithinLimits(withTlvs(tlvs))),
    { numRuns: 1_000 },
  );
});

function staysWithinLimits(bytes: Buffer): void {
  try {
    const read = readOpening(bytes);
    if (read.kind === 'more') {
      assert(bytes.length < OPENING_LIMIT_BYTES);
    } else {
      assert(read.bytes <= Math.min(bytes.length, OPENING_LIMIT_BYTES));
      writeOpening(read.opening);
    }
  } catch (error) {
    assert(error instanceof TunnelError, String(error));
    assert.equal(error.code, 'PROTOCOL_VIOLATION');
  }
}
