import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import type { MuxStream } from '../shared/mux/stream.js';
import { asDuplex } from '../shared/mux/stream-duplex.js';
import { dataBytes, RST } from './support/mux-frames.js';
import { collect, type MuxPair, muxPair, quiet } from './support/mux-pair.js';

const WINDOW = 256 * 1024;
const HIGH_WATER = 64 * 1024;

interface Joined {
  readonly pair: MuxPair;
  readonly stream: MuxStream;
  readonly duplex: Duplex;
  /** The other end, a plain stream that nobody handles yet. */
  readonly peer: MuxStream;
}

async function joined(pieceBytes = 1 << 20): Promise<Joined> {
  const pair = muxPair({ pieceBytes });
  const stream = pair.left.openStream();
  const duplex = asDuplex(stream);
  await quiet(pair);
  const [peer] = pair.accepted;
  assert.ok(peer);
  return { pair, stream, duplex, peer };
}

function failure(duplex: Duplex): Promise<unknown> {
  return new Promise((resolve) => duplex.once('error', resolve));
}

for (const pieceBytes of [7, 1 << 20]) {
  test(`bytes pass both ways unchanged through duplexes at both ends of a pipe that splits every ${pieceBytes} bytes`, async () => {
    const payload = randomBytes(3 * WINDOW + 5);
    const { duplex, peer } = await joined(pieceBytes);
    const far = asDuplex(peer);
    const echoed = pipeline(far, far);
    const [answer] = await Promise.all([
      readAll(duplex),
      pipeline(Readable.from(chunksOf(payload, 10_000)), duplex),
      echoed,
    ]);
    assert.deepEqual(answer, payload);
  });
}

/** Reads to the end. Not `buffer` or `for await`: both destroy a duplex whose writing side is still open. */
async function readAll(duplex: Duplex): Promise<Buffer> {
  const pieces: Buffer[] = [];
  duplex.on('data', (piece: Buffer) => pieces.push(piece));
  await once(duplex, 'end');
  return Buffer.concat(pieces);
}

function* chunksOf(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test('a writer is stopped by a peer that reads nothing, and goes on when it reads', async () => {
  const { pair, duplex, peer } = await joined();
  let written = 0;
  while (duplex.write(Buffer.alloc(16_384)) && written < 16 << 20) written += 16_384;
  await quiet(pair);
  while (!duplex.writableNeedDrain && written < 16 << 20) {
    duplex.write(Buffer.alloc(16_384));
    written += 16_384;
    await quiet(pair);
  }
  assert.ok(written <= WINDOW + 3 * HIGH_WATER, `${written} bytes were taken`);
  assert.equal(dataBytes(pair.leftToRight.frames), WINDOW);
  const drained = once(duplex, 'drain');
  collect(peer);
  await drained;
});

test('a reader that does not read holds one window back, and its own buffer no more than its mark', async () => {
  const { pair, duplex, peer } = await joined();
  peer.write(Buffer.alloc(4 * WINDOW));
  await quiet(pair);
  assert.equal(dataBytes(pair.rightToLeft.frames), WINDOW);
  assert.equal(duplex.readableLength, 0);
  duplex.once('readable', () => {});
  await quiet(pair);
  assert.ok(duplex.readableLength > 0 && duplex.readableLength <= 2 * HIGH_WATER, `${duplex.readableLength}`);
  assert.ok(dataBytes(pair.rightToLeft.frames) <= WINDOW + 2 * HIGH_WATER);
});

test('the end of the peer ends reading and leaves writing open', async () => {
  const { pair, duplex, peer } = await joined();
  const request = collect(peer);
  peer.write(Buffer.from('bye'));
  peer.end();
  assert.equal((await readAll(duplex)).toString(), 'bye');
  await quiet(pair);
  assert.equal(duplex.writableEnded, false);
  duplex.end('not yet');
  await once(duplex, 'close');
  assert.equal(await request.close, undefined);
  assert.equal(request.content.toString(), 'not yet');
});

test('ending leaves reading open', async () => {
  const { pair, duplex, peer } = await joined();
  const request = collect(peer);
  duplex.end('question');
  await request.end;
  await quiet(pair);
  assert.equal(duplex.destroyed, false);
  peer.write(Buffer.from('answer'));
  peer.end();
  assert.equal((await readAll(duplex)).toString(), 'answer');
  assert.equal(request.closed?.error, undefined);
});

test("'finish' comes when everything has gone to the link, and not before", async () => {
  const { pair, duplex, peer } = await joined();
  let finished = false;
  duplex.once('finish', () => {
    finished = true;
  });
  const payload = randomBytes(2 * WINDOW);
  duplex.end(payload);
  await quiet(pair);
  assert.equal(finished, false, 'half of it still waits for the window');
  const request = collect(peer);
  await request.end;
  assert.equal(finished, true);
  assert.deepEqual(request.content, payload);
});

test('what still waits for the window is not lost when the peer has ended and we end', async () => {
  const { pair, duplex, peer } = await joined();
  peer.end();
  duplex.resume();
  const payload = randomBytes(2 * WINDOW);
  duplex.end(payload);
  await quiet(pair);
  assert.equal(duplex.destroyed, false);
  const closed = once(duplex, 'close');
  const request = collect(peer);
  assert.equal(await request.close, undefined);
  assert.deepEqual(request.content, payload);
  await closed;
  assert.deepEqual([pair.left.streamCount, pair.right.streamCount], [0, 0]);
});

test('destroying resets the stream: the peer sees an abort at once', async () => {
  const { pair, duplex, peer } = await joined();
  const request = collect(peer);
  duplex.write(Buffer.alloc(2 * WINDOW));
  await quiet(pair);
  duplex.destroy();
  await once(duplex, 'close');
  assert.equal((await request.close)?.code, 'STREAM_RESET');
  assert.equal(pair.left.streamCount, 0);
});

test('destroying with an error reports that error, and to a waiting write as well', async () => {
  const { pair, duplex, peer } = await joined();
  const writeEnded = new Promise((resolve) => duplex.write(Buffer.alloc(2 * WINDOW), resolve));
  await quiet(pair);
  const error = new Error('my own');
  const reported = failure(duplex);
  duplex.destroy(error);
  assert.equal(await reported, error);
  const writeError = await writeEnded;
  assert.ok(writeError instanceof TunnelError && writeError.message === 'my own');
  await quiet(pair);
  assert.equal(peer.state, 'reset');
});

test('destroying after an orderly end sends no reset', async () => {
  const { pair, duplex, peer } = await joined();
  const request = collect(peer);
  duplex.end('x');
  peer.end();
  duplex.resume();
  await once(duplex, 'close');
  duplex.destroy();
  assert.equal(await request.close, undefined);
  assert.ok(pair.leftToRight.frames.every((each) => (each.flags & RST) === 0));
});

test('a reset by the peer is an error, for a waiting write too', async () => {
  const { pair, duplex, peer } = await joined();
  const writeEnded = new Promise((resolve) => duplex.write(Buffer.alloc(2 * WINDOW), resolve));
  await quiet(pair);
  const reported = failure(duplex);
  const closed = new Promise((resolve) => duplex.once('close', resolve));
  peer.reset();
  const error = await reported;
  assert.ok(error instanceof TunnelError && error.code === 'STREAM_RESET');
  assert.equal(await writeEnded, error);
  await closed;
});

test('the death of the link is an error with its code, at once and also for a duplex that nobody reads', async () => {
  const { pair, duplex } = await joined();
  const reported = failure(duplex);
  const error = new TunnelError('HEARTBEAT_LOST', 'gone');
  pair.left.transportClosed(error);
  assert.equal(await reported, error);
  assert.equal(duplex.destroyed, true);
});

test('a duplex of a stream that is over fails instead of waiting for ever', async () => {
  const stream = muxPair().left.openStream();
  stream.reset();
  const duplex = asDuplex(stream);
  const error = await failure(duplex);
  assert.ok(error instanceof TunnelError && error.code === 'STREAM_RESET');
});

test('text and byte arrays are written as bytes', async () => {
  const { duplex, peer } = await joined();
  const request = collect(peer);
  duplex.write('grün ');
  duplex.write('ff', 'hex');
  duplex.end(new Uint8Array([1, 2]));
  await request.end;
  assert.deepEqual(request.content, Buffer.from([...Buffer.from('grün '), 255, 1, 2]));
});

test('http talks over a duplex at both ends, request after request', async (t) => {
  const server = http.createServer(async (request, response) => {
    const body = await buffer(request);
    response.end(`${request.method} ${request.url} ${body.length}`);
  });
  t.after(() => server.closeAllConnections());
  const pair = muxPair({ pieceBytes: 11, onStream: (stream) => void server.emit('connection', asDuplex(stream)) });
  const agent = new http.Agent();
  Object.assign(agent, { createConnection: () => asDuplex(pair.left.openStream()) });
  for (const bytes of [0, 10, 300_000]) {
    const request = http.request({ agent, method: 'POST', path: `/${bytes}`, host: 'origin' });
    request.end(Buffer.alloc(bytes));
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    assert.equal((await buffer(response)).toString(), `POST /${bytes} ${bytes}`);
  }
  await quiet(pair);
  assert.deepEqual([pair.left.streamCount, pair.right.streamCount], [0, 0]);
});
