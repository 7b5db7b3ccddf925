/** Who stops reading stops the sender at the other end, and nobody else. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { test } from 'node:test';
import { APP, connectVisitor, startAppTunnel, talkToRelay } from './support/carry.js';
import { Conversation } from './support/conversation.js';
import { startHttpOrigin } from './support/origins.js';

const MIB = 1024 * 1024;
const BODY_BYTES = 96 * MIB;
/** The window of the stream may have grown to 16 MiB; the rest is what the sockets of the system hold. */
const AHEAD_BYTES = 30 * MIB;

/** A body that counts and hashes what was asked of it. */
function countedBody() {
  const counted = { hash: createHash('sha256'), bytes: 0, stream: Readable.from(blocks()) };
  function* blocks() {
    const block = randomBytes(64 * 1024);
    while (counted.bytes < BODY_BYTES) {
      block.writeUInt32BE(counted.bytes / block.length);
      const piece = Buffer.from(block);
      counted.hash.update(piece);
      counted.bytes += piece.length;
      yield piece;
    }
  }
  return counted;
}

async function askForSmall(visitor: Conversation): Promise<void> {
  visitor.send(`GET /small HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);
  assert.equal((await visitor.response()).body, 'small');
}

/** Resolves once nothing more of the body was asked for during 50 exchanges of somebody else. */
async function untilStalled(body: { readonly bytes: number }, other: Conversation): Promise<void> {
  for (let calm = 0, before = 0; calm < 50; calm = body.bytes === before ? calm + 1 : 0) {
    before = body.bytes;
    await askForSmall(other);
  }
}

test('a response larger than all windows waits for its reader; other visitors do not', {
  timeout: 60_000,
}, async (t) => {
  const body = countedBody();
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url === '/small') return void response.end('small');
    response.setHeader('Content-Length', BODY_BYTES);
    body.stream.pipe(response);
  });
  const relay = await startAppTunnel(t, origin.url);
  const reader = await connectVisitor(t, relay);
  const other = await talkToRelay(t, relay);
  reader.write(`GET /big HTTP/1.1\r\nHost: ${APP}\r\n\r\n`);

  const received = createHash('sha256');
  let receivedBytes = 0;
  let stops = 0;
  for await (const piece of reader as AsyncIterable<Buffer>) {
    const start = receivedBytes === 0 ? piece.indexOf('\r\n\r\n') + 4 : 0;
    received.update(piece.subarray(start));
    receivedBytes += piece.length - start;
    if (receivedBytes === BODY_BYTES) break;
    // At 1 and 65 MiB: reads nothing until the origin was not asked for more during 50 small exchanges.
    if (receivedBytes < (64 * stops + 1) * MIB) continue;
    stops += 1;
    await untilStalled(body, other);
    const aheadMib = Math.round((body.bytes - receivedBytes) / MIB);
    assert.ok(body.bytes < BODY_BYTES, 'the origin could send all of it');
    assert.ok(aheadMib * MIB < AHEAD_BYTES, `the origin was ${aheadMib} MiB ahead of the reader`);
  }
  assert.equal(stops, 2);
  assert.equal(received.digest('hex'), body.hash.digest('hex'));
});

test('an upload larger than all windows waits for its origin; other visitors do not', {
  timeout: 60_000,
}, async (t) => {
  let uploading: (request: IncomingMessage, response: ServerResponse) => void;
  const uploads = new Promise<[IncomingMessage, ServerResponse]>((resolve) => {
    uploading = (...exchange) => resolve(exchange);
  });
  const origin = await startHttpOrigin(t, (request, response) => {
    if (request.url === '/small') response.end('small');
    else uploading(request, response);
  });
  const relay = await startAppTunnel(t, origin.url);
  const visitor = await connectVisitor(t, relay);
  const other = await talkToRelay(t, relay);
  const body = countedBody();
  visitor.write(`PUT /big HTTP/1.1\r\nHost: ${APP}\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
  body.stream.pipe(visitor, { end: false });
  const [request, response] = await uploads;
  await untilStalled(body, other);
  assert.ok(body.bytes < AHEAD_BYTES, `the visitor was ${Math.round(body.bytes / MIB)} MiB ahead of the origin`);
  const received = createHash('sha256');
  await pipeline(request, received);
  response.end('thanks');
  assert.match(await new Conversation(visitor).until('thanks'), /^HTTP\/1\.1 200 OK\r\n/);
  assert.equal(received.digest('hex'), body.hash.digest('hex'));
});
