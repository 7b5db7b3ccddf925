import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { INITIAL_WINDOW_BYTES } from '../shared/mux/frame.js';
import type { MuxSessionOptions } from '../shared/mux/session.js';
import type { MuxStream } from '../shared/mux/stream.js';
import { Waiting } from '../shared/mux/waiting.js';
import { WindowBudget } from '../shared/mux/window-budget.js';
import { type Victim, victim } from './support/mux-attacker.js';
import { ACK, DATA, FIN, frame, PING, RST, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { type Collector, collect, turn } from './support/mux-pair.js';

const WINDOW = INITIAL_WINDOW_BYTES;
const HALF = WINDOW / 2;
const RTT_MS = 100;

/** A reader's session under a clock that the test moves, with a known round trip of RTT_MS, and its peer by hand. */
class Reader {
  readonly end: Victim;
  readonly stream: MuxStream;
  readonly handler: Collector;
  nowMs = 1_000;

  private constructor(end: Victim, stream: MuxStream, handler: Collector) {
    this.end = end;
    this.stream = stream;
    this.handler = handler;
  }

  static async open(t: { mock: ClockMock }, options: Partial<MuxSessionOptions> = {}, rttMs = RTT_MS): Promise<Reader> {
    const end = victim({ drained: true, ...options });
    end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
    const [stream] = end.accepted;
    assert.ok(stream);
    const reader = new Reader(end, stream, collect(stream));
    t.mock.method(performance, 'now', () => reader.nowMs);
    if (rttMs > 0) {
      end.session.ping();
      reader.nowMs += rttMs;
      end.session.receive(frame(PING, ACK, 0, { length: 1 }));
      assert.equal(end.session.rttMs, rttMs);
    }
    return reader;
  }

  /** The peer sends this much, `afterMs` later. Returns what it is credited for it. */
  async send(bytes: number, afterMs: number): Promise<number> {
    this.nowMs += afterMs;
    const before = this.credited();
    for (let left = bytes; left > 0; left -= 32 * 1024) {
      this.end.session.receive(frame(DATA, 0, 1, { payload: Buffer.alloc(Math.min(left, 32 * 1024)) }));
    }
    await turn();
    return this.credited() - before;
  }

  credited(): number {
    const credits = this.end.transport.frames.filter((each) => each.type === WINDOW_UPDATE && each.id === 1);
    return credits.reduce((sum, each) => sum + each.length, 0);
  }
}

interface ClockMock {
  method(object: typeof performance, name: 'now', implementation: () => number): unknown;
}

test('a reader is credited once it has consumed half of the initial window', async (t) => {
  const reader = await Reader.open(t);
  assert.equal(await reader.send(HALF - 1, 1), 0);
  assert.equal(await reader.send(1, 1), HALF);
});

test('a window doubles while its usable part, all but one credit, lasts less than a round trip and a half', async (t) => {
  const reader = await Reader.open(t);
  assert.equal(await reader.send(HALF, 1), HALF);
  assert.equal(await reader.send(HALF, 1.5 * RTT_MS - 1), HALF + WINDOW);
  assert.equal(await reader.send(WINDOW, RTT_MS - 1), WINDOW + 2 * WINDOW, 'two thirds of its usable part');
});

test('a window stays as it is when its usable part lasts a round trip and a half', async (t) => {
  const reader = await Reader.open(t);
  await reader.send(HALF, 1);
  for (let round = 0; round < 5; round += 1) assert.equal(await reader.send(HALF, 1.5 * RTT_MS), HALF);
});

test('a window that has grown is credited in quarters', async (t) => {
  const reader = await Reader.open(t);
  await reader.send(HALF, 1);
  await reader.send(HALF, 1);
  await reader.send(WINDOW, 1);
  assert.equal(await reader.send(WINDOW - 1, 1), 0);
  assert.equal(await reader.send(1, 1), WINDOW);
});

test('a window follows the least round trip, not those that its own queue made longer', async (t) => {
  const reader = await Reader.open(t);
  for (let id = 2; id < 12; id += 1) {
    reader.end.session.ping();
    reader.nowMs += 10 * RTT_MS;
    reader.end.session.receive(frame(PING, ACK, 0, { length: id }));
  }
  assert.equal(reader.end.session.rttMs, 10 * RTT_MS);
  await reader.send(HALF, 1);
  for (let round = 0; round < 5; round += 1) assert.equal(await reader.send(HALF, 1.5 * RTT_MS), HALF);
});

test('a window stays as it is while no round trip is known', async (t) => {
  const reader = await Reader.open(t, {}, 0);
  for (let round = 0; round < 5; round += 1) assert.equal(await reader.send(HALF, 0), HALF);
});

test('a paused reader is credited nothing and its window does not grow', async (t) => {
  const reader = await Reader.open(t);
  await reader.send(HALF, 1);
  reader.stream.pause();
  assert.equal(await reader.send(HALF, 1), 0);
  assert.equal(await reader.send(HALF, 1), 0);
  assert.equal(reader.end.code(), 'open');
  await reader.send(1, 1);
  assert.equal(reader.end.code(), 'PROTOCOL_VIOLATION');
});

test('a window does not grow beyond maxWindowBytes', async (t) => {
  const reader = await Reader.open(t, { maxWindowBytes: 3 * WINDOW });
  await reader.send(HALF, 1);
  assert.equal(await reader.send(HALF, 1), HALF + WINDOW);
  assert.equal(await reader.send(WINDOW, 1), WINDOW + WINDOW);
  assert.equal(await reader.send(1.5 * WINDOW, 1), 1.5 * WINDOW);
});

test('a maxWindowBytes below the initial window leaves the initial window', async (t) => {
  const reader = await Reader.open(t, { maxWindowBytes: 1 });
  for (let round = 0; round < 4; round += 1) assert.equal(await reader.send(HALF, 1), HALF);
});

for (const [how, over] of [
  ['is reset by us', (reader: Reader) => reader.stream.reset()],
  ['is reset by the peer', (reader: Reader) => reader.end.session.receive(frame(WINDOW_UPDATE, RST, 1))],
  [
    'ends in both directions',
    (reader: Reader) => {
      reader.stream.end();
      reader.end.session.receive(frame(WINDOW_UPDATE, FIN, 1));
    },
  ],
] as const) {
  test(`the windows of a session grow within its budget, which a stream gives back when it ${how}`, async (t) => {
    const windowBudget = new WindowBudget(4 * WINDOW);
    const reader = await Reader.open(t, { windowBudget });
    await reader.send(HALF, 1);
    await reader.send(HALF, 1);
    assert.equal(await reader.send(WINDOW, 1), WINDOW + 1.5 * WINDOW, 'half of what was left');
    assert.equal(windowBudget.usedBytes, 2.5 * WINDOW);
    over(reader);
    await turn();
    assert.equal(reader.stream.alive, false);
    assert.equal(windowBudget.usedBytes, 0);
  });
}

test('a reader that keeps up is never sent more than its window at a time', async (t) => {
  const reader = await Reader.open(t);
  let mayReceive = WINDOW;
  for (let round = 0; round < 20; round += 1) {
    const bytes = Math.min(mayReceive, HALF * (1 + (round % 3)));
    mayReceive += (await reader.send(bytes, 1)) - bytes;
    assert.equal(reader.end.code(), 'open');
  }
  await reader.send(mayReceive, 1);
  assert.equal(reader.end.code(), 'open');
});

test('bytes that wait for a paused reader come out unchanged however they came in', () => {
  for (let round = 0; round < 50; round += 1) {
    const waiting = new Waiting();
    const given: Buffer[] = [];
    const taken: Buffer[] = [];
    for (let step = 0; step < 60; step += 1) {
      const chunk = randomBytes(1 + ((round * 7919 + step * 104729) % 40_000));
      const piece = chunk.subarray((step * 31) % chunk.length);
      given.push(Buffer.from(piece));
      waiting.push(piece);
      if (step % 3 === 0) taken.push(waiting.shift() ?? Buffer.alloc(0));
    }
    for (let piece = waiting.shift(); piece !== undefined; piece = waiting.shift()) taken.push(piece);
    assert.ok(waiting.empty);
    assert.deepEqual(Buffer.concat(taken), Buffer.concat(given));
  }
});

/** Memory that the pieces of a queue keep alive, each block counted once. */
function keptBytes(waiting: Waiting): { bytes: number; pieces: number } {
  const blocks = new Set<ArrayBufferLike>();
  let pieces = 0;
  for (let piece = waiting.shift(); piece !== undefined; piece = waiting.shift()) {
    blocks.add(piece.buffer);
    pieces += 1;
  }
  return { bytes: [...blocks].reduce((sum, block) => sum + block.byteLength, 0), pieces };
}

for (const pieceBytes of [1, 100, 5_000, 16_000, 20_000, 40_000]) {
  test(`a window that waits in pieces of ${pieceBytes} bytes, each out of a chunk of 64 KiB, costs two windows at most`, () => {
    const waiting = new Waiting();
    for (let left = WINDOW; left > 0; left -= pieceBytes) {
      const chunk = Buffer.allocUnsafeSlow(64 * 1024);
      waiting.push(chunk.subarray(7, 7 + Math.min(left, pieceBytes)));
    }
    const kept = keptBytes(waiting);
    assert.ok(kept.bytes <= 2 * WINDOW, `${kept.bytes} bytes are kept for a window of ${WINDOW}`);
    assert.ok(kept.pieces <= 64, `${kept.pieces} pieces`);
  });
}

test('bytes that wait are not those of a buffer that its owner may use again', () => {
  const waiting = new Waiting();
  const chunk = Buffer.alloc(64 * 1024, 'a');
  waiting.push(chunk.subarray(0, 100));
  chunk.fill('b');
  assert.equal(waiting.shift()?.toString(), 'a'.repeat(100));
});
