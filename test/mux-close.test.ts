/** How a session ends or drains, and that everything it had ends with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TunnelError } from '../shared/errors.js';
import { collectedUntil } from './support/collect-garbage.js';
import { victim } from './support/mux-attacker.js';
import { DATA, FIN, frame, GO_AWAY, PING, RST, SYN, WINDOW_UPDATE } from './support/mux-frames.js';
import { Collector, collect, type MuxPair, muxPair, quiet, turn } from './support/mux-pair.js';

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof TunnelError && error.code === code;
}

/** A pair with one stream that both ends handle. */
async function pairWithStream(): Promise<{ pair: MuxPair; ours: Collector; theirs: Collector }> {
  const pair = muxPair();
  const stream = pair.left.openStream();
  const ours = collect(stream);
  stream.write(Buffer.from('x'));
  await quiet(pair);
  const [accepted] = pair.accepted;
  assert.ok(accepted);
  return { pair, ours, theirs: collect(accepted) };
}

test('an orderly close ends every stream with LINK_LOST, tells the peer, and is reported once without an error', () => {
  const end = victim();
  const handlers = [1, 2, 3].map(() => collect(end.session.openStream()));
  end.session.close();
  end.session.close();
  end.session.close(new TunnelError('INTERNAL', 'too late'));
  end.session.transportClosed(new TunnelError('LINK_LOST', 'too late'));
  assert.deepEqual(end.closes, [undefined]);
  for (const handler of handlers) {
    assert.equal(handler.closes, 1);
    assert.equal(handler.closed?.error?.code, 'LINK_LOST');
  }
  assert.deepEqual(
    end.transport.frames.map(({ type, length }) => [type, length]),
    [[GO_AWAY, 0]],
  );
});

for (const [code, reason] of [
  ['PROTOCOL_VIOLATION', 1],
  ['LIMIT_EXCEEDED', 2],
  ['INTERNAL', 2],
] as const) {
  test(`a close with ${code} ends streams with that code and says reason ${reason} to the peer`, () => {
    const end = victim();
    const handler = collect(end.session.openStream());
    const error = new TunnelError(code, 'why');
    end.session.close(error);
    assert.deepEqual(handler.closed, { error });
    assert.deepEqual(end.closes, [error]);
    assert.deepEqual(end.transport.frames.at(-1)?.length, reason);
  });
}

test('the go-away of a close does not wait behind what the transport does not take', async () => {
  const end = victim({ maxStreams: 1 });
  end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
  for (let id = 3; id < 43_000; id += 2) end.session.receive(frame(WINDOW_UPDATE, SYN, id));
  assert.equal(end.code(), 'open');
  end.session.close();
  assert.deepEqual(end.closes, [undefined]);
  assert.equal(end.transport.frames.at(-1)?.type, GO_AWAY);
  assert.equal(end.transport.frames.length, 1);
});

for (const moment of ['onData', 'onEnd', 'onDrain', 'onEndSent', 'onClose'] as const) {
  test(`a handler may close the session in ${moment}: once, and nothing is sent or called after it`, async () => {
    const end = victim({ drained: true });
    end.session.receive(frame(DATA, SYN, 1, { payload: Buffer.alloc(10) }));
    const [stream] = end.accepted;
    assert.ok(stream);
    const bystander = collect(end.session.openStream());
    const handler = Object.assign(new Collector(), { onEndSent: () => {} });
    let sentThen = -1;
    const original = handler[moment].bind(handler) as (argument?: unknown) => void;
    handler[moment] = (argument?: unknown) => {
      original(argument);
      end.session.close();
      if (sentThen < 0) sentThen = end.transport.frames.length;
    };
    stream.handler = handler;
    stream.write(Buffer.alloc(100_000));
    stream.end();
    stream.resume();
    await turn();
    await turn();
    end.session.receive(Buffer.concat([frame(DATA, FIN, 1), frame(PING, SYN, 0)]));
    await turn();
    assert.deepEqual(end.closes, [undefined]);
    assert.equal(end.transport.frames.length, sentThen);
    assert.equal(end.transport.frames.at(-1)?.type, GO_AWAY);
    assert.deepEqual([handler.closes, bystander.closes], [1, 1]);
    assert.equal(end.session.streamCount, 0);
  });
}

test('a transport that dies while it is given the last go-away ends the session once', () => {
  const end = victim();
  const error = new TunnelError('LINK_LOST', 'write failed');
  end.transport.onSend = () => end.session.transportClosed(error);
  end.session.close();
  assert.deepEqual(end.closes, [error]);
});

test('a session that a handler closes in the middle of a chunk reads no further', () => {
  let goAways = 0;
  const end = victim({
    onGoAway: () => {
      goAways += 1;
    },
  });
  end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
  const [stream] = end.accepted;
  assert.ok(stream);
  collect(stream).onData = () => end.session.close();
  const payload = Buffer.from('last');
  end.session.receive(
    Buffer.concat([frame(DATA, 0, 1, { payload }), frame(DATA, SYN, 3, { payload }), frame(GO_AWAY, 0, 0)]),
  );
  assert.deepEqual([end.accepted.length, goAways], [1, 0]);
});

test('a transport that dies while it is given a batch ends the session once', async () => {
  const end = victim({ batchBytes: 24 });
  const error = new TunnelError('LINK_LOST', 'write failed');
  end.transport.onSend = () => end.session.transportClosed(error);
  const handler = collect(end.session.openStream());
  for (let count = 0; count < 5; count += 1) end.session.ping();
  await turn();
  await turn();
  assert.deepEqual(end.closes, [error]);
  assert.deepEqual(handler.closed, { error });
  assert.equal(end.transport.batches.length, 1);
});

test('a session that closes with frames still due leaves no immediate behind', () => {
  const before = process.getActiveResourcesInfo();
  const end = victim();
  end.session.openStream().write(Buffer.from('due'));
  assert.notDeepEqual(process.getActiveResourcesInfo(), before);
  end.session.close();
  assert.deepEqual(process.getActiveResourcesInfo(), before);
});

test('a closed session ignores all that still comes', async () => {
  const end = victim();
  end.session.close();
  const sent = end.transport.batches.length;
  end.session.receive(frame(DATA, SYN, 1, { payload: Buffer.alloc(9) }));
  end.session.receive(Buffer.alloc(100, 0xff));
  end.session.sent();
  end.session.ping();
  end.session.goAway();
  await turn();
  assert.equal(end.accepted.length, 0);
  assert.equal(end.closes.length, 1);
  assert.equal(end.transport.batches.length, sent);
  assert.throws(() => end.session.openStream(), hasCode('LINK_LOST'));
});

test('a go-away lets open streams finish, and neither end opens new ones', async () => {
  const goAways: string[] = [];
  const pair = muxPair({
    left: { onGoAway: () => goAways.push('left') },
    right: { onGoAway: () => goAways.push('right') },
  });
  const stream = pair.left.openStream();
  const answer = collect(stream);
  stream.write(Buffer.from('before'));
  await quiet(pair);
  pair.right.goAway();
  pair.right.goAway();
  const racing = collect(pair.left.openStream());
  await quiet(pair);
  assert.deepEqual(goAways, ['left']);
  assert.equal(racing.closed?.error?.code, 'STREAM_RESET');
  assert.equal(pair.accepted.length, 1);
  for (const session of [pair.left, pair.right]) {
    assert.equal(session.open, true);
    assert.equal(session.accepting, false);
    assert.throws(() => session.openStream(), hasCode('RELAY_DRAINING'));
  }
  const [accepted] = pair.accepted;
  assert.ok(accepted);
  const request = collect(accepted);
  stream.write(Buffer.from(' and after'));
  stream.end();
  await request.end;
  accepted.end();
  assert.equal(await answer.close, undefined);
  assert.equal(request.content.toString(), 'before and after');
  assert.deepEqual(pair.closed, { left: 'open', right: 'open' });
});

test('both ends may say go-away; each hears of the other once', async () => {
  const goAways: string[] = [];
  const pair = muxPair({
    left: { onGoAway: () => goAways.push('left') },
    right: { onGoAway: () => goAways.push('right') },
  });
  pair.left.goAway();
  pair.right.goAway();
  await quiet(pair);
  pair.left.goAway();
  pair.right.goAway();
  await quiet(pair);
  assert.deepEqual(goAways.sort(), ['left', 'right']);
  assert.equal(pair.leftToRight.frames.filter((each) => each.type === GO_AWAY).length, 1);
  assert.equal(pair.rightToLeft.frames.filter((each) => each.type === GO_AWAY).length, 1);
});

test('a go-away that the peer repeats is heard once', () => {
  let goAways = 0;
  const end = victim({
    onGoAway: () => {
      goAways += 1;
    },
  });
  for (let count = 0; count < 5; count += 1) end.session.receive(frame(GO_AWAY, 0, 0));
  assert.equal(goAways, 1);
});

test('at maxStreams no stream can be opened until one is over', async () => {
  const { session } = victim({ maxStreams: 2 });
  const first = session.openStream();
  session.openStream();
  assert.equal(session.accepting, false);
  assert.throws(() => session.openStream(), hasCode('LIMIT_EXCEEDED'));
  first.reset();
  assert.equal(session.accepting, true);
  assert.equal(session.openStream().id, 6);
});

test('a session whose ids are used up opens no stream rather than one with an id of the past', async () => {
  const { session, transport } = victim({ firstStreamId: 0xffff_fffc, drained: true });
  session.openStream();
  session.openStream();
  assert.equal(session.accepting, false);
  assert.throws(() => session.openStream(), hasCode('LIMIT_EXCEEDED'));
  session.receive(frame(DATA, 0, 0xffff_fffe, { payload: Buffer.from('answer') }));
  await turn();
  assert.deepEqual(
    transport.frames.map((each) => each.id),
    [0xffff_fffc, 0xffff_fffe],
  );
  assert.equal(session.open, true);
});

test('the round trip is the least of late, and 0 until it was measured', async (t) => {
  let nowMs = 1_000;
  t.mock.method(performance, 'now', () => nowMs);
  const { session, transport } = victim({ drained: true });
  assert.equal(session.rttMs, 0);
  const answer = async (ms: number): Promise<void> => {
    session.ping();
    await turn();
    nowMs += ms;
    const ping = transport.frames.filter((each) => each.type === PING).at(-1);
    session.receive(frame(PING, 2, 0, { length: ping?.length ?? 0 }));
    session.receive(frame(PING, 2, 0, { length: ping?.length ?? 0 }));
  };
  await answer(50);
  assert.equal(session.rttMs, 50);
  await answer(20);
  for (let count = 0; count < 7; count += 1) await answer(40);
  assert.equal(session.rttMs, 20);
  await answer(40);
  assert.equal(session.rttMs, 40, 'eight samples later the old one is forgotten');
});

test('an answer to no ping of ours changes no round trip', () => {
  const { session } = victim();
  session.receive(frame(PING, 2, 0, { length: 0 }));
  session.ping();
  session.receive(frame(PING, 2, 0, { length: 99 }));
  assert.equal(session.rttMs, 0);
});

test('streams that end while the transport takes nothing are not kept until it does', async () => {
  const end = victim();
  end.session.receive(frame(WINDOW_UPDATE, SYN, 1));
  for (let count = 0; count < 20; count += 1) {
    end.session.ping();
    await turn();
  }
  const handlers = Array.from({ length: 200 }, () => {
    const stream = end.session.openStream();
    const handler = collect(stream);
    stream.write(Buffer.alloc(1000));
    stream.reset();
    return new WeakRef(handler);
  });
  const kept = (): number => handlers.filter((handler) => handler.deref() !== undefined).length;
  await collectedUntil(() => kept() === 0);
  assert.equal(kept(), 0);
  assert.equal(end.session.open, true);
});

test('a reset tells nobody but the peer: other streams go on', async () => {
  const { pair, ours, theirs } = await pairWithStream();
  const other = pair.left.openStream();
  const otherHandler = collect(other);
  other.write(Buffer.from('y'));
  await quiet(pair);
  pair.accepted[0]?.reset();
  await quiet(pair);
  assert.deepEqual([ours.closes, theirs.closes, otherHandler.closes], [1, 1, 0]);
  assert.ok(pair.rightToLeft.frames.some((each) => each.flags === RST));
});
