import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BodyFraming } from '../shared/http/body.js';
import { parseResponseHead, type ResponseHead, writeResponseHead } from '../shared/http/response-head.js';
import { bytesOf, LIMITS, readNodeResponse } from './support/http-wire.js';

function parse(text: string, method = 'GET'): ResponseHead {
  return parseResponseHead(text, method, LIMITS);
}

/** A 200 of HTTP/1.1 with these field lines. */
function ok(...lines: string[]): string {
  return ['HTTP/1.1 200 OK', ...lines].join('\r\n');
}

/** What a visitor of HTTP/1.1 on a connection that lives on gets. */
function write(head: ResponseHead, framing: BodyFraming = head.body): string {
  return writeResponseHead(head, { framing, keepAlive: true, visitorVersion: 11, extra: '' });
}

const REFUSED: [what: string, head: string][] = [
  ['nothing', ''],
  ['HTTP/0.9', '<html>'],
  ['HTTP/2.0', 'HTTP/2.0 200 OK'],
  ['HTTP/1.2', 'HTTP/1.2 200 OK'],
  ['ICY', 'ICY 200 OK'],
  ['a version in small letters', 'http/1.1 200 OK'],
  ['two spaces before the status', 'HTTP/1.1  200 OK'],
  ['a status of two digits', 'HTTP/1.1 20 OK'],
  ['a status of four digits', 'HTTP/1.1 2000 OK'],
  ['a status under 100', 'HTTP/1.1 099 OK'],
  ['a status over 599', 'HTTP/1.1 600 OK'],
  ['a status with a sign', 'HTTP/1.1 +20 OK'],
  ['a status with a dot', 'HTTP/1.1 2.0 OK'],
  ['no status', 'HTTP/1.1'],
  ['a tab behind the status', 'HTTP/1.1 200\tOK'],
  ['NUL in the reason', 'HTTP/1.1 200 O\0K'],
  ['a bare CR in the reason', 'HTTP/1.1 200 O\rK'],
  ['a bare LF behind the status line', 'HTTP/1.1 200 OK\nA: b'],
  ['a bare LF between fields', ok('A: b\nC: d')],
  ['a bare CR in a value', ok('A: b\rc')],
  ['NUL in a value', ok('A: \0')],
  ['a space in a name', ok('A b: c')],
  ['a line without a colon', ok('A')],
  ['a fold before the first field', ok(' A: b')],
  ['an empty line among the fields', ok('A: b', '', 'C: d')],
  ['101 fields', ok(...Array.from({ length: 101 }, (_, index) => `A${index}: b`))],
  ['Content-Length that is no number', ok('Content-Length: five')],
  ['an empty Content-Length', ok('Content-Length:')],
  ['Content-Length over 2^53-1', ok('Content-Length: 9007199254740992')],
  ['a list of Content-Lengths', ok('Content-Length: 5, 5')],
  ['different Content-Lengths', ok('Content-Length: 5', 'Content-Length: 6')],
  ['Transfer-Encoding gzip', ok('Transfer-Encoding: gzip')],
  ['Transfer-Encoding gzip, chunked', ok('Transfer-Encoding: gzip, chunked')],
  ['chunked twice', ok('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
  ['an empty Transfer-Encoding', ok('Transfer-Encoding:')],
  ['Transfer-Encoding on HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked'],
];

for (const [what, head] of REFUSED) {
  test(`a response with ${what} is refused with 502`, () => {
    assert.throws(() => parse(head), { name: 'TunnelError', code: 'ORIGIN_INVALID', status: 502 });
  });
}

test('the reason may be anything printable, empty or absent', () => {
  assert.equal(parse('HTTP/1.1 200 All is\twell \xe9').reason, 'All is\twell \xe9');
  assert.equal(parse('HTTP/1.1 200 ').reason, '');
  assert.equal(parse('HTTP/1.1 200').reason, '');
  assert.match(write(parse('HTTP/1.1 204')), /^HTTP\/1\.1 204 \r\n/);
});

const NONE: BodyFraming = { kind: 'none' };
const FIVE: BodyFraming = { kind: 'length', bytes: 5 };
const CHUNKED: BodyFraming = { kind: 'chunked' };
const UNTIL_CLOSE: BodyFraming = { kind: 'until-close' };

const FRAMINGS: [what: string, method: string, head: string, body: BodyFraming][] = [
  ['Content-Length', 'GET', ok('Content-Length: 5'), FIVE],
  ['equal Content-Lengths', 'GET', ok('Content-Length: 5', 'content-length: 5'), FIVE],
  ['Content-Length on HTTP/1.0', 'GET', 'HTTP/1.0 200 OK\r\nContent-Length: 5', FIVE],
  ['chunked', 'GET', ok('Transfer-Encoding: Chunked'), CHUNKED],
  ['chunked beside Content-Length', 'GET', ok('Content-Length: 5', 'Transfer-Encoding: chunked'), CHUNKED],
  ['neither', 'GET', ok(), UNTIL_CLOSE],
  ['neither, on HTTP/1.0', 'GET', 'HTTP/1.0 200 OK\r\nConnection: keep-alive', UNTIL_CLOSE],
  ['HEAD and Content-Length', 'HEAD', ok('Content-Length: 5'), NONE],
  ['HEAD and chunked', 'HEAD', ok('Transfer-Encoding: chunked'), NONE],
  ['HEAD and neither', 'HEAD', ok(), NONE],
  ['100', 'GET', 'HTTP/1.1 100 Continue\r\nContent-Length: 5', NONE],
  ['101', 'GET', 'HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked', NONE],
  ['103', 'GET', 'HTTP/1.1 103 Early Hints', NONE],
  ['204', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 5', NONE],
  ['205 and no length', 'GET', 'HTTP/1.1 205 Reset', { kind: 'length', bytes: 0 }],
  ['205 and a length', 'GET', 'HTTP/1.1 205 Reset\r\nContent-Length: 5', FIVE],
  ['304', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5', NONE],
  ['304 and chunked', 'GET', 'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked', NONE],
];

for (const [what, method, head, body] of FRAMINGS) {
  test(`the body of a response with ${what} is ${body.kind}`, () => {
    assert.deepEqual(parse(head, method).body, body);
  });
}

test('the origin connection lives on unless the response ends it', () => {
  assert.equal(parse(ok('Content-Length: 0')).keepAlive, true);
  assert.equal(parse(ok('Content-Length: 0', 'Connection: Close')).keepAlive, false);
  assert.equal(parse(ok()).keepAlive, false);
  assert.equal(parse('HTTP/1.0 200 OK\r\nContent-Length: 0').keepAlive, false);
  assert.equal(parse('HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive').keepAlive, true);
});

test('hop-by-hop fields and those that Connection names end here, all others go on in order', () => {
  const hop = [
    'Keep-Alive: timeout=5',
    'Proxy-Connection: x',
    'TE: x',
    'Upgrade: h2c',
    'X-Hop: 1',
    'Connection: x-hop',
  ];
  const head = parse(ok('Server: nginx', ...hop, 'Set-Cookie: a', 'set-cookie: b', 'X_Y: \xe9'));
  assert.deepEqual(head.names, ['Server', 'Set-Cookie', 'set-cookie', 'X_Y']);
  assert.deepEqual(head.values, ['nginx', 'a', 'b', '\xe9']);
  assert.equal(head.upgrade, undefined);
});

test('Connection cannot take away the framing', () => {
  const head = parse(ok('Connection: Content-Length, Transfer-Encoding', 'Content-Length: 5'));
  assert.equal(write(head), 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
});

test('folded lines and spaces before colons are put right', () => {
  const head = parse(ok('A : b', 'C\t:', ' d ', '\t', '  e', 'Content-Length :5'));
  assert.deepEqual(head.names, ['A', 'C']);
  assert.deepEqual(head.values, ['b', 'd e']);
  assert.deepEqual(head.body, FIVE);
});

test('the length that GET would get stays on responses to HEAD and on 304, not on 204 and 1xx', () => {
  assert.match(write(parse(ok('Content-Length: 5'), 'HEAD')), /\r\nContent-Length: 5\r\n\r\n$/);
  assert.match(write(parse('HTTP/1.1 304 Not Modified\r\nContent-Length: 5')), /\r\nContent-Length: 5\r\n\r\n$/);
  assert.equal(write(parse('HTTP/1.1 204 None\r\nContent-Length: 5')), 'HTTP/1.1 204 None\r\n\r\n');
  assert.equal(write(parse('HTTP/1.1 100 Continue\r\nContent-Length: 5')), 'HTTP/1.1 100 Continue\r\n\r\n');
});

test('a 101 goes on with its protocol and Connection: Upgrade', () => {
  const head = parse('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x');
  assert.equal(
    write(head),
    'HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  );
});

test('the visitor gets the framing and the persistence that the edge decided', () => {
  const head = parse(ok('A: b', 'Trailer: X-Sum', 'Transfer-Encoding: chunked'));
  const extra = 'X-Request-Id: r1\r\n';
  const start = 'HTTP/1.1 200 OK\r\nA: b\r\nX-Request-Id: r1\r\n';
  assert.equal(
    writeResponseHead(head, { framing: CHUNKED, keepAlive: true, visitorVersion: 11, extra }),
    `${start}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  assert.equal(
    writeResponseHead(head, { framing: UNTIL_CLOSE, keepAlive: false, visitorVersion: 10, extra }),
    `${start}Connection: close\r\n\r\n`,
  );
  assert.equal(
    writeResponseHead(head, { framing: FIVE, keepAlive: true, visitorVersion: 10, extra }),
    `${start}Content-Length: 5\r\nConnection: keep-alive\r\n\r\n`,
  );
  assert.equal(
    writeResponseHead(head, { framing: FIVE, keepAlive: false, visitorVersion: 11, extra }),
    `${start}Content-Length: 5\r\nConnection: close\r\n\r\n`,
  );
});

test('a body until close always says that the connection ends, an informational response never', () => {
  assert.equal(write(parse(ok())), 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n');
  const head = parse('HTTP/1.1 103 Early Hints\r\nLink: </a>');
  assert.equal(
    writeResponseHead(head, { framing: NONE, keepAlive: false, visitorVersion: 11, extra: '' }),
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
  );
});

test('what is written for the visitor means the same to Node', async () => {
  const name = fc.stringMatching(/^[A-Za-z0-9_.-]{1,20}$/).map((text) => `X-${text}`);
  const value = fc.stringMatching(/^[\x21-\x7e\xa1-\xff]([\x20-\x7e\xa1-\xff]{0,30}[\x21-\x7e\xa1-\xff])?$/);
  const response = fc.record({
    fields: fc.array(fc.tuple(name, value), { maxLength: 8 }),
    status: fc.constantFrom(200, 204, 304, 404, 500),
    method: fc.constantFrom('GET', 'HEAD'),
    framing: fc.constantFrom('Content-Length: 3', 'Transfer-Encoding: chunked'),
  });
  await fc.assert(
    fc.asyncProperty(response, async ({ fields, status, method, framing }) => {
      const lines = fields.map(([field, text]) => `${field}: ${text}`);
      const head = parse([`HTTP/1.1 ${status} Some reason`, ...lines, framing].join('\r\n'), method);
      const content = { none: '', length: 'abc', chunked: '3\r\nabc\r\n0\r\n\r\n', 'until-close': '' }[head.body.kind];
      const seen = await readNodeResponse(bytesOf(write(head) + content), method);
      assert.equal(seen?.status, status);
      assert.equal(seen.body, head.body.kind === 'none' ? '' : 'abc');
      assert.deepEqual(seen.rawHeaders.slice(0, 2 * fields.length), fields.flat());
    }),
    { numRuns: 200 },
  );
});
