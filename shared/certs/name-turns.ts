/**
 * NameTurns: acts on the same name come one after the other, in the order in which they were asked for; acts on different
 * names do not wait for each other. Owns nothing but the order. Owned by: a solver.
 */
export class NameTurns {
  /** Of each name, the end of the act that was asked for last. */
  readonly #newest = new Map<string, Promise<void>>();

  /** Resolves when all earlier acts on this name have ended, with what ends this one. */
  async begin(name: string): Promise<() => void> {
    const before = this.#newest.get(name);
    let resolve = () => {};
    const ended = new Promise<void>((onEnd) => {
      resolve = onEnd;
    });
    this.#newest.set(name, ended);
    await before;
    return () => {
      if (this.#newest.get(name) === ended) this.#newest.delete(name);
      resolve();
    };
  }
}
