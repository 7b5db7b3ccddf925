import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { victim } from './support/mux-attacker.js';
import { ACK, DATA, FIN, frame, PING, readFrames, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { collect, muxPair, quiet, turn } from './support/mux-pair.js';

test('frames of one turn leave in one batch, whatever streams they belong to', async () => {
  const { session, transport } = victim({ drained: true });
  session.receive(frame(DATA, SYN, 1, { payload: Buffer.alloc(10) }));
  session.ping();
  for (let count = 0; count < 50; count += 1) {
    const stream = session.openStream();
    stream.write(Buffer.from('one '));
    stream.write(Buffer.from('write'));
    stream.end();
  }
  assert.equal(transport.batches.length, 0, 'nothing leaves before the turn is over');
  await turn();
  assert.equal(transport.batches.length, 1);
  // A ping, an ACK, and for each stream its data and its end.
  assert.equal(transport.frames.length, 2 + 2 * 50);
});

test('SYN, the opening and the first bytes leave in one frame', async () => {
  const { session, transport } = victim();
  const stream = session.openStream();
  stream.write(Buffer.from('opening '));
  stream.write(Buffer.from('GET / HTTP/1.1'));
  await turn();
  const [first, ...others] = transport.frames;
  assert.deepEqual(
    [first?.type, first?.flags, first?.id, first?.payload.toString()],
    [DATA, SYN, 2, 'opening GET / HTTP/1.1'],
  );
  assert.deepEqual(others, []);
});

test('a stream that nobody writes to is still opened, by its SYN alone', async () => {
  const { session, transport } = victim();
  session.openStream();
  await turn();
  assert.deepEqual(
    transport.frames.map(({ type, flags, id, length }) => [type, flags, id, length]),
    [[WINDOW_UPDATE, SYN, 2, 0]],
  );
});

test('ACK rides on the first bytes that answer', async () => {
  const { session, transport, accepted } = victim();
  session.receive(frame(DATA, SYN, 1, { payload: Buffer.from('?') }));
  accepted[0]?.write(Buffer.from('!'));
  await turn();
  assert.deepEqual(
    transport.frames.map(({ type, flags, id, payload }) => [type, flags, id, payload.toString()]),
    [[DATA, ACK, 1, '!']],
  );
});

test('the end leaves in the batch of the last bytes', async () => {
  const { session, transport } = victim();
  const stream = session.openStream();
  stream.write(Buffer.from('all'));
  stream.end();
  await turn();
  assert.equal(transport.batches.length, 1);
  assert.deepEqual(
    transport.frames.map(({ type, flags }) => [type, flags]),
    [
      [DATA, SYN],
      [WINDOW_UPDATE, FIN],
    ],
  );
});

test('control frames leave ahead of data', async () => {
  const { session, transport } = victim();
  const stream = session.openStream();
  stream.write(randomBytes(30_000));
  session.receive(frame(PING, SYN, 0, { length: 7 }));
  await turn();
  assert.deepEqual([transport.frames[0]?.type, transport.frames[0]?.length], [PING, 7]);
});

test('bytes that a writer adds when it is told to go on leave in the next turn', async () => {
  const { session, transport } = victim({ drained: true });
  const stream = session.openStream();
  const handler = collect(stream);
  stream.write(Buffer.alloc(100_000));
  let atDrain = 0;
  handler.onDrain = () => {
    atDrain = transport.bytes;
    stream.write(Buffer.from('more'));
  };
  await turn();
  assert.ok(atDrain > 100_000, 'the whole backlog left first');
  assert.equal(transport.bytes, atDrain);
  await turn();
  assert.equal(transport.bytes, atDrain + 12 + 4);
});

for (const batchBytes of [13, 14, 24, 25, 100, 4096, 65_532]) {
  test(`no batch exceeds the transport's ${batchBytes} bytes, and every batch holds whole frames`, async () => {
    const pair = muxPair({
      batchBytes,
      pieceBytes: 1 << 20,
      onStream: (stream) => {
        const request = collect(stream);
        void request.end.then(() => {
          stream.write(request.content);
          stream.end();
        });
      },
    });
    const answers = [1, 100, 3_000, 20_000].map((bytes) => {
      const stream = pair.left.openStream();
      const payload = randomBytes(bytes);
      stream.write(payload);
      stream.end();
      return { answer: collect(stream), payload };
    });
    pair.left.ping();
    for (const { answer, payload } of answers) {
      assert.equal(await answer.close, undefined);
      assert.deepEqual(answer.content, payload);
    }
    await quiet(pair);
    for (const batch of [...pair.leftToRight.batches, ...pair.rightToLeft.batches]) {
      assert.ok(batch.length > 0 && batch.length <= batchBytes, `${batch.length}`);
      const bytes = readFrames(batch).reduce((sum, each) => sum + 12 + each.payload.length, 0);
      assert.equal(bytes, batch.length);
    }
  });
}

test('Data frames are never larger than 64 KiB, even when one stream has the link for itself', async () => {
  const { session, transport } = victim({ drained: true });
  const stream = session.openStream();
  stream.write(randomBytes(256 * 1024));
  await turn();
  const sizes = transport.frames.map((each) => each.length);
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    256 * 1024,
  );
  assert.ok(Math.max(...sizes) <= 64 * 1024);
});
