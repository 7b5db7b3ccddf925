import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import {
  type ForwardedFields,
  fieldValue,
  parseRequestHead,
  type RequestHead,
  writeRequestHead,
} from '../shared/http/request-head.js';
import { bytesOf, LIMITS, NodeReader } from './support/http-wire.js';

const HOST = 'Host: home.example.com';
const FORWARDED: ForwardedFields = {
  forwardedFor: '203.0.113.7',
  proto: 'https',
  realIp: '203.0.113.7',
  forwarded: 'for=203.0.113.7;proto=https',
  requestId: 'r1',
};

/** A GET of HTTP/1.1 with Host and these field lines. */
function get(...lines: string[]): string {
  return ['GET / HTTP/1.1', HOST, ...lines].join('\r\n');
}

function parse(text: string): RequestHead {
  return parseRequestHead(text, LIMITS);
}

function targeting(target: string): string {
  return `GET ${target} HTTP/1.1\r\n${HOST}`;
}

function hosting(host: string): string {
  return `GET / HTTP/1.1\r\nHost: ${host}`;
}

const REFUSED: [status: number, what: string, head: string][] = [
  [400, 'nothing', ''],
  [400, 'an empty line', '\r\n'],
  [400, 'HTTP/0.9', 'GET /'],
  [400, 'HTTP/0.9 by name', `GET / HTTP/0.9\r\n${HOST}`],
  [505, 'HTTP/2.0', `GET / HTTP/2.0\r\n${HOST}`],
  [505, 'the preface of HTTP/2', 'PRI * HTTP/2.0'],
  [505, 'HTTP/1.2', `GET / HTTP/1.2\r\n${HOST}`],
  [400, 'a version in small letters', `GET / http/1.1\r\n${HOST}`],
  [400, 'a version of two digits', `GET / HTTP/1.10\r\n${HOST}`],
  [400, 'a version with a space behind it', `GET / HTTP/1.1 \r\n${HOST}`],
  [400, 'two spaces before the version', `GET /  HTTP/1.1\r\n${HOST}`],
  [400, 'two spaces before the target', `GET  / HTTP/1.1\r\n${HOST}`],
  [400, 'a space before the method', ` GET / HTTP/1.1\r\n${HOST}`],
  [400, 'a tab after the method', `GET\t/ HTTP/1.1\r\n${HOST}`],
  [400, 'no method', `/ HTTP/1.1\r\n${HOST}`],
  [400, 'a method that is no token', `G(T / HTTP/1.1\r\n${HOST}`],
  [400, 'an 8-bit method', `G\xc9T / HTTP/1.1\r\n${HOST}`],
  [405, 'TRACE', `TRACE / HTTP/1.1\r\n${HOST}`],
  [405, 'trace', `trace / HTTP/1.1\r\n${HOST}`],
  [405, 'TRACE of a whole URL', `TRACE http://home.example.com/ HTTP/1.1\r\n${HOST}`],
  [405, 'CONNECT', `CONNECT home.example.com:443 HTTP/1.1\r\n${HOST}`],
  [405, 'CONNECT to a path', `CONNECT / HTTP/1.1\r\n${HOST}`],
  [400, 'a fragment', targeting('/a#b')],
  [400, 'a space in the target', targeting('/a b')],
  [400, 'a tab in the target', targeting('/a\tb')],
  [400, 'NUL in the target', targeting('/a\0b')],
  [400, 'DEL in the target', targeting('/a\x7fb')],
  [400, 'an 8-bit target', targeting('/\xe9')],
  [400, 'an 8-bit query', targeting('/?q=\xe9')],
  [400, 'a quote in the target', targeting('/"')],
  [400, 'an angle bracket in the query', targeting('/?<')],
  [400, 'a backslash in the path', targeting('/a\\b')],
  [400, 'a bad percent sign in the path', targeting('/%zz')],
  [400, 'half a percent sign', targeting('/%4')],
  [400, 'a target without a slash', targeting('a')],
  [400, 'an empty target', targeting('')],
  [400, 'GET *', targeting('*')],
  [400, 'authority-form', targeting('home.example.com:80')],
  [400, 'another scheme', targeting('ftp://home.example.com/')],
  [400, 'absolute-form with another authority', targeting('http://evil.example.com/')],
  [400, 'absolute-form with another port', targeting('http://home.example.com:81/')],
  [400, 'absolute-form with a user', targeting('http://user@home.example.com/')],
  [400, 'absolute-form without a host', targeting('http:///')],
  [400, 'absolute-form with a fragment', targeting('http://home.example.com/#a')],
  [400, 'absolute-form without Host', 'GET http://home.example.com/ HTTP/1.1'],
  [400, 'no Host', 'GET / HTTP/1.1'],
  [400, 'two Host fields', get(HOST)],
  [400, 'two Host fields in other letters', get('hOST: other.example.com')],
  [400, 'an empty Host', hosting('')],
  [400, 'a blank Host', hosting(' \t ')],
  [400, 'Host with a space', hosting('home.example.com evil.example.com')],
  [400, 'Host with a comma', hosting('home.example.com,evil.example.com')],
  [400, 'Host with a slash', hosting('home.example.com/')],
  [400, 'Host with a user', hosting('user@home.example.com')],
  [400, 'Host with a percent sign', hosting('home%2eexample.com')],
  [400, 'Host in 8 bits', hosting('h\xf6me.example.com')],
  [400, 'Host with an empty label', hosting('home..example.com')],
  [400, 'Host that begins with a dot', hosting('.example.com')],
  [400, 'Host of a dot', hosting('.')],
  [400, 'Host with two dots behind it', hosting('example.com..')],
  [400, 'Host over 253 characters', hosting('a.'.repeat(128))],
  [400, 'Host that is only a port', hosting(':80')],
  [400, 'Host with a port of letters', hosting('home.example.com:http')],
  [400, 'Host with a negative port', hosting('home.example.com:-1')],
  [400, 'Host with a port over 65535', hosting('home.example.com:65536')],
  [400, 'Host with two ports', hosting('home.example.com:80:80')],
  [400, 'Host with an open bracket', hosting('[::1')],
  [400, 'Host with no address in the brackets', hosting('[home]')],
  [400, 'Host with a zone', hosting('[fe80::1%eth0]')],
  [400, 'Host with something behind the brackets', hosting('[::1]80')],
  [400, 'IPv6 without brackets', hosting('::1')],
  [400, 'a space before the colon', get('A : b')],
  [400, 'a tab before the colon', get('A\t: b')],
  [400, 'a line without a colon', get('A')],
  [400, 'a line that begins with a colon', get(': b')],
  [400, 'a space before the first field', `GET / HTTP/1.1\r\n ${HOST}`],
  [400, 'a folded line', get('A: b', ' c')],
  [400, 'a line folded with a tab', get('A: b', '\tc')],
  [400, 'a bare LF between fields', get('A: b\nC: d')],
  [400, 'a bare LF behind the request line', `GET / HTTP/1.1\n${HOST}`],
  [400, 'a bare CR between fields', get('A: b\rC: d')],
  [400, 'a bare CR behind the request line', `GET / HTTP/1.1\r${HOST}`],
  [400, 'a CR at the end', get('A: b\r')],
  [400, 'a CR before CR LF', get('A: b\r\r\nC: d')],
  [400, 'an empty line among the fields', get('A: b', '', 'C: d')],
  [400, 'CR LF at the end', get('A: b\r\n')],
  [400, 'NUL LF between fields', get('A: b\0\nC: d')],
  [400, 'NUL in a value', get('A: b\0c')],
  [400, 'NUL in a name', get('A\0: b')],
  [400, 'DEL in a value', get('A: \x7f')],
  [400, 'a vertical tab in a value', get('A: b\x0bc')],
  [400, 'an 8-bit name', get('\xc4: b')],
  [400, 'brackets in a name', get('A[]: b')],
  [431, '101 fields', get(...Array.from({ length: 100 }, (_, index) => `A${index}: b`))],
  [400, 'Content-Length that is empty', get('Content-Length:')],
  [400, 'Content-Length with a sign', get('Content-Length: +1')],
  [400, 'a negative Content-Length', get('Content-Length: -1')],
  [400, 'Content-Length in hexadecimal', get('Content-Length: 0x10')],
  [400, 'Content-Length with a fraction', get('Content-Length: 1.0')],
  [400, 'Content-Length with an exponent', get('Content-Length: 1e3')],
  [400, 'Content-Length with a space inside', get('Content-Length: 1 0')],
  [400, 'Content-Length in 8-bit digits', get('Content-Length: \xb2')],
  [400, 'a list of Content-Lengths', get('Content-Length: 5, 5')],
  [400, 'Content-Length over 2^53-1', get('Content-Length: 9007199254740992')],
  [400, 'Content-Length of 17 digits', get('Content-Length: 00000000000000005')],
  [400, 'Content-Length of 100 digits', get(`Content-Length: ${'9'.repeat(100)}`)],
  [400, 'two different Content-Lengths', get('Content-Length: 5', 'Content-Length: 6')],
  [400, 'two equal Content-Lengths', get('Content-Length: 5', 'content-length: 5')],
  [400, 'Content-Length before Transfer-Encoding', get('Content-Length: 5', 'Transfer-Encoding: chunked')],
  [400, 'Content-Length after Transfer-Encoding', get('Transfer-Encoding: chunked', 'Content-Length: 5')],
  [501, 'gzip, chunked', get('Transfer-Encoding: gzip, chunked')],
  [501, ',chunked', get('Transfer-Encoding: ,chunked')],
  [501, 'chunked,', get('Transfer-Encoding: chunked,')],
  [501, 'chunked, identity', get('Transfer-Encoding: chunked, identity')],
  [501, 'chunked twice', get('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
  [501, 'an empty Transfer-Encoding', get('Transfer-Encoding:')],
  [501, 'an empty Transfer-Encoding before another', get('Transfer-Encoding:', 'Transfer-Encoding: chunked')],
  [501, 'identity', get('Transfer-Encoding: identity')],
  [501, 'xchunked', get('Transfer-Encoding: xchunked')],
  [501, 'chunked with a parameter', get('Transfer-Encoding: chunked;a=b')],
  [501, 'chunked in quotes', get('Transfer-Encoding: "chunked"')],
  [501, 'chunked with a no-break space', get('Transfer-Encoding: \xa0chunked')],
  [400, 'Transfer-Encoding on HTTP/1.0', `GET / HTTP/1.0\r\n${HOST}\r\nTransfer-Encoding: chunked`],
  [400, 'another Transfer-Encoding on HTTP/1.0', `GET / HTTP/1.0\r\n${HOST}\r\nTransfer-Encoding: gzip`],
];

for (const [status, what, head] of REFUSED) {
  test(`a request with ${what} is refused with ${status}`, () => {
    assert.throws(() => parse(head), { name: 'TunnelError', code: 'REQUEST_INVALID', status });
  });
}

test('a refusal repeats at most 40 characters of the visitor, escaped', () => {
  const nasty = `\x9b31m${'x'.repeat(200)}`;
  for (const head of [hosting(nasty), get(`Transfer-Encoding: ${nasty}`), targeting(`x${'y'.repeat(200)}`)]) {
    assert.throws(
      () => parse(head),
      (error: unknown) => {
        assert.ok(error instanceof TunnelError);
        assert.match(error.message, /^[\x20-\x7e…]+$/);
        assert.ok(!/[xy]{41}/.test(error.message), error.message);
        return true;
      },
    );
  }
});

const TARGETS: [received: string, target: string][] = [
  ['/', '/'],
  ['//double//slash', '//double//slash'],
  ['/a/b;c=d/%20?q=%41&r=1', '/a/b;c=d/%20?q=%41&r=1'],
  ["/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"],
  ['/[slug]|^?filter[name]={x}|\\^`', '/[slug]|^?filter[name]={x}|\\^`'],
  ['/?q=100%', '/?q=100%'],
  ['/?a?b/c', '/?a?b/c'],
  ['http://home.example.com/a?b', '/a?b'],
  ['HTTPS://HOME.example.com./a', '/a'],
  ['http://home.example.com', '/'],
  ['http://home.example.com?a', '/?a'],
];

for (const [received, target] of TARGETS) {
  test(`the target ${received} is forwarded as ${target}`, () => {
    const head = parse(targeting(received));
    assert.equal(head.target, target);
    assert.equal(head.authority, 'home.example.com');
  });
}

test('OPTIONS may ask for the server as a whole', () => {
  assert.equal(parse(`OPTIONS * HTTP/1.1\r\n${HOST}`).target, '*');
  assert.equal(parse(`OPTIONS http://home.example.com HTTP/1.1\r\n${HOST}`).target, '*');
  assert.equal(parse(`OPTIONS http://home.example.com/ HTTP/1.1\r\n${HOST}`).target, '/');
});

const HOSTS: [received: string, authority: string, hostname: string][] = [
  ['home.example.com', 'home.example.com', 'home.example.com'],
  ['HOME.Example.COM:8443', 'home.example.com:8443', 'home.example.com'],
  ['home.example.com.', 'home.example.com', 'home.example.com'],
  ['home.example.com.:443', 'home.example.com:443', 'home.example.com'],
  ['home.example.com:', 'home.example.com', 'home.example.com'],
  ['my_host-1', 'my_host-1', 'my_host-1'],
  ['192.0.2.1:80', '192.0.2.1:80', '192.0.2.1'],
  ['[2001:DB8::1]', '[2001:db8::1]', '[2001:db8::1]'],
  ['[::1]:8443', '[::1]:8443', '[::1]'],
];

for (const [received, authority, hostname] of HOSTS) {
  test(`Host ${received} means ${authority}`, () => {
    const head = parse(hosting(received));
    assert.deepEqual([head.authority, head.hostname], [authority, hostname]);
  });
}

test('a request of HTTP/1.0 without Host has no authority, unless its target has one', () => {
  assert.equal(parse('GET / HTTP/1.0').hostname, '');
  assert.equal(parse('GET http://home.example.com:81/ HTTP/1.0').authority, 'home.example.com:81');
});

test('end-to-end fields are forwarded in order, with their names as received and their values trimmed', () => {
  const head = parse(
    get('accept:\t*/* \t', 'Cookie: a=b', 'X-Empty:', 'COOKIE: c=d', 'X-Bytes: \xe4\xff', "!#'~: odd"),
  );
  assert.deepEqual(head.names, ['accept', 'Cookie', 'X-Empty', 'COOKIE', 'X-Bytes', "!#'~"]);
  assert.deepEqual(head.values, ['*/*', 'a=b', '', 'c=d', '\xe4\xff', 'odd']);
  assert.equal(fieldValue(head, 'cookie'), 'a=b');
  assert.equal(fieldValue(head, 'x-absent'), '');
});

const NEVER_FORWARDED = [
  ...['Keep-Alive', 'Proxy-Connection', 'Proxy-Authorization', 'Proxy-Authenticate', 'TE', 'Upgrade', 'HTTP2-Settings'],
  ...['Proxy', 'Forwarded', 'X-Real-IP', 'X-Request-Id', 'X-Forwarded', 'X-Forwarded-For', 'X-Forwarded-Proto'],
  ...['X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Server', 'X-Forwarded-Prefix', 'X-Forwarded-For-Original'],
  ...['X-Forwarded-With-A-Very-Long-Name-Behind-It', 'Trailer', 'Connection'],
];

for (const name of NEVER_FORWARDED) {
  test(`a visitor's ${name} is not forwarded, in whatever letters`, () => {
    for (const spelt of [name, name.toLowerCase(), name.toUpperCase()]) {
      assert.deepEqual(parse(get(`${spelt}: x`, 'A: b')).names, ['A']);
    }
  });
}

test('aliases of what we read or set are not forwarded and mean nothing', () => {
  const aliases = ['X_Forwarded_For', 'X.Forwarded.For', 'x-forwarded_proto', 'X~Real~IP', 'X_Request_Id', "X'Real'IP"];
  const framing = ['Content_Length', 'Transfer_Encoding', 'Keep_Alive', 'HTTP2_Settings', 'Proxy_Authorization'];
  const head = parse(get(...[...aliases, ...framing].map((name) => `${name}: 5`), 'My_Field: x', 'My.Field: y'));
  assert.deepEqual(head.names, ['My_Field', 'My.Field']);
  assert.deepEqual(head.body, { kind: 'none' });
  assert.deepEqual([head.forwardedFor, head.requestId], ['', '']);
});

test('what a trusted proxy says of its visitor is kept aside', () => {
  const lines = [
    'X-Forwarded-For: 192.0.2.1',
    'x-forwarded-for: 192.0.2.2',
    'X-Forwarded-Proto: https',
    'X-Request-ID: 7',
  ];
  const head = parse(get(...lines));
  assert.equal(head.forwardedFor, '192.0.2.1, 192.0.2.2');
  assert.equal(head.forwardedProto, 'https');
  assert.equal(head.requestId, '7');
});

test('fields that Connection names end here, in whatever letters and order', () => {
  const head = parse(get('X-Hop: 1', 'Connection: close, x-hop ,,"A", B', 'b: 2', 'C: 3', 'connection: D', 'd: 4'));
  assert.deepEqual(head.names, ['C']);
  assert.equal(head.keepAlive, false);
});

test('Connection cannot take away Host, framing, or what the relay says of the visitor', () => {
  const named = 'Host, Content-Length, X-Forwarded-For, X-Request-Id, X-Real-IP, Forwarded, X-Forwarded-Host';
  const head = parse(get(`Connection: ${named}`, 'Content-Length: 5', 'X-Forwarded-For: 6.6.6.6'));
  assert.deepEqual(head.body, { kind: 'length', bytes: 5 });
  assert.equal(
    writeRequestHead(head, FORWARDED),
    [
      'GET / HTTP/1.1',
      'Host: home.example.com',
      'X-Forwarded-For: 203.0.113.7',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: home.example.com',
      'X-Real-IP: 203.0.113.7',
      'Forwarded: for=203.0.113.7;proto=https',
      'X-Request-Id: r1',
      'Content-Length: 5',
      '\r\n',
    ].join('\r\n'),
  );
  const chunked = parse(get('Transfer-Encoding: Chunked', 'Connection: transfer-encoding'));
  assert.match(writeRequestHead(chunked, FORWARDED), /\r\nTransfer-Encoding: chunked\r\n\r\n$/);
});

const PERSISTENT: [version: string, connection: string, keepAlive: boolean][] = [
  ['1.1', '', true],
  ['1.1', 'Connection: keep-alive', true],
  ['1.1', 'Connection: close', false],
  ['1.1', 'Connection: CLOSE', false],
  ['1.1', 'Connection: keep-alive, close', false],
  ['1.1', 'Connection: closed', true],
  ['1.0', '', false],
  ['1.0', 'Connection: Keep-Alive', true],
  ['1.0', 'Connection: keep-alive, close', false],
  ['1.0', 'Connection: keep-alive\r\nConnection: close', false],
];

for (const [version, connection, keepAlive] of PERSISTENT) {
  test(`HTTP/${version} with "${connection}" ${keepAlive ? 'keeps' : 'ends'} the connection`, () => {
    const lines = [`GET / HTTP/${version}`, HOST, connection].filter((line) => line !== '');
    const head = parse(lines.join('\r\n'));
    assert.equal(head.keepAlive, keepAlive);
    assert.equal(/\r\nConnection: close\r\n/.test(writeRequestHead(head, FORWARDED)), !keepAlive);
  });
}

const UPGRADES: [lines: string[], upgrade: string | undefined][] = [
  [['Connection: Upgrade', 'Upgrade: websocket'], 'websocket'],
  [['Connection: keep-alive, Upgrade', 'Upgrade: websocket'], 'websocket'],
  [['Upgrade: Custom/2, other', 'connection: UPGRADE'], 'Custom/2, other'],
  [['Upgrade: websocket'], undefined],
  [['Connection: Upgrade'], undefined],
  [['Connection: Upgrade', 'Upgrade:'], undefined],
  [['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'], undefined],
  [['Connection: Upgrade', 'Upgrade: H2C-14'], undefined],
  [['Connection: Upgrade', 'Upgrade: ,h2c'], undefined],
  [['Connection: Upgrade', 'Upgrade: h2c, websocket'], 'websocket'],
  [['Connection: Upgrade', 'Upgrade: websocket', 'Upgrade: h2c'], 'websocket'],
];

for (const [lines, upgrade] of UPGRADES) {
  test(`"${lines.join(' / ')}" asks for ${upgrade ?? 'no other protocol'}`, () => {
    const head = parse(get(...lines));
    assert.equal(head.upgrade, upgrade);
    assert.deepEqual(head.names, []);
    const written = writeRequestHead(head, FORWARDED);
    assert.equal(written.includes(`\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n`), upgrade !== undefined);
    assert.ok(!/h2c|HTTP2/i.test(written));
  });
}

test('HTTP/1.0 has no upgrade, no expectation and no trailers', () => {
  const lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Expect: 100-continue', 'TE: trailers'];
  const head = parse(['GET / HTTP/1.0', HOST, ...lines].join('\r\n'));
  assert.deepEqual(
    [head.upgrade, head.expectContinue, head.acceptsTrailers, head.names],
    [undefined, false, false, []],
  );
});

test('Expect goes on, and 100-continue is noticed', () => {
  const head = parse(get('Expect: 100-Continue', 'Content-Length: 3'));
  assert.equal(head.expectContinue, true);
  assert.equal(fieldValue(head, 'expect'), '100-Continue');
  assert.equal(parse(get('Expect: something')).expectContinue, false);
});

test('trailers are announced to the origin only by visitors who take them', () => {
  const chunked = ['Transfer-Encoding: chunked', 'Trailer: X-Sum'];
  assert.deepEqual(parse(get(...chunked)).names, []);
  assert.deepEqual(parse(get('TE: gzip', ...chunked)).names, []);
  const head = parse(get(...chunked, 'TE: gzip;q=0.5, Trailers'));
  assert.equal(head.acceptsTrailers, true);
  assert.equal(fieldValue(head, 'trailer'), 'X-Sum');
  assert.match(writeRequestHead(head, FORWARDED), /\r\nConnection: TE\r\nTE: trailers\r\n\r\n$/);
});

test('Content-Length may be zero and as large as 2^53-1', () => {
  assert.deepEqual(parse(get('Content-Length: 0')).body, { kind: 'length', bytes: 0 });
  assert.deepEqual(parse(get('Content-Length: 9007199254740991')).body, { kind: 'length', bytes: 2 ** 53 - 1 });
  assert.match(writeRequestHead(parse(get('Content-Length: 0')), FORWARDED), /\r\nContent-Length: 0\r\n\r\n$/);
});

test('a hundred fields pass', () => {
  assert.equal(parse(get(...Array.from({ length: 99 }, (_, index) => `A${index}: b`))).names.length, 99);
});

test('the origin gets the Host that the tunnel sets, and the public name in X-Forwarded-Host', () => {
  const written = writeRequestHead(parse(hosting('Home.example.com:8443')), FORWARDED, 'app.internal');
  assert.match(written, /^GET \/ HTTP\/1\.1\r\nHost: app\.internal\r\n/);
  assert.match(written, /\r\nX-Forwarded-Host: home\.example\.com:8443\r\n/);
});

const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_.-]{0,20}$/);
const value = fc.stringMatching(/^[\x21-\x7e\xa1-\xff]([\x20-\x7e\xa1-\xff]{0,30}[\x21-\x7e\xa1-\xff])?$/);
const fieldLines = fc.array(fc.tuple(token, value), { maxLength: 10 });

test('what is written for the origin means the same to us and to Node', async (t) => {
  const node = new NodeReader();
  t.after(() => node.close());
  const target = fc.constantFrom('/', '/a/b?c=d', '/%41?[x]', '*');
  const request = fc.record({ fields: fieldLines, target, close: fc.boolean(), length: fc.option(fc.nat(9)) });
  await fc.assert(
    fc.asyncProperty(request, async ({ fields, target, close, length }) => {
      const method = target === '*' ? 'OPTIONS' : 'POST';
      const framing = length === null ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`;
      const lines = fields.map(([name, text]) => `X-${name}: ${text}`);
      const text = [`${method} ${target} HTTP/1.1`, HOST, ...lines, framing, close ? 'Connection: close' : 'A: b'];
      const head = parse(text.join('\r\n'));
      const written = writeRequestHead(head, FORWARDED);
      assert.deepEqual(parse(written.slice(0, -4)).names, head.names);
      const body = length === null ? '3\r\nabc\r\n0\r\n\r\n' : 'x'.repeat(length);
      const { messages, refused } = await node.readRequests(bytesOf(written + body));
      const [seen] = messages;
      assert.ok(seen !== undefined && !refused && messages.length === 1);
      assert.deepEqual([seen.method, seen.target, seen.host], [method, target, 'home.example.com']);
      assert.equal(seen.body.length, length ?? 3);
      const forwarded = seen.rawHeaders.slice(2, 2 + 2 * head.names.length);
      assert.deepEqual(
        forwarded,
        head.names.flatMap((name, index) => [name, head.values[index]]),
      );
    }),
    { numRuns: 200 },
  );
});
