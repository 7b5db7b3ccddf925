/** A WebSocket peer by hand (RFC 6455): it can say what no library would, and it shows the bytes as they come. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export interface RawFrame {
  /** First byte: FIN, reserved bits and opcode. */
  readonly first: number;
  readonly headerBytes: number;
  readonly mask: Buffer | undefined;
  readonly payload: Buffer;
}

/** Reads a socket's bytes as HTTP head and WebSocket frames. */
export class RawReader {
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, piece]);
    });
  }

  /** The head of a request or response. */
  async head(): Promise<string> {
    let end = this.#bytes.indexOf('\r\n\r\n');
    while (end < 0) {
      await once(this.#socket, 'data');
      end = this.#bytes.indexOf('\r\n\r\n');
    }
    return this.#take(end + 4).toString('latin1');
  }

  async frame(): Promise<RawFrame> {
    const [first, second] = await this.#need(2, (bytes) => [bytes.readUInt8(0), bytes.readUInt8(1)] as const);
    const isLong = (second & 0x7f) === 126;
    const masked = (second & 0x80) !== 0;
    const headerBytes = 2 + (isLong ? 2 : 0) + (masked ? 4 : 0);
    const length = isLong ? await this.#need(4, (bytes) => bytes.readUInt16BE(2)) : second & 0x7f;
    await this.#need(headerBytes + length, () => undefined);
    const header = this.#take(headerBytes);
    return { first, headerBytes, mask: masked ? header.subarray(-4) : undefined, payload: this.#take(length) };
  }

  async #need<T>(count: number, read: (bytes: Buffer) => T): Promise<T> {
    while (this.#bytes.length < count) await once(this.#socket, 'data');
    return read(this.#bytes);
  }

  #take(count: number): Buffer {
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }
}

/** A client's opening handshake. */
export function openingRequest(subprotocol = 'sallyport.v1'): string {
  return [
    'GET /.sallyport/link HTTP/1.1',
    'Host: localhost',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${Buffer.alloc(16, 7).toString('base64')}`,
    `Sec-WebSocket-Protocol: ${subprotocol}`,
    '\r\n',
  ].join('\r\n');
}

/** The answer of a server that accepts the handshake in `head`. */
export function openingResponse(head: string, subprotocol = 'sallyport.v1'): string {
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1] ?? '';
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64');
  return [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${accept}`,
    `Sec-WebSocket-Protocol: ${subprotocol}`,
    '\r\n',
  ].join('\r\n');
}

export const TEXT = 0x81;
export const BINARY = 0x82;
export const CLOSE = 0x88;
export const PING = 0x89;
export const PONG = 0x8a;

/** One frame; clients must mask (here with zeros). */
export function rawFrame(first: number, payload: Buffer, masked: boolean): Buffer {
  const length = payload.length;
  const header = length < 126 ? Buffer.from([first, length]) : Buffer.from([first, 126, length >>> 8, length & 0xff]);
  if (masked) header[1] = (header[1] ?? 0) | 0x80;
  return Buffer.concat([header, masked ? Buffer.alloc(4) : Buffer.alloc(0), payload]);
}
