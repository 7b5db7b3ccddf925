/** TCP ports of programs that cannot be told to choose one themselves, and say that they listen a little before they do. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../shared/errors.js';

/** Below those that Linux gives to outgoing connections: one of them would take the port before its program does. */
const [FIRST_PORT, LAST_PORT] = [10_000, 32_000];
const START_MS = 20_000;
const LOOK_EVERY_MS = 10;

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    const server = createServer().listen(port, '127.0.0.1');
    if (!(await happens(once(server, 'listening')))) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Resolves once somebody accepts connections on this port of loopback; rejects with INTERNAL after 20 s. */
export async function accepting(port: number): Promise<void> {
  const endAtMs = performance.now() + START_MS;
  while (!(await accepts(port))) {
    if (performance.now() > endAtMs) throw new TunnelError('INTERNAL', `Cannot go on: nothing accepts on port ${port}`);
    await delay(LOOK_EVERY_MS);
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const isOpen = await happens(once(socket, 'connect'));
  socket.destroy();
  return isOpen;
}

function happens(event: Promise<unknown>): Promise<boolean> {
  return event.then(
    () => true,
    () => false,
  );
}
