/** A TCP proxy on loopback that counts: in front of a relay it tells how often one client tried to reach it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export class CountingProxy {
  readonly port: number;
  /** Connections so far. */
  count = 0;
  readonly #target: number;
  readonly #open = new Set<Socket>();
  readonly #far = new Set<Socket>();
  #held: Socket[] | undefined;

  private constructor(port: number, target: number) {
    this.port = port;
    this.#target = target;
  }

  /** Passes connections on to `target` on loopback until the test ends; what the target refuses is reset. */
  static async start(t: TestContext, target: number): Promise<CountingProxy> {
    const server = createServer((socket) => proxy.#accept(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new CountingProxy((server.address() as AddressInfo).port, target);
    t.after(() => {
      server.close();
      for (const socket of proxy.#open) socket.destroy();
    });
    return proxy;
  }

  /** Cuts the oldest connection that is open, with a reset. */
  cut(): void {
    const [oldest] = this.#open;
    oldest?.resetAndDestroy();
  }

  /** From now on nothing moves on the connections that are open; neither end is told. */
  freeze(): void {
    for (const socket of this.#open) socket.unpipe().pause();
    for (const socket of this.#far) socket.unpipe().pause();
  }

  /** From now on nothing moves on the oldest connection that is open; neither end is told. */
  freezeOldest(): void {
    const [near] = this.#open;
    const [far] = this.#far;
    for (const socket of [near, far]) socket?.unpipe().pause();
  }

  /** From now on new connections are accepted and then nothing happens to them, until `letGo`. */
  hold(): void {
    this.#held ??= [];
  }

  letGo(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const socket of held) this.#pass(socket);
  }

  #accept(near: Socket): void {
    this.count += 1;
    this.#open.add(near);
    near.on('error', () => {}).once('close', () => this.#open.delete(near));
    if (this.#held === undefined) this.#pass(near);
    else this.#held.push(near);
  }

  #pass(near: Socket): void {
    const far = connect(this.#target, '127.0.0.1');
    this.#far.add(far);
    far
      .on('error', () => {})
      .once('close', () => {
        this.#far.delete(far);
        near.destroy();
      });
    near.once('close', () => far.destroy());
    near.pipe(far).pipe(near);
  }
}
