/**
 * LogFile: what one child of the quickstart says, for who wants to know. It begins empty with each start and begins again
 * when it is full, so that a quickstart that is left running never fills the disk.
 *
 * Owns: one file descriptor. Owned by: ChildProgram.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';

const MAX_BYTES = 16 << 20;

export class LogFile {
  readonly path: string;
  readonly #maxBytes: number;
  #file: number | undefined;
  #bytes = 0;

  /** Makes the file, or empties it. @throws the system's error. */
  constructor(path: string, maxBytes: number = MAX_BYTES) {
    this.path = path;
    this.#maxBytes = maxBytes;
    this.#file = openSync(path, 'w', 0o600);
  }

  /** Adds one line, whose end is not part of `line`. Never throws: a full disk must not end a tunnel. */
  write(line: string): void {
    if (this.#file === undefined) return;
    const bytes = Buffer.from(`${line}\n`);
    try {
      if (this.#bytes + bytes.length > this.#maxBytes) this.#beginAgain(this.#file);
      this.#bytes += writeSync(this.#file, bytes, 0, bytes.length, this.#bytes);
    } catch {
      // Nobody is left to tell.
    }
  }

  /** Safe any number of times; what is written afterwards is lost. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #beginAgain(file: number): void {
    ftruncateSync(file, 0);
    this.#bytes = 0;
  }
}
