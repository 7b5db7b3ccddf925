/** A port of loopback that swallows connection attempts: nobody answers, nobody refuses. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import { startNode } from './node-process.js';
import { until } from './within.js';

const LISTEN = `
  import { createServer } from 'node:net';
  const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 });
  server.on('listening', () => console.log(server.address().port));
`;

/**
 * A frozen process listens and its queue is full, so the system drops every further SYN (Linux, tcp_abort_on_overflow
 * 0). Resolves with the port.
 */
export async function startBlackHole(t: TestContext): Promise<number> {
  const listener = startNode(t, LISTEN, []);
  const port = Number(await listener.line());
  listener.child.kill('SIGSTOP');
  await until('black hole', async () => ((await connects(t, port)) ? undefined : true));
  return port;
}

/** Whether one more connection gets through; it stays open then. */
async function connects(t: TestContext, port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  const stop = AbortSignal.timeout(300);
  try {
    await once(socket, 'connect', { signal: stop });
    return true;
  } catch {
    return false;
  }
}
