/** A load balancer for TCP in front of a relay, which puts a header in front of each connection's bytes. */
import { connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';
import { endConnections, listen } from './origins.js';

/** Forwards to a port of loopback; returns its own port, `listenPort` or a free one. */
export async function startTcpProxy(
  t: Pick<TestContext, 'after'>,
  port: number,
  header: string | Buffer,
  listenPort = 0,
): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (inbound) => {
    const outbound = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    outbound.write(header);
    inbound.pipe(outbound).pipe(inbound);
    inbound.on('close', () => outbound.destroy());
    outbound.on('close', () => inbound.destroy());
    outbound.on('error', () => inbound.destroy());
  });
  endConnections(t, server);
  return listen(t, server, listenPort);
}
