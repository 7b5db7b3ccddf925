import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import fc from 'fast-check';
import {
  ALERT_DECODE_ERROR,
  ALERT_INTERNAL_ERROR,
  ALERT_UNRECOGNIZED_NAME,
  CLIENT_HELLO_LIMIT_BYTES,
  type ClientHello,
  looksLikeHttp,
  readClientHello,
} from '../relay-server/edge/client-hello.js';
import { TunnelError } from '../shared/errors.js';
import { CHROMIUM_CLIENT_HELLO } from './support/chromium-client-hello.js';
import { requireTool } from './support/require-tool.js';

const RECORD_LIMIT = 64;

/** Feeds all prefixes; returns the hello that the last byte completed. */
function readByteByByte(bytes: Buffer): ClientHello {
  for (let length = 0; length < bytes.length; length += 1) {
    assert.deepEqual(readClientHello(bytes.subarray(0, length)), { kind: 'more' }, `after ${length} bytes`);
  }
  return readWhole(Buffer.concat([bytes, Buffer.from('\x14\x03\x03\x00\x01\x01 whatever comes next')]));
}

function readWhole(bytes: Buffer): ClientHello {
  const read = readClientHello(bytes);
  assert(read.kind === 'hello');
  const { kind, ...hello } = read;
  return hello;
}

function refused(bytes: Buffer | string, state: RegExp) {
  const input = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
  assert.throws(() => readClientHello(input), { name: 'TunnelError', code: 'REQUEST_INVALID', message: state });
}

function u16(number: number): Buffer {
  return Buffer.of(number >> 8, number & 255);
}

/** A piece with its length before it in two bytes. */
function vector(...pieces: Buffer[]): Buffer {
  const bytes = Buffer.concat(pieces);
  return Buffer.concat([u16(bytes.length), bytes]);
}

function extension(type: number, ...pieces: Buffer[]): Buffer {
  return Buffer.concat([u16(type), vector(...pieces)]);
}

function serverName(name: string, type = 0): Buffer {
  return extension(0, vector(Buffer.of(type), vector(Buffer.from(name, 'latin1'))));
}

function alpn(...names: string[]): Buffer {
  return extension(16, vector(...names.map((name) => Buffer.from(String.fromCharCode(name.length) + name, 'latin1'))));
}

/** A handshake message with a ClientHello that offers one cipher suite. */
function hello(...extensions: Buffer[]): Buffer {
  const list = extensions.length === 0 ? Buffer.alloc(0) : vector(...extensions);
  const body = Buffer.concat([
    u16(0x0303),
    Buffer.alloc(32, 7),
    Buffer.of(0),
    vector(u16(0x1301)),
    Buffer.of(1, 0),
    list,
  ]);
  return Buffer.concat([Buffer.of(1, 0), vector(body)]);
}

/** Handshake bytes as TLS records of at most `size` bytes. */
function records(handshake: Buffer, size = 16_384): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += size) {
    pieces.push(Buffer.of(22, 3, 1), vector(handshake.subarray(at, at + size)));
  }
  return Buffer.concat(pieces);
}

/** What a client sends before it hears anything. `dial` starts it and returns what stops it. */
async function capture(t: TestContext, dial: (port: number) => () => void): Promise<Buffer> {
  const server = createServer();
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const stop = dial((server.address() as AddressInfo).port);
  t.after(stop);
  const [socket] = (await once(server, 'connection')) as [Socket];
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk]);
    if (readClientHello(bytes).kind === 'hello') return bytes;
  }
  throw assert.fail('the client left without a hello');
}

function captureNode(t: TestContext, options: tls.ConnectionOptions): Promise<Buffer> {
  return capture(t, (port) => {
    const socket = tls.connect({ ...options, port, host: '127.0.0.1' });
    socket.on('error', () => {});
    return () => socket.destroy();
  });
}

function captureCommand(t: TestContext, path: string, args: (port: number) => string[]): Promise<Buffer> {
  return capture(t, (port) => {
    const child = spawn(path, args(port), { stdio: ['pipe', 'ignore', 'ignore'] });
    return () => child.kill();
  });
}

test('hellos of node:tls are read byte by byte, TLS 1.2 and 1.3, with and without name and protocols', async (t) => {
  const versions = ['TLSv1.2', 'TLSv1.3'] as const;
  for (const version of versions) {
    const only = { minVersion: version, maxVersion: version };
    const named = await captureNode(t, { ...only, servername: 'App.Example.com', ALPNProtocols: ['h2', 'http/1.1'] });
    assert.deepEqual(readByteByByte(named), { serverName: 'app.example.com', alpn: ['h2', 'http/1.1'] });
    assert.deepEqual(readByteByByte(await captureNode(t, only)), { serverName: undefined, alpn: [] });
  }
});

test('the hello of Chromium is read, with GREASE, Encrypted Client Hello and a post-quantum key', () => {
  assert.deepEqual(readByteByByte(CHROMIUM_CLIENT_HELLO), { serverName: 'app.example.com', alpn: ['h2', 'http/1.1'] });
});

test('hellos of openssl are read, one of them cut into records by openssl itself', async (t) => {
  const openssl = requireTool(t, 'openssl', 'openssl');
  if (openssl === undefined) return;
  const names = Array.from({ length: 40 }, (_, i) => `protocol-number-${i}`);
  const start = (port: number) => ['s_client', '-connect', `127.0.0.1:${port}`, '-alpn', names.join(',')];
  const whole = await captureCommand(t, openssl, (port) => [...start(port), '-tls1_2', '-servername', 'a.example']);
  assert.deepEqual(readByteByByte(whole), { serverName: 'a.example', alpn: names });
  const cut = await captureCommand(t, openssl, (port) => [...start(port), '-max_send_frag', '512', '-noservername']);
  assert.equal(cut.readUInt16BE(3), 512);
  assert.deepEqual(readByteByByte(cut), { serverName: undefined, alpn: names });
});

test('the hello of curl is read', async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  if (curl === undefined) return;
  const args = (port: number) => [
    '-sk',
    '--noproxy',
    '*',
    '--resolve',
    `b.example:${port}:127.0.0.1`,
    `https://b.example:${port}`,
  ];
  const { serverName: name, alpn: protocols } = readByteByByte(await captureCommand(t, curl, args));
  assert.equal(name, 'b.example');
  assert(protocols.includes('http/1.1'));
});

test('a hello cut into many records is the same hello', () => {
  const whole = CHROMIUM_CLIENT_HELLO.subarray(5);
  const expected = readWhole(CHROMIUM_CLIENT_HELLO);
  for (const size of [31, 100, 517, whole.length - 1]) assert.deepEqual(readByteByByte(records(whole, size)), expected);
  const small = hello(serverName('a.example'));
  assert.deepEqual(readWhole(records(small, 2)), { serverName: 'a.example', alpn: [] });
});

test('a hello in more records than anybody needs is refused', () => {
  const pieces = hello(extension(21, Buffer.alloc(100)));
  assert(pieces.length > RECORD_LIMIT);
  refused(records(pieces, 1), /too many records/);
  refused(records(pieces, 1).subarray(0, 6 * RECORD_LIMIT + 5), /too many records/);
});

test('the server name is a lower-case hostname without its trailing dot', () => {
  const names = {
    'a.example': 'a.example',
    'A.EXAMPLE.': 'a.example',
    localhost: 'localhost',
    'xn--bcher-kva.example': 'xn--bcher-kva.example',
    '1.2.3.4.example': '1.2.3.4.example',
    [`${'a'.repeat(63)}.example`]: `${'a'.repeat(63)}.example`,
  };
  for (const [sent, expected] of Object.entries(names)) {
    assert.equal(readWhole(records(hello(serverName(sent)))).serverName, expected);
  }
});

test('a server name that is no hostname counts as none', () => {
  const long = Array.from({ length: 64 }, () => 'abc').join('.');
  const wrong = [
    '192.0.2.1',
    '[::1]',
    'a..b',
    '.',
    '',
    '-a.example',
    'a-.example',
    'a.example\0.evil.example',
    'a b',
    'my_app.example',
  ];
  for (const name of [...wrong, 'b\xfccher.example', '*.example', 'a.example:443', `${'a'.repeat(64)}.example`, long]) {
    assert.equal(readWhole(records(hello(serverName(name)))).serverName, undefined, name);
  }
});

test('bytes that are not TLS are refused at the first that differs, HTTP by its name', () => {
  for (const start of ['G', 'GET / HTTP/1.1\r\n', 'POST /']) refused(start, /speaks HTTP without TLS\. Use https/);
  for (const start of ['SSH-2.0-OpenSSH_9.2', '\x80\x2e\x01', '\0', '\x16\x02', '\x15\x03\x01\0\x02']) {
    refused(start, /does not speak TLS/);
  }
});

test('HTTP in clear is told from everything else', () => {
  for (const start of ['G', 'GET /', 'PROPFIND /dav']) assert(looksLikeHttp(Buffer.from(start)), start);
  for (const start of ['', 'get /', '\x16\x03', 'SSH-2.0', ' GET']) assert(!looksLikeHttp(Buffer.from(start)), start);
});

test('records and messages that are no ClientHello are refused', () => {
  const whole = records(hello());
  refused(Buffer.of(22, 3, 1, 0, 4, 2), /handshake message 2 came instead/);
  refused(Buffer.of(22, 3, 1, 0, 0), /a record is empty/);
  refused(Buffer.concat([records(hello().subarray(0, 9)), Buffer.of(20)]), /another record interrupts it/);
  refused(records(Buffer.concat([hello(), Buffer.of(1)])), /other bytes follow it/);
  refused(records(Buffer.concat([hello(), Buffer.of(1)])).subarray(0, whole.length), /other bytes follow it/);
});

test('a hello with fields that contradict each other is refused', () => {
  const sni = serverName('a.example');
  const wrong = {
    'two server names': [sni, sni],
    'two of an unknown extension': [extension(0x0a0a), extension(0x0a0a)],
    'a second host name': [
      extension(0, vector(Buffer.of(0), vector(Buffer.from('a')), Buffer.of(0), vector(Buffer.from('b')))),
    ],
    'a name of another type': [serverName('a.example', 1)],
    'an empty server name extension': [extension(0)],
    'an empty server name list': [extension(0, vector())],
    'bytes behind the server name list': [extension(0, vector(Buffer.of(0), vector(Buffer.from('a'))), Buffer.of(0))],
    'an empty protocol list': [extension(16, vector())],
    'an empty protocol name': [alpn('h2', '')],
    'half a protocol name': [extension(16, vector(Buffer.from('\x05h2')))],
    'half an extension': [Buffer.of(0, 5, 0, 9, 1)],
  };
  for (const [name, extensions] of Object.entries(wrong)) {
    assert.throws(() => readClientHello(records(hello(...extensions))), { code: 'REQUEST_INVALID' }, name);
  }
  const stray = Buffer.concat([hello(sni), Buffer.of(0)]);
  stray.writeUIntBE(stray.length - 4, 1, 3);
  refused(records(stray), /a field is shorter/);
});

test('a hello may have 16 KiB with its record heads and no more', () => {
  const padding = CLIENT_HELLO_LIMIT_BYTES - records(hello(extension(21))).length;
  const longest = records(hello(extension(21, Buffer.alloc(padding))));
  assert.equal(longest.length, CLIENT_HELLO_LIMIT_BYTES);
  assert.deepEqual(readWhole(longest), { serverName: undefined, alpn: [] });
  assert.deepEqual(readClientHello(longest.subarray(0, -1)), { kind: 'more' });
  const tooLong = hello(extension(21, Buffer.alloc(padding + 1)));
  refused(records(tooLong).subarray(0, 5), /longer than 16384 bytes/);
  refused(records(tooLong, 4_000), /longer than 16384 bytes/);
  refused(records(tooLong, 4_000).subarray(0, CLIENT_HELLO_LIMIT_BYTES), /longer than 16384 bytes/);
  const cut = records(tooLong, CLIENT_HELLO_LIMIT_BYTES - 8).subarray(0, CLIENT_HELLO_LIMIT_BYTES);
  refused(cut, /longer than 16384 bytes/);
  refused(Buffer.of(22, 3, 1, 0, 4, 1, 0, 64, 0), /longer than 16384 bytes/);
});

test('alerts are what a TLS client understands', async (t) => {
  const alerts = {
    UNRECOGNIZED_NAME: ALERT_UNRECOGNIZED_NAME,
    DECODE_ERROR: ALERT_DECODE_ERROR,
    INTERNAL_ERROR: ALERT_INTERNAL_ERROR,
  };
  for (const [reason, alert] of Object.entries(alerts)) {
    const server = createServer((socket) => socket.once('data', () => socket.end(alert)));
    t.after(() => server.close());
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = tls.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
    assert.match(error.code ?? '', new RegExp(`${reason}$`));
  }
});

test('any bytes are a hello, the start of one within the limit, or an invalid request', () => {
  const start = fc.constantFrom('', '\x16', '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', '\x16\x03\x03\0\x01\x01');
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 600 }), (head, tail) => {
      staysWithinLimits(Buffer.concat([Buffer.from(head, 'latin1'), tail]));
    }),
    { numRuns: 2_000 },
  );
});

test('a real hello with changed, lost or repeated bytes is a hello or an invalid request', async (t) => {
  const originals = [CHROMIUM_CLIENT_HELLO, await captureNode(t, { servername: 'a.example', ALPNProtocols: ['h2'] })];
  fc.assert(
    fc.property(fc.constantFrom(...originals), changes(), (original, list) =>
      staysWithinLimits(changed(original, list)),
    ),
    { numRuns: 3_000 },
  );
});

test('Node never serves another hostname than the one we read', async (t) => {
  const seen: string[] = [];
  const server = tls.createServer({ SNICallback: (name, done) => done(seen.push(name) ? new Error('enough') : null) });
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const original = await captureNode(t, { servername: 'a.example', ALPNProtocols: ['h2'] });
  const agree = async (bytes: Buffer) => {
    seen.length = 0;
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end(bytes);
    await once(socket.resume(), 'close');
    const ours = nameOf(bytes);
    if (seen[0] !== undefined && ours !== undefined) assert.equal(ours, seen[0].toLowerCase().replace(/\.$/, ''));
    return seen.length > 0;
  };
  assert(await agree(original), 'Node must have seen the name');
  const near = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255), fc.constant('set' as const)), {
    maxLength: 2,
  });
  await fc.assert(
    fc.asyncProperty(near, async (list) => void (await agree(changed(original, list)))),
    { numRuns: 400 },
  );
});

type Change = [at: number, byte: number, act: 'set' | 'lose' | 'repeat'];

function changes() {
  const act = fc.constantFrom<Change[2]>('set', 'set', 'set', 'lose', 'repeat');
  return fc.array(fc.tuple(fc.nat(2_000), fc.nat(255), act), { minLength: 1, maxLength: 4 });
}

function changed(original: Buffer, list: readonly Change[]): Buffer {
  const bytes = [...original];
  for (const [place, byte, act] of list) {
    const at = place % bytes.length;
    if (act === 'set') bytes[at] = byte;
    else if (act === 'lose') bytes.splice(at, byte);
    else bytes.splice(at, 0, ...bytes.slice(at, at + byte));
  }
  return Buffer.from(bytes);
}

function nameOf(bytes: Buffer): string | undefined {
  try {
    const read = readClientHello(bytes);
    return read.kind === 'hello' ? read.serverName : undefined;
  } catch {
    return undefined;
  }
}

function staysWithinLimits(bytes: Buffer): void {
  try {
    const read = readClientHello(bytes);
    if (read.kind === 'more') assert(bytes.length < CLIENT_HELLO_LIMIT_BYTES);
  } catch (error) {
    assert(error instanceof TunnelError, String(error));
    assert.equal(error.code, 'REQUEST_INVALID');
  }
}
