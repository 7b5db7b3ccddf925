/** Whose the bytes of a link are: any frames, split anywhere. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LinkReader } from '../shared/link-reader.js';
import { LinkServer } from './support/link-pair.js';
import { BINARY, CLOSE, PING, rawFrame, TEXT } from './support/raw-web-socket.js';

const MASKED = 0x80;
const ROLES = ['relay', 'client'] as const;

interface FrameToSend {
  readonly first: number;
  readonly payload: Uint8Array;
  /** Undefined: unmasked. */
  readonly mask: Uint8Array | undefined;
  readonly longLength: boolean;
}

function encode({ first, payload, mask, longLength }: FrameToSend): Buffer {
  const maskBit = mask === undefined ? 0 : MASKED;
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(BigInt(payload.length));
  const short = payload.length < 126;
  const code = longLength ? 127 : short ? payload.length : 126;
  const lengthBytes = longLength ? length : short ? Buffer.alloc(0) : length.subarray(6);
  const masked = payload.map((byte, at) => byte ^ (mask?.[at % 4] ?? 0));
  return Buffer.concat([Buffer.of(first, maskBit | code), lengthBytes, mask ?? Buffer.alloc(0), masked]);
}

/** What each side gets, in order: runs of `b` bytes and `o` others. */
interface Heard {
  readonly bytes: Buffer;
  readonly other: Buffer;
  readonly order: string;
}

/** As a reader without buffers, states or splits would do it. */
function expected(role: 'relay' | 'client', frames: readonly FrameToSend[]): Heard {
  const [bytes, other]: [Uint8Array[], Uint8Array[]] = [[], []];
  let order = '';
  let inFragments = false;
  for (const frame of frames) {
    const rightMask = (frame.mask !== undefined) === (role === 'relay');
    const ours = frame.first === BINARY && rightMask && !frame.longLength && !inFragments;
    (ours ? bytes : other).push(ours ? frame.payload : encode(frame));
    order += ours ? 'b' : 'o';
    const opcode = frame.first & 0x0f;
    if (!ours && opcode < 8) inFragments = (frame.first & 0x80) === 0;
    if (opcode === 8) break;
  }
  return { bytes: Buffer.concat(bytes), other: Buffer.concat(other), order: order.replaceAll(/(.)\1+/g, '$1') };
}

function read(role: 'relay' | 'client', wire: Buffer, pieceBytes: readonly number[]): Heard {
  const [bytes, other]: [Buffer[], Buffer[]] = [[], []];
  let order = '';
  const owner = {
    onBytes: (piece: Buffer) => {
      bytes.push(Buffer.from(piece));
      order += 'b';
    },
    onOther: (piece: Buffer) => {
      other.push(Buffer.from(piece));
      if (piece.length > 0) order += 'o';
    },
  };
  const reader = new LinkReader(owner, role);
  let at = 0;
  for (let turn = 0; at < wire.length; turn += 1) {
    const end = at + (pieceBytes[turn % pieceBytes.length] ?? 1);
    reader.read(Buffer.from(wire.subarray(at, end)));
    at = end;
  }
  return { bytes: Buffer.concat(bytes), other: Buffer.concat(other), order: order.replaceAll(/(.)\1+/g, '$1') };
}

const frameToSend = fc.record<FrameToSend>({
  first: fc.oneof(
    { arbitrary: fc.constant(BINARY), weight: 5 },
    { arbitrary: fc.constantFrom(TEXT, PING, 0x02, 0x00, 0x80, 0xc2, 0x83), weight: 3 },
    { arbitrary: fc.constant(CLOSE), weight: 1 },
  ),
  payload: fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ minLength: 120, maxLength: 300 })),
  mask: fc.option(fc.oneof(fc.constant(new Uint8Array(4)), fc.uint8Array({ minLength: 4, maxLength: 4 })), {
    nil: undefined,
    freq: 2,
  }),
  longLength: fc.boolean(),
});

for (const role of ROLES) {
  test(`at the ${role}'s end: whole binary messages are the mux's, all else is ws's, however the bytes are split`, () => {
    fc.assert(
      fc.property(
        fc.array(frameToSend, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 8 }),
        (frames, pieceBytes) => {
          const wire = Buffer.concat(frames.map(encode));
          assert.deepEqual(read(role, wire, pieceBytes), expected(role, frames));
          assert.deepEqual(read(role, wire, [wire.length || 1]), expected(role, frames));
        },
      ),
      { numRuns: 500 },
    );
  });
}

test('a reader that was stopped by whoever it tells says nothing more, not even of the same chunk', () => {
  const heard: string[] = [];
  const reader: LinkReader = new LinkReader(
    {
      onBytes: (piece) => {
        heard.push(piece.toString());
        reader.stop();
      },
      onOther: () => assert.fail('stopped'),
    },
    'client',
  );
  reader.read(Buffer.concat([rawFrame(BINARY, Buffer.from('one'), false), rawFrame(TEXT, Buffer.from('two'), false)]));
  reader.read(rawFrame(BINARY, Buffer.from('three'), false));
  assert.deepEqual(heard, ['one']);
});

test('a binary message that its sender fragmented arrives all the same, in its place', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket } = await server.rawClient(t);
  const { log } = await server.accepted();
  const parts = [rawFrame(BINARY & 0x7f, Buffer.from('fra'), true), rawFrame(0x80, Buffer.from('gments '), true)];
  socket.write(
    Buffer.concat([
      rawFrame(BINARY, Buffer.from('before '), true),
      ...parts,
      rawFrame(BINARY, Buffer.from('after'), true),
    ]),
  );
  await log.until(({ byteCount }) => byteCount === 22);
  assert.equal(Buffer.concat(log.chunks).toString(), 'before fragments after');
});

test('a connection that breaks while its link is paused in the middle of a message was lost, not misused', async (t) => {
  const server = await LinkServer.listen(t, 'http');
  const { socket: peer } = await server.rawClient(t);
  const { link, log, socket } = await server.accepted();
  const message = rawFrame(BINARY, Buffer.alloc(60_000, 0xff), true);
  peer.write(message.subarray(0, 20_000));
  await log.until(({ byteCount }) => byteCount === 20_000 - link.headroomBytes - 4);
  link.handler = undefined;
  peer.write(message.subarray(20_000, 25_000));
  while (socket.readableLength === 0) await new Promise((resolve) => setImmediate(resolve));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  peer.resetAndDestroy();
  await closed;
  link.handler = log;
  assert.equal((await log.closed()).code, 'LINK_LOST');
});
