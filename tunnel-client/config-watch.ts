/**
 * ConfigWatch: notices that a config file has changed. It looks once a second, because that works on every disk and for
 * every way of saving, and it calls only when the file has been the same for one more look: an editor that is still
 * writing must not cost a tunnel.
 *
 * Owns: one timer. Owned by: the verb `tunnel up`.
 */
import { statSync } from 'node:fs';

const INTERVAL_MS = 1_000;

export interface ConfigWatchOptions {
  readonly onChange: () => void;
  /** It was taken away, and is not merely being replaced; once it is back, `onChange` follows. */
  readonly onGone?: () => void;
  /** How often to look; 1 s when left out. */
  readonly intervalMs?: number;
}

export class ConfigWatch {
  readonly #path: string;
  readonly #timer: NodeJS.Timeout;
  #known: string;
  #seen: string;

  constructor(path: string, { onChange, onGone = () => {}, intervalMs = INTERVAL_MS }: ConfigWatchOptions) {
    this.#path = path;
    this.#known = stampOf(path);
    this.#seen = this.#known;
    this.#timer = setInterval(() => this.#look(onChange, onGone), intervalMs);
  }

  /** The file as it is now has been read: what changed until here needs no call. */
  catchUp(): void {
    this.#known = stampOf(this.#path);
    this.#seen = this.#known;
  }

  /** Safe any number of times. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #look(onChange: () => void, onGone: () => void): void {
    const stamp = stampOf(this.#path);
    const isSettled = stamp === this.#seen;
    this.#seen = stamp;
    // A file that is away for a moment is being replaced.
    if (!isSettled || stamp === this.#known) return;
    this.#known = stamp;
    if (stamp === '') onGone();
    else onChange();
  }
}

/** Identity, size and times: a replaced or edited file always has another one. */
function stampOf(path: string): string {
  try {
    const stats = statSync(path, { bigint: true });
    const { ino, size, mtimeNs, ctimeNs } = stats;
    // Reading a pipe or a device could take for ever.
    if (!stats.isFile()) return '';
    return `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch {
    return '';
  }
}
