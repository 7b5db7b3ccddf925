import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../shared/errors.js';
import { FrameReader, type FrameReceiver, HEADER_BYTES, writeHeader } from '../shared/mux/frame.js';
import { DATA, frame, PING, WINDOW_UPDATE } from './support/mux-frames.js';

/** Writes down what a reader tells, with the pieces of each payload joined. */
class Log implements FrameReceiver {
  readonly entries: string[] = [];
  #payload: Buffer[] = [];

  onFrame(type: number, flags: number, streamId: number, length: number): void {
    this.entries.push(`${type} ${flags} ${streamId} ${length}`);
  }

  onPayload(piece: Buffer, last: boolean): void {
    assert.ok(piece.length > 0);
    this.#payload.push(Buffer.from(piece));
    if (!last) return;
    this.entries.push(Buffer.concat(this.#payload).toString('hex'));
    this.#payload = [];
  }
}

/** What a reader says about chunks; the code of its error, if any, is the last entry. */
function readAll(chunks: readonly Buffer[]): string[] {
  const log = new Log();
  const reader = new FrameReader(log);
  try {
    for (const chunk of chunks) reader.read(chunk);
  } catch (error) {
    assert.ok(error instanceof TunnelError);
    log.entries.push(error.code);
  }
  return log.entries;
}

/** Cuts at the given places, given as shares of the whole. */
function cut(bytes: Buffer, shares: readonly number[]): Buffer[] {
  const places = [0, ...shares.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 40 });
const anyFrame = fc
  .record({
    type: fc.integer({ min: 0, max: 3 }),
    flags: fc.integer({ min: 0, max: 15 }),
    id: fc.integer({ min: 0, max: 0xffff_ffff }),
    length: fc.integer({ min: 0, max: 0xffff_ffff }),
    payload: fc.uint8Array({ maxLength: 60 }),
  })
  .map(({ type, flags, id, length, payload }) =>
    type === DATA ? frame(type, flags, id, { payload: Buffer.from(payload) }) : frame(type, flags, id, { length }),
  );

test('a reader sees the same frames however the bytes are split', () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 12 }), shares, (frames, places) => {
      const bytes = Buffer.concat(frames);
      assert.deepEqual(readAll(cut(bytes, places)), readAll([bytes]));
    }),
  );
});

test('a reader comes to the same verdict about damaged frames however they are split', () => {
  const damage = fc.record({
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    value: fc.integer({ min: 0, max: 255 }),
  });
  fc.assert(
    fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 8 }), damage, shares, (frames, { at, value }, places) => {
      const bytes = Buffer.concat(frames);
      bytes[Math.floor(at * bytes.length)] = value;
      assert.deepEqual(readAll(cut(bytes, places)), readAll([bytes]));
    }),
  );
});

test('a written header reads back as what was written', () => {
  const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 15 }),
      uint32,
      uint32,
      (type, flags, id, length) => {
        const target = Buffer.alloc(HEADER_BYTES + 5, 0xff);
        assert.equal(writeHeader(target, 5, type, flags, id, length), HEADER_BYTES + 5);
        assert.deepEqual(target.subarray(5), frame(type, flags, id, { length }));
        assert.deepEqual(readAll([target.subarray(5)]), [`${type} ${flags} ${id} ${length}`]);
      },
    ),
  );
});

for (const [what, bytes] of [
  ['version', frame(DATA, 0, 1, { version: 1 })],
  ['type', frame(4, 0, 1)],
  ['flag', frame(WINDOW_UPDATE, 16, 1)],
  ['flag in the upper byte', frame(PING, 0x8000, 0)],
] as const) {
  test(`an unknown ${what} is a violation of the protocol`, () => {
    assert.deepEqual(readAll([bytes]), ['PROTOCOL_VIOLATION']);
  });
}

test('a stopped reader gives nothing more, not even the rest of the chunk that it reads', () => {
  const log = new Log();
  const reader = new FrameReader({
    onFrame: (type, flags, id, length) => {
      log.onFrame(type, flags, id, length);
      if (id === 2) reader.stop();
    },
    onPayload: (piece, last) => log.onPayload(piece, last),
  });
  const payload = Buffer.from('late');
  reader.read(Buffer.concat([frame(PING, 0, 1), frame(DATA, 0, 2, { payload }), frame(PING, 0, 3)]));
  reader.read(frame(PING, 0, 4));
  assert.deepEqual(log.entries, ['2 0 1 0', '0 0 2 4']);
});

test('a million frames in one chunk need no more stack than one', () => {
  let frames = 0;
  const reader = new FrameReader({
    onFrame: () => {
      frames += 1;
    },
    onPayload: () => {},
  });
  reader.read(Buffer.alloc(1_000_000 * HEADER_BYTES));
  assert.equal(frames, 1_000_000);
});
