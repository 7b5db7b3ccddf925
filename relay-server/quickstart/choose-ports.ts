/**
 * ChoosePorts: decides on which loopback ports the quickstart listens: the first free one of each wish, else any free one.
 * Owns nothing once it returns.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';

/** One port for each wish, in order and all different; a wish is a list of ports, the dearest first. */
export async function choosePorts(wishes: readonly (readonly number[])[]): Promise<number[]> {
  const servers: Server[] = [];
  try {
    // All stay open until the last one is found, so that no port is given away twice.
    for (const wish of wishes) servers.push(await listenOnFirst([...wish, 0]));
    return servers.map((server) => (server.address() as AddressInfo).port);
  } finally {
    await Promise.all(servers.map(close));
  }
}

async function listenOnFirst([port = 0, ...others]: readonly number[]): Promise<Server> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return server;
  } catch (error) {
    if (others.length === 0) throw error;
    return listenOnFirst(others);
  }
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
