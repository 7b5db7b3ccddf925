/**
 * Clients with a session that break the link's or the mux's rules: the link ends with its code, what it carried ends with
 * it, and the relay keeps serving everybody else while it happens.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { type AttackedWorld, assertServes, attackedWorld, forbidWarnings } from './support/attack.js';
import { talkToRelay } from './support/carry.js';
import type { Conversation } from './support/conversation.js';
import { HostileLink } from './support/hostile-link.js';
import { ACK, DATA, frame, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { until, within } from './support/within.js';

const EVIL = 'evil.relay.localhost';
const REQUEST = `GET /victim HTTP/1.1\r\nHost: ${EVIL}\r\n\r\n`;

interface EvilWorld extends AttackedWorld {
  /** A hostile session with a tunnel at EVIL. */
  evil(): Promise<HostileLink>;
}

async function evilWorld(t: TestContext, limits?: string): Promise<EvilWorld> {
  forbidWarnings(t);
  const world = await attackedWorld(t, limits);
  const token = world.relay.home.tokens.create('evil', makeGrants([EVIL], [])).text;
  const evil = async () => {
    const link = await HostileLink.proven(t, world.relay, token);
    assert.equal((await link.claim({ name: 'evil', host: EVIL })).type, 'claimed');
    return link;
  };
  return { ...world, evil };
}

/** A visitor of the hostile client's tunnel who has sent his request. */
async function visitEvil(t: TestContext, { relay }: EvilWorld): Promise<Conversation> {
  const visitor = await talkToRelay(t, relay, { servername: EVIL });
  visitor.send(REQUEST);
  return visitor;
}

function repeated(count: number, make: (number: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, number) => make(number)));
}

/** Sends it as WebSocket messages of at most 60 KiB, for as long as the link is there. */
function pour(link: HostileLink, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at += 60_000) {
    if (link.webSocket.readyState === link.webSocket.OPEN) link.send(bytes.subarray(at, at + 60_000));
  }
}

const VIOLATION = { code: 1002, reason: 'PROTOCOL_VIOLATION' };
const LIMIT = { code: 4429, reason: 'LIMIT_EXCEEDED' };
const KIB_64 = Buffer.alloc(65_536);

/** What a client sends on a link whose only stream has this id; the stream waits for its answer. */
const ATTACKS: readonly (readonly [what: string, close: typeof VIOLATION, bytes: (id: number) => Buffer])[] = [
  ['an unknown version', VIOLATION, () => frame(PING, SYN, 0, { version: 1 })],
  ['an unknown type', VIOLATION, () => frame(4, 0, 0)],
  ['an unknown flag', VIOLATION, (id) => frame(WINDOW_UPDATE, 0x10, id)],
  ['all flags', VIOLATION, (id) => frame(WINDOW_UPDATE, 0xffff, id)],
  ['random bytes', VIOLATION, () => Buffer.concat([Buffer.of(7), randomBytes(50_000)])],
  ['a SYN', VIOLATION, () => frame(WINDOW_UPDATE, SYN, 1)],
  ['a SYN with data', VIOLATION, () => frame(DATA, SYN, 1, { payload: Buffer.from('GET / HTTP/1.1\r\n\r\n') })],
  ['a SYN with our parity', VIOLATION, (id) => frame(WINDOW_UPDATE, SYN, id + 2)],
  ['a SYN for an open stream', VIOLATION, (id) => frame(WINDOW_UPDATE, SYN, id)],
  ['100,000 SYNs', VIOLATION, () => repeated(100_000, (count) => frame(WINDOW_UPDATE, SYN, 2 * count + 1))],
  ['a SYN of 262,145 bytes', VIOLATION, () => frame(DATA, SYN, 1, { length: 262_145 })],
  ['a frame over 64 KiB', VIOLATION, (id) => frame(DATA, 0, id, { length: 65_537 })],
  ['a frame of 4 GiB', VIOLATION, (id) => frame(DATA, 0, id, { length: 0xffff_ffff })],
  ['data for a stream that never was', VIOLATION, (id) => frame(DATA, 0, id + 2, { payload: Buffer.from('x') })],
  ['data for stream 0', VIOLATION, () => frame(DATA, 0, 0, { payload: Buffer.from('x') })],
  ['credit for a stream that never was', VIOLATION, (id) => frame(WINDOW_UPDATE, 0, id + 100, { length: 1 })],
  ['a reset of a stream that never was', VIOLATION, () => frame(WINDOW_UPDATE, RST, 1)],
  [
    'a window of 0xFFFF0000, twice',
    VIOLATION,
    (id) => repeated(2, () => frame(WINDOW_UPDATE, 0, id, { length: 0xffff_0000 })),
  ],
  ['20,000 pings at once', LIMIT, () => repeated(20_000, (count) => frame(PING, SYN, 0, { length: count }))],
  ['a flood of credit of nothing', LIMIT, (id) => repeated(500_000, () => frame(WINDOW_UPDATE, 0, id, { length: 0 }))],
  ['a flood of resets', LIMIT, (id) => repeated(500_000, () => frame(WINDOW_UPDATE, RST, id))],
  ['a flood of pongs', LIMIT, () => repeated(500_000, () => frame(PING, ACK, 0, { length: 7 }))],
  ['a flood of empty data', LIMIT, (id) => repeated(500_000, () => frame(DATA, 0, id))],
  ['a flood of go-aways', LIMIT, () => repeated(500_000, () => frame(GO_AWAY, 0, 0))],
];

test('a client that breaks a rule of the mux loses its link with the right code, and nobody else loses anything', async (t) => {
  const world = await evilWorld(t);
  for (const [what, close, bytes] of ATTACKS) {
    await t.test(`${what}: ${close.reason}`, async (t) => {
      const link = await world.evil();
      const visitor = await visitEvil(t, world);
      const { id } = await link.stream();
      pour(link, bytes(id));
      await assertServes(t, world.relay);
      assert.deepEqual(await within('close', link.closed), close);
      const { status } = await within('answer to its visitor', visitor.response());
      assert.ok(status >= 500 && status < 600, String(status));
      await until('freeing', () => (world.relay.relay.status().streams.now === 0 ? true : undefined));
    });
  }
  await assertServes(t, world.relay);
  assert.equal(world.relay.relay.status().sessions.length, 1);
});

test('a client that sends more than the window of a visitor who does not read is ended', async (t) => {
  const world = await evilWorld(t);
  const link = await world.evil();
  const visitor = await visitEvil(t, world);
  visitor.socket.pause();
  const { id } = await link.stream();
  const head = Buffer.from('\0HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n');
  link.send(frame(DATA, ACK, id, { payload: head }));
  const timer = setInterval(
    () =>
      pour(
        link,
        repeated(8, () => frame(DATA, 0, id, { payload: KIB_64 })),
      ),
    5,
  );
  t.after(() => clearInterval(timer));
  await assertServes(t, world.relay);
  assert.deepEqual(await within('close', link.closed), VIOLATION);
  visitor.socket.resume();
  assert.notEqual(await within('end of the visitor', visitor.ended()), undefined);
  await assertServes(t, world.relay);
});

test('messages that are too long, too many or unknown end the link of a session, too', async (t) => {
  const world = await evilWorld(t);
  const attacks: [what: string, close: typeof VIOLATION, send: (link: HostileLink) => void][] = [
    ['17 KiB', VIOLATION, (link) => link.send({ type: 'release', name: 'x'.repeat(17 * 1024) })],
    ['unknown', VIOLATION, (link) => link.send({ type: 'shutdown' })],
    ['a challenge', VIOLATION, (link) => link.send({ type: 'challenge', version: 1, nonce: '', relay: '' })],
    [
      '501 at once',
      LIMIT,
      (link) => {
        for (let count = 0; count < 501; count += 1) link.send({ type: 'release', name: 'none' });
      },
    ],
  ];
  for (const [what, close, send] of attacks) {
    const link = await world.evil();
    send(link);
    assert.deepEqual(await within(what, link.closed), close, what);
  }
  await assertServes(t, world.relay);
});

test('a message in thousands of fragments, and one that never ends, cost the relay next to nothing', async (t) => {
  const world = await evilWorld(t, '{ link_handshake_timeout: 1s }');
  const link = await HostileLink.open(t, world.relay);
  const before = process.memoryUsage().rss;
  for (let count = 0; count < 60_000; count += 1) link.webSocket.send(Buffer.of(32), { binary: false, fin: false });
  await within('close', link.closed);
  const grownMiB = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(grownMiB < 64, `${grownMiB} MiB`);
  await assertServes(t, world.relay);
});

test('a flood of WebSocket pings is answered no faster than it is read, and disturbs nobody', async (t) => {
  const world = await evilWorld(t);
  const link = await world.evil();
  link.socket.pause();
  for (let count = 0; count < 50_000; count += 1) link.webSocket.ping(randomBytes(100));
  await assertServes(t, world.relay);
  link.webSocket.terminate();
  await until('freeing', () => (world.relay.relay.status().sessions.length === 1 ? true : undefined));
});
