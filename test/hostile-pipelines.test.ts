/**
 * Visitors who pipeline with intent: many requests at once, answers that nobody reads, requests cut where it hurts most.
 * Order holds, nothing is lost, and nobody's memory grows with what a visitor sends or does not read.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { assertServes, attackedWorld, forbidWarnings, GOOD, HOST, sendEach } from './support/attack.js';
import { appTunnel, connectVisitor, talkToRelay } from './support/carry.js';
import { handConnection, LIMITS } from './support/hand-connection.js';
import { singleBytes } from './support/http-wire.js';
import { startRawOrigin } from './support/origins.js';
import { residentMiB } from './support/relay-probe.js';
import { skipFor } from './support/require-tool.js';
import { until, within } from './support/within.js';
import { RelayHome, startClient, startRelayProcess } from './support/world.js';

/** Refused with a page that leaves the connection open. */
const MISDIRECTED = 'GET / HTTP/1.1\r\nHost: other.relay.localhost\r\nAccept: text/html\r\n\r\n';

test('a request behind one that got an error page is answered, also when both came in one piece', async (t) => {
  forbidWarnings(t);
  const { relay } = await attackedWorld(t);
  const wire = Buffer.from(MISDIRECTED + GOOD + MISDIRECTED + MISDIRECTED + GOOD);
  const statuses = [421, 200, 421, 421, 200];
  for (let cut = 0; cut < wire.length; cut += 7) {
    const visitor = await talkToRelay(t, relay);
    await sendEach(visitor, [wire.subarray(0, cut), wire.subarray(cut)]);
    for (const status of statuses) {
      assert.equal((await within(`answer ${status}, cut at ${cut}`, visitor.response())).status, status);
    }
    visitor.socket.destroy();
  }
});

test('requests to an offline tunnel, sent all at once, get a page each', async (t) => {
  const world = await attackedWorld(t);
  world.client.client.close();
  await world.client.done;
  const visitor = await talkToRelay(t, world.relay);
  visitor.send(GOOD.repeat(50));
  for (let count = 0; count < 50; count += 1) {
    assert.equal((await within(`page ${count}`, visitor.response())).status, 503);
  }
});

const NO_CONTENT = 'HTTP/1.1 204 No Content\r\n\r\n';

test('bytes that arrive in the same turn as a response are read behind those that waited for it', async (t) => {
  const { socket, stream } = handConnection(t);
  socket.say(`GET /1 HTTP/1.1\r\n${HOST}\r\nGET /2 HT`);
  stream.answer(NO_CONTENT);
  socket.say(`TP/1.1\r\n${HOST}\r\nGET /3 HTTP/1.1\r\n${HOST}\r\n`);
  for (const request of ['GET /2 HTTP/1.1\r\n', 'GET /3 HTTP/1.1\r\n']) {
    await until(request, () => (stream.text.includes(request) ? true : undefined));
    stream.answer(NO_CONTENT);
  }
});

test('a visitor who has sent enough ahead is not read on for each answer', async (t) => {
  const { socket, stream } = handConnection(t);
  socket.say(GOOD.repeat(3_000));
  assert.equal(socket.isPaused(), true);
  for (let count = 2; count <= 10; count += 1) {
    stream.answer(NO_CONTENT);
    await until(`request ${count}`, () => (stream.text.split('GET /good').length > count ? true : undefined));
    assert.equal(socket.isPaused(), true, `after request ${count}`);
  }
});

test('a visitor who is slow to read the last response gets all of it before the connection ends', async (t) => {
  const { connection, socket, stream, deadlines } = handConnection(t);
  socket.holdBack();
  socket.say(`GET /film HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
  const body = 'A'.repeat(60_000);
  stream.answer(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  connection.onTick(deadlines.nowMs + LIMITS.bodyIdleMs / 2);
  assert.equal(socket.destroyed, false, 'cut in the middle of a response');
  const finished = once(socket, 'finish');
  socket.takeAll();
  await finished;
  assert.ok(socket.text.endsWith(body));
  connection.onTick(deadlines.nowMs + LIMITS.bodyIdleMs / 2);
  assert.equal(socket.destroyed, true, 'not cut although nothing waits any more');
});

test('a visitor who never reads the last response is cut when its time is up', (t) => {
  const { connection, socket, stream, deadlines } = handConnection(t);
  socket.holdBack();
  socket.say(`GET /film HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
  stream.answer(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello`);
  connection.onTick(deadlines.nowMs + LIMITS.bodyIdleMs + 1);
  assert.equal(socket.destroyed, true);
});

/** Writes pieces until the relay takes no more for half a second, or `mostBytes` are gone; returns how many bytes went. */
async function pour(
  socket: Awaited<ReturnType<typeof connectVisitor>>,
  piece: Buffer,
  mostBytes: number,
): Promise<number> {
  let bytes = 0;
  while (bytes < mostBytes && !socket.destroyed) {
    const taken = new Promise<boolean>((resolve) => socket.write(piece, () => resolve(true)));
    if (!(await Promise.race([taken, delay(500, false)]))) break;
    bytes += piece.length;
  }
  return bytes;
}

/** What socket buffers of both systems may hold. */
const BUFFERS_BYTES = 12 << 20;

test('a visitor who reads no answer is not read for ever, whatever the answers are', async (t) => {
  const world = await attackedWorld(t);
  for (const [what, request] of [
    ['pages', MISDIRECTED],
    ['answers', GOOD],
  ] as const) {
    const socket = await connectVisitor(t, world.relay);
    socket.pause();
    const bytes = await pour(socket, Buffer.from(request.repeat(100)), 4 * BUFFERS_BYTES);
    assert.ok(bytes < BUFFERS_BYTES, `${bytes} bytes of requests were taken for ${what} that nobody reads`);
    socket.destroy();
  }
  await assertServes(t, world.relay);
});

test('bytes sent one by one while a request waits cost little more than they are', async (t) => {
  const origin = await startRawOrigin(t);
  const home = new RelayHome(t);
  const { program, https } = await startRelayProcess(t, home);
  await startClient(t, https, home, [appTunnel(`http://127.0.0.1:${origin.port}`)]);
  const relay = { home, port: () => https };
  const before = residentMiB(program.pid);
  if (before === undefined) return skipFor(t, 'no /proc here');
  const visitors = 4;
  for (let count = 0; count < visitors; count += 1) {
    const visitor = await talkToRelay(t, relay as never);
    visitor.send(`GET /waits HTTP/1.1\r\n${HOST}\r\n`);
    await origin.connection(count);
    await sendEach(visitor, singleBytes(Buffer.alloc(60_000, 'G')));
  }
  const grownMiB = (residentMiB(program.pid) ?? Number.POSITIVE_INFINITY) - before;
  assert.ok(grownMiB < visitors * 6, `${grownMiB} MiB for ${visitors} visitors`);
});
