/** A way to a port of this machine that keeps whoever comes, a CA for instance, waiting until the test opens it. */
import { connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';
import { endConnections, listen } from './origins.js';

export class Gate {
  #arrived: () => void = () => {};
  #open: () => void = () => {};
  #isOpen: Promise<void> = Promise.resolve();

  /** Listens on the port `from`, and leads to the port `to`; open at first. */
  static async start(t: Pick<TestContext, 'after'>, from: number, to: number): Promise<Gate> {
    const gate = new Gate();
    const server = createServer(async (inbound) => {
      inbound.on('error', () => inbound.destroy());
      gate.#arrived();
      await gate.#isOpen;
      const outbound = connect(to, '127.0.0.1');
      outbound.on('error', () => inbound.destroy());
      inbound.on('close', () => outbound.destroy());
      inbound.pipe(outbound).pipe(inbound);
    });
    endConnections(t, server);
    await listen(t, server, from);
    return gate;
  }

  /** Closes it; resolves when somebody stands before it. */
  close(): Promise<void> {
    this.#isOpen = new Promise((resolve) => {
      this.#open = resolve;
    });
    return new Promise((resolve) => {
      this.#arrived = resolve;
    });
  }

  open(): void {
    this.#open();
  }
}
