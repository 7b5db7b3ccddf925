/** A TCP proxy on loopback that counts: in front of a relay it tells how often one client tried to reach it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';

export interface CountingProxy {
  readonly port: number;
  /** Connections so far. */
  readonly count: number;
}

/** Passes connections on to `target` on loopback until the test ends; what the target refuses is reset. */
export async function startCountingProxy(t: TestContext, target: number): Promise<CountingProxy> {
  let count = 0;
  const server = createServer((near) => {
    count += 1;
    const far = connect(target, '127.0.0.1');
    const end = () => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    near.pipe(far).pipe(near);
    t.after(end);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return {
    port: (server.address() as AddressInfo).port,
    get count() {
      return count;
    },
  };
}

/** A port of loopback that is free now, for a server that must come back at the same place. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
