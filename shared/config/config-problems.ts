/**
 * Problems: decides how everything that is wrong with one config file is told at once.
 *
 * Readers add problems and go on with a placeholder; the end of reading throws them all, sorted by line, one line each:
 * `tunnel.yaml:12: tunnels[0].origin must be host:port, got "8123x"`. Owned by: the reading of one file.
 */
import { basename } from 'node:path';
import { TunnelError } from '../errors.js';
import { printable } from '../printable.js';

interface Problem {
  readonly line: number;
  readonly message: string;
  /** The option or section that it is about, such as `limits.head_size`; empty for the whole file. */
  readonly option: string;
}

/** A token (shared/token.ts) that stands where none belongs: under a wrong key, or as the whole file. */
const TOKEN = /\bsp1\.[\w.-]*/g;
/** More than an operator reads; keeps the message of a file that is no config at all short. */
const MAX_SHOWN = 50;

export class Problems {
  readonly #fileName: string;
  readonly #problems: Problem[] = [];

  /** @param path The file's path; only its last part stands in the messages. */
  constructor(path: string) {
    this.#fileName = printable(basename(path));
  }

  get isEmpty(): boolean {
    return this.#problems.length === 0;
  }

  /**
   * @param line Counts from 1.
   * @param option What it is about; left out, the whole file.
   */
  add(line: number, message: string, option = ''): void {
    this.#problems.push({ line, message: message.replace(TOKEN, '[secret]'), option });
  }

  /** Whether one of them makes the value of this option or section unsure. */
  touch(option: string): boolean {
    return this.#problems.some((problem) => isWithin(option, problem.option) || isWithin(problem.option, option));
  }

  /** One line each, in the order of the file. */
  get lines(): string[] {
    const sorted = this.#problems.toSorted((a, b) => a.line - b.line);
    const lines = sorted.slice(0, MAX_SHOWN).map(({ line, message }) => `${this.#fileName}:${line}: ${message}`);
    if (sorted.length > MAX_SHOWN) lines.push(`${this.#fileName}: and ${sorted.length - MAX_SHOWN} more problems`);
    return lines;
  }

  /** @throws {TunnelError} CONFIG_INVALID with one line per problem, when there is any. */
  throwIfAny(): void {
    if (!this.isEmpty) throw new TunnelError('CONFIG_INVALID', this.lines.join('\n'));
  }
}

function isWithin(option: string, section: string): boolean {
  return section === '' || option === section || option.startsWith(`${section}.`) || option.startsWith(`${section}[`);
}
