/**
 * ProbeListener: asks whether a visitor would be served right now, by being one: a TCP connection to the relay's own
 * port and a TLS handshake for its own name. Any answer is a sign of life, a refusal as well: what must not happen is
 * that nobody is there, or that nothing comes back.
 */
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { splitHostAndPort } from '../../shared/address.js';

const ANSWER_MS = 5_000;
const LOOPBACKS: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

export interface ProbeOptions {
  readonly serverName: string;
  /** The relay trusts loopback to send one, so it waits for it. */
  readonly startWithProxyHeader: boolean;
}

/** Rejects when nobody accepts at `address` (`host:port`), or when nothing comes back in time. */
export function probeListener(address: string, { serverName, startWithProxyHeader }: ProbeOptions): Promise<void> {
  const { host = '', port } = splitHostAndPort(address) ?? {};
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: LOOPBACKS.get(host) ?? host, port: Number(port) });
    const deadline = setTimeout(() => finish(new Error(`no answer from ${address} within ${ANSWER_MS} ms`)), ANSWER_MS);
    const finish = (error?: Error) => {
      clearTimeout(deadline);
      socket.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    socket.on('error', (error) => finish(socket.connecting ? error : undefined));
    socket.once('connect', () => {
      if (startWithProxyHeader) socket.write('PROXY UNKNOWN\r\n');
      // Nothing is sent to whoever that is: its certificate does not matter.
      const tls = connectTls({ socket, servername: serverName, rejectUnauthorized: false });
      tls.on('error', () => finish());
      tls.once('secureConnect', () => finish());
      tls.once('close', () => finish());
    });
  });
}
