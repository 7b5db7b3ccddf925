/**
 * Random handlers at both ends of a pipe that splits at random. Whatever they do, in whatever state: bytes arrive in
 * order, a reader holds at most its window, `onClose` comes once and nothing after it, and no stream is left behind.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TunnelError } from '../shared/errors.js';
import type { MuxStream, StreamHandler } from '../shared/mux/stream.js';
import { dataBytes } from './support/mux-frames.js';
import { type MuxPair, muxPair, quiet, turn } from './support/mux-pair.js';

const MAX_WINDOW = 1 << 20;

/** One end of a stream: writes the numbers of its own direction, and checks those of the other. */
class End implements StreamHandler {
  readonly stream: MuxStream;
  written = 0;
  received = 0;
  drains = 0;
  asked = false;
  peerEnded = false;
  resetByUs = false;
  closes: (TunnelError | undefined)[] = [];

  constructor(stream: MuxStream) {
    this.stream = stream;
    stream.handler = this;
  }

  write(bytes: number): void {
    const piece = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at += 1) piece[at] = (this.written + at) % 251;
    const counts = this.stream.alive && !this.asked;
    this.stream.write(piece);
    if (counts) this.written += bytes;
  }

  onData(piece: Buffer): void {
    assert.equal(this.closes.length, 0, 'no data after close');
    assert.equal(this.peerEnded, false, 'no data after the end');
    for (const [at, value] of piece.entries()) {
      if (value !== (this.received + at) % 251) assert.fail(`byte ${this.received + at} is ${value}`);
    }
    this.received += piece.length;
  }

  onEnd(): void {
    assert.equal(this.closes.length, 0, 'no end after close');
    assert.equal(this.peerEnded, false, 'one end');
    this.peerEnded = true;
  }

  onDrain(): void {
    assert.equal(this.closes.length, 0, 'no drain after close');
  }

  onEndSent(): void {
    assert.ok(this.asked && this.closes.length === 0, 'the end was asked for, and the stream lives');
  }

  onClose(error: TunnelError | undefined): void {
    this.closes.push(error);
  }
}

/** Both sessions and all ends that they have, keyed by stream id. */
class World {
  readonly pair: MuxPair;
  readonly left = new Map<number, End>();
  readonly right = new Map<number, End>();

  constructor(pieces: readonly number[]) {
    let next = 0;
    this.pair = muxPair({
      pieceBytes: () => {
        next += 1;
        return pieces[next % pieces.length] ?? 1;
      },
      left: {
        maxWindowBytes: MAX_WINDOW,
        onStream: (stream) => void this.left.set(stream.id, new End(stream)),
      },
      right: { maxWindowBytes: MAX_WINDOW },
      onStream: (stream) => void this.right.set(stream.id, new End(stream)),
    });
  }

  ends(side: Side): Map<number, End> {
    return side === 'left' ? this.left : this.right;
  }

  open(side: Side): void {
    const stream = this.pair[side].openStream();
    this.ends(side).set(stream.id, new End(stream));
  }

  pick(side: Side, index: number): End | undefined {
    const ends = [...this.ends(side).values()];
    return ends[index % Math.max(1, ends.length)];
  }

  stall(side: Side, stalled: boolean): void {
    const wire = side === 'left' ? this.pair.leftToRight : this.pair.rightToLeft;
    wire.stalled = stalled;
    wire.pump();
  }

  async finish(): Promise<void> {
    for (const side of ['left', 'right'] as const) this.stall(side, false);
    await quiet(this.pair);
    for (const end of [...this.left.values(), ...this.right.values()]) {
      end.stream.resume();
      end.asked = true;
      end.stream.end();
    }
    await quiet(this.pair);
    // Streams whose SYN left only now were accepted paused and un-ended.
    for (const end of [...this.left.values(), ...this.right.values()]) {
      end.stream.resume();
      end.asked = true;
      end.stream.end();
    }
    await quiet(this.pair);
  }

  checkMemory(): void {
    this.#checkHeld(this.pair.leftToRight.frames, this.right);
    this.#checkHeld(this.pair.rightToLeft.frames, this.left);
  }

  /** What was sent and not yet consumed fits into one window, wherever it is now. */
  #checkHeld(frames: MuxPair['leftToRight']['frames'], readers: Map<number, End>): void {
    for (const [id, end] of readers) {
      if (!end.stream.alive) continue;
      const held = dataBytes(frames, id) - end.received;
      assert.ok(held <= MAX_WINDOW, `${held} bytes are held for stream ${id}`);
    }
  }

  checkEnd(): void {
    assert.deepEqual(this.pair.closed, { left: 'open', right: 'open' });
    assert.deepEqual([this.pair.left.streamCount, this.pair.right.streamCount], [0, 0]);
    for (const side of ['left', 'right'] as const) {
      const others = this.ends(side === 'left' ? 'right' : 'left');
      for (const [id, end] of this.ends(side)) this.#checkPair(end, others.get(id));
    }
  }

  #checkPair(end: End, other: End | undefined): void {
    assert.equal(end.closes.length, 1, 'onClose comes once');
    if (other === undefined) {
      assert.ok(end.resetByUs, 'only a stream that was reset before its SYN has one end');
    } else if (end.resetByUs || other.resetByUs) {
      assert.ok(end.received <= other.written);
    } else {
      assert.equal(end.closes[0], undefined);
      assert.equal(end.received, other.written);
    }
  }
}

type Side = 'left' | 'right';
type Action = (world: World) => void | Promise<void>;

const side = fc.constantFrom<Side>('left', 'right');
const index = fc.nat(5);

function onEnd(does: (end: End) => void): fc.Arbitrary<Action> {
  return fc.tuple(side, index).map(([of, at]) => (world: World) => {
    const end = world.pick(of, at);
    if (end !== undefined) does(end);
  });
}

const write = fc.tuple(side, index, fc.oneof(fc.nat(20), fc.nat(20_000), fc.nat(400_000)));
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 3, arbitrary: side.map((of) => (world: World) => world.open(of)) },
  {
    weight: 8,
    arbitrary: write.map(
      ([of, at, bytes]) =>
        (world: World) =>
          world.pick(of, at)?.write(bytes),
    ),
  },
  {
    weight: 3,
    arbitrary: onEnd((end) => {
      end.stream.end();
      end.asked = true;
    }),
  },
  { weight: 4, arbitrary: onEnd((end) => end.stream.resume()) },
  { weight: 2, arbitrary: onEnd((end) => end.stream.pause()) },
  {
    weight: 1,
    arbitrary: onEnd((end) => {
      if (end.stream.alive) end.resetByUs = true;
      end.stream.reset();
    }),
  },
  { weight: 1, arbitrary: side.map((of) => (world: World) => world.pair[of].ping()) },
  {
    weight: 1,
    arbitrary: fc.tuple(side, fc.boolean()).map(
      ([of, on]) =>
        (world: World) =>
          world.stall(of, on),
    ),
  },
  { weight: 8, arbitrary: fc.constant(() => turn()) },
);

test('random handlers on both ends never break a stream', async () => {
  const pieces = fc.array(fc.oneof(fc.integer({ min: 1, max: 13 }), fc.integer({ min: 14, max: 70_000 })), {
    minLength: 1,
    maxLength: 5,
  });
  await fc.assert(
    fc.asyncProperty(pieces, fc.array(action, { maxLength: 80, size: 'max' }), async (sizes, actions) => {
      const world = new World(sizes);
      for (const act of actions) await act(world);
      world.checkMemory();
      await world.finish();
      world.checkEnd();
    }),
    { numRuns: 200 },
  );
});
