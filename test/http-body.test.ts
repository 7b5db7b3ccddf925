import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import {
  type BodyFraming,
  type BodyOptions,
  BodyReader,
  CHUNK_TAIL,
  chunkHead,
  LAST_CHUNK,
} from '../shared/http/body.js';
import { bytesOf, singleBytes, splitAt } from './support/http-wire.js';

const CHUNKED: BodyFraming = { kind: 'chunked' };
const FRAMED: BodyOptions = { output: 'framed', trailers: 'drop', code: 'REQUEST_INVALID' };
const WITH_TRAILERS: BodyOptions = { ...FRAMED, trailers: 'keep' };
const PAYLOAD: BodyOptions = { ...FRAMED, output: 'payload' };

/** What a reader makes of the chunks: its output, and the bytes that it left. */
function readAll(
  framing: BodyFraming,
  options: BodyOptions,
  chunks: readonly Buffer[],
): [output: string, rest: string] {
  const reader = new BodyReader(framing, options);
  let output = '';
  let rest = '';
  for (const chunk of chunks) {
    const next = reader.read(chunk, 0, (piece) => {
      assert.ok(piece.length > 0, 'no empty piece');
      output += piece.toString('latin1');
    });
    rest += chunk.toString('latin1', next);
  }
  if (!reader.done) reader.end();
  return [output, rest];
}

/** The same, of a text in one chunk, then cut at each of its bytes, then byte by byte; all must agree. */
function readEverySplit(framing: BodyFraming, options: BodyOptions, text: string): [output: string, rest: string] {
  const wire = bytesOf(text);
  const whole = readAll(framing, options, [wire]);
  for (let cut = 0; cut <= wire.length; cut += 1) {
    assert.deepEqual(readAll(framing, options, splitAt(wire, [cut])), whole, `cut at ${cut}`);
  }
  assert.deepEqual(readAll(framing, options, singleBytes(wire)), whole, 'byte by byte');
  return whole;
}

test('a body of known length ends after its bytes', () => {
  assert.deepEqual(readEverySplit({ kind: 'length', bytes: 5 }, FRAMED, 'helloGET /'), ['hello', 'GET /']);
});

test('no body, and a body of no bytes, are done at once and take nothing', () => {
  for (const framing of [{ kind: 'none' }, { kind: 'length', bytes: 0 }] as const) {
    const reader = new BodyReader(framing, FRAMED);
    assert.equal(reader.done, true);
    assert.equal(
      reader.read(bytesOf('GET /'), 2, () => assert.fail()),
      2,
    );
    reader.end();
  }
});

test('a body until close takes everything and is done when the sender ends', () => {
  const reader = new BodyReader({ kind: 'until-close' }, FRAMED);
  assert.equal(
    reader.read(bytesOf('anything'), 0, () => {}),
    8,
  );
  assert.equal(reader.done, false);
  reader.end();
  assert.equal(reader.done, true);
});

test('payload is handed on as parts of the chunk, not as copies', () => {
  const chunk = bytesOf('xx5\r\nhello\r\n0\r\n\r\n');
  const pieces: Buffer[] = [];
  new BodyReader(CHUNKED, PAYLOAD).read(chunk, 2, (piece) => pieces.push(piece));
  assert.deepEqual(pieces.map(String), ['hello']);
  assert.equal(pieces[0]?.buffer, chunk.buffer);
});

test('a chunked body without extensions and trailers goes on in one piece', () => {
  const chunk = bytesOf('5\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\nGET /');
  const pieces: string[] = [];
  const next = new BodyReader(CHUNKED, FRAMED).read(chunk, 0, (piece) => pieces.push(piece.toString('latin1')));
  assert.deepEqual(pieces, ['5\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n']);
  assert.equal(chunk.toString('latin1', next), 'GET /');
});

test('chunk extensions are left out, wherever the body is cut', () => {
  const wire = '5;a=b;c="d e"\r\nhello\r\n3;\t \r\nabc\r\n0;last\r\n\r\nrest';
  assert.deepEqual(readEverySplit(CHUNKED, FRAMED, wire), ['5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n', 'rest']);
  assert.deepEqual(readEverySplit(CHUNKED, PAYLOAD, wire), ['helloabc', 'rest']);
});

test('trailers go on only when they are wanted', () => {
  const wire = '1\r\na\r\n0\r\nX-Sum: 1 \r\nx-other:\r\n\r\nrest';
  assert.deepEqual(readEverySplit(CHUNKED, FRAMED, wire), ['1\r\na\r\n0\r\n\r\n', 'rest']);
  assert.deepEqual(readEverySplit(CHUNKED, PAYLOAD, wire), ['a', 'rest']);
  assert.deepEqual(readEverySplit(CHUNKED, WITH_TRAILERS, wire), [
    '1\r\na\r\n0\r\nX-Sum: 1\r\nx-other: \r\n\r\n',
    'rest',
  ]);
});

const FORBIDDEN_TRAILERS = [
  ...['Content-Length', 'Transfer-Encoding', 'Host', 'Connection', 'TE', 'Trailer', 'Upgrade', 'Keep-Alive', 'Proxy'],
  ...['Authorization', 'Cookie', 'Set-Cookie', 'WWW-Authenticate', 'Proxy-Authorization', 'Content-Type'],
  ...['Content-Encoding', 'Content-Range', 'Expect', 'Cache-Control', 'Max-Forwards', 'Forwarded', 'X-Real-IP'],
  ...['X-Request-Id', 'X-Forwarded-For', 'X-Forwarded-Anything', 'X_Forwarded_For', 'Content.Length'],
];

for (const name of FORBIDDEN_TRAILERS) {
  test(`${name} never goes on as a trailer`, () => {
    const wire = [bytesOf(`0\r\n${name.toLowerCase()}: 5\r\nA: b\r\n${name}: 6\r\n\r\n`)];
    assert.deepEqual(readAll(CHUNKED, WITH_TRAILERS, wire), ['0\r\nA: b\r\n\r\n', '']);
  });
}

test('an origin may fold its trailers, a visitor may not', () => {
  const wire = [bytesOf('0\r\nA: b\r\n c\r\n\r\n')];
  const ofOrigin: BodyOptions = { ...WITH_TRAILERS, code: 'ORIGIN_INVALID' };
  assert.deepEqual(readAll(CHUNKED, ofOrigin, wire), ['0\r\nA: b c\r\n\r\n', '']);
  assert.throws(() => readAll(CHUNKED, WITH_TRAILERS, wire), { code: 'REQUEST_INVALID', status: 400 });
});

const REFUSED: [what: string, body: string, status?: number][] = [
  ['an empty size', '\r\nhello'],
  ['a size that is no number', 'g\r\n'],
  ['a size with a backtick', '`\r\n'],
  ['a size with a sign', '+5\r\nhello\r\n'],
  ['a negative size', '-5\r\nhello\r\n'],
  ['a size with 0x', '0x5\r\nhello\r\n'],
  ['a space before the size', ' 5\r\nhello\r\n'],
  ['a space behind the size', '5 \r\nhello\r\n'],
  ['a space before the extension', '5 ;a\r\nhello\r\n'],
  ['a size of 16 digits', '0000000000000005\r\nhello\r\n'],
  ['a size over 2^53-1', '20000000000000\r\n'],
  ['the largest size of 15 digits', 'fffffffffffffff\r\n'],
  ['an extension alone', ';a\r\n'],
  ['a size that ends in a bare LF', '5\nhello\r\n'],
  ['a size that ends in a bare CR', '5\rhello\r\n'],
  ['CR CR LF behind the size', '5\r\r\nhello\r\n'],
  ['an extension with a bare LF', '5;a\nhello\r\n'],
  ['an extension with a bare CR', '5;a\rb\r\nhello\r\n'],
  ['an extension with NUL', '5;a\0\r\nhello\r\n'],
  ['an extension in 8 bits', '5;\xe9\r\nhello\r\n'],
  ['an extension of 257 bytes', `5;${'a'.repeat(256)}\r\nhello\r\n`],
  ['too long a chunk', '5\r\nhello!\r\n'],
  ['a chunk that ends in a bare LF', '5\r\nhello\n0\r\n\r\n'],
  ['a chunk that ends in a bare CR', '5\r\nhello\rX'],
  ['a bare LF as the end', '0\r\n\n'],
  ['a bare CR as the end', '0\r\n\rX'],
  ['a trailer without a colon', '0\r\nA\r\n\r\n'],
  ['a trailer with a space before the colon', '0\r\nA : b\r\n\r\n'],
  ['a trailer with a bare LF', '0\r\nA: b\n\r\n'],
  ['a trailer with a bare CR', '0\r\nA: b\rc\r\n\r\n'],
  ['a trailer with NUL', '0\r\nA: \0\r\n\r\n'],
  ['a folded trailer', '0\r\nA: b\r\n c\r\n\r\n'],
  ['trailers that begin with a space', '0\r\n A: b\r\n\r\n'],
  ['33 trailers', `0\r\n${'A: b\r\n'.repeat(33)}\r\n`, 431],
  ['trailers over 4 KiB', `0\r\nA: ${'b'.repeat(4096)}\r\n\r\n`, 431],
  ['endless trailers', `0\r\nA: ${'b'.repeat(8192)}`, 431],
];

for (const [what, body, status = 400] of REFUSED) {
  test(`a chunked body with ${what} is refused`, () => {
    for (const options of [FRAMED, PAYLOAD, WITH_TRAILERS]) {
      for (const chunks of [[bytesOf(body)], singleBytes(bytesOf(body))]) {
        const reader = new BodyReader(CHUNKED, options);
        const read = () => {
          for (const chunk of chunks) reader.read(chunk, 0, () => {});
        };
        assert.throws(read, { code: 'REQUEST_INVALID', status });
        assert.equal(reader.done, false);
      }
    }
  });
}

test('limits are met exactly: an extension of 256 bytes and 32 trailers pass', () => {
  assert.equal(readAll(CHUNKED, FRAMED, [bytesOf(`0;${'a'.repeat(255)}\r\n\r\n`)])[0], '0\r\n\r\n');
  const trailers = 'A: b\r\n'.repeat(32);
  assert.equal(readAll(CHUNKED, WITH_TRAILERS, [bytesOf(`0\r\n${trailers}\r\n`)])[0], `0\r\n${trailers}\r\n`);
  const reader = new BodyReader(CHUNKED, FRAMED);
  reader.read(bytesOf('1fffffffffffff\r\nx'), 0, () => {});
  assert.equal(reader.done, false);
});

test('each chunk may have an extension, and the limit counts them apart', () => {
  const extension = `;${'a'.repeat(200)}`;
  const wire = [bytesOf(`1${extension}\r\na\r\n1${extension}\r\nb\r\n0${extension}\r\n\r\n`)];
  assert.deepEqual(readAll(CHUNKED, PAYLOAD, wire), ['ab', '']);
});

test('a sender that ends inside the body is refused with the code of the reader', () => {
  const ofOrigin: BodyOptions = { ...FRAMED, code: 'ORIGIN_INVALID' };
  for (const body of [
    '',
    '5',
    '5;a',
    '5\r\n',
    '5\r\nhel',
    '5\r\nhello',
    '5\r\nhello\r',
    '0\r\n',
    '0\r\nA: b',
    '0\r\n\r',
  ]) {
    assert.throws(() => readAll(CHUNKED, ofOrigin, [bytesOf(body)]), { code: 'ORIGIN_INVALID', status: 502 }, body);
  }
  assert.throws(() => readAll({ kind: 'length', bytes: 5 }, FRAMED, [bytesOf('hell')]), { code: 'REQUEST_INVALID' });
});

const extension = fc.constantFrom('', ';a', ';a=b;c', ';"x y"');
const text = fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const chunk = fc.record({ text, zeros: fc.nat(3), extension });
const body = fc.record({ chunks: fc.array(chunk, { maxLength: 6 }), trailer: fc.constantFrom('', 'X-Sum: 1\r\n') });

test('chunked bodies keep their payload through any cuts, and what is written is read the same', () => {
  fc.assert(
    fc.property(body, fc.array(fc.nat(), { maxLength: 10 }), ({ chunks, trailer }, places) => {
      const payload = chunks.map((part) => part.text).join('');
      const parts = chunks.map((part) => {
        const size = '0'.repeat(part.zeros) + part.text.length.toString(16);
        return `${size}${part.extension}\r\n${part.text}\r\n`;
      });
      const pieces = splitAt(bytesOf(`${parts.join('')}0\r\n${trailer}\r\nrest`), places);
      assert.deepEqual(readAll(CHUNKED, PAYLOAD, pieces), [payload, 'rest']);
      const [framed, rest] = readAll(CHUNKED, WITH_TRAILERS, pieces);
      assert.equal(rest, 'rest');
      assert.ok(framed.endsWith(`0\r\n${trailer}\r\n`));
      assert.deepEqual(readAll(CHUNKED, PAYLOAD, [bytesOf(framed)]), [payload, '']);
    }),
  );
});

test('pieces framed with chunkHead are read back as they were', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 5 }), (pieces) => {
      const wire = pieces.flatMap((piece) => [chunkHead(piece.length), Buffer.from(piece), CHUNK_TAIL]);
      const [output] = readAll(CHUNKED, PAYLOAD, [Buffer.concat([...wire, LAST_CHUNK])]);
      assert.equal(output, Buffer.concat(pieces).toString('latin1'));
    }),
  );
  assert.throws(() => chunkHead(0), { code: 'INTERNAL' });
});

test('arbitrary bytes throw nothing but the error of the table, and what goes on is well framed', () => {
  const likely = fc.constantFrom(
    '0',
    '5',
    'a',
    '\r\n',
    '\r',
    '\n',
    ';',
    ' ',
    ':',
    'hello',
    '0\r\n',
    '1\r\nx\r\n',
    '\0',
  );
  const bytes = fc.oneof(
    fc.array(likely, { maxLength: 20 }).map((parts) => parts.join('')),
    fc.string(),
  );
  fc.assert(
    fc.property(
      bytes,
      fc.constantFrom(FRAMED, WITH_TRAILERS),
      fc.array(fc.nat(), { maxLength: 4 }),
      (text, options, cuts) => {
        const reader = new BodyReader(CHUNKED, options);
        let output = '';
        let isRefused = false;
        try {
          for (const piece of splitAt(bytesOf(text), cuts)) {
            const next = reader.read(piece, 0, (part) => (output += part.toString('latin1')));
            assert.ok(next <= piece.length);
          }
        } catch (error) {
          assert.ok(error instanceof TunnelError && error.code === 'REQUEST_INVALID');
          isRefused = true;
        }
        const again = new BodyReader(CHUNKED, options);
        again.read(bytesOf(output), 0, () => {});
        assert.equal(again.done, reader.done && !isRefused);
      },
    ),
    { numRuns: 2000 },
  );
});
