/**
 * DNS exchange: one message to a server and its answer, over TCP (RFC 7766), which every authoritative server must speak
 * and which nobody can answer from aside. Owns a connection while it waits.
 */
import { connect } from 'node:net';
import { withTimeLimit } from './time-limit.js';

export interface DnsServer {
  readonly host: string;
  readonly port: number;
}

/** The answer's bytes. @throws the system's error, or an Error that says what was wrong. */
export function exchange(server: DnsServer, message: Buffer, timeoutMs: number): Promise<Buffer> {
  const late = () => new Error(`no answer in ${timeoutMs} ms`);
  return withTimeLimit(timeoutMs, late, undefined, async (signal) => {
    const socket = connect(server);
    const onAbort = () => socket.destroy(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length, 0);
      socket.write(Buffer.concat([length, message]));
      return await readFramed(socket);
    } finally {
      socket.destroy();
    }
  });
}

async function readFramed(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  let held = Buffer.alloc(0);
  for await (const piece of pieces) {
    held = Buffer.concat([held, piece]);
    if (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) return held.subarray(2, 2 + held.readUInt16BE(0));
  }
  throw new Error('the connection was closed before an answer');
}
