/**
 * Why shared/mux/ exists: what yamux-js 0.2.0 does with bytes of users, each failure as a test that passes while the
 * package has it. When one of them fails after an update, read docs/decisions.md again.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Client, Server, type Stream } from 'yamux-js';
import {
  ACK,
  DATA,
  dataBytes,
  FIN,
  type Frame,
  frame,
  PING,
  RST,
  readFrames,
  SYN,
  WINDOW_UPDATE,
} from './support/mux-frames.js';
import { turn } from './support/mux-pair.js';

const WINDOW = 256 * 1024;
const POLL_MS = 100;
const MIB = 1024 * 1024;
const quietly = { enableKeepAlive: false, logger: () => {} };

/** A yamux-js server with one stream, opened by the peer, and everything that happens to it. */
function acceptedStream(t: TestContext) {
  const streams: Stream[] = [];
  const server = new Server((stream) => streams.push(stream as Stream), quietly);
  t.after(() => server.destroy());
  const events: string[] = [];
  server.on('error', (error) => events.push(`session: ${error.message}`));
  server.write(frame(WINDOW_UPDATE, SYN, 1));
  const [stream] = streams;
  assert(stream);
  for (const name of ['end', 'close', 'error', 'finish']) stream.on(name, () => events.push(name));
  return { server, stream, events };
}

/** Collects the text that a stream delivers. */
function textOf(stream: Stream): () => string {
  let text = '';
  stream.on('data', (piece) => {
    text += piece;
  });
  return () => text;
}

/** A yamux-js client with one stream that it opened, and the frames that it sent after the SYN. */
function openedStream(t: TestContext) {
  const client = new Client(quietly);
  t.after(() => client.destroy());
  const frames: Frame[] = [];
  client.on('data', (bytes) => frames.push(...readFrames(bytes)));
  const stream = client.open();
  return { client, stream, frames };
}

test('yamux-js delivers a frame that arrives in one chunk', async (t) => {
  const { server, stream } = acceptedStream(t);
  const text = textOf(stream);
  server.write(frame(DATA, 0, 1, { payload: Buffer.from('hello') }));
  await turn();
  assert.equal(text(), 'hello');
});

for (const [where, at] of [
  ['header', 5],
  ['payload', 14],
] as const) {
  test(`yamux-js loses a frame that is split in its ${where}`, async (t) => {
    const { server, stream } = acceptedStream(t);
    const text = textOf(stream);
    const bytes = frame(DATA, 0, 1, { payload: Buffer.from('hello') });
    server.write(bytes.subarray(0, at));
    server.write(bytes.subarray(at));
    await turn();
    assert.equal(text(), '');
  });
}

test('yamux-js never sees a FIN', async (t) => {
  const { server, stream, events } = acceptedStream(t);
  stream.resume();
  server.write(frame(WINDOW_UPDATE, FIN, 1));
  server.write(frame(DATA, FIN, 1, { payload: Buffer.from('last') }));
  await turn();
  assert.deepEqual(events, []);
});

test('yamux-js tells the peer nothing of end() and destroy()', async (t) => {
  for (const leave of ['end', 'destroy'] as const) {
    const { stream, frames } = openedStream(t);
    stream.write('some');
    stream[leave]();
    await turn();
    assert.deepEqual(
      frames.map(({ type, flags }) => [type, flags]),
      [
        [WINDOW_UPDATE, SYN],
        [DATA, 0],
      ],
    );
    assert(
      frames.every(({ flags }) => (flags & (FIN | RST)) === 0),
      leave,
    );
  }
});

test('yamux-js loses the data that comes with a SYN', async (t) => {
  const streams: Stream[] = [];
  const server = new Server((stream) => streams.push(stream as Stream), quietly);
  t.after(() => server.destroy());
  server.write(frame(DATA, SYN, 1, { payload: Buffer.from('opening') }));
  const [stream] = streams;
  assert(stream);
  const text = textOf(stream);
  await turn();
  assert.equal(text(), '');
});

test('yamux-js credits its window on arrival: 64 MiB pile up behind a reader that reads nothing', async (t) => {
  const { server, stream } = acceptedStream(t);
  const credited: Frame[] = [];
  server.on('data', (bytes) => credited.push(...readFrames(bytes)));
  const full = frame(DATA, 0, 1, { payload: Buffer.alloc(WINDOW) });
  for (let sent = 0; sent < 64 * MIB; sent += WINDOW) server.write(full);
  await turn();
  assert.equal(stream.readableLength, 64 * MIB);
  assert.equal(
    credited.reduce((sum, { length }) => sum + length, 0),
    64 * MIB,
  );
});

test('yamux-js moves 1 MiB with its default window and stops for ever after 256 KiB with a window of 1 MiB', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  assert.equal(await receivedOfOneMib(t, WINDOW), MIB);
  assert.equal(await receivedOfOneMib(t, MIB), WINDOW);
});

/** How much of 1 MiB two ends of yamux-js move while its polling timer runs 20 times. */
async function receivedOfOneMib(t: TestContext, maxStreamWindowSize: number): Promise<number> {
  const options = { ...quietly, maxStreamWindowSize };
  const server = new Server((stream) => stream.write(Buffer.alloc(MIB)), options);
  const client = new Client(options);
  t.after(() => client.destroy());
  t.after(() => server.destroy());
  client.on('data', (bytes) => server.write(bytes));
  server.on('data', (bytes) => client.write(bytes));
  let received = 0;
  client.open().on('data', (piece) => {
    received += piece.length;
  });
  for (let i = 0; i < 20; i += 1) {
    await turn();
    t.mock.timers.tick(POLL_MS);
  }
  return received;
}

test('yamux-js looks for credit every 100 ms instead of using it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { client, stream, frames } = openedStream(t);
  stream.write(Buffer.alloc(WINDOW + 1));
  client.write(frame(WINDOW_UPDATE, ACK, 1, { length: WINDOW }));
  await turn();
  assert.equal(dataBytes(frames), WINDOW);
  t.mock.timers.tick(POLL_MS - 1);
  await turn();
  assert.equal(dataBytes(frames), WINDOW);
  t.mock.timers.tick(1);
  await turn();
  assert.equal(dataBytes(frames), WINDOW + 1);
});

test('yamux-js tells open streams nothing when the transport dies', async (t) => {
  const server = createServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const socket: Socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const client = new Client(quietly);
  socket.pipe(client).pipe(socket);
  const stream = client.open();
  const events: string[] = [];
  for (const name of ['end', 'close', 'error']) stream.on(name, () => events.push(name));
  stream.resume();
  const [error] = await once(socket, 'error');
  assert.equal(error.code, 'ECONNRESET');
  await turn();
  assert.deepEqual(events, []);
  assert.equal(stream.destroyed, false);
});

test('yamux-js copies every byte it sends and, for each frame of a chunk, all of the chunk that is left', async (t) => {
  const { stream } = openedStream(t);
  const concat = t.mock.method(Buffer, 'concat');
  stream.write(Buffer.alloc(1_000));
  assert.equal(concat.mock.calls[0]?.result?.length, 12 + 1_000);
  const { server } = acceptedStream(t);
  const alloc = t.mock.method(Buffer, 'alloc');
  const chunk = Buffer.concat(Array.from({ length: 100 }, () => frame(WINDOW_UPDATE, 0, 1)));
  alloc.mock.resetCalls();
  server.write(chunk);
  const copied = alloc.mock.calls.reduce((sum, call) => sum + (call.result?.length ?? 0), 0);
  assert(copied > 40 * chunk.length, `${copied} bytes for ${chunk.length}`);
});

test('yamux-js goes deeper into the stack with every frame of a chunk', (t) => {
  const { server } = acceptedStream(t);
  const { stackTraceLimit } = Error;
  t.after(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  Error.stackTraceLimit = Number.POSITIVE_INFINITY;
  let deepest = 0;
  t.mock.method(server, 'push', () => {
    deepest = Math.max(deepest, new Error().stack?.split('\n').length ?? 0);
    return true;
  });
  server.write(Buffer.concat(Array.from({ length: 200 }, (_, i) => frame(PING, SYN, 0, { length: i }))));
  assert(deepest > 200, `${deepest} calls deep`);
});
