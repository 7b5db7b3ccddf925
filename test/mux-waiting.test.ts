import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Waiting } from '../shared/mux/waiting.js';

for (const bytes of [100, 2_000, 5_000, 16_000]) {
  test(`a waiting piece of ${bytes} bytes keeps neither its chunk nor a pool of Node's alive`, () => {
    const waiting = new Waiting();
    waiting.push(Buffer.alloc(64 * 1024, 'a').subarray(1_000, 1_000 + bytes));
    const piece = waiting.shift();
    assert.equal(piece?.toString('latin1'), 'a'.repeat(bytes));
    assert.ok(piece.buffer.byteLength <= 2 * bytes, `${piece.buffer.byteLength} bytes are kept`);
  });
}
