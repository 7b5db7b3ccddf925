import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { MuxStream } from '../shared/mux/stream.js';
import { victim } from './support/mux-attacker.js';
import { ACK, DATA, FIN, frame, RST, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { Collector, collect, type MuxPair, muxPair, quiet, turn } from './support/mux-pair.js';

interface Joined {
  readonly pair: MuxPair;
  readonly ours: MuxStream;
  readonly theirs: MuxStream;
  readonly ourHandler: Collector;
  readonly theirHandler: Collector;
}

/** A stream with a handler at each end, whose SYN has arrived. The answer (ACK) is held back while `opening`. */
async function joined(opening = false): Promise<Joined> {
  const pair = muxPair({ pieceBytes: 3 });
  pair.rightToLeft.stalled = opening;
  const ours = pair.left.openStream();
  const ourHandler = collect(ours);
  ours.write(Buffer.from('hello'));
  await quiet(pair);
  const [theirs] = pair.accepted;
  assert.ok(theirs);
  return { pair, ours, theirs, ourHandler, theirHandler: collect(theirs) };
}

/** Everything that a handler's side can do; none of it may have an effect on a stream that is over. */
function tryEverything(stream: MuxStream): void {
  assert.equal(stream.write(Buffer.from('late')), false);
  stream.end();
  stream.pause();
  stream.resume();
  stream.reset();
}

const STATES: Record<string, (joined: Joined) => void> = {
  open: () => {},
  localEnded: ({ ours }) => ours.end(),
  remoteEnded: ({ theirs }) => theirs.end(),
  'open with bytes that wait for the window': ({ ours, theirs }) => {
    theirs.pause();
    ours.write(randomBytes(600_000));
  },
  'localEnded with bytes that wait for the window': ({ ours, theirs }) => {
    theirs.pause();
    ours.write(randomBytes(600_000));
    ours.end();
  },
  'paused with bytes and an end that wait for the handler': ({ ours, theirs }) => {
    ours.pause();
    theirs.write(randomBytes(100_000));
    theirs.end();
  },
};

for (const [state, prepare] of Object.entries(STATES)) {
  for (const side of ['opener', 'acceptor']) {
    test(`reset by the ${side} of a stream that is ${state}: both ends are told once and forget it`, async () => {
      const all = await joined();
      prepare(all);
      await quiet(all.pair);
      const [resetter, other] = side === 'opener' ? [all.ours, all.theirs] : [all.theirs, all.ours];
      const [resetterHandler, otherHandler] =
        side === 'opener' ? [all.ourHandler, all.theirHandler] : [all.theirHandler, all.ourHandler];
      resetter.reset();
      assert.equal(resetterHandler.closed?.error?.code, 'STREAM_RESET');
      await quiet(all.pair);
      assert.equal(otherHandler.closed?.error?.code, 'STREAM_RESET');
      const sent = all.pair.leftToRight.frames.length + all.pair.rightToLeft.frames.length;
      const before = [resetterHandler, otherHandler].map((handler) => [handler.bytes, handler.ended]);
      for (const stream of [resetter, other]) {
        assert.equal(stream.state, 'reset');
        assert.equal(stream.outboundBytes, 0);
        tryEverything(stream);
      }
      await quiet(all.pair);
      assert.equal(all.pair.leftToRight.frames.length + all.pair.rightToLeft.frames.length, sent);
      assert.deepEqual(
        [resetterHandler, otherHandler].map((handler) => [handler.bytes, handler.ended]),
        before,
      );
      assert.deepEqual([resetterHandler.closes, otherHandler.closes], [1, 1]);
      assert.deepEqual([all.pair.left.streamCount, all.pair.right.streamCount], [0, 0]);
      assert.deepEqual(all.pair.closed, { left: 'open', right: 'open' });
    });
  }
}

test('reset by the opener before the peer has answered reaches the peer', async () => {
  const { pair, ours, theirHandler } = await joined(true);
  assert.equal(ours.state, 'opening');
  ours.reset();
  await quiet(pair);
  assert.equal(theirHandler.closed?.error?.code, 'STREAM_RESET');
  pair.rightToLeft.stalled = false;
  pair.rightToLeft.pump();
  await quiet(pair);
  assert.deepEqual([pair.left.streamCount, pair.right.streamCount], [0, 0]);
  assert.deepEqual(pair.closed, { left: 'open', right: 'open' });
});

test('a stream that is reset before its SYN was sent leaves no trace on the wire', async () => {
  const pair = muxPair();
  const stream = pair.left.openStream();
  const handler = collect(stream);
  stream.write(Buffer.from('never'));
  stream.end();
  stream.reset();
  assert.equal(handler.closes, 1);
  tryEverything(stream);
  await quiet(pair);
  assert.equal(pair.leftToRight.batches.length, 0);
  assert.equal(pair.accepted.length, 0);
  const next = pair.left.openStream();
  next.write(Buffer.from('next'));
  await quiet(pair);
  assert.equal(pair.accepted.length, 1);
  assert.deepEqual(pair.closed, { left: 'open', right: 'open' });
});

test('a stream that its acceptor resets at once is forgotten by both ends', async () => {
  const pair = muxPair({ onStream: (stream) => stream.reset() });
  const stream = pair.left.openStream();
  const handler = collect(stream);
  stream.write(randomBytes(100_000));
  assert.equal((await handler.close)?.code, 'STREAM_RESET');
  await quiet(pair);
  assert.deepEqual([pair.left.streamCount, pair.right.streamCount], [0, 0]);
  assert.deepEqual(pair.closed, { left: 'open', right: 'open' });
});

test('frames that were under way when a stream was reset are ignored', () => {
  const { session, accepted, code } = victim();
  session.receive(frame(WINDOW_UPDATE, SYN, 1));
  const [stream] = accepted;
  assert.ok(stream);
  const handler = collect(stream);
  stream.reset();
  const payload = Buffer.from('late');
  session.receive(Buffer.concat([frame(DATA, 0, 1, { payload }), frame(WINDOW_UPDATE, 0, 1, { length: 9 })]));
  session.receive(Buffer.concat([frame(WINDOW_UPDATE, FIN, 1), frame(WINDOW_UPDATE, RST, 1), frame(DATA, FIN, 1)]));
  assert.equal(code(), 'open');
  assert.deepEqual([handler.bytes, handler.ended, handler.closes], [0, false, 1]);
});

test('the rest of a frame is dropped when the handler resets at its first piece', () => {
  const { session, accepted, code } = victim();
  session.receive(frame(WINDOW_UPDATE, SYN, 1));
  const [stream] = accepted;
  assert.ok(stream);
  const handler = new Collector();
  handler.onData = (piece) => {
    handler.bytes += piece.length;
    stream.reset();
  };
  stream.handler = handler;
  stream.resume();
  const bytes = frame(DATA, FIN, 1, { payload: randomBytes(1000) });
  for (let at = 0; at < bytes.length; at += 100) session.receive(bytes.subarray(at, at + 100));
  assert.deepEqual([handler.bytes, handler.ended, handler.closes], [88, false, 1]);
  assert.equal(session.streamCount, 0);
  assert.equal(code(), 'open');
});

test('a handler that resets at the piece that fills half a window is sent no credit and borrows no window', async () => {
  const end = victim({ drained: true });
  end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
  const [stream] = end.accepted;
  assert.ok(stream);
  const handler = collect(stream);
  await turn();
  end.session.receive(frame(DATA, 0, 1, { payload: Buffer.alloc(65_536) }));
  handler.onData = () => stream.reset();
  end.session.receive(frame(DATA, 0, 1, { payload: Buffer.alloc(65_536) }));
  await turn();
  assert.deepEqual(
    end.transport.frames.map((each) => each.flags),
    [ACK, RST],
  );
});

test('a handler that resets while waiting bytes are given hears neither the rest nor the end', () => {
  const { session, accepted } = victim();
  session.receive(Buffer.concat([frame(DATA, SYN, 1, { payload: randomBytes(60_000) })]));
  session.receive(Buffer.concat([frame(DATA, 0, 1, { payload: randomBytes(60_000) }), frame(WINDOW_UPDATE, FIN, 1)]));
  const [stream] = accepted;
  assert.ok(stream);
  const handler = new Collector();
  let pieces = 0;
  handler.onData = () => {
    pieces += 1;
    stream.reset();
  };
  stream.handler = handler;
  stream.resume();
  stream.resume();
  assert.deepEqual([pieces, handler.ended, handler.closes], [1, false, 1]);
  assert.equal(stream.state, 'reset');
  assert.equal(session.streamCount, 0);
});

test('an end that waited for its paused handler is not delivered after a reset', () => {
  const { session, accepted } = victim();
  session.receive(Buffer.concat([frame(WINDOW_UPDATE, SYN, 1), frame(WINDOW_UPDATE, FIN, 1)]));
  const [stream] = accepted;
  assert.ok(stream);
  const handler = new Collector();
  stream.handler = handler;
  stream.reset();
  stream.resume();
  assert.deepEqual([handler.ended, handler.closes, stream.state], [false, 1, 'reset']);
});

for (const moment of ['onEnd', 'onDrain', 'onEndSent', 'onClose'] as const) {
  test(`a handler may reset in ${moment}`, async () => {
    const { pair, ours, theirs } = await joined();
    let calls = 0;
    const handler = Object.assign(new Collector(), { onEndSent: () => {} });
    const original = handler[moment].bind(handler);
    handler[moment] = () => {
      calls += 1;
      original(undefined);
      ours.reset();
    };
    ours.handler = handler;
    ours.write(randomBytes(200_000));
    ours.end();
    await quiet(pair);
    theirs.end();
    await quiet(pair);
    assert.deepEqual([calls, handler.closes, ours.alive], [1, 1, false]);
    assert.deepEqual([pair.left.streamCount, pair.right.streamCount], [0, 0]);
    assert.deepEqual(pair.closed, { left: 'open', right: 'open' });
  });
}
