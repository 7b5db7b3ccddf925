/**
 * LineSink: decides how lines come to a file, to stdout or to stderr without anybody who writes them ever waiting: they are kept for
 * 100 ms or until the write before has ended, and go together. A disk or reader that is too slow costs lines, which are
 * counted, and nothing else.
 *
 *   idle → gathering → writing → idle | gathering …        any → closed
 *
 * A file that has grown to its limit is renamed to `FILE.1`, `FILE.1` to `FILE.2` and so on; the last one goes.
 * Owns: the file, one timer. Owned by: AccessLog.
 */
import { write } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import * as path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isCode } from '../files/atomic-file.js';

export interface SinkOptions {
  /** An absolute path, or one of the process's own streams. */
  readonly to: 'stdout' | 'stderr' | { readonly file: string };
  readonly maxFileBytes: number;
  readonly maxFiles: number;
  /** Lines were lost, or written again; told once for each change. */
  readonly onTrouble: (reason: string | undefined, dropped: number) => void;
  /** Text that may wait; 4 MiB when left out. */
  readonly maxWaitingBytes?: number;
}

const MAX_WAITING_BYTES = 4 << 20;
const GATHER_MS = 100;
/** A pipe takes this much in one piece, so that no line of ours lands inside one of somebody else (POSIX PIPE_BUF). */
const PIPE_PIECE = 4_096;
const PIPE_FULL_MS = 50;
const DESCRIPTORS = { stdout: 1, stderr: 2 } as const;
const CLOSE_WAIT_MS = 2_000;
const PRIVATE_FILE = 0o640;
const writeTo = promisify(write);

export class LineSink {
  readonly #options: SinkOptions;
  readonly #maxWaitingBytes: number;
  #lines: string[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #state: 'idle' | 'gathering' | 'writing' | 'closed' = 'idle';
  #timer: NodeJS.Timeout | undefined;
  #file: { readonly handle: FileHandle; size: number } | undefined;
  #mayHaveMoved = false;
  #reason: string | undefined;
  /** A write failed, perhaps in the middle of a line. */
  #isTorn = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: SinkOptions) {
    this.#options = options;
    this.#maxWaitingBytes = options.maxWaitingBytes ?? MAX_WAITING_BYTES;
  }

  /** Lines that were lost since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes one line, without its end; ASCII and what JSON leaves. Never waits and never throws. */
  write(line: string): void {
    if (this.#state === 'closed') return;
    // UTF-16 units: at most a third of the bytes, and cheap.
    if (this.#waitingBytes + line.length > this.#maxWaitingBytes) {
      this.#drop(1, 'lines come faster than they can be written');
      return;
    }
    this.#lines.push(line);
    this.#waitingBytes += line.length + 1;
    if (this.#state === 'idle') this.#gather();
  }

  /** Opens the file anew before the next line: somebody may have moved it away. */
  reopen(): void {
    this.#mayHaveMoved = true;
    this.#writing = this.#writing.then(() => this.#leaveMovedFile()).catch(() => {});
  }

  /** Resolves when everything is written, or after 2 s. Safe any number of times. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return this.#writing;
    clearTimeout(this.#timer);
    if (this.#state !== 'writing') this.#writeOut();
    this.#state = 'closed';
    const stop = new AbortController();
    const late = pause(CLOSE_WAIT_MS, undefined, { signal: stop.signal }).catch(() => {});
    await Promise.race([this.#writing, late]);
    stop.abort();
    await Promise.race([this.#closeFile(), late]);
  }

  #gather(): void {
    this.#state = 'gathering';
    this.#timer = setTimeout(() => this.#writeOut(), GATHER_MS);
  }

  #writeOut(): void {
    this.#state = 'writing';
    this.#writing = this.#writing.then(() => this.#writeBatch());
  }

  /** What came meanwhile is gathered again; once closed nothing more comes. */
  async #writeBatch(): Promise<void> {
    const lines = this.#lines;
    this.#lines = [];
    if (lines.length > 0) await this.#attempt(lines);
    this.#waitingBytes = this.#lines.reduce((sum, line) => sum + line.length + 1, 0);
    if (this.#state === 'closed') return this.#lines.length === 0 ? undefined : this.#writeBatch();
    this.#state = 'idle';
    if (this.#lines.length > 0) this.#gather();
  }

  async #attempt(lines: readonly string[]): Promise<void> {
    try {
      const { to } = this.#options;
      if (typeof to === 'string') await writeLines(DESCRIPTORS[to], lines);
      else await this.#append(to.file, `${this.#isTorn ? '\n' : ''}${lines.join('\n')}\n`);
      this.#isTorn = false;
      this.#tell(undefined);
    } catch (error) {
      this.#isTorn = true;
      await this.#closeFile().catch(() => {});
      this.#drop(lines.length, error instanceof Error ? error.message : String(error));
    }
  }

  async #append(path: string, text: string): Promise<void> {
    const { maxFileBytes, maxFiles } = this.#options;
    await this.#leaveMovedFile();
    let file = this.#file ?? (await openForAppending(path));
    this.#file = file;
    if (file.size >= maxFileBytes) {
      await this.#closeFile();
      await moveOn(path, maxFiles);
      file = await openForAppending(path);
      this.#file = file;
    }
    const bytes = Buffer.from(text);
    await file.handle.appendFile(bytes);
    file.size += bytes.length;
  }

  async #leaveMovedFile(): Promise<void> {
    if (!this.#mayHaveMoved) return;
    this.#mayHaveMoved = false;
    await this.#closeFile();
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.handle.close();
  }

  #drop(lines: number, reason: string): void {
    this.#dropped += lines;
    this.#tell(reason);
  }

  /** Once for each time that trouble begins or ends. */
  #tell(reason: string | undefined): void {
    const isNews = (reason === undefined) !== (this.#reason === undefined);
    this.#reason = reason;
    if (isNews) this.#options.onTrouble(reason, this.#dropped);
  }
}

/** A file from an earlier run may be full already: its size counts. */
async function openForAppending(file: string): Promise<{ handle: FileHandle; size: number }> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o750 });
  const handle = await open(file, 'a', PRIVATE_FILE);
  return { handle, size: (await handle.stat()).size };
}

/** FILE.1 becomes FILE.2 and FILE becomes FILE.1; with one file in all, it begins anew. */
async function moveOn(file: string, maxFiles: number): Promise<void> {
  await rm(maxFiles === 1 ? file : `${file}.${maxFiles - 1}`, { force: true });
  for (let number = maxFiles - 2; number >= 0; number -= 1) {
    const from = number === 0 ? file : `${file}.${number}`;
    await rename(from, `${file}.${number + 1}`).catch((error: unknown) => {
      if (!isCode(error, 'ENOENT')) throw error;
    });
  }
}

/** Whole lines, as many as a pipe takes in one piece. */
async function writeLines(descriptor: number, lines: readonly string[]): Promise<void> {
  let piece: Buffer = Buffer.alloc(0);
  for (const line of lines) {
    const bytes = Buffer.from(`${line}\n`);
    if (piece.length > 0 && piece.length + bytes.length > PIPE_PIECE) {
      await writePiece(descriptor, piece);
      piece = bytes;
    } else piece = Buffer.concat([piece, bytes]);
  }
  await writePiece(descriptor, piece);
}

async function writePiece(descriptor: number, piece: Buffer): Promise<void> {
  for (let rest = piece; rest.length > 0; ) {
    try {
      const { bytesWritten } = await writeTo(descriptor, rest);
      rest = rest.subarray(bytesWritten);
    } catch (error) {
      if (!isCode(error, 'EAGAIN')) throw error;
      await pause(PIPE_FULL_MS);
    }
  }
}
