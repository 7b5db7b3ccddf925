/** Floods of HTTP/2 frames: each costs its author the connection, in little time, while everybody else is served. */
import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { assertAllFreed, assertServes, attackedWorld, forbidWarnings } from './support/attack.js';
import {
  ACK,
  block,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Fields,
  frame,
  GET,
  HEADERS,
  headers,
  NEWEST_ENTRY,
  PADDED,
  PING,
  PRIORITY,
  RawHttp2Visitor,
  remembered,
  reset,
  SETTINGS,
  windowUpdate,
  word,
} from './support/http2-frames.js';
import { within } from './support/within.js';

const POST: Fields = GET.map(([name, value]) => [name, name === ':method' ? 'POST' : value]);
const CHUNK_BYTES = 16_384;
/** Requests that may have reached the origin: a burst from each author of requests, and our good ones. */
const MAX_SERVED = 2_000;

/** As many of the same frame as one write takes. */
function many(one: Buffer): () => Buffer {
  const chunk = Buffer.concat(Array.from({ length: Math.ceil(CHUNK_BYTES / one.length) }, () => one));
  return () => chunk;
}

/** Fifty new requests in each write. */
function requests(visitor: RawHttp2Visitor, request: (stream: number) => Buffer): () => Buffer {
  return () => Buffer.concat(Array.from({ length: 50 }, () => request(visitor.nextStream())));
}

interface Flood {
  readonly what: string;
  readonly preface?: boolean;
  readonly next: (visitor: RawHttp2Visitor) => () => Buffer;
}

const FLOODS: readonly Flood[] = [
  { what: 'empty SETTINGS', next: () => many(frame(SETTINGS, 0, 0)) },
  { what: 'SETTINGS that change the window', next: () => many(frame(SETTINGS, 0, 0, Buffer.of(0, 4, 0, 1, 0, 0))) },
  { what: 'acknowledgements of SETTINGS', next: () => many(frame(SETTINGS, ACK, 0)) },
  { what: 'PING', next: () => many(frame(PING, 0, 0, Buffer.alloc(8))) },
  { what: 'answers to PING that nobody asked', next: () => many(frame(PING, ACK, 0, Buffer.alloc(8))) },
  { what: 'PRIORITY', next: () => many(frame(PRIORITY, 0, 1001, Buffer.of(0, 0, 0, 3, 1))) },
  { what: 'WINDOW_UPDATE of one byte', next: () => many(windowUpdate(0, 1)) },
  { what: 'frames of an unknown type', next: () => many(frame(99, 0, 0)) },
  {
    what: 'empty DATA',
    next: (visitor) => {
      visitor.send(headers(1, POST, 0));
      return many(frame(DATA, 0, 1));
    },
  },
  {
    what: 'DATA that is padding',
    next: (visitor) => {
      visitor.send(headers(1, POST, 0));
      return many(frame(DATA, PADDED, 1, Buffer.concat([Buffer.of(255), Buffer.alloc(255)])));
    },
  },
  {
    what: 'CONTINUATION without end',
    next: (visitor) => {
      visitor.send(frame(HEADERS, 0, 1, block(GET)));
      return many(frame(CONTINUATION, 0, 1, block([['x', 'y']])));
    },
  },
  {
    what: 'empty CONTINUATION without end',
    next: (visitor) => {
      visitor.send(frame(HEADERS, 0, 1, block(GET)));
      return many(frame(CONTINUATION, 0, 1));
    },
  },
  {
    what: 'requests that are cut at once (rapid reset)',
    next: (visitor) => requests(visitor, (stream) => Buffer.concat([headers(stream), reset(stream)])),
  },
  {
    what: 'requests that make us cut them, by a window of nothing',
    next: (visitor) =>
      requests(visitor, (stream) => Buffer.concat([headers(stream, POST, 0), windowUpdate(stream, 0)])),
  },
  {
    what: 'requests that make us cut them, by a window too wide',
    next: (visitor) =>
      requests(visitor, (stream) => Buffer.concat([headers(stream, POST, 0), windowUpdate(stream, 0x7fff_ffff)])),
  },
  {
    what: 'requests that make us cut them, by more body than promised',
    next: (visitor) =>
      requests(visitor, (stream) =>
        Buffer.concat([
          headers(stream, [...POST, ['content-length', '1']], 0),
          frame(DATA, 0, stream, Buffer.from('12')),
        ]),
      ),
  },
  {
    what: 'malformed requests',
    next: (visitor) => requests(visitor, (stream) => headers(stream, [...GET, ['Upper', 'case']])),
  },
  {
    what: 'more requests than may run at a time',
    next: (visitor) => requests(visitor, (stream) => headers(stream, POST, 0)),
  },
  {
    what: 'heads that grow from one byte to four thousand (HPACK bomb)',
    next: (visitor) => {
      const bomb = Buffer.alloc(12_000, NEWEST_ENTRY);
      let first = remembered('x-bomb', 'x'.repeat(3_900));
      return () => {
        const payload = Buffer.concat([block(GET), first, bomb]);
        first = Buffer.alloc(0);
        return frame(HEADERS, END_HEADERS | END_STREAM, visitor.nextStream(), payload);
      };
    },
  },
  { what: 'a preface of HTTP/1.1', preface: false, next: () => many(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')) },
  { what: 'SETTINGS for a stream', next: () => many(frame(SETTINGS, 0, 1, word(0))) },
  { what: 'frames larger than we allow', next: () => many(frame(DATA, 0, 1, Buffer.alloc(100_000))) },
];

test("each flood ends its own connection and nobody else's, all of them at once", async (t) => {
  forbidWarnings(t);
  const world = await attackedWorld(t, '{ keep_alive_timeout: 2s }', { http2: 'on' });
  let left = FLOODS.length;
  const floods = FLOODS.map(async ({ what, preface = true, next }) => {
    const author = await RawHttp2Visitor.connect(t, world.relay, { preface });
    try {
      await author.flood(next(author));
    } catch (error) {
      assert.fail(`${what}: ${(error as Error).message}`);
    } finally {
      left -= 1;
    }
  });
  while (left > 0) await assertServes(t, world.relay);
  await Promise.all(floods);
  const served = world.origin.text.match(/^(?:GET|POST) \/good /gm)?.length ?? 0;
  assert.ok(served < MAX_SERVED, `${served} requests were served`);
  await assertServes(t, world.relay);
  await assertAllFreed(world);
});

test('whoever floods slowly enough for node:http2 is told to be calm', async (t) => {
  const world = await attackedWorld(t, '{}', { http2: 'on' });
  const author = await RawHttp2Visitor.connect(t, world.relay);
  assert.equal(await author.flood(many(windowUpdate(0, 1))), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  const cutter = await RawHttp2Visitor.connect(t, world.relay);
  const rapid = requests(cutter, (stream) => Buffer.concat([headers(stream), reset(stream)]));
  assert.equal(await cutter.flood(rapid), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  assert.equal(world.relay.relay.status().refusals.LIMIT_EXCEEDED, 2);
});

test('a page that is left with all its requests under way is no flood', async (t) => {
  const world = await attackedWorld(t, '{}', { http2: 'on' });
  const visitor = await RawHttp2Visitor.connect(t, world.relay);
  for (let page = 0; page < 2; page += 1) {
    const streams = Array.from({ length: 90 }, () => visitor.nextStream());
    visitor.send(...streams.map((stream) => headers(stream, POST, 0)));
    visitor.send(...streams.map((stream) => reset(stream)));
  }
  const last = visitor.nextStream();
  visitor.send(headers(last));
  const answer = await within(
    'the answer',
    visitor.find(({ type, stream }) => type === HEADERS && stream === last),
  );
  assert.equal(answer.payload[0], 0x88, ':status 200, the entry 8 of the static table');
});

test('one address has no more requests at a time over many HTTP/2 connections than it may have connections', async (t) => {
  const world = await attackedWorld(t, '{ connections_per_ip: 30 }', { http2: 'on' });
  const visitors = await Promise.all([1, 2, 3].map(() => RawHttp2Visitor.connect(t, world.relay)));
  for (const visitor of visitors)
    visitor.send(...[1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23].map((id) => headers(id, POST, 0)));
  const refused = await Promise.race(visitors.map((visitor) => visitor.find(({ type }) => type === 3)));
  assert.equal(refused.payload.readUInt32BE(), constants.NGHTTP2_REFUSED_STREAM);
  const { streams } = world.relay.relay.status();
  assert.ok(streams.now <= 30, `${streams.now} streams`);
  for (const visitor of visitors) visitor.conversation.socket.destroy();
  await assertAllFreed(world);
  await assertServes(t, world.relay);
});
