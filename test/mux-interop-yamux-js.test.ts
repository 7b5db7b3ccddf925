/**
 * Our mux against yamux-js 0.2.0, as far as that package goes: small data within its window, whole frames in each
 * chunk, pings, go-away. What it cannot do stands in yamux-js-facts.test.ts.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { Client, Server, type Stream } from 'yamux-js';
import { MuxSession, type MuxSessionOptions } from '../shared/mux/session.js';
import type { MuxStream } from '../shared/mux/stream.js';
import { WindowBudget } from '../shared/mux/window-budget.js';
import { ACK, frame, PING } from './support/mux-frames.js';
import { Collector, collect, turn } from './support/mux-pair.js';

const SMALL = Buffer.from('small data within the window of yamux-js');
const quietly = { enableKeepAlive: false, logger: () => {} };

/** A session of ours that talks to a yamux-js session in memory, one whole batch at a time. */
function join(t: TestContext, peer: Client | Server, options: Partial<MuxSessionOptions> = {}): MuxSession {
  const transport = {
    headroomBytes: 0,
    batchBytes: 64 * 1024,
    send: (batch: Buffer) => void peer.write(batch, () => session.sent()),
  };
  const limits = { maxStreams: 256, maxWindowBytes: 1 << 20, windowBudget: new WindowBudget(1 << 20) };
  const role = peer instanceof Client ? 'server' : 'client';
  const session: MuxSession = new MuxSession(transport, { ...limits, role, onClose: () => {}, ...options });
  peer.on('data', (bytes) => setImmediate(() => session.receive(bytes)));
  t.after(() => session.close());
  t.after(() => peer.destroy());
  return session;
}

/** A yamux-js server that echoes, and the streams it accepted. */
function echoServer() {
  const streams: Stream[] = [];
  const server = new Server((stream) => {
    streams.push(stream as Stream);
    stream.on('data', (piece) => stream.write(piece));
    stream.on('error', () => {});
  }, quietly);
  return { server, streams };
}

test('yamux-js echoes a hundred streams that we open', async (t) => {
  const { server, streams } = echoServer();
  const session = join(t, server);
  const ours = Array.from({ length: 100 }, () => session.openStream());
  const answers = ours.map(collect);
  // yamux-js loses data that comes with the SYN, so the SYN goes ahead.
  await turn();
  assert.equal(streams.length, 100);
  for (const stream of ours) stream.write(SMALL);
  await Promise.all(answers.map((answer) => answer.received(SMALL.length)));
  for (const answer of answers) assert.deepEqual(answer.content, SMALL);
  assert(ours.every(({ state }) => state === 'open'));
});

test('we echo streams that yamux-js opens', async (t) => {
  const client = new Client(quietly);
  const onStream = (stream: MuxStream) => {
    const handler = new Collector();
    handler.onData = (piece) => void stream.write(piece);
    stream.handler = handler;
    stream.resume();
  };
  join(t, client, { onStream });
  for (let i = 0; i < 10; i += 1) {
    const stream = client.open();
    stream.write(SMALL);
    const [piece] = await once(stream, 'data');
    assert.deepEqual(piece, SMALL);
  }
});

test('100 KB of ours come back from yamux-js, because they fit its window', async (t) => {
  const { server } = echoServer();
  const session = join(t, server);
  const stream = session.openStream();
  const answer = collect(stream);
  await turn();
  const payload = Buffer.alloc(100_000, SMALL);
  stream.write(payload);
  await answer.received(payload.length);
  assert.deepEqual(answer.content, payload);
});

test('a reset of ours ends the stream at yamux-js', async (t) => {
  const { server, streams } = echoServer();
  const session = join(t, server);
  const stream = session.openStream();
  await turn();
  const [theirs] = streams;
  assert(theirs);
  stream.reset();
  await turn();
  const failed = once(theirs, 'error');
  theirs.write('too late');
  const [error] = await failed;
  assert.equal(error.message, 'connection reset');
});

test('pings are answered both ways', async (t) => {
  const { server } = echoServer();
  const session = join(t, server);
  const pongs = t.mock.method(server, 'write');
  server.push(frame(PING, 1, 0, { length: 77 }));
  session.ping();
  while (session.rttMs === 0) await turn();
  const received = pongs.mock.calls.map((call) => call.arguments[0] as Buffer);
  assert(Buffer.concat(received).includes(frame(PING, ACK, 0, { length: 77 })));
});

test('a go-away is understood both ways', async (t) => {
  const client = new Client(quietly);
  const errors: string[] = [];
  client.on('error', (error) => errors.push(error.message));
  join(t, client, { onStream: () => {} }).goAway();
  await turn();
  client.open();
  assert.deepEqual(errors, ['remote end is not accepting connections']);

  const { server } = echoServer();
  const told = new Promise<void>((resolve) => {
    const session = join(t, server, {
      onGoAway: () => {
        assert.throws(() => session.openStream(), { code: 'RELAY_DRAINING' });
        resolve();
      },
    });
  });
  server.close();
  await told;
});
