/** What a hostile peer may try. Each attempt ends the session with its code, once, and nothing of it is kept. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { isErrorCode } from '../shared/errors.js';
import type { MuxStream } from '../shared/mux/stream.js';
import { type Victim, type VictimOptions, victim } from './support/mux-attacker.js';
import { ACK, DATA, FIN, frame, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { Collector, collect, turn } from './support/mux-pair.js';

const WINDOW = 256 * 1024;

/** Sends the bytes, and proves that the session ended with `code` and let go of everything. */
function assertEnds(end: Victim, bytes: Buffer, code: string): void {
  const handlers = end.accepted.map((stream) => {
    const handler = new Collector();
    stream.handler = handler;
    return handler;
  });
  end.session.receive(bytes);
  assert.equal(end.code(), code);
  end.session.receive(frame(WINDOW_UPDATE, SYN, 0xffff_fff1));
  assert.equal(end.closes.length, 1, 'onClose comes once');
  assert.equal(end.session.open, false);
  assert.equal(end.session.streamCount, 0);
  for (const handler of handlers) assert.equal(handler.closes, 1);
  for (const stream of end.accepted) assert.equal(stream.alive, false);
  assert.equal(end.transport.frames.at(-1)?.type, GO_AWAY);
}

/** A victim that has accepted stream 1. */
function withStream(options?: VictimOptions): Victim {
  const end = victim(options);
  end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
  assert.equal(end.accepted.length, 1);
  return end;
}

const payload = randomBytes(100);

const VIOLATIONS: Record<string, (end: Victim) => Buffer> = {
  'a frame over 64 KiB': () => frame(DATA, 0, 1, { length: 65_537 }),
  'data that overruns the window': () =>
    Buffer.concat([
      ...Array(4).fill(frame(DATA, 0, 1, { payload: Buffer.alloc(65_536) })),
      frame(DATA, 0, 1, { length: 1 }),
    ]),
  'a window wider than 2^32 by two updates of 0xFFFF0000': () =>
    Buffer.concat([
      frame(WINDOW_UPDATE, 0, 1, { length: 0xffff_0000 }),
      frame(WINDOW_UPDATE, 0, 1, { length: 0xffff_0000 }),
    ]),
  'a window one byte too wide': () =>
    Buffer.concat([
      frame(WINDOW_UPDATE, 0, 1, { length: 0xffff_ffff - WINDOW }),
      frame(WINDOW_UPDATE, 0, 1, { length: 1 }),
    ]),
  'an unknown version': () => frame(PING, SYN, 0, { version: 1 }),
  'an unknown type': () => frame(4, 0, 1),
  'an unknown flag': () => frame(DATA, 0x10, 1),
  'a SYN with an id of our parity': () => frame(WINDOW_UPDATE, SYN, 2),
  'a SYN for stream 0': () => frame(WINDOW_UPDATE, SYN, 0),
  'a SYN for an open stream': () => frame(WINDOW_UPDATE, SYN, 1),
  'a SYN for a stream that is over': () =>
    Buffer.concat([frame(WINDOW_UPDATE, RST, 1), frame(WINDOW_UPDATE, SYN, 1, { payload: Buffer.alloc(0) })]),
  'data after its own end': () => Buffer.concat([frame(WINDOW_UPDATE, FIN, 1), frame(DATA, 0, 1, { payload })]),
  'data for a stream that it never opened': () => frame(DATA, 0, 3, { payload }),
  'credit for a stream that we never opened': () => frame(WINDOW_UPDATE, 0, 2, { length: 1 }),
  'a reset of a stream that never was': () => frame(WINDOW_UPDATE, RST, 77),
  'an answer (ACK) for a stream that never was': () => frame(WINDOW_UPDATE, ACK, 2),
  'data for stream 0': () => frame(DATA, 0, 0, { payload }),
};

for (const [what, bytes] of Object.entries(VIOLATIONS)) {
  test(`a peer that sends ${what} is a violation and ends the session`, () => {
    const end = withStream();
    assertEnds(end, bytes(end), 'PROTOCOL_VIOLATION');
    assert.equal(end.transport.frames.at(-1)?.length, 1, 'the go-away says: protocol error');
  });
}

test('a SYN with 262,145 bytes of data is refused on its header, before anything is buffered or accepted', () => {
  const end = victim();
  assertEnds(end, frame(DATA, SYN, 1, { length: 262_145 }), 'PROTOCOL_VIOLATION');
  assert.equal(end.accepted.length, 0);
});

test('exactly one window of data, and a window of exactly 2^32-1, are no violations', () => {
  const end = withStream();
  end.session.receive(frame(WINDOW_UPDATE, 0, 1, { length: 0xffff_ffff - WINDOW }));
  for (let count = 0; count < 4; count += 1) {
    end.session.receive(frame(DATA, 0, 1, { payload: Buffer.alloc(65_536) }));
  }
  assert.equal(end.code(), 'open');
});

test('the relay accepts no streams: a SYN ends the session', () => {
  const end = victim({ acceptsStreams: false });
  const own = end.session.openStream();
  const handler = collect(own);
  assertEnds(end, frame(DATA, SYN, 1, { payload }), 'PROTOCOL_VIOLATION');
  assert.equal(handler.closed?.error?.code, 'PROTOCOL_VIOLATION');
});

test('20,000 pings in one chunk end the session and overflow no stack', () => {
  const end = withStream();
  const ping = frame(PING, SYN, 0, { length: 1 });
  assertEnds(end, Buffer.alloc(20_000 * ping.length, ping), 'LIMIT_EXCEEDED');
});

test('a peer that pings and does not read the answers is ended before they pile up', async () => {
  const end = withStream();
  let pings = 0;
  while (end.session.open && pings < 1_000) {
    end.session.receive(frame(PING, SYN, 0, { length: pings }));
    pings += 1;
    await turn();
  }
  assert.equal(end.code(), 'LIMIT_EXCEEDED');
  assert.ok(pings < 50, `${pings} pings were taken`);
  assert.ok(end.transport.bytes < 2_000, `${end.transport.bytes} bytes were answered`);
});

test('a peer that pings and reads the answers may go on', async () => {
  const end = withStream({ drained: true });
  for (let count = 0; count < 500; count += 1) {
    end.session.receive(frame(PING, SYN, 0, { length: count }));
    await turn();
  }
  assert.equal(end.code(), 'open');
  assert.equal(end.transport.frames.filter((each) => each.type === PING && each.flags === ACK).length, 500);
});

for (const [how, then, options] of [
  ['reads the refusals', 'resets, then the end', { drained: true }],
  ['reads nothing', 'the end, and one batch on its way', {}],
] as const) {
  test(`100,000 SYNs from a peer that ${how}: 1,024 streams at most, then ${then}`, async (t) => {
    t.mock.method(performance, 'now', () => 1);
    const end = victim({ maxStreams: 1024, ...options });
    let syns = 0;
    while (syns < 100_000 && end.session.open) {
      end.session.receive(frame(DATA, SYN, 2 * syns + 1, { payload: Buffer.from('x') }));
      syns += 1;
      assert.ok(end.session.streamCount <= 1024);
      if (syns % 100 === 0) await turn();
    }
    assert.equal(end.code(), 'LIMIT_EXCEEDED');
    assert.ok(syns <= 32_768, `${syns} SYNs were taken`);
    assert.equal(end.accepted.length, 1024);
    assert.equal(end.session.streamCount, 0);
    if (how === 'reads nothing') assert.equal(end.transport.batches.length, 1);
    const resets = end.transport.frames.filter((each) => each.flags === RST).length;
    assert.ok(how === 'reads nothing' || resets > 30_000, `${resets} resets`);
  });
}

const FLOODS: Record<string, Buffer> = {
  'empty Data frames': frame(DATA, 0, 1),
  'window updates of nothing': frame(WINDOW_UPDATE, 0, 1),
  'answers to pings that nobody sent': frame(PING, ACK, 0, { length: 9 }),
  'ends of an ended stream': frame(WINDOW_UPDATE, FIN, 1),
  'go-aways': frame(GO_AWAY, 0, 0),
};

for (const [what, flood] of Object.entries(FLOODS)) {
  test(`a flood of ${what} ends the session`, (t) => {
    t.mock.method(performance, 'now', () => 1);
    assertEnds(withStream(), Buffer.alloc(40_000 * flood.length, flood), 'LIMIT_EXCEEDED');
  });
}

test('as many empty frames in a longer time are no flood', (t) => {
  let nowMs = 1;
  t.mock.method(performance, 'now', () => nowMs);
  const end = withStream();
  for (let second = 0; second < 5; second += 1) {
    end.session.receive(Buffer.alloc(32_000 * 12, frame(DATA, 0, 1)));
    nowMs += 1_000;
  }
  assert.equal(end.code(), 'open');
});

test('streams that are opened and reset without end are ended by the budget of control frames', (t) => {
  t.mock.method(performance, 'now', () => 1);
  const end = victim();
  const attack: Buffer[] = [];
  for (let id = 1; id < 80_000; id += 2) attack.push(frame(DATA, SYN, id, { payload }), frame(WINDOW_UPDATE, RST, id));
  end.session.receive(Buffer.concat(attack));
  assert.equal(end.code(), 'LIMIT_EXCEEDED');
  assert.ok(end.accepted.length < 20_000);
  assert.equal(end.session.streamCount, 0);
});

test('a peer that makes us owe control frames and takes none is ended when they fill their backlog', (t) => {
  let nowMs = 1;
  t.mock.method(performance, 'now', () => (nowMs += 1));
  const end = victim({ maxStreams: 1 });
  end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
  let id = 3;
  for (; id < 100_000 && end.session.open; id += 2) end.session.receive(frame(WINDOW_UPDATE, SYN, id));
  assert.equal(end.code(), 'LIMIT_EXCEEDED');
  assert.equal(end.closes.length, 1);
  assert.ok((id / 2) * 12 <= 256 * 1024 + 100, `${id / 2} refusals waited`);
});

test("the peer's go-away with a reason ends the session", () => {
  const end = withStream();
  const [stream] = end.accepted;
  assert.ok(stream);
  const handler = collect(stream);
  end.session.receive(frame(GO_AWAY, 0, 0, { length: 2 }));
  assert.equal(end.code(), 'PROTOCOL_VIOLATION');
  assert.equal(handler.closes, 1);
});

test('a violation in the middle of a chunk leaves the rest of it unread', () => {
  const end = withStream();
  const later = frame(DATA, SYN, 3, { payload });
  assertEnds(end, Buffer.concat([frame(PING, 16, 0), later]), 'PROTOCOL_VIOLATION');
  assert.equal(end.accepted.length, 1);
});

test('a violation on one session leaves another one untouched', () => {
  const [bad, good] = [withStream(), withStream()];
  bad.session.receive(randomBytes(12).fill(0xff));
  good.session.receive(frame(DATA, 0, 1, { payload }));
  assert.deepEqual([bad.code(), good.code()], ['PROTOCOL_VIOLATION', 'open']);
});

const plausibleFrame = fc
  .record({
    type: fc.integer({ min: 0, max: 3 }),
    flags: fc.oneof(
      { weight: 4, arbitrary: fc.constant(0) },
      { weight: 4, arbitrary: fc.constantFrom(1, 2, 4, 8, 3, 5, 9, 15) },
    ),
    id: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 9 }) }, fc.integer({ min: 0, max: 0xffff_ffff })),
    length: fc.oneof({ weight: 9, arbitrary: fc.nat(2_000) }, fc.integer({ min: 0, max: 0xffff_ffff })),
    payloadBytes: fc.nat(2_000),
  })
  .map(({ type, flags, id, length, payloadBytes }) =>
    type === DATA
      ? frame(type, flags, id, { payload: Buffer.alloc(payloadBytes) })
      : frame(type, flags, id, { length }),
  );

const anyBytes = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 20, arbitrary: plausibleFrame },
);

/** A handler that does one of the things that handlers do. */
function react(stream: MuxStream, how: number): void {
  const handler = collect(stream);
  if (how % 4 === 0) stream.pause();
  if (how % 4 === 1) handler.onData = () => stream.reset();
  if (how % 4 === 2) handler.onEnd = () => stream.end();
  if (how % 4 === 3) stream.write(Buffer.alloc(100));
}

test('whatever bytes arrive: nothing is thrown, and the session lives or ends once with a code', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyBytes, { maxLength: 60, size: 'max' }),
      fc.boolean(),
      fc.nat(3),
      async (chunks, accepts, how) => {
        const end = victim({
          drained: how % 2 === 0,
          ...(accepts
            ? { onStream: (stream: MuxStream) => react(stream, how + stream.id) }
            : { acceptsStreams: false }),
        });
        const own = end.session.openStream();
        react(own, how);
        await turn();
        for (const chunk of chunks) end.session.receive(chunk);
        await turn();
        assert.ok(end.session.open ? end.closes.length === 0 : end.closes.length === 1);
        if (!end.session.open) {
          assert.ok(isErrorCode(end.code()));
          assert.equal(end.session.streamCount, 0);
        }
      },
    ),
    { numRuns: 500 },
  );
});
