/**
 * A terminal that a test can look at: it obeys the few control sequences that our programs write, and throws on any
 * other, on text that would wrap, and on a move above its first visible row.
 */
import { EventEmitter } from 'node:events';

// biome-ignore lint/suspicious/noControlCharactersInRegex: reading control sequences is the purpose
const TOKEN = /\x1b\[(\??)(\d*)([A-Za-z])|\r|\n|[^\p{Cc}]|([\p{Cc}])/gu;

export class Terminal extends EventEmitter {
  columns: number;
  rows: number;
  isCursorVisible = true;
  /** Every write, as it came. */
  readonly writes: string[] = [];
  #lines: string[] = [''];
  #row = 0;
  #column = 0;

  constructor(columns = 80, rows = 24) {
    super();
    this.columns = columns;
    this.rows = rows;
  }

  /** What a person sees, scrollback included, without spaces at the ends of lines and empty lines at the end. */
  get text(): string {
    return this.#lines
      .map((line) => line.trimEnd())
      .join('\n')
      .trimEnd();
  }

  /** The row of the cursor, counted from the first line of `text`, and its column. */
  get cursor(): { row: number; column: number } {
    return { row: this.#row, column: this.#column };
  }

  write(text: string): boolean {
    this.writes.push(text);
    for (const [token, mark, count, command, stray] of text.matchAll(TOKEN)) {
      if (stray !== undefined) throw new Error(`Cannot show control character ${JSON.stringify(stray)}`);
      if (command !== undefined) this.#obey(mark ?? '', Number(count), command);
      else if (token === '\r') this.#column = 0;
      else if (token === '\n') this.#feed();
      else this.#put(token);
    }
    return true;
  }

  /** Wraps what became too long, as most terminals do, and tells the program. */
  resize(columns: number, rows = this.rows): void {
    this.columns = columns;
    this.rows = rows;
    const above = this.#lines.slice(0, this.#row).flatMap((line) => wrapped(line, columns));
    this.#lines = [...above, ...this.#lines.slice(this.#row)];
    this.#row = above.length;
    this.emit('resize');
  }

  #obey(mark: string, count: number, command: string): void {
    if (mark === '?' && count === 25) this.isCursorVisible = command === 'h';
    else if (command === 'F') this.#moveUp(count);
    else if (command === 'K' && count === 2) this.#lines[this.#row] = '';
    else if (command === 'J' && count === 0) this.#clearBelow();
    else if (command !== 'm') throw new Error(`Cannot obey ${mark}${count}${command}`);
  }

  #moveUp(count: number): void {
    this.#row -= count;
    this.#column = 0;
    if (this.#row < Math.max(0, this.#lines.length - this.rows)) throw new Error('Cannot move above the first row');
  }

  #clearBelow(): void {
    const rest = (this.#lines[this.#row] ?? '').slice(0, this.#column);
    // The rows stay: what is cleared is blank, and does not move what is above it.
    for (let row = this.#row; row < this.#lines.length; row++) this.#lines[row] = row === this.#row ? rest : '';
  }

  #feed(): void {
    this.#row += 1;
    if (this.#row === this.#lines.length) this.#lines.push('');
  }

  #put(character: string): void {
    if (this.#column >= this.columns) throw new Error('Cannot put a character: the line is full');
    const line = (this.#lines[this.#row] ?? '').padEnd(this.#column);
    this.#lines[this.#row] = line.slice(0, this.#column) + character + line.slice(this.#column + 1);
    this.#column += 1;
  }
}

function wrapped(line: string, columns: number): string[] {
  const pieces: string[] = [];
  for (let at = 0; at === 0 || at < line.length; at += columns) pieces.push(line.slice(at, at + columns));
  return pieces;
}
