/** The two ends of a TLS connection taken apart: the bytes of a ClientHello, and plain sockets that say what they like. */
import { once } from 'node:events';
import { connect, type TcpNetConnectOpts } from 'node:net';
import type { TestContext } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { connectVisitor } from './carry.js';
import { Conversation } from './conversation.js';
import { startRawOrigin } from './origins.js';
import type { RunningRelay } from './world.js';

/** What a real client sends first when it asks for this hostname; without SNI for ''. */
export async function clientHello(t: TestContext, servername: string, ALPNProtocols = ['http/1.1']): Promise<Buffer> {
  const listener = await startRawOrigin(t);
  const socket = connectTls({ host: '127.0.0.1', port: listener.port, servername, ALPNProtocols });
  socket.on('error', () => {});
  const connection = await listener.connection(0);
  const head = await connection.take(5);
  const body = await connection.take(head.readUInt16BE(3));
  socket.destroy();
  return Buffer.concat([head, body]);
}

/** A plain TCP connection to a port of the relay. */
export async function connectPlain(
  t: Pick<TestContext, 'after'>,
  port: number,
  options: Partial<TcpNetConnectOpts> = {},
): Promise<Conversation> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true, ...options });
  t.after(() => void socket.destroy());
  const connection = new Conversation(socket);
  await once(socket, 'connect');
  return connection;
}

/** A visitor with another address of loopback, ready to speak. Linux has all of 127.0.0.0/8. */
export function connectFrom(t: TestContext, relay: RunningRelay, localAddress: string): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: relay.port('https'), localAddress });
  // Ended through its TLS socket alone: Node (20.20) crashes when the socket beneath goes first.
  return connectVisitor(t, relay, { socket });
}
