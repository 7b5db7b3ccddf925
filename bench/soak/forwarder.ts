/**
 * Forwarder: the network between client and relay. It can become a black hole: then it takes connections and bytes and
 * passes nothing on, and nobody is told, as when a router loses its state.
 *
 * Owns: its server and sockets. Owned by: SoakWorld.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class Forwarder {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isHole = false;

  private constructor(relayPort: number) {
    this.#server = createServer((client) => this.#join(client, connect(relayPort, '127.0.0.1')));
  }

  static async listen(relayPort: number): Promise<Forwarder> {
    const forwarder = new Forwarder(relayPort);
    forwarder.#server.listen(0, '127.0.0.1');
    await once(forwarder.#server, 'listening');
    return forwarder;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections of before stay dead for ever; those that come after `restore` work. */
  swallow(): void {
    this.#isHole = true;
    for (const pair of this.#pairs) for (const socket of pair) socket.pause();
  }

  restore(): void {
    this.#isHole = false;
  }

  close(): void {
    this.#server.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  #join(client: Socket, relay: Socket): void {
    const pair = [client, relay] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [relay, client] as const]) {
      from.on('data', (bytes) => {
        if (!to.write(bytes)) from.pause();
      });
      to.on('drain', () => {
        if (!this.#isHole) from.resume();
      });
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
    if (this.#isHole) for (const socket of pair) socket.pause();
  }
}
