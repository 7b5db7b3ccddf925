/**
 * WebSocketKey: the part of the WebSocket handshake that exists in HTTP/1.1 only (RFC 6455 §4.2.2): over HTTP/2 the
 * visitor says no key, so whoever asks the origin for the Upgrade makes one and checks the answer.
 */
import { createHash, randomBytes } from 'node:crypto';
import { UNTIL_CLOSE } from '../http/body.js';
import type { ResponseHead } from '../http/response-head.js';

const KEY_BYTES = 16;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export function newWebSocketKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

/** The Sec-WebSocket-Accept by which an origin shows that it understood this key. */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}${GUID}`).digest('base64');
}

/** The head of a 101 as HTTP/2 says it: 200, and no Sec-WebSocket-Accept. */
export function withoutAccept(head: ResponseHead): ResponseHead {
  const isKept = (name: string) => name.toLowerCase() !== 'sec-websocket-accept';
  return {
    ...head,
    status: 200,
    names: head.names.filter(isKept),
    values: head.values.filter((_, index) => isKept(head.names[index] ?? '')),
    body: UNTIL_CLOSE,
  };
}
