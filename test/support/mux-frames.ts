/** Yamux frames by hand, straight from the specification: tests must not trust the code that they test. */

export const DATA = 0;
export const WINDOW_UPDATE = 1;
export const PING = 2;
export const GO_AWAY = 3;
export const SYN = 1;
export const ACK = 2;
export const FIN = 4;
export const RST = 8;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly length: number;
  readonly payload: Buffer;
}

/** One frame; `payload` sets the length unless `length` is given. */
export function frame(
  type: number,
  flags: number,
  id: number,
  content: { length?: number; payload?: Buffer; version?: number } = {},
): Buffer {
  const payload = content.payload ?? Buffer.alloc(0);
  const header = Buffer.alloc(12);
  header.writeUInt8(content.version ?? 0, 0);
  header.writeUInt8(type, 1);
  header.writeUInt16BE(flags, 2);
  header.writeUInt32BE(id, 4);
  header.writeUInt32BE(content.length ?? payload.length, 8);
  return Buffer.concat([header, payload]);
}

/** Every frame of a byte string that ends with a whole one. */
export function readFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  while (at < bytes.length) {
    const type = bytes.readUInt8(at + 1);
    const length = bytes.readUInt32BE(at + 8);
    const payloadBytes = type === DATA ? length : 0;
    const payload = bytes.subarray(at + 12, at + 12 + payloadBytes);
    frames.push({ type, flags: bytes.readUInt16BE(at + 2), id: bytes.readUInt32BE(at + 4), length, payload });
    at += 12 + payloadBytes;
  }
  return frames;
}

/** Payload bytes of all Data frames, of one stream or of all. */
export function dataBytes(frames: readonly Frame[], id?: number): number {
  const wanted = frames.filter((each) => each.type === DATA && (id === undefined || each.id === id));
  return wanted.reduce((sum, each) => sum + each.length, 0);
}
