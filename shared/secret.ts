/**
 * Secret: text that must never be printed. Logs, JSON, templates and `util.inspect` all show `[secret]`;
 * only `reveal()` gives the text, so a search for `reveal(` lists every place that handles one.
 */
import { inspect } from 'node:util';

const MASK = '[secret]';

export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself. Never pass it to a log, an error message, an argument list or a process title. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}
