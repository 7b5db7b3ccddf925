/** HTTP/2 by hand (RFC 9113): frames and header blocks as a test wants them, right or wrong, and those that come back. */
import type { TestContext } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import { APP, talkToRelay } from './carry.js';
import type { Conversation } from './conversation.js';
import { within } from './within.js';
import type { RunningRelay } from './world.js';

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 0x1;
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const HEADER_BYTES = 9;

export interface Http2Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export type Fields = readonly (readonly [name: string, value: string])[];

/** The least that is a request. */
export const GET: Fields = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', APP],
  [':path', '/good'],
];

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** A header block without tables and without Huffman (RFC 7541 §6.2.2): whatever the fields are, this says them. */
export function block(fields: Fields): Buffer {
  return Buffer.concat(fields.map(([name, value]) => Buffer.concat([Buffer.of(0), text(name), text(value)])));
}

/** A field that goes into the dynamic table (§6.2.1); index 62 means it from then on. */
export function remembered(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.of(0x40), text(name), text(value)]);
}

/** The newest entry of the dynamic table, in one byte (§6.1). */
export const NEWEST_ENTRY = 0x80 | 62;

/** A whole request in one frame. */
export function headers(stream: number, fields: Fields = GET, flags = END_STREAM): Buffer {
  return frame(HEADERS, END_HEADERS | flags, stream, block(fields));
}

export function reset(stream: number, code = 8): Buffer {
  return frame(RST_STREAM, 0, stream, word(code));
}

export function windowUpdate(stream: number, bytes: number): Buffer {
  return frame(WINDOW_UPDATE, 0, stream, word(bytes));
}

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A visitor who says every frame itself. */
export class RawHttp2Visitor {
  readonly conversation: Conversation;
  /** Ids for new requests. */
  #nextStream = 1;

  private constructor(conversation: Conversation) {
    this.conversation = conversation;
  }

  /** After the TLS handshake; with `preface` the preface and empty SETTINGS have been said. Others go to tls.connect. */
  static async connect(
    t: TestContext,
    relay: RunningRelay,
    { preface = true, ...options }: ConnectionOptions & { preface?: boolean } = {},
  ): Promise<RawHttp2Visitor> {
    const talk = talkToRelay(t, relay, { ALPNProtocols: ['h2'], ...options });
    const conversation = await within('TLS handshake', talk);
    if (preface) conversation.send(PREFACE, frame(SETTINGS, 0, 0));
    return new RawHttp2Visitor(conversation);
  }

  /** The id of the next request. */
  nextStream(): number {
    this.#nextStream += 2;
    return this.#nextStream - 2;
  }

  send(...frames: readonly (Buffer | string)[]): void {
    if (!this.conversation.socket.destroyed) this.conversation.send(...frames);
  }

  /** The next frame. @throws when the connection ends before. */
  async frame(): Promise<Http2Frame> {
    const header = await this.conversation.take(HEADER_BYTES);
    const payload = await this.conversation.take(header.readUIntBE(0, 3));
    return { type: header[3] ?? 0, flags: header[4] ?? 0, stream: header.readUInt32BE(5) & 0x7fff_ffff, payload };
  }

  /** The next frame for which this holds; others are dropped. */
  async find(isWanted: (frame: Http2Frame) => boolean): Promise<Http2Frame> {
    for (;;) {
      const next = await this.frame();
      if (isWanted(next)) return next;
    }
  }

  /**
   * Says the same again and again, as fast as the peer reads, until the connection is ended by the peer. Resolves with
   * the error code of GOAWAY, if there was one.
   */
  async flood(next: () => Buffer, ms = 15_000): Promise<number | undefined> {
    const { socket } = this.conversation;
    let over = false;
    const ended = this.goAwayCode().finally(() => {
      over = true;
    });
    const saying = (async () => {
      while (!over && !socket.destroyed) await new Promise((resolve) => socket.write(next(), resolve));
    })();
    const code = await within('the end of the flood', ended, ms);
    socket.destroy();
    await saying;
    return code;
  }

  /** Waits for the peer to end the connection; the error code of its last GOAWAY, if there was one. */
  async goAwayCode(): Promise<number | undefined> {
    let code: number | undefined;
    try {
      for (;;) {
        const next = await this.frame();
        if (next.type === GOAWAY) code = next.payload.readUInt32BE(4);
      }
    } catch {
      return code;
    }
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([integer(bytes.length), bytes]);
}

/** A length with a prefix of seven bits (RFC 7541 §5.1). */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.of(value);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
