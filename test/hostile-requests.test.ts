/**
 * Requests that a visitor must not send: each is refused with its status and the connection ends, and not one byte of it
 * reaches the origin, in whatever pieces it comes and whatever stands before it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  assertAllFreed,
  assertOnlyGood,
  assertRefusal,
  assertServes,
  attackedWorld,
  forbidWarnings,
  GOOD,
  HOST,
  sendEach,
} from './support/attack.js';
import { APP, talkToRelay } from './support/carry.js';
import { singleBytes, splitAt } from './support/http-wire.js';

const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;

/** A request whose field lines are these; what follows it on the wire must never become a request. */
function lines(...fields: string[]): string {
  return `POST /bad HTTP/1.1\r\n${HOST}${fields.map((field) => `${field}\r\n`).join('')}\r\n0\r\n\r\n${SMUGGLED}`;
}

function startLine(line: string): string {
  return `${line}\r\n${HOST}\r\n${SMUGGLED}`;
}

function target(text: string): string {
  return startLine(`GET ${text} HTTP/1.1`);
}

function host(...fields: string[]): string {
  return `GET /bad HTTP/1.1\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n${SMUGGLED}`;
}

const CHUNKED = 'Transfer-Encoding: chunked';
const MANY_FIELDS = Array.from({ length: 100 }, (_, index) => `A${index}: b`);

const REFUSED: readonly (readonly [status: number, what: string, wire: string])[] = [
  // hardening.md, row by row
  [501, 'Transfer-Encoding: gzip, chunked', lines('Transfer-Encoding: gzip, chunked')],
  [501, 'Transfer-Encoding: ,chunked', lines('Transfer-Encoding: ,chunked')],
  [400, 'Transfer-Encoding on HTTP/1.0', `POST /bad HTTP/1.0\r\n${HOST}${CHUNKED}\r\n\r\n0\r\n\r\n${SMUGGLED}`],
  [400, 'two Host fields', host(`Host: ${APP}`, `Host: ${APP}`)],
  [400, 'two Host fields, the second of another tunnel', host(`Host: ${APP}`, 'hOsT: other.relay.localhost')],
  [400, 'an empty Host', host('Host:')],
  [400, 'Host with a space', host(`Host: ${APP} evil`)],
  [400, 'Host with a comma', host(`Host: ${APP},evil`)],
  [400, 'Host with a slash', host(`Host: ${APP}/`)],
  [400, 'Host with userinfo', host(`Host: user:pw@${APP}`)],
  [400, 'absolute-form with another authority', target('https://evil.relay.localhost/')],
  [400, 'absolute-form with another port', target(`https://${APP}:1/`)],
  [400, 'absolute-form with userinfo', target(`https://user@${APP}/`)],
  [400, 'HTTP/0.9', `GET /\r\n\r\n${SMUGGLED}`],
  [505, 'HTTP/2.0 in a request line', startLine('GET / HTTP/2.0')],
  [405, 'TRACE', startLine('TRACE / HTTP/1.1')],
  [405, 'CONNECT', startLine(`CONNECT ${APP}:443 HTTP/1.1`)],
  [400, 'a fragment in the target', target('/bad#x')],
  [400, 'an 8-bit target', target('/b\xe4d')],
  [400, 'NUL in the target', target('/b\0d')],
  [400, 'a tab in the target', target('/b\td')],
  [400, 'a space in the target', target('/b d')],
  [400, 'a control character in the query', target('/?b\x1bd')],
  [431, '101 fields', lines(...MANY_FIELDS)],
  [431, 'a head over 16 KiB', lines(`A: ${'b'.repeat(16 * 1024)}`)],
  [431, 'a request line over 16 KiB', target(`/${'b'.repeat(16 * 1024)}`)],
  // architecture §6
  [400, 'bare LF behind every line', `GET /bad HTTP/1.1\nHost: ${APP}\n\n${SMUGGLED}`],
  [400, 'bare LF behind one line', `GET /bad HTTP/1.1\r\nHost: ${APP}\nA: b\r\n\r\n${SMUGGLED}`],
  [400, 'bare LF as blank line', `GET /bad HTTP/1.1\r\nHost: ${APP}\r\n\n${SMUGGLED}`],
  [400, 'bare CR behind a line', `GET /bad HTTP/1.1\r\nHost: ${APP}\rA: b\r\n\r\n${SMUGGLED}`],
  [400, 'CR CR LF', `GET /bad HTTP/1.1\r\nHost: ${APP}\r\r\nA: b\r\n\r\n${SMUGGLED}`],
  [400, 'a folded line', lines('A: b', ' c')],
  [400, 'a line folded with a tab', lines('A: b', '\tc')],
  [400, 'a fold before the first field', `GET /bad HTTP/1.1\r\n ${HOST}\r\n${SMUGGLED}`],
  [400, 'a fold that holds a Transfer-Encoding', lines('A: b', ` ${CHUNKED}`)],
  [400, 'NUL in a value', lines('A: b\0c')],
  [400, 'NUL in a name', lines('A\0: b')],
  [400, 'an 8-bit name', lines('\xc4: b')],
  [400, 'a name with a space', lines('A B: c')],
  [400, 'a space before the colon', lines('A : b')],
  [400, 'a tab before the colon', lines('A\t: b')],
  [400, 'a line without a colon', lines('A')],
  [400, 'a line that begins with a colon', lines(': b')],
  [400, 'DEL in a value', lines('A: b\x7fc')],
  [400, 'Content-Length with Transfer-Encoding', lines('Content-Length: 3', CHUNKED)],
  [400, 'Transfer-Encoding with Content-Length', lines(CHUNKED, 'Content-Length: 3')],
  [400, 'Transfer-Encoding with Content-Length: 0', lines(CHUNKED, 'Content-Length: 0')],
  [400, 'two different Content-Lengths', lines('Content-Length: 5', 'Content-Length: 0')],
  [400, 'two equal Content-Lengths', lines('Content-Length: 5', 'Content-Length: 5')],
  [400, 'a list of Content-Lengths', lines('Content-Length: 5, 5')],
  [400, 'Content-Length: +5', lines('Content-Length: +5')],
  [400, 'Content-Length: -1', lines('Content-Length: -1')],
  [400, 'Content-Length: 0x5', lines('Content-Length: 0x5')],
  [400, 'Content-Length: 5_0', lines('Content-Length: 5_0')],
  [400, 'Content-Length: 5 0', lines('Content-Length: 5 0')],
  [400, 'an empty Content-Length', lines('Content-Length:')],
  [400, 'Content-Length over 2^53', lines('Content-Length: 18446744073709551616')],
  [400, 'Content-Length with a vertical tab', lines('Content-Length: \x0b5')],
  [400, 'Content-Length with NUL', lines('Content-Length: 5\0')],
  // TE.TE: whatever another server may take for chunked
  [501, 'Transfer-Encoding: xchunked', lines('Transfer-Encoding: xchunked')],
  [501, 'Transfer-Encoding: chunkedx', lines('Transfer-Encoding: chunkedx')],
  [501, 'Transfer-Encoding: "chunked"', lines('Transfer-Encoding: "chunked"')],
  [501, "Transfer-Encoding: 'chunked'", lines("Transfer-Encoding: 'chunked'")],
  [501, 'Transfer-Encoding: chunked;q=1', lines('Transfer-Encoding: chunked;q=1')],
  [501, 'Transfer-Encoding: chunked, identity', lines('Transfer-Encoding: chunked, identity')],
  [501, 'Transfer-Encoding: identity, chunked', lines('Transfer-Encoding: identity, chunked')],
  [501, 'Transfer-Encoding: identity', lines('Transfer-Encoding: identity')],
  [501, 'Transfer-Encoding: chunked, chunked', lines('Transfer-Encoding: chunked, chunked')],
  [501, 'Transfer-Encoding: chunked,', lines('Transfer-Encoding: chunked,')],
  [501, 'an empty Transfer-Encoding', lines('Transfer-Encoding:')],
  [501, 'two Transfer-Encodings', lines(CHUNKED, CHUNKED)],
  [501, 'two Transfer-Encodings, the second unknown', lines(CHUNKED, 'Transfer-encoding: x')],
  [501, 'Transfer-Encoding: chunked with an 8-bit space', lines('Transfer-Encoding: chunked\xa0')],
  [400, 'Transfer-Encoding with a space before the colon', lines('Transfer-Encoding : chunked')],
  [400, 'Transfer-Encoding behind a vertical tab', lines('Transfer-Encoding:\x0bchunked')],
  [400, 'Transfer-Encoding behind a form feed', lines('Transfer-Encoding:\x0cchunked')],
  [400, 'Transfer-Encoding behind a bare CR', lines('Transfer-Encoding: \rchunked')],
  [400, 'Transfer-Encoding behind a bare LF', lines('A: b\nTransfer-Encoding: chunked')],
  [400, 'Transfer-Encoding in a name with a vertical tab', lines('\x0bTransfer-Encoding: chunked')],
  [400, 'Transfer-Encoding folded', lines('Transfer-Encoding:', ' chunked')],
  [400, 'Transfer-Encoding ended by NUL', lines('Transfer-Encoding: chunked\0')],
  // Host
  [400, 'no Host', `GET /bad HTTP/1.1\r\nA: b\r\n\r\n${SMUGGLED}`],
  [400, 'a blank Host', host('Host: \t ')],
  [400, 'Host with a percent sign', host('Host: app%2erelay.localhost')],
  [400, 'an 8-bit Host', host('Host: \xe4pp.relay.localhost')],
  [400, 'Host with two ports', host(`Host: ${APP}:443:443`)],
  [400, 'Host with a port over 65535', host(`Host: ${APP}:65536`)],
  [400, 'Host with a port of letters', host(`Host: ${APP}:https`)],
  [400, 'Host with two dots at the end', host(`Host: ${APP}..`)],
  [400, 'Host with NUL', host(`Host: ${APP}\0.evil`)],
  [400, 'Host with a backslash', host(`Host: ${APP}\\evil`)],
  [400, 'Host with a question mark', host(`Host: ${APP}?evil`)],
  [400, 'Host with a fragment', host(`Host: ${APP}#evil`)],
  [400, 'Host with a quote', host(`Host: "${APP}"`)],
  [400, 'Host that is a list with spaces', host(`Host: ${APP}, ${APP}`)],
  [400, 'a space before Host’s colon', host(`Host : ${APP}`)],
  // request lines
  [400, 'another scheme', target('ftp://app.relay.localhost/')],
  [400, 'a target without a slash', target('bad')],
  [400, 'a backslash as path', target('\\bad')],
  [400, 'GET *', target('*')],
  [400, 'two spaces before the version', startLine('GET /bad  HTTP/1.1')],
  [400, 'two spaces before the target', startLine('GET  /bad HTTP/1.1')],
  [400, 'a space behind the version', startLine('GET /bad HTTP/1.1 ')],
  [400, 'tabs in the request line', startLine('GET\t/bad\tHTTP/1.1')],
  [400, 'a vertical tab in the request line', startLine('GET\x0b/bad HTTP/1.1')],
  [400, 'a space before the method', startLine(' GET /bad HTTP/1.1')],
  [400, 'a method that is no token', startLine('G@T /bad HTTP/1.1')],
  [400, 'an 8-bit method', startLine('G\xcbT /bad HTTP/1.1')],
  [400, 'http/1.1 in small letters', startLine('GET /bad http/1.1')],
  [400, 'HTTP/1.10', startLine('GET /bad HTTP/1.10')],
  [400, 'HTTP/ 1.1', startLine('GET /bad HTTP/ 1.1')],
  [505, 'HTTP/1.2', startLine('GET /bad HTTP/1.2')],
  [505, 'HTTP/3.0', startLine('GET /bad HTTP/3.0')],
  [400, 'HTTP/0.9 by name', startLine('GET /bad HTTP/0.9')],
  [505, 'the preface of HTTP/2', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${SMUGGLED}`],
  [400, 'five empty lines before the request', `${'\r\n'.repeat(5)}GET /bad HTTP/1.1\r\n${HOST}\r\n`],
  [400, 'a bare LF before the request', `\nGET /bad HTTP/1.1\r\n${HOST}\r\n`],
  [400, 'TLS inside TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \n\r\n\r\n'],
  [400, 'a line of NULs', `${'\0'.repeat(64)}\r\n\r\n`],
  [400, 'PROXY protocol', `PROXY TCP4 6.6.6.6 7.7.7.7 1 2\r\n${GOOD}`],
];

/** The same bytes as the relay may get to see them. */
function chunkings(wire: Buffer): [how: string, pieces: Buffer[]][] {
  // A head over the limit is refused while it comes: its single bytes say no more than a few pieces do.
  const isLong = wire.length > 4_096;
  const cut = Math.floor(wire.length / 3);
  return [
    ['whole', [wire]],
    ['in three pieces', splitAt(wire, [cut, 2 * cut])],
    isLong ? ['in KiBs', splitAt(wire, [1_024, 2_048, 8_192])] : ['byte by byte', singleBytes(wire)],
  ];
}

test('what a visitor must not send is refused, in any pieces, and reaches no origin', async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t);
  for (const [status, what, text] of REFUSED) {
    await t.test(`${what}: ${status}`, async (t) => {
      for (const [how, pieces] of chunkings(Buffer.from(text, 'latin1'))) {
        const visitor = await talkToRelay(t, world.relay);
        await sendEach(visitor, pieces);
        assertRefusal(await visitor.response(), status);
        assert.equal(await visitor.rest(), '', `${how}: nothing follows, and the connection ends in order`);
      }
    });
  }
  await assertServes(t, world.relay);
  await assertOnlyGood(world.origin, 1);
  await assertAllFreed(world);
});

test('behind good requests the good ones are answered first, and the bad one is refused all the same', async (t) => {
  const world = await attackedWorld(t);
  for (const [status, what, text] of REFUSED) {
    const visitor = await talkToRelay(t, world.relay);
    visitor.send(GOOD, GOOD, text);
    for (let count = 0; count < 2; count += 1) {
      const { status: good, body } = await visitor.response();
      assert.deepEqual([good, body], [200, 'ok'], what);
    }
    assertRefusal(await visitor.response(), status);
    assert.equal(await visitor.rest(), '', what);
  }
  await assertOnlyGood(world.origin, 2 * REFUSED.length);
  await assertAllFreed(world);
});

test('a request for another hostname than that of the handshake is misdirected and reaches no origin', async (t) => {
  const world = await attackedWorld(t);
  await world.relay.client(t, [`{ name: two, host: two.relay.localhost, origin: "${world.origin.url}" }`], {
    clientId: 'two',
  });
  for (const name of ['two.relay.localhost', 'relay.localhost', 'evil.localhost', 'localhost', '127.0.0.1', '[::1]']) {
    const visitor = await talkToRelay(t, world.relay);
    visitor.send(`GET /bad HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
    assertRefusal(await visitor.response(), 421, 'HOST_MISDIRECTED');
  }
  await assertServes(t, world.relay);
  await assertOnlyGood(world.origin, 1);
});

/** Chunked bodies that end in a violation; the head before them is good, and has often left when the violation comes. */
const BAD_CHUNKS: readonly (readonly [status: number, what: string, body: string])[] = [
  [400, 'no size', '\r\n'],
  [400, 'a size that is no number', 'x\r\n'],
  [400, 'a size with 0x', '0x5\r\nhello\r\n'],
  [400, 'a size with a sign', '+5\r\nhello\r\n'],
  [400, 'a negative size', '-5\r\nhello\r\n'],
  [400, 'a size with an underscore', '5_0\r\nhello\r\n'],
  [400, 'a space before the size', ' 5\r\nhello\r\n'],
  [400, 'a space behind the size', '5 \r\nhello\r\n'],
  [400, 'a tab behind the size', '5\t\r\nhello\r\n'],
  [400, 'NUL behind the size', '5\0\r\nhello\r\n'],
  [400, 'a size of 16 digits', '0000000000000005\r\nhello\r\n'],
  [400, 'a size over 2^53', '20000000000001\r\nhello\r\n'],
  [400, 'a size over 2^64', '10000000000000005\r\nhello\r\n'],
  [400, 'a bare LF behind the size', '5\nhello\r\n'],
  [400, 'a bare CR behind the size', '5\rhello\r\n'],
  [400, 'CR CR LF behind the size', '5\r\r\nhello\r\n'],
  [400, 'a bare LF behind the data', '5\r\nhello\n0\r\n\r\n'],
  [400, 'a bare CR behind the data', '5\r\nhello\r0\r\n\r\n'],
  [400, 'nothing behind the data', '5\r\nhello0\r\n\r\n'],
  [400, 'more data than announced', '5\r\nhello world\r\n'],
  [400, 'less data than announced', '5\r\nhell\r\n0\r\n\r\n'],
  [400, 'a bare LF in an extension', '5;a=b\nhello\r\n'],
  [400, 'a bare CR in an extension', '5;a=b\rc\r\nhello\r\n'],
  [400, 'NUL in an extension', '5;a=\0\r\nhello\r\n'],
  [400, 'an 8-bit extension', '5;a=\xe4\r\nhello\r\n'],
  [400, 'an endless extension', `5;${'a'.repeat(300)}`],
  [400, 'a bare LF as last line', '0\r\n\n'],
  [400, 'a bare LF behind a trailer', '0\r\nA: b\n\r\n'],
  [400, 'a folded trailer', '0\r\nA: b\r\n c\r\n\r\n'],
  [400, 'a trailer without a colon', '0\r\nA\r\n\r\n'],
  [400, 'a trailer with a space before the colon', '0\r\nA : b\r\n\r\n'],
  [400, 'a trailer with NUL', '0\r\nA: \0\r\n\r\n'],
  [400, 'a request in place of trailers', `0\r\n${SMUGGLED}`],
  [431, 'trailers without end', `0\r\n${'A: b\r\n'.repeat(1_000)}`],
  [431, '33 trailers', `0\r\n${'A: b\r\n'.repeat(33)}\r\n`],
];

test('a chunked body that breaks the rules is refused, and the origin never sees its end or what follows', async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t);
  const head = `POST /chunks HTTP/1.1\r\n${HOST}${CHUNKED}\r\n\r\n`;
  for (const [status, what, body] of BAD_CHUNKS) {
    await t.test(`${what}: ${status}`, async (t) => {
      for (const before of ['', '3\r\nabc\r\n']) {
        for (const [how, pieces] of chunkings(Buffer.from(head + before + body + SMUGGLED, 'latin1'))) {
          const visitor = await talkToRelay(t, world.relay);
          await sendEach(visitor, pieces);
          assertRefusal(await visitor.response(), status);
          assert.equal(await visitor.rest(), '', how);
        }
      }
    });
  }
  await assertAllFreed(world);
  for (const { text } of world.origin.connections) {
    const afterHead = text.slice(text.indexOf('\r\n\r\n') + 4);
    assert.doesNotMatch(text, /smuggled/);
    assert.doesNotMatch(afterHead, /(?:^|\r\n)0+\r\n\r\n/, 'the end of the body');
    assert.doesNotMatch(afterHead, /[;\0\t +-]|A:/, 'extensions, trailers and odd sizes');
  }
  await assertServes(t, world.relay);
});
