import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MuxTransport, Outbox } from '../shared/mux/outbox.js';

const HEADROOM = 4;
const BATCH = 60_000;

/** A transport that keeps what it is given, and no copy. */
class Keeper implements MuxTransport {
  readonly headroomBytes = HEADROOM;
  readonly batchBytes: number;
  readonly batches: Buffer[] = [];

  constructor(batchBytes = BATCH) {
    this.batchBytes = batchBytes;
  }

  send(batch: Buffer): void {
    this.batches.push(batch);
  }
}

/** Sends one batch that is filled with `byte`. */
function sendFilled(outbox: Outbox, bytes: number, byte: number): void {
  const batch = outbox.open(bytes);
  batch.fill(byte, HEADROOM, HEADROOM + bytes);
  outbox.send(batch, HEADROOM + bytes);
}

test('a large batch is used again once the system took it, and not before', () => {
  const transport = new Keeper();
  const [outbox, other] = [new Outbox(transport), new Outbox(transport)];
  sendFilled(outbox, 50_000, 1);
  sendFilled(other, 50_000, 2);
  const [first, second] = transport.batches;
  assert.notEqual(first?.buffer, second?.buffer);
  outbox.taken();
  sendFilled(outbox, 50_000, 3);
  assert.equal(transport.batches[2]?.buffer, first?.buffer);
  assert.ok(second?.subarray(HEADROOM).every((byte) => byte === 2));
});

test('no batch on its way is ever overwritten, whatever the sizes, by any of the sessions', () => {
  const transport = new Keeper();
  const outboxes = Array.from({ length: 5 }, () => new Outbox(transport));
  const sizes = [1, 4_092, 4_093, 60_000, 30_000, 5, 59_999];
  for (let count = 0; count < 500; count += 1) {
    const outbox = outboxes[count % outboxes.length];
    assert.ok(outbox);
    if (outbox.full) {
      const oldest = transport.batches.shift();
      const byte = oldest?.[HEADROOM];
      assert.ok(oldest?.subarray(HEADROOM).every((found) => found === byte));
      outbox.taken();
    }
    sendFilled(outbox, sizes[count % sizes.length] ?? 0, count & 0xff);
  }
});

test('the outbox is full while a batch is on its way, large or small', () => {
  const outbox = new Outbox(new Keeper());
  for (const bytes of [BATCH, 10]) {
    assert.equal(outbox.full, false);
    sendFilled(outbox, bytes, 1);
    assert.deepEqual([outbox.full, outbox.bytes], [true, bytes + HEADROOM]);
    outbox.taken();
    assert.deepEqual([outbox.full, outbox.bytes], [false, 0]);
  }
});

test('an empty batch is not sent, and its memory serves the next one', () => {
  const transport = new Keeper();
  const outbox = new Outbox(transport);
  const batch = outbox.open(BATCH);
  assert.equal(outbox.send(batch, HEADROOM), false);
  assert.equal(transport.batches.length, 0);
  assert.equal(outbox.bytes, 0);
  assert.equal(outbox.open(BATCH).buffer, batch.buffer);
});

test('a batch is never longer than its transport takes, also beside transports of another size', () => {
  const [narrow, wide] = [new Outbox(new Keeper(5_000)), new Outbox(new Keeper())];
  sendFilled(wide, BATCH, 1);
  wide.taken();
  assert.equal(narrow.open(BATCH).length, HEADROOM + 5_000);
  assert.equal(wide.open(BATCH).length, HEADROOM + BATCH);
  assert.equal(new Outbox(new Keeper(13)).open(BATCH).length, HEADROOM + 13);
});

test('an answer to a call that nobody made changes nothing', () => {
  const outbox = new Outbox(new Keeper());
  outbox.taken();
  assert.equal(outbox.bytes, 0);
});
