/** TCP ports of programs that cannot be told to choose one themselves, and say that they listen a little before they do. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { until } from './within.js';

/** Below those that Linux gives to outgoing connections: one of them would take the port before its program does. */
const [FIRST_PORT, LAST_PORT] = [10_000, 32_000];

const START_MS = 10_000;

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Resolves once somebody accepts connections there. */
export async function accepting(port: number): Promise<void> {
  await until(START_MS, `listening on ${port}`, async () => {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => undefined,
    );
    socket.destroy();
    return isOpen;
  });
}
