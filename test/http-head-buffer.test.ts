import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { HeadBuffer } from '../shared/http/head-buffer.js';
import { bytesOf, singleBytes, splitAt } from './support/http-wire.js';

const HEAD = 'GET / HTTP/1.1\r\nHost: home.example.com\r\nAccept: */*';
const limits = { headBytes: 200, fields: 10 };

/** Heads found in the chunks, and where the last one ended. */
function pushAll(buffer: HeadBuffer, chunks: readonly Buffer[]): string[] {
  const heads: string[] = [];
  for (const chunk of chunks) {
    let at = 0;
    while (at < chunk.length) {
      const head = buffer.push(chunk, at);
      assert.ok(buffer.next > at && buffer.next <= chunk.length, 'next moves forward inside the chunk');
      at = buffer.next;
      if (head !== undefined) heads.push(head);
    }
  }
  return heads;
}

test('a head in one chunk ends at its blank line and leaves the rest alone', () => {
  const buffer = new HeadBuffer(limits);
  const chunk = bytesOf(`body${HEAD}\r\n\r\nrest`);
  assert.equal(buffer.push(chunk, 4), HEAD);
  assert.equal(chunk.toString('latin1', buffer.next), 'rest');
  assert.equal(buffer.partial, false);
});

test('pipelined heads are found one after the other, wherever the chunks are cut', () => {
  const wire = bytesOf(`${HEAD}\r\n\r\nPOST /2 HTTP/1.1\r\nX: \xff\r\n\r\n\r\n\r\nGET /3 HTTP/1.1\r\n\r\n`);
  const expected = [HEAD, 'POST /2 HTTP/1.1\r\nX: \xff', 'GET /3 HTTP/1.1'];
  assert.deepEqual(pushAll(new HeadBuffer(limits), [wire]), expected);
  assert.deepEqual(pushAll(new HeadBuffer(limits), singleBytes(wire)), expected);
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 8 }), (places) => {
      assert.deepEqual(pushAll(new HeadBuffer(limits), splitAt(wire, places)), expected);
    }),
  );
});

test('partial says whether bytes of an incomplete head are held', () => {
  const buffer = new HeadBuffer(limits);
  const seen = singleBytes(bytesOf('\r\nG\r\n\r\n')).map((byte) => {
    buffer.push(byte, 0);
    return buffer.partial;
  });
  assert.deepEqual(seen, [true, false, true, true, true, true, false]);
});

test('a few empty lines before a request line are skipped, more are refused', () => {
  for (const split of [(wire: Buffer) => [wire], singleBytes]) {
    assert.deepEqual(pushAll(new HeadBuffer(limits), split(bytesOf(`\r\n\r\n\r\n\r\n${HEAD}\r\n\r\n`))), [HEAD]);
    assert.throws(() => pushAll(new HeadBuffer(limits), split(bytesOf('\r\n\r\n\r\n\r\n\r\n'))), {
      code: 'REQUEST_INVALID',
      status: 400,
    });
  }
});

test('no empty line is skipped before a status line', () => {
  const buffer = new HeadBuffer(limits, 'ORIGIN_INVALID');
  assert.deepEqual(pushAll(buffer, [bytesOf('\r\nHTTP/1.1 200 OK\r\n\r\n')]), ['\r\nHTTP/1.1 200 OK']);
});

test('a line that ends in a bare LF is refused before the head is complete', () => {
  for (const text of ['GET / HTTP/1.1\n', '\n', 'G\n', 'GET / HTTP/1.1\r\nA: b\n\n', 'GET / HTTP/1.1\r\n\n']) {
    for (const chunks of [[bytesOf(text)], singleBytes(bytesOf(text))]) {
      assert.throws(() => pushAll(new HeadBuffer(limits), chunks), { code: 'REQUEST_INVALID', status: 400 }, text);
    }
  }
});

test('a head of exactly headBytes passes, one byte more is refused with 431, in one chunk and in many', () => {
  const longest = HEAD.padEnd(limits.headBytes - 4, 'a');
  for (const split of [(wire: Buffer) => [wire], singleBytes]) {
    assert.deepEqual(pushAll(new HeadBuffer(limits), split(bytesOf(`${longest}\r\n\r\n`))), [longest]);
    assert.throws(() => pushAll(new HeadBuffer(limits), split(bytesOf(`${longest}a\r\n\r\n`))), {
      code: 'REQUEST_INVALID',
      status: 431,
    });
  }
  assert.throws(() => pushAll(new HeadBuffer(limits, 'ORIGIN_INVALID'), [bytesOf(`${longest}aaaaa`)]), {
    code: 'ORIGIN_INVALID',
    status: 502,
  });
});

test('bytes without a blank line are never held beyond headBytes', () => {
  const chunk = fc.uint8Array({ maxLength: 90 }).map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0x0a)));
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 12 }), (chunks) => {
      const buffer = new HeadBuffer(limits);
      let bytes = 0;
      try {
        for (const piece of chunks) {
          assert.equal(buffer.push(piece, 0), undefined);
          bytes += piece.length;
        }
        assert.ok(bytes <= limits.headBytes);
      } catch (error) {
        assert.ok(error instanceof TunnelError && error.status === 431);
        assert.ok(Buffer.concat(chunks).length > limits.headBytes);
      }
    }),
  );
});

test('a head of 16 KiB in chunks of one byte is moved a constant number of times', (t) => {
  const large = { headBytes: 16_384, fields: 100 };
  const wire = bytesOf(`${HEAD.padEnd(large.headBytes - 4, 'a')}\r\n\r\n`);
  const chunks = singleBytes(wire);
  let touched = 0;
  const { copy, indexOf, toString: decode } = Buffer.prototype;
  t.mock.method(Buffer.prototype, 'copy', function (this: Buffer, ...args: Parameters<Buffer['copy']>): number {
    const copied = copy.apply(this, args);
    touched += copied;
    return copied;
  });
  t.mock.method(Buffer.prototype, 'indexOf', function (this: Buffer, value: Uint8Array, from = 0): number {
    touched += this.length - from;
    return indexOf.call(this, value, from);
  });
  t.mock.method(Buffer.prototype, 'toString', function (this: Buffer, ...args: Parameters<Buffer['toString']>): string {
    const text = decode.apply(this, args);
    touched += text.length;
    return text;
  });
  const concat = t.mock.method(Buffer, 'concat');
  const heads = pushAll(new HeadBuffer(large), chunks);
  t.mock.restoreAll();
  assert.equal(heads[0]?.length, wire.length - 4);
  assert.equal(concat.mock.callCount(), 0);
  assert.ok(touched >= wire.length && touched < 5 * wire.length, `${touched} bytes touched for ${wire.length}`);
});
