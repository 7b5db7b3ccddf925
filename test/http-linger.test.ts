/** The end of a connection: what was answered reaches its visitor, however slowly that one reads. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ByteStream, ByteStreamHandler } from '../shared/bytes/byte-stream.js';
import { Deadlines } from '../shared/deadlines.js';
import { HttpConnection } from '../shared/http/http-connection.js';
import type { HttpSite } from '../shared/http/http-site.js';
import { endConnections, listen } from './support/origins.js';
import { within } from './support/within.js';

/** More than the buffers of two sockets on loopback hold. */
const BODY_BYTES = 32 * 1024 * 1024;
/** Longer than anybody lingers behind an answer that is out. */
const STALL_MS = 3_500;

/** An origin that answers at once and in one piece. */
class PromptOrigin implements ByteStream {
  handler: ByteStreamHandler | undefined;
  alive = true;

  write(): boolean {
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`;
    setImmediate(() => this.handler?.onData(Buffer.concat([Buffer.from(head), Buffer.alloc(BODY_BYTES, 'x')])));
    return true;
  }

  writeCopy(): boolean {
    return this.write();
  }

  end(): void {}
  reset(): void {
    this.alive = false;
  }
  pause(): void {}
  resume(): void {}
}

function makeSite(deadlines: Deadlines): HttpSite {
  const second = 1_000;
  return {
    limits: {
      headBytes: 16_384,
      fields: 100,
      headMs: second,
      keepAliveMs: second,
      bodyIdleMs: 20 * second,
      upgradedIdleMs: second,
      http2Streams: 100,
    },
    deadlines,
    takeRequest: () => true,
    giveBackRequest: () => {},
    responseFields: '',
    draining: false,
    route: () => ({
      hostHeader: undefined,
      responseTimeoutMs: undefined,
      open: () => new PromptOrigin(),
      countRequest: () => {},
    }),
    forwarded: (_head, requestId) => ({ forwardedFor: '', realIp: '', proto: 'https', forwarded: '', requestId }),
    requestId: () => 'id',
    refused: () => {},
    exchanged: () => {},
    closed: () => {},
  };
}

test('the last answer of a connection reaches a visitor who stalls longer than anybody lingers', async (t) => {
  const deadlines = new Deadlines();
  t.after(() => deadlines.close());
  const site = makeSite(deadlines);
  const server = createServer({ allowHalfOpen: true }, (socket) => void new HttpConnection(socket, site));
  endConnections(t, server);
  const visitor = connect(await listen(t, server), '127.0.0.1');
  t.after(() => void visitor.destroy());
  visitor.write('GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n');
  await once(visitor, 'readable');
  await delay(STALL_MS);
  let received = 0;
  visitor.on('data', (piece: Buffer) => {
    received += piece.length;
  });
  await within('end of the answer', once(visitor, 'end'));
  assert.ok(received > BODY_BYTES, `received ${received} bytes`);
});
