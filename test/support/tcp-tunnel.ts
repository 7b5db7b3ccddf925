/** A raw TCP tunnel on a public port of its own, and visitors of it. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { freePort } from '../../bench/free-port.js';
import { Conversation } from './conversation.js';
import { RelayHome, type RelayWorldOptions, type RunningClient, type RunningRelay } from './world.js';

export interface TcpTunnel {
  readonly relay: RunningRelay;
  readonly client: RunningClient;
  /** The public port. */
  readonly port: number;
}

/** @param more keys of the tunnel, such as `proxy_protocol: v1`. */
export async function startTcpTunnel(
  t: TestContext,
  origin: string,
  more = '',
  options: RelayWorldOptions = {},
): Promise<TcpTunnel> {
  const port = await freePort();
  const relay = await new RelayHome(t, { tcpPorts: [String(port)], ...options }).start(t);
  const tunnel = `{ name: raw, tcp_port: ${port}, origin: "${origin}"${more === '' ? '' : `, ${more}`} }`;
  const client = await relay.client(t, [tunnel]);
  return { relay, client, port };
}

/** A connection to a port of loopback, ready to speak. Rejects with ECONNREFUSED when nobody listens. */
export async function connectTcp(t: Pick<TestContext, 'after'>, port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
  t.after(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

export async function talkTcp(t: Pick<TestContext, 'after'>, port: number): Promise<Conversation> {
  return new Conversation(await connectTcp(t, port));
}
