/**
 * VisitorWriter: decides how many writes a response costs. A head and the body bytes that came with it leave as one
 * buffer, so a small response is one TLS record and one system call; large pieces pass through uncopied.
 *
 * Owned by: HttpConnection, which owns the socket.
 */
import type { Socket } from 'node:net';

/** Up to here copying is cheaper than a second write. One TLS record. */
const JOIN_BYTES = 16 * 1024;

export class VisitorWriter {
  /** Of all pieces since whoever reads it set it to 0. */
  pieceBytes = 0;
  readonly #socket: Socket;
  #head = '';
  #pieces: Buffer[] = [];
  #queuedBytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Queues head text (latin1) in front of the pieces that follow. */
  head(text: string): void {
    if (this.#pieces.length > 0) this.flush();
    this.#head += text;
  }

  piece(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#queuedBytes += bytes.length;
    this.pieceBytes += bytes.length;
  }

  /** Writes what is queued. False asks to wait for the socket's `drain`. */
  flush(): boolean {
    if (this.#head === '' && this.#pieces.length === 0) return !this.#socket.writableNeedDrain;
    const pieces = this.#pieces;
    const head = this.#head;
    const joined = head.length + this.#queuedBytes <= JOIN_BYTES;
    this.#pieces = [];
    this.#queuedBytes = 0;
    this.#head = '';
    if (head === '' && pieces.length === 1 && pieces[0] !== undefined) return this.#socket.write(pieces[0]);
    return joined ? this.#writeJoined(head, pieces) : this.#writeEach(head, pieces);
  }

  #writeJoined(head: string, pieces: readonly Buffer[]): boolean {
    if (pieces.length === 0) return this.#socket.write(head, 'latin1');
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, head.length);
    const joined = Buffer.allocUnsafe(bytes);
    let at = joined.write(head, 0, 'latin1');
    for (const piece of pieces) at += piece.copy(joined, at);
    return this.#socket.write(joined);
  }

  #writeEach(head: string, pieces: readonly Buffer[]): boolean {
    this.#socket.cork();
    if (head !== '') this.#socket.write(head, 'latin1');
    let room = true;
    for (const piece of pieces) room = this.#socket.write(piece);
    this.#socket.uncork();
    return room;
  }
}
