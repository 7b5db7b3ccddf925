import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { type RequestHead, writeRequestHead } from '../shared/http/request-head.js';
import { readRequest, readTrailerLines } from '../shared/http2/read-request.js';
import { LIMITS } from './support/http-wire.js';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const GET = [':method', 'GET', ':scheme', 'https', ':authority', 'app.localhost', ':path', '/a?b'];
const FORWARDED = {
  forwardedFor: '192.0.2.1',
  proto: 'https',
  realIp: '192.0.2.1',
  forwarded: 'f',
  requestId: 'r',
} as const;

function read(fields: readonly string[], ends = true): { head: RequestHead; isWebSocket: boolean } {
  let isWebSocket = false;
  const head = readRequest(fields, ends, LIMITS, () => {
    isWebSocket = true;
    return KEY;
  });
  return { head, isWebSocket };
}

function linesOf(head: RequestHead): string[] {
  return writeRequestHead(head, FORWARDED).split('\r\n').slice(0, -2);
}

function refusalOf(read: () => unknown): TunnelError {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof TunnelError, `${error}`);
    return error;
  }
  return assert.fail('not refused');
}

test('a request becomes the head that an HTTP/1.1 visitor would have sent', () => {
  const { head, isWebSocket } = read([...GET, 'cookie', 'a=1', 'accept', '*/*', 'cookie', 'b=2', 'te', 'trailers']);
  assert.equal(isWebSocket, false);
  assert.deepEqual(
    [head.method, head.target, head.authority, head.hostname],
    ['GET', '/a?b', 'app.localhost', 'app.localhost'],
  );
  assert.deepEqual(head.names, ['accept', 'cookie']);
  assert.deepEqual(head.values, ['*/*', 'a=1; b=2']);
  assert.deepEqual([head.body, head.acceptsTrailers, head.keepAlive], [{ kind: 'none' }, true, true]);
});

test('the framing is that of the body: none, its length, or chunks', () => {
  assert.deepEqual(read([...GET, 'content-length', '7'], false).head.body, { kind: 'length', bytes: 7 });
  assert.deepEqual(read(GET, false).head.body, { kind: 'chunked' });
  assert.deepEqual(read([...GET, 'content-length', '0']).head.body, { kind: 'length', bytes: 0 });
  assert.equal(refusalOf(() => read([...GET, 'content-length', '7'])).status, 400);
});

test('a WebSocket over HTTP/2 becomes an Upgrade with a key of ours', () => {
  const connect = GET.map((text) => (text === 'GET' ? 'CONNECT' : text));
  const asked = [...connect, ':protocol', 'websocket', 'sec-websocket-version', '13', 'sec-websocket-key', 'theirs'];
  const { head, isWebSocket } = read(asked, false);
  assert.equal(isWebSocket, true);
  assert.deepEqual([head.method, head.target, head.upgrade, head.body.kind], ['GET', '/a?b', 'websocket', 'none']);
  const lines = linesOf(head);
  assert.ok(lines.includes(`Sec-WebSocket-Key: ${KEY}`) && lines.includes('Connection: Upgrade'), lines.join('\n'));
  assert.ok(!lines.some((line) => line.includes('theirs')));
  assert.equal(refusalOf(() => read([...asked, 'content-length', '5'], false)).status, 400);
  assert.equal(refusalOf(() => read(connect, false)).status, 405);
  assert.equal(refusalOf(() => read([...connect, ':protocol', 'connect-udp'], false)).status, 501);
});

test('host stands in for a missing :authority and must not differ from it', () => {
  const bare = GET.filter((_, index) => index !== 4 && index !== 5);
  assert.equal(read([...bare, 'host', 'App.Localhost']).head.hostname, 'app.localhost');
  assert.equal(read([...GET, 'host', 'APP.localhost']).head.authority, 'app.localhost');
  for (const more of [
    ['host', 'other'],
    ['host', 'app.localhost', 'host', 'app.localhost'],
  ]) {
    assert.equal(refusalOf(() => read([...GET, ...more])).status, 400);
  }
  assert.equal(refusalOf(() => read(bare)).status, 400);
});

test('what is over the limits of a head is 431', () => {
  const many = Array.from({ length: 101 }, (_, index) => [`x-${index}`, 'y']).flat();
  assert.equal(refusalOf(() => read([...GET, ...many])).status, 431);
  assert.equal(refusalOf(() => read([...GET, 'x', 'y'.repeat(LIMITS.headBytes)])).status, 431);
});

const anyText = fc.oneof(
  fc.string({ maxLength: 12, unit: 'binary-ascii' }),
  fc.constantFrom(
    'a',
    'x-a',
    'cookie',
    'te',
    'host',
    'GET',
    '/',
    '/a b',
    ':path',
    'a\r\nb: c',
    ' a ',
    'A',
    'upgrade',
    'ü',
    '',
  ),
  fc
    .array(fc.constantFrom('a', '\r\n', ' ', ':', 'HTTP/1.1', '/', '\0', 'x: y'), { maxLength: 6 })
    .map((parts) => parts.join('')),
);

test('whatever the fields are, the origin gets one request line, the fields that were said, or nothing', () => {
  const pseudo = fc
    .tuple(anyText, anyText, anyText)
    .map(([method, authority, path]) => [
      ...[':method', method, ':scheme', 'https', ':authority', authority, ':path', path],
    ]);
  const start = fc.oneof(fc.constant(GET), pseudo);
  fc.assert(
    fc.property(start, fc.array(fc.tuple(anyText, anyText), { maxLength: 6 }), fc.boolean(), (first, more, ends) => {
      const fields = [...first, ...more.flat()];
      let request: RequestHead;
      try {
        request = read(fields, ends).head;
      } catch (error) {
        assert.ok(error instanceof TunnelError && error.code === 'REQUEST_INVALID', `${error}`);
        return;
      }
      const [requestLine = '', ...lines] = linesOf(request);
      assert.equal(requestLine, `${first[1]} ${first[7]} HTTP/1.1`);
      const said = new Set(fields.filter((_, index) => index % 2 === 0));
      for (const line of lines.filter(
        (each) => !/^(?:Host|X-|Forwarded|Transfer-Encoding|Connection|TE|Content-Length)/.test(each),
      )) {
        assert.match(line, /^[!#$%&'*+.^_`|~0-9a-zA-Z-]+: [^\r\n\0]*$/);
        assert.ok(said.has((line.split(': ', 1)[0] ?? '').toLowerCase()), line);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('trailers become field lines, without those that no trailer may set', () => {
  assert.equal(readTrailerLines(['x-sum', '1', 'authorization', 'no', 'x_real_ip', 'no']), 'x-sum: 1\r\n');
  assert.equal(readTrailerLines([]), '');
  for (const fields of [
    [':path', '/'],
    ['Upper', 'x'],
    ['x', 'a\r\nb: c'],
    ['connection', 'x'],
    ['x', 'y'.repeat(9_000)],
  ]) {
    assert.equal(refusalOf(() => readTrailerLines(fields)).code, 'REQUEST_INVALID', fields[0]);
  }
});
