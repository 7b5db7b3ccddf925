/** Bytes that wait to be moved: kept pieces, copies of lent memory, moves of any size. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES, returnBlock, takeBlock } from '../shared/bytes/blocks.js';
import { Pieces } from '../shared/bytes/pieces.js';

type Step = readonly ['push' | 'copy' | 'move', number];

const step: fc.Arbitrary<Step> = fc.tuple(
  fc.constantFrom('push', 'copy', 'copy', 'move'),
  fc.oneof(
    fc.integer({ min: 1, max: 50 }),
    fc.integer({ min: 1_900, max: 2_200 }),
    fc.integer({ min: 1, max: 150_000 }),
  ),
);

/** Bytes that differ from those before and behind them. */
function numbered(from: number, bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => (from + at) % 251));
}

test('bytes come out in order and unchanged, whatever was kept, copied and moved, and although lent memory is used again', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const pieces = new Pieces();
      const lent = Buffer.alloc(150_000);
      let [pushed, moved] = [0, 0];
      for (const [what, size] of steps) {
        if (what === 'move') {
          const bytes = Math.min(size, pieces.bytes);
          const target = Buffer.alloc(bytes + 2);
          pieces.moveTo(target, 1, bytes);
          assert.ok(target.subarray(1, -1).equals(numbered(moved, bytes)));
          assert.deepEqual([target[0], target.at(-1)], [0, 0]);
          moved += bytes;
        } else {
          const bytes = numbered(pushed, size);
          if (what === 'push') pieces.push(bytes);
          else pieces.pushCopy(lent.subarray(0, bytes.copy(lent)));
          lent.fill(0xff);
          pushed += size;
        }
        assert.equal(pieces.bytes, pushed - moved);
        assert.equal(pieces.count > 0, pieces.bytes > 0);
      }
      pieces.clear();
      assert.deepEqual([pieces.bytes, pieces.count], [0, 0]);
    }),
  );
});

test('copies fill whole blocks, which go round once their bytes were moved or dropped', () => {
  const pieces = new Pieces();
  const mine = takeBlock();
  returnBlock(mine);
  for (let count = 0; count < 8; count += 1) pieces.pushCopy(Buffer.alloc(BLOCK_BYTES / 4, count));
  assert.equal(pieces.count, 2);
  const target = Buffer.alloc(2 * BLOCK_BYTES);
  pieces.moveTo(target, 0, target.length);
  const [first, second] = [takeBlock(), takeBlock()];
  assert.ok([first, second].includes(mine));
  assert.notEqual(first, second);
  returnBlock(first);
  pieces.pushCopy(Buffer.alloc(BLOCK_BYTES));
  pieces.clear();
  assert.equal(takeBlock(), first);
});

test('the only piece is given as it is; a copy, which stands in a block, is not', () => {
  const pieces = new Pieces();
  const piece = Buffer.from('as it is');
  pieces.push(piece);
  assert.equal(pieces.takeOnly(), piece);
  assert.equal(pieces.takeOnly(), undefined);
  pieces.push(piece);
  pieces.moveTo(Buffer.alloc(3), 0, 3);
  assert.equal(pieces.takeOnly()?.toString(), 'it is');
  pieces.pushCopy(Buffer.alloc(10_000));
  assert.equal(pieces.takeOnly(), undefined);
  assert.equal(pieces.bytes, 10_000);
});
