import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { plainAddress } from '../shared/ip-address.js';
import {
  PROXY_HEADER_LIMIT_BYTES,
  type ProxyHeader,
  readProxyHeader,
  writeProxyV1,
  writeProxyV2,
} from '../shared/proxy-protocol.js';
import { requireTool } from './support/require-tool.js';

const V1_LIMIT_BYTES = 107;
const SIGNATURE = '0d0a0d0a000d0a515549540a';
const ipv4: ProxyHeader = header('192.0.2.7', '198.51.100.1');

function header(sourceAddress: string, destinationAddress: string): ProxyHeader {
  return { command: 'proxy', sourceAddress, sourcePort: 56_324, destinationAddress, destinationPort: 443, tlvs: [] };
}

/** Feeds all prefixes; returns the header that the last byte completed. */
function readByteByByte(bytes: Buffer): ProxyHeader {
  for (let length = 0; length < bytes.length; length += 1) {
    assert.deepEqual(readProxyHeader(bytes.subarray(0, length)), { kind: 'more' }, `after ${length} bytes`);
  }
  const read = readProxyHeader(Buffer.concat([bytes, Buffer.from('GET /')]));
  assert(read.kind === 'header');
  assert.equal(read.bytes, bytes.length);
  return read.header;
}

function refused(bytes: Buffer | string, state: RegExp) {
  const input = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  assert.throws(() => readProxyHeader(input), { name: 'TunnelError', code: 'PROTOCOL_VIOLATION', message: state });
}

function v2(rest: string): Buffer {
  return Buffer.from(SIGNATURE + rest.replaceAll(' ', ''), 'hex');
}

test('a version 1 header of the specification is read', () => {
  const read = readByteByByte(Buffer.from('PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n'));
  assert.deepEqual(read, header('192.168.0.1', '192.168.0.11'));
});

test('a version 1 header carries IPv6 in any spelling and gives it in one', () => {
  const read = readByteByByte(Buffer.from('PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::ffff:192.0.2.1 56324 443\r\n'));
  assert.deepEqual(read, header('2001:db8::1', '192.0.2.1'));
});

test('a version 1 header of an unknown protocol has no addresses, whatever follows on its line', () => {
  const unknown = { ...ipv4, sourceAddress: '', sourcePort: 0, destinationAddress: '', destinationPort: 0 };
  assert.deepEqual(readByteByByte(Buffer.from('PROXY UNKNOWN\r\n')), unknown);
  assert.deepEqual(readByteByByte(Buffer.from('PROXY UNKNOWN ffff::1 \xff 65535 x\r\n', 'latin1')), unknown);
});

test('version 1 lines outside the grammar are refused', () => {
  const lines = [
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX',
    'PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n',
    'PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n',
    'PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n',
    'PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n',
    'PROXY TCP4 ::1 ::2 1 2\r\n',
    'PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n',
    'PROXY TCP6 1::2::3 ::2 1 2\r\n',
    'PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n',
    'PROXY UNKNOWNS\r\n',
    'PROXY \r\n',
  ];
  for (const line of lines) refused(line, /the line/);
});

test('a version 1 line may have 107 bytes and no more', () => {
  const longest = Buffer.from(`PROXY UNKNOWN ${'f'.repeat(V1_LIMIT_BYTES - 16)}\r\n`);
  assert.equal(longest.length, V1_LIMIT_BYTES);
  readByteByByte(longest);
  const tooLong = `PROXY UNKNOWN ${'f'.repeat(V1_LIMIT_BYTES - 15)}\r\n`;
  refused(tooLong, /no proper end/);
  refused(tooLong.slice(0, V1_LIMIT_BYTES), /no proper end/);
});

test('bytes that are no header are refused at the first that differs', () => {
  for (const start of ['G', 'PROXY\t', 'PROXX', '\r\r', '\r\n\r\n\0\r\nQUIX', '\x16']) refused(start, /something else/);
});

test('version 2 headers of IPv4 and IPv6 are read', () => {
  const overIpv4 = v2('21 11 000c c0000207 c6336401 dc04 01bb');
  const overIpv6 = v2('21 21 0024 20010db8000000000000000000000001 00000000000000000000ffffc6336401 dc04 01bb');
  assert.deepEqual(readByteByByte(overIpv4), ipv4);
  assert.deepEqual(readByteByByte(overIpv6), header('2001:db8::1', '198.51.100.1'));
});

test('version 2 TLVs are read in their order and may be empty', () => {
  const { tlvs } = readByteByByte(v2('21 11 0015 c0000207 c6336401 dc04 01bb 02 0003 616263 ea 0000'));
  assert.deepEqual(
    tlvs.map((tlv) => [tlv.type, tlv.value.toString()]),
    [
      [0x02, 'abc'],
      [0xea, ''],
    ],
  );
});

test('a LOCAL header counts as such whatever its family and block say', () => {
  const local = {
    command: 'local',
    sourceAddress: '',
    sourcePort: 0,
    destinationAddress: '',
    destinationPort: 0,
    tlvs: [],
  };
  assert.deepEqual(readByteByByte(v2('20 00 0000')), local);
  assert.deepEqual(readByteByByte(v2('20 99 0003 010203')), local);
});

test('a version 2 header of a family that is not TCP over IP has no addresses but keeps its TLVs', () => {
  const blocks = { '00': 0, '12': 12, '22': 36, '31': 216, '10': 12 };
  for (const [family, bytes] of Object.entries(blocks)) {
    const length = (bytes + 4).toString(16).padStart(4, '0');
    const read = readByteByByte(v2(`21 ${family} ${length} ${'07'.repeat(bytes)} ea 0001 2a`));
    assert.equal(read.sourceAddress + read.destinationAddress, '');
    assert.deepEqual(read.tlvs, [{ type: 0xea, value: Buffer.of(42) }]);
  }
});

test('malformed version 2 headers are refused', () => {
  refused(v2('11'), /version and command are 0x11/);
  refused(v2('22'), /version and command are 0x22/);
  refused(v2('21 41 0000'), /address family/);
  refused(v2('21 13 000c c0000207c6336401dc0401bb'), /address family/);
  refused(v2('21 11 000b c0000207c6336401dc0401'), /addresses are cut off/);
  refused(v2('21 11 000e c0000207c6336401dc0401bb 0200'), /TLV is cut off/);
  refused(v2('21 11 0010 c0000207c6336401dc0401bb 02000261'), /TLV is cut off/);
});

test('a version 2 header over the limit is refused before its body arrives', () => {
  const limit = v2(`21 00 ${(PROXY_HEADER_LIMIT_BYTES - 16).toString(16).padStart(4, '0')}`);
  assert.deepEqual(readProxyHeader(limit), { kind: 'more' });
  refused(v2(`21 00 ${(PROXY_HEADER_LIMIT_BYTES - 15).toString(16).padStart(4, '0')}`), /the limit is 4096/);
  assert.throws(() => readProxyHeader(v2('21 00 0011'), 32), /it has 33 bytes, the limit is 32/);
});

test('an IPv4 and an IPv6 address travel together as IPv6 and arrive as they were', () => {
  const mixed = header('192.0.2.7', '2001:db8::1');
  assert.equal(writeProxyV1(mixed).toString(), 'PROXY TCP6 ::ffff:c000:207 2001:db8::1 56324 443\r\n');
  assert.deepEqual(readByteByByte(writeProxyV1(mixed)), mixed);
  assert.deepEqual(readByteByByte(writeProxyV2(mixed)), mixed);
});

test('addresses are written as sockets report them: mapped IPv4 as IPv4, IPv6 without zone', () => {
  assert.deepEqual(writeProxyV2(header('::ffff:192.0.2.7', '::FFFF:c633:6401')), writeProxyV2(ipv4));
  assert.match(writeProxyV1(header('fe80::1%eth0', 'fe80::2')).toString(), /^PROXY TCP6 fe80::1 fe80::2 /);
});

test('unknown addresses are written as UNKNOWN and unspecified, a broken one not at all', () => {
  const unknown = header('', '192.0.2.1');
  assert.equal(writeProxyV1(unknown).toString(), 'PROXY UNKNOWN\r\n');
  assert.deepEqual(writeProxyV2(unknown), v2('21 00 0000'));
  assert.deepEqual(writeProxyV2({ ...ipv4, command: 'local' }), v2('20 00 0000'));
  assert.throws(() => writeProxyV1(header('localhost', '::1')), { code: 'INTERNAL' });
});

test('a checksum TLV is not written again, because it was that of other bytes', () => {
  const tlvs = [
    { type: 0x03, value: Buffer.alloc(4) },
    { type: 0x02, value: Buffer.from('a.example') },
  ];
  assert.deepEqual(readByteByByte(writeProxyV2({ ...ipv4, tlvs })).tlvs, tlvs.slice(1));
});

test('any header that is written is read back', () => {
  const port = fc.nat(65_535);
  const address = fc.oneof(fc.ipV4(), fc.ipV6());
  const tlv = fc.tuple(fc.integer({ min: 4, max: 255 }), bytesUpTo(64)).map(([type, value]) => ({ type, value }));
  const tlvs = fc.array(tlv, { maxLength: 6 });
  fc.assert(
    fc.property(address, port, address, port, tlvs, (source, sourcePort, destination, destinationPort, extra) => {
      const sourceAddress = plainAddress(source) ?? assert.fail(source);
      const destinationAddress = plainAddress(destination) ?? assert.fail(destination);
      const ends = { command: 'proxy', sourceAddress, sourcePort, destinationAddress, destinationPort } as const;
      assert.deepEqual(readByteByByte(writeProxyV1({ ...ends, tlvs: extra })), { ...ends, tlvs: [] });
      assert.deepEqual(readByteByByte(writeProxyV2({ ...ends, tlvs: extra })), { ...ends, tlvs: extra });
    }),
  );
});

test('the text form of an address is that of RFC 5952, without zone and mapping', () => {
  assert.equal(plainAddress('2001:DB8:0:0:1:0:0:1'), '2001:db8::1:0:0:1');
  assert.equal(plainAddress('2001:db8:0:1:1:1:1:1'), '2001:db8:0:1:1:1:1:1');
  assert.equal(plainAddress('0:0:0:0:0:0:0:0'), '::');
  assert.equal(plainAddress('0:0:0:0:0:FFFF:192.0.2.1'), '192.0.2.1');
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
  for (const text of ['', 'localhost', '192.0.2.1:80', '[::1]', '192.0.2.01', '::ffff:192.0.2.256', ' ::1']) {
    assert.equal(plainAddress(text), undefined, text);
  }
});

test('the text form of an address names the same address to Node, and only one text form exists', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const plain = plainAddress(text) ?? assert.fail(text);
      assert.equal(plainAddress(plain), plain);
      if (!plain.includes('.')) assert.equal(`[${plain}]`, new URL(`http://[${text}]`).hostname);
    }),
  );
});

test('any bytes are a header, the start of one within the limits, or a protocol violation', () => {
  const starts = ['', 'PROXY ', 'PROXY TCP4 ', 'PROXY TCP6 ::1 ', `\r\n\r\n\0\r\nQUIT\n`, '\r\n\r\n\0\r\nQUIT\n!'];
  const soup = fc.tuple(fc.constantFrom(...starts), fc.oneof(bytesUpTo(300), fc.string()), bytesUpTo(8));
  fc.assert(
    fc.property(soup, ([start, middle, end]) => {
      const bytes = Buffer.concat([Buffer.from(start, 'latin1'), Buffer.from(middle), end]);
      staysWithinLimits(bytes);
    }),
    { numRuns: 2_000 },
  );
});

test('a header with changed bytes is a header or a protocol violation', () => {
  const tlvs = [{ type: 0x20, value: Buffer.from('0100000001210007544c5376312e33', 'hex') }];
  const headers = [writeProxyV1(ipv4), writeProxyV2({ ...ipv4, tlvs }), writeProxyV2(header('::1', '::2'))];
  const change = fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...headers), change, (original, changes) => {
      const bytes = Buffer.from(original);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      staysWithinLimits(bytes);
    }),
    { numRuns: 2_000 },
  );
});

function bytesUpTo(maxLength: number) {
  return fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
}

function staysWithinLimits(bytes: Buffer): void {
  try {
    const read = readProxyHeader(bytes, 256);
    if (read.kind === 'more') assert(bytes.length < 256);
    else assert(read.bytes <= Math.min(bytes.length, 256));
  } catch (error) {
    assert(error instanceof TunnelError, String(error));
    assert.equal(error.code, 'PROTOCOL_VIOLATION');
  }
}

test('the header that curl sends is read', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const server = createServer((socket) => {
    let bytes = Buffer.alloc(0);
    socket.on('data', (piece) => {
      bytes = Buffer.concat([bytes, piece]);
      const read = readProxyHeader(bytes);
      if (read.kind === 'more' || !bytes.includes('GET')) return;
      const body = JSON.stringify(
        read.kind === 'header' && [read.header, bytes.toString('latin1', read.bytes, read.bytes + 3)],
      );
      socket.end(`HTTP/1.0 200 OK\r\n\r\n${body}`);
    });
  });
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const child = spawn(curl, ['--silent', '--haproxy-protocol', `http://127.0.0.1:${port}/`]);
  const [read, next] = JSON.parse(await textOf(child.stdout));
  assert.equal(next, 'GET');
  assert.deepEqual(
    [read.sourceAddress, read.destinationAddress, read.destinationPort],
    ['127.0.0.1', '127.0.0.1', port],
  );
});

test('nginx understands both versions as we write them', async (t) => {
  const nginx = requireTool(t, 'nginx', 'nginx');
  if (nginx === undefined) return;
  const path = await startNginx(t, nginx);
  const headers = [ipv4, header('2001:db8::7', '2001:db8::1'), header('192.0.2.7', '2001:db8::1')];
  for (const write of [writeProxyV1, writeProxyV2]) {
    for (const sent of headers) {
      const socket = connect(path);
      socket.end(Buffer.concat([write(sent), Buffer.from('GET / HTTP/1.0\r\n\r\n')]));
      const seen = (await textOf(socket)).split('\r\n\r\n')[1]?.split(' ') ?? [];
      assert.equal(plainAddress(seen[0] ?? ''), sent.sourceAddress);
      assert.equal(seen[1], String(sent.sourcePort));
    }
  }
});

/** An nginx on a Unix socket that answers with the visitor it was told of; returns the socket's path. */
async function startNginx(t: TestContext, nginx: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-nginx-'));
  const path = join(folder, 'http.sock');
  const config = `daemon off; pid ${folder}/pid; error_log stderr notice; events { worker_connections 64; }
    http { access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
      fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
      server { listen unix:${path} proxy_protocol; return 200 "$proxy_protocol_addr $proxy_protocol_port"; } }`;
  await writeFile(join(folder, 'nginx.conf'), config);
  const child = spawn(nginx, [
    '-p',
    folder,
    '-e',
    'stderr',
    '-c',
    join(folder, 'nginx.conf'),
    '-g',
    'master_process off;',
  ]);
  t.after(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
    await rm(folder, { recursive: true });
  });
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (text) => String(text).includes('event method') && resolve());
    child.once('exit', () => reject(new Error('nginx did not start')));
  });
  return path;
}

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}
