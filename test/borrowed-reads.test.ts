/** Sockets that are read into one buffer of the process, side by side. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { BorrowedReads } from '../shared/bytes/borrowed-reads.js';
import { endConnections, listen } from './support/origins.js';

const BODY = randomBytes(3 << 20);
const HASH = createHash('sha256').update(BODY).digest('hex');

/** Sends BODY to whoever connects, and its own end. */
async function startSender(t: TestContext): Promise<number> {
  const server = createServer((socket) => socket.end(BODY));
  endConnections(t, server);
  return listen(t, server);
}

test('forty sockets that share the buffer get each their own bytes, also when they pause, and their ends', async (t) => {
  const port = await startSender(t);
  const read = async (index: number) => {
    const hash = createHash('sha256');
    const reads = new BorrowedReads();
    const socket = connect({ host: '127.0.0.1', port, onread: reads.onread });
    t.after(() => socket.destroy());
    socket.on('data', () => assert.fail('there are no such events'));
    reads.onBytes = (bytes) => {
      hash.update(bytes);
      if (index % 2 === 0) return;
      socket.pause();
      setImmediate(() => socket.resume());
    };
    await once(socket, 'end');
    return hash.digest('hex');
  };
  const hashes = await Promise.all(Array.from({ length: 40 }, (_, index) => read(index)));
  assert.deepEqual([...new Set(hashes)], [HASH]);
});

test('a paused socket reads nothing until it is resumed', async (t) => {
  const port = await startSender(t);
  const reads = new BorrowedReads();
  const socket = connect({ host: '127.0.0.1', port, onread: reads.onread });
  t.after(() => socket.destroy());
  let bytes = 0;
  let paused = false;
  reads.onBytes = (piece) => {
    assert.equal(paused, false);
    bytes += piece.length;
    if (bytes > 1 << 20 || bytes === piece.length) {
      paused = true;
      socket.pause();
    }
  };
  await once(socket, 'connect');
  while (!paused) await new Promise((resolve) => setImmediate(resolve));
  for (let turns = 0; turns < 100; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  paused = false;
  const ended = once(socket, 'end');
  reads.onBytes = (piece) => {
    bytes += piece.length;
  };
  socket.resume();
  await ended;
  assert.equal(bytes, BODY.length);
});
