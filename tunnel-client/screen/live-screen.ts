/**
 * LiveScreen: keeps a few lines at the end of a terminal up to date with the client's status.
 *
 * It draws in place, below what was printed before, and rewrites only lines that changed: at once on `update`, at most
 * five times a second, and once a second by itself. Between two drawings the cursor is visible and below the drawing, so
 * that a killed or suspended process leaves a usable terminal behind.
 *
 * Owns: two timers and its listeners on the output. Owned by: the `tunnel up` command, which owns the output.
 */
import { displayWidth } from '../../shared/command/terminal-text.js';
import { TrafficRates } from '../../shared/traffic-rates.js';
import type { ClientStatus } from '../ops/client-status.js';
import { paintLine, screenLines } from './screen-lines.js';

/** What the screen needs of a terminal; `tty.WriteStream` has it. */
export interface ScreenOutput {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
  on(event: 'resize' | 'error', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

export interface LiveScreenOptions {
  /** Colours; by default unless NO_COLOR is set (no-color.org) or the terminal is `dumb`. */
  readonly colors?: boolean;
}

const REST_MS = 200;
const TICK_MS = 1_000;
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const CLEAR_LINE = '\x1b[2K';
const CLEAR_BELOW = '\x1b[J';

export class LiveScreen {
  readonly #output: ScreenOutput;
  readonly #status: () => ClientStatus;
  readonly #colors: boolean;
  readonly #rates = new TrafficRates();
  #state: 'idle' | 'live' | 'stopped' = 'idle';
  /** The lines as they stand on the terminal; the cursor is at the start of the line below them. */
  #drawn: string[] = [];
  #tick: NodeJS.Timeout | undefined;
  /** Runs for `REST_MS` after each drawing. */
  #rest: NodeJS.Timeout | undefined;
  #isStale = false;

  constructor(output: ScreenOutput, status: () => ClientStatus, options: LiveScreenOptions = {}) {
    this.#output = output;
    this.#status = status;
    this.#colors = options.colors ?? (!process.env.NO_COLOR && process.env.TERM !== 'dumb');
  }

  /** Begins to draw. */
  start(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'live';
    this.#output.on('resize', this.#onResize);
    this.#output.on('error', this.#onError);
    process.on('SIGCONT', this.#onContinue);
    this.#tick = setInterval(() => this.update(), TICK_MS);
    this.#draw();
  }

  /** The status has changed: draws now, or as soon as the last drawing is `REST_MS` old. */
  update(): void {
    if (this.#state !== 'live') return;
    if (this.#rest === undefined) this.#draw();
    else this.#isStale = true;
  }

  /** Prints lines above the drawing, to stay there. The text must be safe for a terminal; it may have colours. */
  printAbove(text: string): void {
    const lines = `${text.trimEnd().replaceAll('\n', '\r\n')}\r\n`;
    if (this.#state !== 'live') {
      this.#output.write(lines);
      return;
    }
    this.#output.write(`${upBy(this.#drawn.length)}${CLEAR_BELOW}${lines}`);
    this.#drawn = [];
    this.#draw();
  }

  /** Draws a last time and leaves the cursor below the drawing. Safe in any state, any number of times. */
  stop(): void {
    if (this.#state === 'live') this.#draw();
    this.#end();
  }

  #end(): void {
    this.#state = 'stopped';
    clearInterval(this.#tick);
    clearTimeout(this.#rest);
    this.#output.off('resize', this.#onResize);
    // The error listener stays: what was written last may fail after the end.
    process.off('SIGCONT', this.#onContinue);
  }

  #draw(): void {
    const lines = this.#lines();
    const text = redraw(this.#drawn, lines);
    this.#drawn = lines;
    this.#isStale = false;
    if (text !== '') this.#output.write(text);
    clearTimeout(this.#rest);
    this.#rest = setTimeout(this.#onRested, REST_MS);
  }

  /** The screen as text, cut to the terminal: one column stays free (no wrap), and one row for the cursor. */
  #lines(): string[] {
    const status = this.#status();
    const nowMs = Date.now();
    this.#rates.measure(status.tunnels, nowMs);
    const columns = Math.max(1, (this.#output.columns || DEFAULT_COLUMNS) - 1);
    const lines = screenLines(status, { nowMs, columns, rateOf: (name) => this.#rates.of(name) });
    const most = Math.max(1, (this.#output.rows || DEFAULT_ROWS) - 1);
    const shown = lines.length <= most ? lines : lines.slice(0, most - 1);
    const painted = shown.map((line) => paintLine(line, columns, this.#colors));
    if (shown.length < lines.length) painted.push(paintLine([['dim', '…']], columns, this.#colors));
    return painted;
  }

  readonly #onRested = (): void => {
    this.#rest = undefined;
    if (this.#isStale && this.#state === 'live') this.#draw();
  };

  /** A terminal that became narrower has wrapped the old drawing: take it away, in its new height, and start anew. */
  readonly #onResize = (): void => {
    const columns = this.#output.columns || DEFAULT_COLUMNS;
    const rows = this.#drawn.reduce((sum, line) => sum + rowsOf(line, columns), 0);
    this.#output.write(`${upBy(Math.min(rows, (this.#output.rows || DEFAULT_ROWS) - 1))}${CLEAR_BELOW}`);
    this.#drawn = [];
    this.#draw();
  };

  /** The shell wrote below the drawing while the process was suspended: leave the old one alone and draw a new one. */
  readonly #onContinue = (): void => {
    this.#drawn = [];
    this.#draw();
  };

  /** The terminal is gone; the tunnels do not depend on it. */
  readonly #onError = (): void => this.#end();
}

/** What turns the lines `old`, with the cursor below them, into `lines`; empty when nothing differs. */
function redraw(old: readonly string[], lines: readonly string[]): string {
  if (old.length === lines.length && lines.every((line, at) => line === old[at])) return '';
  const rewritten = lines.map((line, at) => (line === old[at] ? '\r\n' : `${CLEAR_LINE}${line}\r\n`));
  const clearRest = lines.length < old.length ? CLEAR_BELOW : '';
  return `${HIDE_CURSOR}${upBy(old.length)}${rewritten.join('')}${clearRest}${SHOW_CURSOR}`;
}

/** To the start of a line further up; the column of the cursor is unknown once somebody typed (`^C`). */
function upBy(rows: number): string {
  return rows === 0 ? '' : `\x1b[${rows}F`;
}

function rowsOf(line: string, columns: number): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: our own colours take no columns
  return Math.max(1, Math.ceil(displayWidth(line.replace(/\x1b\[\d+m/g, '')) / columns));
}
