/** HTTP/2 requests that say what no request may say: the origin sees nothing of them, and their connection goes on. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type AttackedWorld, assertAllFreed, assertOnlyGood, assertServes, attackedWorld } from './support/attack.js';
import { APP, talkToRelay } from './support/carry.js';
import {
  block,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Fields,
  frame,
  GET,
  GOAWAY,
  HEADERS,
  headers,
  PREFACE,
  RawHttp2Visitor,
  RST_STREAM,
  SETTINGS,
} from './support/http2-frames.js';
import { until, within } from './support/within.js';

const FRAME_BYTES = 16_384;

function without(name: string): Fields {
  return GET.filter(([each]) => each !== name);
}

function having(name: string, value: string): Fields {
  return GET.map(([each, before]) => [each, each === name ? value : before]);
}

function beside(...more: Fields): Fields {
  return [...GET, ...more];
}

function numbered(count: number, value: string): Fields {
  return Array.from({ length: count }, (_, index) => [`x-${index}`, value]);
}

/** Each is reset by nghttp2 (its versions differ) or answered with the page of its status, 400 unless it says another. */
const REFUSED: readonly (readonly [what: string, fields: Fields, status?: number])[] = [
  ['an upper-case name', beside(['Upper', 'x'])],
  ['connection', beside(['connection', 'close'])],
  ['keep-alive', beside(['keep-alive', 'timeout=5'])],
  ['proxy-connection', beside(['proxy-connection', 'x'])],
  ['transfer-encoding', beside(['transfer-encoding', 'chunked'])],
  ['upgrade', beside(['upgrade', 'h2c'])],
  ['te other than trailers', beside(['te', 'gzip'])],
  ['no method', without(':method')],
  ['no scheme', without(':scheme')],
  ['no path', without(':path')],
  ['no authority', without(':authority')],
  ['an empty path', having(':path', '')],
  ['a path without a slash', having(':path', 'good')],
  ['a path with an authority', having(':path', 'http://other.localhost/')],
  ['a path with a space', having(':path', '/good HTTP/1.1')],
  ['a path with a line break', having(':path', '/good HTTP/1.1\r\nx: y')],
  ['a path with a fragment', having(':path', '/good#x')],
  ['an asterisk for GET', having(':path', '*')],
  ['a method with a path', having(':method', 'GET /evil')],
  ['TRACE', having(':method', 'TRACE'), 405],
  ['a foreign scheme', having(':scheme', 'ftp')],
  ['two methods', beside([':method', 'GET'])],
  ['a pseudo-field behind a field', [...GET.slice(0, 3), ['x', 'y'], [':path', '/good']]],
  ['an unknown pseudo-field', beside([':evil', 'x'])],
  ['a status', beside([':status', '200'])],
  ['a protocol without CONNECT', beside([':protocol', 'websocket'])],
  ['a host that differs', beside(['host', 'evil.localhost'])],
  ['two hosts', beside(['host', APP], ['host', 'evil.localhost'])],
  ['an authority with a line break', having(':authority', `${APP}\r\nx: y`)],
  ['an authority with a user', having(':authority', `user@${APP}`)],
  ['an authority of two names', having(':authority', `${APP},evil.localhost`)],
  ['an empty authority', having(':authority', '')],
  ['a content-length and no body', beside(['content-length', '5'])],
  ['a content-length that is none', beside(['content-length', '5, 5'])],
  ['two content-lengths', beside(['content-length', '0'], ['content-length', '0'])],
  ['too many fields', beside(...numbered(101, 'y')), 431],
  ['far too many fields', beside(...numbered(250, 'y'))],
  ['too large a head', beside(...numbered(2, 'y'.repeat(9_000))), 431],
];

/** We drop these fields, or nghttp2 does, or it resets the whole request; what is left, if anything, is a good one. */
const DROPPED: readonly (readonly [what: string, ...fields: Fields])[] = [
  ['a line break in a value', ['x', 'a\r\nevil: yes']],
  ['a line feed in a value', ['x', 'a\nevil: yes']],
  ['a NUL in a value', ['x', 'a\0b']],
  ['a colon in a name', ['x:evil', 'yes']],
  ['a space in a name', ['x evil', 'yes']],
  ['a line break in a name', ['x\r\nevil', 'yes']],
  ['an empty name', ['', 'yes']],
  ['our own fields', ['x-forwarded-for', '6.6.6.6'], ['x-real-ip', '6.6.6.6'], ['forwarded', 'for=6.6.6.6']],
  ['aliases of our own fields', ['x_forwarded_for', '6.6.6.6'], ['x-forwarded-evil', 'yes'], ['x_real_ip', '6.6.6.6']],
  ['fields of proxies', ['proxy-authorization', 'evil'], ['proxy', 'evil'], ['http2-settings', 'evil']],
  ['the same host', ['host', APP]],
];

async function startAttack(t: TestContext): Promise<{ world: AttackedWorld; visitor: RawHttp2Visitor }> {
  const world = await attackedWorld(t, '{}', { http2: 'on' });
  return { world, visitor: await RawHttp2Visitor.connect(t, world.relay) };
}

/** A head of any size, without a body. */
function request(stream: number, fields: Fields): Buffer {
  const bytes = block(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += FRAME_BYTES) {
    const flags = (at === 0 ? END_STREAM : 0) | (at + FRAME_BYTES >= bytes.length ? END_HEADERS : 0);
    frames.push(frame(at === 0 ? HEADERS : CONTINUATION, flags, stream, bytes.subarray(at, at + FRAME_BYTES)));
  }
  return Buffer.concat(frames);
}

/** `reset`, or the status on the page. @throws when the connection ends. */
async function outcome(visitor: RawHttp2Visitor, stream: number): Promise<string> {
  for (;;) {
    const next = await within('an answer', visitor.frame());
    if (next.type === GOAWAY) return 'the end of the connection';
    if (next.stream !== stream) continue;
    if (next.type === RST_STREAM) return 'reset';
    if (next.type !== DATA) continue;
    return /"status": (\d+)/.exec(next.payload.toString())?.[1] ?? next.payload.toString();
  }
}

test('a request that no origin may see is refused alone: the next one on its connection is served', async (t) => {
  const { world, visitor } = await startAttack(t);
  for (const [what, fields, status = 400] of REFUSED) {
    const stream = visitor.nextStream();
    visitor.send(request(stream, fields));
    const met = await outcome(visitor, stream);
    assert.ok(met === 'reset' || met === `${status}`, `${what}: ${met}`);
  }
  const good = visitor.nextStream();
  visitor.send(headers(good));
  assert.equal(await outcome(visitor, good), 'ok');
  await assertOnlyGood(world.origin, 1);
});

test('a field that no origin may see is dropped', async (t) => {
  const { world, visitor } = await startAttack(t);
  let served = 0;
  for (const [what, ...fields] of DROPPED) {
    const stream = visitor.nextStream();
    visitor.send(headers(stream, beside(...fields)));
    const met = await outcome(visitor, stream);
    assert.ok(met === 'reset' || met === 'ok', `${what}: ${met}`);
    if (met === 'ok') served += 1;
  }
  await assertOnlyGood(world.origin, served);
  assert.ok(served > 0);
});

for (const [what, promised, body] of [
  ['longer', 5, 'helloGET /evil HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['shorter', 500, 'hello'],
] as const) {
  test(`a body that is ${what} than its content-length smuggles nothing`, async (t) => {
    const { world, visitor } = await startAttack(t);
    const fields: Fields = [...having(':method', 'POST'), ['content-length', `${promised}`]];
    visitor.send(headers(1, fields, 0), frame(DATA, END_STREAM, 1, Buffer.from(body)));
    assert.match(await outcome(visitor, 1), /^(?:reset|the end of the connection)$/);
    visitor.conversation.socket.destroy();
    await until('the end of its origin connection', () => world.origin.openCount === 0 || undefined);
    assert.ok(!world.origin.text.includes('evil'), world.origin.text);
    await assertServes(t, world.relay);
  });
}

test('what follows a broken preface in the same moment ends nothing but its connection', async (t) => {
  const { world } = await startAttack(t);
  const early = [
    [PREFACE, frame(SETTINGS, 0, 0), headers(1)],
    ['GET / HTTP/1.1\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n'],
    [PREFACE.slice(0, 10), 'x'.repeat(100), frame(SETTINGS, 0, 0)],
    [PREFACE, frame(DATA, 0, 1, Buffer.alloc(20_000)), frame(99, 0, 0), headers(1)],
  ];
  for (const pieces of early) {
    for (let count = 0; count < 5; count += 1) {
      const visitor = await talkToRelay(t, world.relay, { ALPNProtocols: ['h2'] });
      for (const piece of pieces) visitor.send(piece);
      if (count % 2 === 0) visitor.socket.end();
      else visitor.socket.destroy();
    }
  }
  await assertServes(t, world.relay);
});

test('an HTTP/2 preface where HTTP/1.1 was agreed is a bad request, and the other way round', async (t) => {
  const { world, visitor } = await startAttack(t);
  visitor.conversation.socket.destroy();
  const old = await talkToRelay(t, world.relay);
  old.send(PREFACE, frame(SETTINGS, 0, 0), headers(1));
  assert.ok([400, 505].includes((await old.response()).status));
  const young = await RawHttp2Visitor.connect(t, world.relay, { preface: false });
  young.send('GET /good HTTP/1.1\r\nHost: x\r\n\r\n');
  await within('the end', young.goAwayCode());
  await assertServes(t, world.relay);
  await assertOnlyGood(world.origin, 1);
  await assertAllFreed(world);
});
