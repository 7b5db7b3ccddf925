/**
 * SampleEcho: a WebSocket that sends every message back; the sample page measures its round trip with it.
 *
 * Only what that needs of RFC 6455: whole messages up to 65,535 bytes, ping, close. Written by hand because the door
 * to the `ws` package is our link, and because a second implementation is a better witness than our own.
 *
 * Owns: nothing. Owned by: SampleOrigin, which destroys the sockets.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** RFC 6455 §1.3. */
const HANDSHAKE_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const TEXT = 0x1;
const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const CLOSE_PROTOCOL_ERROR = 1002;
const CLOSE_UNSUPPORTED = 1003;
const CLOSE_TOO_BIG = 1009;

interface Frame {
  readonly final: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
  /** Bytes of the whole frame on the wire. */
  readonly wireBytes: number;
}

/** Answers an upgrade request and echoes until the peer closes; `head` is what came behind the request. */
export function acceptEcho(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const key = request.headers['sec-websocket-key'];
  if (request.headers.upgrade?.toLowerCase() !== 'websocket' || typeof key !== 'string') {
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    return;
  }
  const accept = createHash('sha1').update(`${key}${HANDSHAKE_GUID}`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let pending = head;
  const onData = (chunk: Buffer): void => {
    pending = echoFrames(Buffer.concat([pending, chunk]), socket);
  };
  socket.on('data', onData);
  onData(Buffer.alloc(0));
}

/** Answers every whole frame in `bytes` and returns the rest. */
function echoFrames(bytes: Buffer, socket: Duplex): Buffer {
  let rest = bytes;
  while (!socket.writableEnded) {
    const frame = readFrame(rest);
    if (frame === undefined) return rest;
    if (typeof frame === 'number') endWith(socket, frame);
    else {
      answerFrame(frame, socket);
      rest = rest.subarray(frame.wireBytes);
    }
  }
  return Buffer.alloc(0);
}

function answerFrame(frame: Frame, socket: Duplex): void {
  if (frame.opcode === CLOSE) socket.end(writeFrame(CLOSE, frame.payload));
  else if (frame.opcode === PING) socket.write(writeFrame(PONG, frame.payload));
  else if (frame.opcode === PONG) return;
  else if (frame.final && (frame.opcode === TEXT || frame.opcode === BINARY))
    socket.write(writeFrame(frame.opcode, frame.payload));
  else endWith(socket, CLOSE_UNSUPPORTED);
}

function endWith(socket: Duplex, closeCode: number): void {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(closeCode);
  socket.end(writeFrame(CLOSE, payload));
}

/** The first frame of `bytes` (RFC 6455 §5.2), `undefined` while it is incomplete, or the close code it deserves. */
function readFrame(bytes: Buffer): Frame | number | undefined {
  if (bytes.length < 2) return undefined;
  const [first = 0, second = 0] = bytes;
  if ((second & 0x80) === 0 || (first & 0x70) !== 0) return CLOSE_PROTOCOL_ERROR;
  const shortLength = second & 0x7f;
  if (shortLength === 127) return CLOSE_TOO_BIG;
  const maskAt = shortLength === 126 ? 4 : 2;
  if (bytes.length < maskAt + 4) return undefined;
  const length = shortLength === 126 ? bytes.readUInt16BE(2) : shortLength;
  const wireBytes = maskAt + 4 + length;
  if (bytes.length < wireBytes) return undefined;
  const mask = bytes.subarray(maskAt, maskAt + 4);
  const payload = Buffer.from(bytes.subarray(maskAt + 4, wireBytes));
  for (let at = 0; at < payload.length; at++) payload[at] = (payload[at] ?? 0) ^ (mask[at & 3] ?? 0);
  return { final: (first & 0x80) !== 0, opcode: first & 0x0f, payload, wireBytes };
}

function writeFrame(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : 4);
  head[0] = 0x80 | opcode;
  head[1] = Math.min(payload.length, 126);
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}
