/** Our mux against hashicorp/yamux itself, in both roles (test/interop/main.go is the other end). */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { MuxStream, StreamHandler } from '../shared/mux/stream.js';
import { Collector, collect, turn } from './support/mux-pair.js';
import { type GoResult, startGoPeer } from './support/yamux-go.js';

const ROLES = ['client', 'server'] as const;
const BULK_BYTES = 64 * 1024 * 1024;
const MANY = 1_000;

/** Fails when either end had anything to say against the other. */
function assertClean(result: GoResult, expected: { streams: number; bytes: number }): void {
  assert.deepEqual(result.failures, []);
  assert.deepEqual(result.complaints, []);
  assert.equal(result.pinged, true, 'we did not answer its ping');
  assert.deepEqual({ streams: result.streams, bytes: result.bytes }, expected);
}

/** Sends `payload` and the end; what came back until the other end. */
async function exchange(stream: MuxStream, payload: Buffer): Promise<Buffer> {
  const answer = collect(stream);
  stream.write(payload);
  stream.end();
  assert.equal(await answer.close, undefined);
  return answer.content;
}

/** Hashes what arrives and keeps nothing; resolves at the end. */
class Sum implements StreamHandler {
  readonly #hash = createHash('sha256');
  bytes = 0;
  onDrain = (): void => {};
  #finish: (text: string) => void = () => {};
  #fail: (error: Error | undefined) => void = () => {};
  readonly text = new Promise<string>((resolve, reject) => {
    this.#finish = resolve;
    this.#fail = reject;
  });

  onData(piece: Buffer): void {
    this.#hash.update(piece);
    this.bytes += piece.length;
  }

  onEnd(): void {
    this.#finish(this.#hash.digest('hex'));
  }

  onClose(error: Error | undefined): void {
    if (error !== undefined) this.#fail(error);
  }
}

function sumOf(stream: MuxStream): Sum {
  const sum = new Sum();
  stream.handler = sum;
  stream.resume();
  return sum;
}

/** Sends BULK_BYTES of noise as fast as the stream takes them, then ends; their SHA-256. */
async function sendBulk(stream: MuxStream, handler: { onDrain: () => void }): Promise<string> {
  const hash = createHash('sha256');
  const block = randomBytes(64 * 1024);
  for (let sent = 0; sent < BULK_BYTES; sent += block.length) {
    const piece = Buffer.from(block);
    piece.writeUInt32BE(sent, 0);
    hash.update(piece);
    const drained = new Promise<void>((resolve) => {
      handler.onDrain = resolve;
    });
    if (!stream.write(piece)) await drained;
  }
  stream.end();
  return hash.digest('hex');
}

/** Takes `count` streams and sends back what arrives on each, then ends it; `done` once all are closed in order. */
function echoes(count: number) {
  const streams: Promise<unknown>[] = [];
  let complete = () => {};
  const all = new Promise<void>((resolve) => {
    complete = resolve;
  });
  const onStream = (stream: MuxStream) => {
    const handler = new Collector();
    handler.onData = (piece) => {
      if (!stream.write(piece)) stream.pause();
    };
    handler.onDrain = () => stream.resume();
    void handler.end.then(() => stream.end());
    stream.handler = handler;
    stream.resume();
    streams.push(handler.close.then((error) => assert.equal(error, undefined)));
    if (streams.length === count) complete();
  };
  return { onStream, done: all.then(() => Promise.all(streams)) };
}

for (const role of ROLES) {
  test(`as ${role} we open streams that Go echoes, each ended by a half-close`, async (t) => {
    const peer = await startGoPeer(t, { role, mode: 'echo', listens: role === 'server' });
    if (peer === undefined) return;
    const payload = randomBytes(100_000);
    for (const size of [0, 1, 12, 100_000]) {
      const expected = payload.subarray(0, size);
      assert.deepEqual(await exchange(peer.session.openStream(), expected), expected);
    }
    assert.equal(peer.session.streamCount, 0);
    assertClean(await peer.finish(), { streams: 4, bytes: 100_013 });
  });

  test(`as ${role} we echo streams that Go opens, each ended by a half-close`, async (t) => {
    const { onStream, done } = echoes(8);
    const peer = await startGoPeer(t, { role, mode: 'check', opens: 8, bytes: 300_000, session: { onStream } });
    if (peer === undefined) return;
    await done;
    assertClean(await peer.finish(), { streams: 8, bytes: 8 * 300_000 });
  });

  test(`as ${role} we send 64 MiB to Go and get them back at the same time`, async (t) => {
    const peer = await startGoPeer(t, { role, mode: 'echo' });
    if (peer === undefined) return;
    const stream = peer.session.openStream();
    const received = sumOf(stream);
    const sent = await sendBulk(stream, received);
    assert.equal(await received.text, sent);
    assertClean(await peer.finish(), { streams: 1, bytes: BULK_BYTES });
  });

  test(`as ${role} we serve ${MANY} streams at once, opened by us`, async (t) => {
    const peer = await startGoPeer(t, { role, mode: 'echo' });
    if (peer === undefined) return;
    const { session } = peer;
    const payloads = Array.from({ length: MANY }, () => randomBytes(2_000));
    const streams = payloads.map(() => session.openStream());
    assert.equal(session.streamCount, MANY);
    const answers = await Promise.all(streams.map((stream, i) => exchange(stream, payloads[i] ?? assert.fail())));
    assert.deepEqual(answers, payloads);
    assertClean(await peer.finish(), { streams: MANY, bytes: MANY * 2_000 });
  });

  test(`as ${role} we serve ${MANY} streams at once, opened by Go`, async (t) => {
    const { onStream, done } = echoes(MANY);
    const peer = await startGoPeer(t, { role, mode: 'check', opens: MANY, bytes: 2_000, session: { onStream } });
    if (peer === undefined) return;
    await done;
    assertClean(await peer.finish(), { streams: MANY, bytes: MANY * 2_000 });
  });

  test(`as ${role} we reset a stream that we opened and Go sees a reset`, async (t) => {
    const peer = await startGoPeer(t, { role, mode: 'await-reset' });
    if (peer === undefined) return;
    const stream = peer.session.openStream();
    await turn();
    stream.reset();
    assert.equal(peer.session.streamCount, 0);
    await peer.gone;
    assertClean(await peer.finish(), { streams: 1, bytes: 0 });
  });

  test(`as ${role} we reset a stream that Go opened and Go sees a reset`, async (t) => {
    const { onStream, next } = accepting();
    const peer = await startGoPeer(t, { role, mode: 'await-reset', opens: 1, session: { onStream } });
    if (peer === undefined) return;
    (await next).reset();
    await peer.gone;
    assertClean(await peer.finish(), { streams: 1, bytes: 0 });
  });

  test(`as ${role} we see a reset by Go as STREAM_RESET, whoever opened the stream`, async (t) => {
    const { onStream, next } = accepting();
    for (const opens of [0, 1]) {
      const peer = await startGoPeer(t, { role, mode: 'reset', opens, session: { onStream } });
      if (peer === undefined) return;
      const stream = opens === 0 ? peer.session.openStream() : await next;
      const answer = collect(stream);
      stream.write(Buffer.from('x'));
      assert.equal((await answer.close)?.code, 'STREAM_RESET');
      assert.equal(peer.session.streamCount, 0);
      assertClean(await peer.finish(), { streams: 1, bytes: 1 });
    }
  });
}

/** For a session that accepts one stream: waits for it. */
function accepting() {
  let onStream = (_stream: MuxStream) => {};
  const next = new Promise<MuxStream>((resolve) => {
    onStream = resolve;
  });
  return { onStream, next };
}

test('64 MiB arrive at Go unchanged, and its answer comes after our end', async (t) => {
  const peer = await startGoPeer(t, { role: 'client', mode: 'sink' });
  if (peer === undefined) return;
  const stream = peer.session.openStream();
  const answer = collect(stream);
  const sent = await sendBulk(stream, answer);
  assert.equal(await answer.close, undefined);
  assert.equal(answer.content.toString(), sent);
  assertClean(await peer.finish(), { streams: 1, bytes: BULK_BYTES });
});

test('64 MiB arrive from Go unchanged, although we ended our direction before', async (t) => {
  const peer = await startGoPeer(t, { role: 'client', mode: 'source', bytes: BULK_BYTES });
  if (peer === undefined) return;
  const stream = peer.session.openStream();
  stream.end();
  const received = sumOf(stream);
  const text = await received.text;
  assert.equal(received.bytes, BULK_BYTES);
  const result = await peer.finish();
  assert.equal(result.sum, text);
  assertClean(result, { streams: 1, bytes: BULK_BYTES });
});

test('a paused stream holds up no other one from Go, and loses nothing itself', async (t) => {
  const bytes = 1_000_000;
  const peer = await startGoPeer(t, { role: 'client', mode: 'source', bytes });
  if (peer === undefined) return;
  const stream = peer.session.openStream();
  stream.end();
  const other = peer.session.openStream();
  other.end();
  assert.equal((await collectAll(other)).length, bytes);
  const received = await collectAll(stream);
  assert.equal(received.length, bytes);
  assertClean(await peer.finish(), { streams: 2, bytes: 2 * bytes });
});

async function collectAll(stream: MuxStream): Promise<Buffer> {
  const received = collect(stream);
  assert.equal(await received.close, undefined);
  return received.content;
}

test('streams for which Go has no room are reset, the others stay', async (t) => {
  const peer = await startGoPeer(t, { role: 'client', mode: 'refuse' });
  if (peer === undefined) return;
  const [first, ...others] = [1, 2, 3].map(() => collect(peer.session.openStream()));
  for (const other of others) assert.equal((await other.close)?.code, 'STREAM_RESET');
  assert.equal(peer.session.streamCount, 1);
  assert.equal(first?.closed, undefined);
  await peer.finish();
});

test('after a go-away of Go its streams go on and new ones are refused', async (t) => {
  let told = () => {};
  const goneAway = new Promise<void>((resolve) => {
    told = resolve;
  });
  const peer = await startGoPeer(t, { role: 'client', mode: 'drain', session: { onGoAway: told } });
  if (peer === undefined) return;
  const stream = peer.session.openStream();
  const answer = collect(stream);
  stream.write(Buffer.from('before '));
  await goneAway;
  assert.throws(() => peer.session.openStream(), { code: 'RELAY_DRAINING' });
  stream.write(Buffer.from('after'));
  stream.end();
  assert.equal(await answer.close, undefined);
  assert.equal(answer.content.toString(), 'before after');
  assertClean(await peer.finish(), { streams: 1, bytes: 12 });
});

test('Go answers our ping, which tells us the round trip', async (t) => {
  const peer = await startGoPeer(t, { role: 'client', mode: 'echo' });
  if (peer === undefined) return;
  let rounds = 0;
  peer.session.ping();
  for (; peer.session.rttMs === 0; rounds += 1) await exchange(peer.session.openStream(), Buffer.from('x'));
  assert(peer.session.rttMs < 5_000);
  assertClean(await peer.finish(), { streams: rounds, bytes: rounds });
});
