import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MuxStream } from '../shared/mux/stream.js';
import { type Victim, victim } from './support/mux-attacker.js';
import { DATA, type Frame, frame, readFrames, WINDOW_UPDATE } from './support/mux-frames.js';
import { Collector, turn } from './support/mux-pair.js';

/** The first turn of a stream that had nothing to send. */
const FRESH_QUANTUM = 16 * 1024;
const QUANTUM = 32 * 1024;
/** What of a turn may be left for the next one, rather than be sent as a tiny frame. */
const SCRAP = 1024;
const INITIAL_WINDOW = 256 * 1024;
const BATCH = 65_532;

/** A sender whose transport takes batches only when the test says so. Its streams have all the window they want. */
class Sender {
  readonly end: Victim = victim();
  #confirmed = 0;

  /** A stream that always has more to send. */
  bulk(): MuxStream {
    const stream = this.open();
    const handler = new Collector();
    handler.onDrain = () => {
      while (stream.write(Buffer.alloc(QUANTUM)));
    };
    stream.handler = handler;
    handler.onDrain();
    return stream;
  }

  open(): MuxStream {
    const stream = this.end.session.openStream();
    this.end.session.receive(frame(WINDOW_UPDATE, 0, stream.id, { length: 0x7000_0000 }));
    return stream;
  }

  get unconfirmedBytes(): number {
    return this.end.transport.batches.slice(this.#confirmed).reduce((sum, batch) => sum + batch.length, 0);
  }

  /** The transport takes its oldest batch; returns the frames of what is sent next, if anything is. */
  async confirmOne(): Promise<Frame[]> {
    const before = this.end.transport.batches.length;
    this.#confirmed += 1;
    this.end.session.sent();
    await turn();
    return readFrames(Buffer.concat(this.end.transport.batches.slice(before)));
  }

  sentBytes(stream: MuxStream): number {
    const ours = this.end.transport.frames.filter((each) => each.type === DATA && each.id === stream.id);
    return ours.reduce((sum, each) => sum + each.length, 0);
  }
}

test('a transport that confirms nothing is given one batch and no more', async () => {
  const sender = new Sender();
  for (let count = 0; count < 4; count += 1) sender.bulk();
  for (let turns = 0; turns < 20; turns += 1) await turn();
  assert.equal(sender.end.transport.batches.length, 1);
  assert.ok(sender.end.transport.bytes <= BATCH && sender.end.transport.bytes > BATCH - 1_024);
  assert.ok(sender.end.session.backlogBytes >= sender.end.transport.bytes);
});

test('what is written while a small batch is on its way leaves together, in one frame for each stream', async () => {
  const sender = new Sender();
  const stream = sender.open();
  for (let count = 0; count < 100; count += 1) {
    stream.write(Buffer.from('x'));
    await turn();
  }
  assert.equal(sender.end.transport.batches.length, 1);
  const frames = await sender.confirmOne();
  assert.deepEqual(
    frames.map(({ length }) => length),
    [99],
  );
});

for (const kind of ['new', 'idle']) {
  test(`a small write on ${kind === 'new' ? 'a new' : 'an idle'} stream passes four that push bulk: it leaves first in the next batch`, async () => {
    const sender = new Sender();
    const idle = sender.open();
    idle.write(Buffer.from('so that it is known'));
    await turn();
    for (let count = 0; count < 4; count += 1) sender.bulk();
    for (let count = 0; count < 50; count += 1) await sender.confirmOne();
    const stream = kind === 'new' ? sender.open() : idle;
    stream.write(Buffer.from('light on'));
    const [first] = await sender.confirmOne();
    assert.equal(first?.id, stream.id);
    assert.equal(first?.payload.toString(), 'light on');
  });
}

test('bulk streams are never further apart than one quantum and its scraps', async () => {
  const sender = new Sender();
  const streams = [1, 2, 3, 4].map(() => sender.bulk());
  for (let count = 0; count < 100; count += 1) {
    await sender.confirmOne();
    const sent = streams.map((stream) => sender.sentBytes(stream));
    const apart = Math.max(...sent) - Math.min(...sent);
    assert.ok(apart <= QUANTUM + 2 * SCRAP, `${apart} bytes apart after ${count} batches`);
  }
});

test('a stream that comes late to bulk streams gets the same share from then on', async () => {
  const sender = new Sender();
  const early = sender.bulk();
  for (let count = 0; count < 50; count += 1) await sender.confirmOne();
  const before = sender.sentBytes(early);
  const late = sender.bulk();
  for (let count = 0; count < 100; count += 1) await sender.confirmOne();
  const apart = Math.abs(sender.sentBytes(early) - before - sender.sentBytes(late));
  assert.ok(apart <= 2 * QUANTUM, `${apart} bytes apart`);
});

test('streams that refill in each turn do not starve a bulk stream', async () => {
  const sender = new Sender();
  const bulk = sender.bulk();
  const refillers = Array.from({ length: 9 }, () => sender.open());
  for (let count = 0; count < 100; count += 1) {
    for (const stream of refillers) if (stream.outboundBytes === 0) stream.write(Buffer.alloc(QUANTUM));
    await sender.confirmOne();
  }
  const share = sender.sentBytes(bulk) / sender.end.transport.bytes;
  assert.ok(share > 0.09, `the bulk stream got ${share.toFixed(3)} of the link among ten streams`);
});

test('ever new streams do not starve a bulk stream', async () => {
  const sender = new Sender();
  const bulk = sender.bulk();
  let served = 0;
  for (let count = 0; count < 100; count += 1) {
    for (let fresh = 0; fresh < 8; fresh += 1) {
      const stream = sender.open();
      stream.write(Buffer.alloc(FRESH_QUANTUM));
      stream.handler = new Collector();
      stream.end();
    }
    await sender.confirmOne();
    served = sender.sentBytes(bulk);
  }
  const share = served / sender.end.transport.bytes;
  assert.ok(share > 0.2, `the bulk stream got ${share.toFixed(3)} of the link`);
});

test('a stream that waits for its window takes no turns from others', async () => {
  const sender = new Sender();
  const stuck = sender.end.session.openStream();
  stuck.write(Buffer.alloc(1 << 20));
  const bulk = sender.bulk();
  for (let count = 0; count < 50; count += 1) await sender.confirmOne();
  assert.equal(sender.sentBytes(stuck), INITIAL_WINDOW);
  const before = sender.end.transport.bytes;
  const bulkBefore = sender.sentBytes(bulk);
  for (let count = 0; count < 20; count += 1) await sender.confirmOne();
  const share = (sender.sentBytes(bulk) - bulkBefore) / (sender.end.transport.bytes - before);
  assert.ok(share > 0.99, `${share}`);
});

test('streams of one visitor share one turn: fifty of them get together what a single one of another visitor gets', async () => {
  const sender = new Sender();
  const many = Array.from({ length: 50 }, () => sender.bulk());
  for (const stream of many) stream.shareTurns('192.0.2.1 50001');
  const single = sender.bulk();
  for (let count = 0; count < 50; count += 1) await sender.confirmOne();
  const sent = () => many.map((stream) => sender.sentBytes(stream));
  const before = { many: sent(), single: sender.sentBytes(single) };
  for (let count = 0; count < 400; count += 1) await sender.confirmOne();
  const grown = sent().map((bytes, index) => bytes - (before.many[index] ?? 0));
  const together = grown.reduce((sum, bytes) => sum + bytes, 0);
  const alone = sender.sentBytes(single) - before.single;
  assert.ok(Math.abs(together - alone) <= 2 * QUANTUM, `${together} bytes of fifty, ${alone} of one`);
  assert.ok(Math.max(...grown) - Math.min(...grown) <= QUANTUM, 'and among themselves they take turns');
});

test('a shared turn goes on when the streams that share it end, pause or are reset', async () => {
  const sender = new Sender();
  const single = sender.bulk();
  const shared = Array.from({ length: 6 }, () => sender.bulk());
  for (const stream of shared) stream.shareTurns('192.0.2.1 50001');
  for (let count = 0; count < 20; count += 1) await sender.confirmOne();
  while (shared.length > 1) {
    const gone = shared.splice(shared.length % 2 === 0 ? 0 : shared.length - 1, 1)[0];
    if (shared.length % 3 === 0) gone?.reset();
    else if (gone !== undefined) {
      gone.handler = new Collector();
      gone.end();
    }
    const before = shared.map((stream) => sender.sentBytes(stream));
    const one = sender.sentBytes(single);
    for (let count = 0; count < 60; count += 1) await sender.confirmOne();
    for (const [index, stream] of shared.entries()) {
      assert.ok(sender.sentBytes(stream) > (before[index] ?? 0), `stream ${index} of ${shared.length} goes on`);
    }
    assert.ok(sender.sentBytes(single) > one);
  }
  const [last] = shared;
  const added = sender.open();
  added.shareTurns('192.0.2.1 50001');
  added.write(Buffer.from('late'));
  for (let count = 0; count < 5; count += 1) await sender.confirmOne();
  assert.equal(sender.sentBytes(added), 4);
  assert.ok(last?.alive);
});
