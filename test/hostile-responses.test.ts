/**
 * Clients that keep to the mux and lie about their origin: the visitor gets the right page, the stream ends, the session
 * lives, and one visitor's bytes never become another one's answer.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { type AttackedWorld, assertServes, attackedWorld, forbidWarnings } from './support/attack.js';
import { talkToRelay } from './support/carry.js';
import type { Conversation } from './support/conversation.js';
import { HostileLink } from './support/hostile-link.js';
import { frame, RST, WINDOW_UPDATE } from './support/mux-frames.js';
import { until, within } from './support/within.js';

const EVIL = 'evil.relay.localhost';
const REQUEST = `GET /victim HTTP/1.1\r\nHost: ${EVIL}\r\n\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface EvilWorld extends AttackedWorld {
  readonly link: HostileLink;
  visit(): Promise<Conversation>;
}

async function evilWorld(t: TestContext): Promise<EvilWorld> {
  forbidWarnings(t);
  const world = await attackedWorld(t);
  const token = world.relay.home.tokens.create('evil', makeGrants([EVIL], [])).text;
  const link = await HostileLink.proven(t, world.relay, token);
  assert.equal((await link.claim({ name: 'evil', host: EVIL })).type, 'claimed');
  const visit = async () => {
    const visitor = await talkToRelay(t, world.relay, { servername: EVIL });
    visitor.send(REQUEST);
    return visitor;
  };
  return { ...world, link, visit };
}

/** What comes behind the verdict "connected", and the page that the visitor gets. */
const GARBAGE: readonly (readonly [what: string, bytes: string, code: string])[] = [
  ['no HTTP', 'hello\r\n\r\n', 'ORIGIN_INVALID'],
  ['a request', `${REQUEST}`, 'ORIGIN_INVALID'],
  ['HTTP/2', 'HTTP/2 200\r\n\r\n', 'ORIGIN_INVALID'],
  ['HTTP/0.9', '<html>hello</html>\n', 'ORIGIN_INVALID'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'ORIGIN_INVALID'],
  ['status 999', 'HTTP/1.1 999 OK\r\n\r\n', 'ORIGIN_INVALID'],
  ['a status line with a bare CR', 'HTTP/1.1 200 O\rK\r\n\r\n', 'ORIGIN_INVALID'],
  ['NUL in a value', 'HTTP/1.1 200 OK\r\nA: \0\r\n\r\n', 'ORIGIN_INVALID'],
  ['a bare LF between fields', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok', 'ORIGIN_INVALID'],
  ['a name with a space', 'HTTP/1.1 200 OK\r\nA B: c\r\n\r\n', 'ORIGIN_INVALID'],
  ['two Content-Lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk', 'ORIGIN_INVALID'],
  ['a negative Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok', 'ORIGIN_INVALID'],
  ['an unknown Transfer-Encoding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok', 'ORIGIN_INVALID'],
  ['Transfer-Encoding on HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'ORIGIN_INVALID'],
  ['an endless head', `HTTP/1.1 200 OK\r\nA: ${'b'.repeat(40_000)}`, 'ORIGIN_INVALID'],
  ['endless fields', `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(3_000)}`, 'ORIGIN_INVALID'],
  ['endless interim responses', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(1_000), 'ORIGIN_INVALID'],
  ['a switch that nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', 'ORIGIN_INVALID'],
];

test('a response that is none is answered with a page, and the session goes on', async (t) => {
  const world = await evilWorld(t);
  for (const [what, bytes, code] of GARBAGE) {
    await t.test(`${what}: ${code}`, async () => {
      const visitor = await world.visit();
      await world.link.answerNext(bytes);
      let response = await within('answer', visitor.response());
      while (response.status < 200) response = await within('final answer', visitor.response());
      assert.deepEqual([response.status, response.field('x-sallyport-error')], [502, code]);
      assert.doesNotMatch(response.head + response.body, /hello|Processing|\0/);
      visitor.socket.destroy();
      await assertServes(t, world.relay);
    });
  }
  assert.equal(world.relay.relay.status().sessions.length, 2);
});

test('each verdict has its page; one that means nothing is a violation of the stream alone', async (t) => {
  const world = await evilWorld(t);
  for (const [verdict, status, code] of [
    [1, 502, 'ORIGIN_REFUSED'],
    [2, 504, 'ORIGIN_TIMEOUT'],
    [3, 502, 'ORIGIN_TLS_FAILED'],
    [4, 404, 'ROUTE_NOT_FOUND'],
    [5, 503, 'LIMIT_EXCEEDED'],
    [7, 500, 'INTERNAL'],
    [8, 502, 'ORIGIN_INVALID'],
    [9, 500, 'PROTOCOL_VIOLATION'],
    [255, 500, 'PROTOCOL_VIOLATION'],
  ] as const) {
    const visitor = await world.visit();
    const { id } = await world.link.stream();
    world.link.answer(id, Buffer.concat([Buffer.of(verdict), Buffer.from(OK)]));
    const response = await within('answer', visitor.response());
    assert.deepEqual([response.status, response.field('x-sallyport-error')], [status, code]);
    visitor.socket.destroy();
  }
  assert.equal(world.relay.relay.status().sessions.length, 2);
});

test('a stream that is reset or ended before its response is a page of its own', async (t) => {
  const world = await evilWorld(t);
  const reset = await world.visit();
  world.link.send(frame(WINDOW_UPDATE, RST, (await world.link.stream()).id));
  assert.equal((await within('answer', reset.response())).field('x-sallyport-error'), 'STREAM_RESET');
  const ended = await world.visit();
  world.link.answer((await world.link.stream()).id, '\0', 4);
  assert.equal((await within('answer', ended.response())).field('x-sallyport-error'), 'ORIGIN_CLOSED');
  await assertServes(t, world.relay);
});

test('Content-Length beside chunked is dropped, so that the visitor can read the response in one way only', async (t) => {
  const { link, visit } = await evilWorld(t);
  const visitor = await visit();
  const chunks = '2\r\nok\r\n0\r\n\r\n';
  await link.answerNext(`HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`);
  const response = await within('answer', visitor.response());
  assert.deepEqual([response.status, response.body, response.field('content-length')], [200, 'ok', undefined]);
});

test('a chunked response that breaks the rules is cut, so that nobody takes it for complete', async (t) => {
  const { link, visit } = await evilWorld(t);
  for (const chunks of [
    'x\r\n',
    '5\r\nhello0\r\n\r\n',
    '-1\r\n',
    '5;\nhello\r\n0\r\n\r\n',
    `0\r\n${'A: b\r\n'.repeat(1_000)}`,
  ]) {
    const visitor = await visit();
    const id = await link.answerNext('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
    await visitor.until('abc\r\n');
    link.answer(id, chunks);
    await within(`cut after ${chunks}`, visitor.ended());
    assert.doesNotMatch(visitor.unread, /0\r\n\r\n$/);
  }
});

test('a second response in the same bytes never answers the visitor’s next request', async (t) => {
  const { link, visit } = await evilWorld(t);
  const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';
  const visitor = await visit();
  visitor.send(REQUEST);
  await link.answerNext(OK + forged);
  assert.equal((await within('first answer', visitor.response())).body, 'ok');
  await link.answerNext('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal');
  assert.equal((await within('second answer', visitor.response())).body, 'real');
});

test('a response on a stream that nobody asked anything is thrown away with the stream', async (t) => {
  const { link, visit, relay } = await evilWorld(t);
  const visitor = await visit();
  const id = await link.answerNext(OK);
  assert.equal((await within('answer', visitor.response())).body, 'ok');
  link.answer(id, 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged');
  await until('end of the stream', () => (relay.relay.status().streams.now === 0 ? true : undefined));
  visitor.send(REQUEST);
  await link.answerNext('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal');
  assert.equal((await within('next answer', visitor.response())).body, 'real');
});

test('an origin cannot make fields of the relay’s connection, nor split its response', async (t) => {
  const { link, visit } = await evilWorld(t);
  const visitor = await visit();
  const fields =
    'Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\n';
  await link.answerNext(`HTTP/1.1 200 OK\r\n${fields}X-End: 1\r\n\r\n0\r\n\r\n`);
  const { head } = await within('answer', visitor.response());
  assert.equal(head, 'HTTP/1.1 200 OK\r\nX-End: 1\r\nTransfer-Encoding: chunked\r\n\r\n');
});
