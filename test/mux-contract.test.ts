/**
 * What every mux must do, over a pipe that splits at every byte. The list is that of yamux-js 0.2.0's failures
 * (docs/decisions.md): each of them must be absent in ours.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import { INITIAL_WINDOW_BYTES } from '../shared/mux/frame.js';
import { WRITE_HIGH_WATER_BYTES } from '../shared/mux/stream.js';
import { WindowBudget } from '../shared/mux/window-budget.js';
import { dataBytes, FIN, RST } from './support/mux-frames.js';
import { Collector, collect, muxPair, quiet } from './support/mux-pair.js';

const WINDOW = INITIAL_WINDOW_BYTES;

for (const pieceBytes of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 1 << 20]) {
  test(`bytes arrive unchanged both ways when the pipe splits every ${pieceBytes} bytes`, async () => {
    const payload = randomBytes(WINDOW + 40_000);
    const pair = muxPair({
      pieceBytes,
      onStream: (stream) => {
        const request = collect(stream);
        void request.end.then(() => {
          assert.deepEqual(request.content, payload);
          stream.write(request.content);
          stream.end();
        });
      },
    });
    const stream = pair.left.openStream();
    const answer = collect(stream);
    stream.write(payload);
    stream.end();
    await answer.end;
    assert.equal(await answer.close, undefined);
    assert.deepEqual(answer.content, payload);
    assert.equal(pair.left.streamCount, 0);
    assert.equal(pair.right.streamCount, 0);
  });
}

test('the end of one direction is a half-close: the other direction still carries data', async () => {
  const answers: Collector[] = [];
  const pair = muxPair({ pieceBytes: 5, onStream: (stream) => answers.push(collect(stream)) });
  const stream = pair.left.openStream();
  const answer = collect(stream);
  stream.write(Buffer.from('question'));
  stream.end();
  await quiet(pair);
  const [request] = answers;
  const [accepted] = pair.accepted;
  assert.ok(request && accepted);
  assert.equal(request.ended, true);
  assert.equal(request.closes, 0);
  assert.equal(accepted.state, 'remoteEnded');
  assert.equal(stream.state, 'localEnded');
  for (const word of ['a ', 'long ', 'answer']) {
    accepted.write(Buffer.from(word));
    await quiet(pair);
  }
  assert.equal(answer.ended, false);
  accepted.end();
  assert.equal(await answer.close, undefined);
  assert.equal(answer.content.toString(), 'a long answer');
  assert.equal(request.closes, 1);
});

test('an end without any data tells the peer', async () => {
  const requests: Collector[] = [];
  const pair = muxPair({ onStream: (stream) => requests.push(collect(stream)) });
  pair.left.openStream().end();
  await quiet(pair);
  assert.equal(requests[0]?.ended, true);
  assert.ok(pair.leftToRight.frames.some((frame) => (frame.flags & FIN) !== 0));
});

test('a reset tells the peer at once and drops what waited', async () => {
  const requests: Collector[] = [];
  const pair = muxPair({ onStream: (stream) => requests.push(collect(stream)) });
  const stream = pair.left.openStream();
  collect(stream);
  stream.write(randomBytes(2 * WINDOW));
  await quiet(pair);
  stream.reset();
  await quiet(pair);
  assert.equal(requests[0]?.closed?.error?.code, 'STREAM_RESET');
  assert.ok(pair.leftToRight.frames.some((frame) => (frame.flags & RST) !== 0));
  assert.equal(stream.outboundBytes, 0);
});

test('a paused reader is sent one window and no byte more', async () => {
  const pair = muxPair({ pieceBytes: 7 });
  const stream = pair.left.openStream();
  stream.write(randomBytes(3 * WINDOW));
  await quiet(pair);
  assert.equal(dataBytes(pair.leftToRight.frames), WINDOW);
  assert.equal(stream.outboundBytes, 2 * WINDOW);
});

test('the window is credited when the reader has consumed, not when bytes arrive', async () => {
  const pair = muxPair();
  const stream = pair.left.openStream();
  stream.write(randomBytes(3 * WINDOW));
  await quiet(pair);
  const [accepted] = pair.accepted;
  assert.ok(accepted);
  assert.equal(pair.rightToLeft.frames.filter((frame) => frame.length > 0).length, 0);
  const reader = collect(accepted);
  await reader.received(3 * WINDOW);
  assert.ok(pair.rightToLeft.frames.some((frame) => frame.length > 0));
});

test('a writer of 64 MiB is stopped by a reader that pauses, and goes on when it resumes', async () => {
  const pair = muxPair();
  const stream = pair.left.openStream();
  const writer = new Collector();
  stream.handler = writer;
  const piece = randomBytes(16 * 1024);
  let written = 0;
  const pump = (): void => {
    let ready = true;
    while (ready && written < 64 << 20) {
      ready = stream.write(piece);
      written += piece.length;
    }
    if (written >= 64 << 20) stream.end();
  };
  writer.onDrain = pump;
  pump();
  await quiet(pair);
  assert.ok(written <= WINDOW + WRITE_HIGH_WATER_BYTES + piece.length, `${written} bytes were taken from the writer`);
  const [accepted] = pair.accepted;
  assert.ok(accepted);
  let bytes = 0;
  const reader = new Collector();
  reader.onData = (arrived) => {
    bytes += arrived.length;
  };
  accepted.handler = reader;
  accepted.resume();
  await reader.end;
  assert.equal(bytes, 64 << 20);
});

test('a writer of single bytes is stopped after about a thousand of them, and called back', async () => {
  const pair = muxPair();
  const stream = pair.left.openStream();
  const writer = collect(stream);
  let written = 0;
  while (stream.write(Buffer.from('x')) && written < 10_000) written += 1;
  assert.equal(written, 1024);
  await quiet(pair);
  assert.equal(writer.drains, 1);
  assert.equal(dataBytes(pair.leftToRight.frames), 1025);
});

test('windows of many megabytes do not deadlock', async () => {
  const limits = () => ({ maxWindowBytes: 64 << 20, windowBudget: new WindowBudget(256 << 20) });
  const pair = muxPair({ left: limits(), right: limits() });
  pair.left.ping();
  pair.right.ping();
  await quiet(pair);
  const stream = pair.left.openStream();
  stream.write(randomBytes(24 << 20));
  stream.end();
  await quiet(pair);
  const [accepted] = pair.accepted;
  assert.ok(accepted);
  const reader = collect(accepted);
  await reader.end;
  assert.equal(reader.bytes, 24 << 20);
});

test('a writer that waits for window costs nothing: no timer runs and nothing is sent', async (t) => {
  const timersBefore = timersRunning();
  const pair = muxPair();
  const stream = pair.left.openStream();
  stream.write(randomBytes(2 * WINDOW));
  await quiet(pair);
  const timers = [
    t.mock.method(globalThis, 'setTimeout'),
    t.mock.method(globalThis, 'setInterval'),
    t.mock.method(globalThis, 'setImmediate'),
  ];
  pair.left.sent(); // The one event that could make the session look at its streams again.
  assert.deepEqual(
    timers.map((timer) => timer.mock.callCount()),
    [0, 0, 0],
  );
  assert.equal(timersRunning(), timersBefore);
});

function timersRunning(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
}

test('every open stream ends at once, with the reason, when the transport dies', async () => {
  const requests: Collector[] = [];
  const pair = muxPair({ onStream: (stream) => requests.push(collect(stream)) });
  const answers = [1, 2, 3].map(() => {
    const stream = pair.left.openStream();
    stream.write(Buffer.from('x'));
    return collect(stream);
  });
  await quiet(pair);
  const sent = pair.leftToRight.batches.length;
  const error = new TunnelError('HEARTBEAT_LOST', 'gone');
  pair.left.transportClosed(error);
  for (const answer of answers) assert.deepEqual(answer.closed, { error });
  assert.equal(pair.closed.left, error);
  assert.equal(pair.left.streamCount, 0);
  await quiet(pair);
  assert.equal(pair.leftToRight.batches.length, sent);
});

test('a thousand streams at once over a pipe that splits every 5 bytes', async () => {
  const pair = muxPair({
    pieceBytes: 5,
    onStream: (stream) => {
      const request = collect(stream);
      void request.end.then(() => {
        stream.write(request.content);
        stream.end();
      });
    },
  });
  const streams = Array.from({ length: 1000 }, (_, index) => {
    const stream = pair.left.openStream();
    const answer = collect(stream);
    stream.write(Buffer.from(`stream ${index}`));
    stream.end();
    return answer;
  });
  await Promise.all(streams.map((answer) => answer.close));
  for (const [index, answer] of streams.entries()) assert.equal(answer.content.toString(), `stream ${index}`);
  assert.equal(pair.left.streamCount + pair.right.streamCount, 0);
});
