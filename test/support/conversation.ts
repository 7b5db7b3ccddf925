/**
 * Conversation: the bytes of one connection, said and awaited by a test in its own words, where curl or node:http would
 * be too polite. Everything received is kept: not for large bodies.
 */
import type { Socket } from 'node:net';

export interface RawResponse {
  readonly status: number;
  /** Status line and field lines, as received. */
  readonly head: string;
  readonly body: string;
  /** Field lines behind the last chunk, as received; '' for none. */
  readonly trailers: string;
  /** Value of a field, by its name in any case; undefined when it is absent. */
  field(name: string): string | undefined;
}

export class Conversation {
  readonly socket: Socket;
  /** Resolves once the connection is gone, however it ended. */
  readonly closed: Promise<void>;
  /** `end` after a half-close or an orderly end; the error's code after a reset; undefined while it runs. */
  ending: string | undefined;
  #received: Buffer = Buffer.alloc(0);
  #isClosed = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (piece: Buffer) => this.#push(piece));
    socket.on('end', () => this.#finish('end'));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#finish(error.code ?? error.message));
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#isClosed = true;
        this.#finish('closed');
        resolve();
      });
    });
  }

  /** What arrived and was not taken yet. */
  get unread(): string {
    return this.#received.toString('latin1');
  }

  /** Writes all of it in one go; texts are latin1. */
  send(...pieces: (string | Buffer)[]): void {
    this.socket.write(Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? latin1(piece) : piece))));
  }

  /** Takes everything up to and including `text`. @throws when the connection ends before. */
  async until(text: string): Promise<string> {
    const wanted = latin1(text);
    const at = await this.#find(`"${text}"`, () => this.#received.indexOf(wanted));
    return this.#take(at + wanted.length).toString('latin1');
  }

  /** Takes so many bytes. @throws when the connection ends before. */
  async take(bytes: number): Promise<Buffer> {
    await this.#find(`${bytes} bytes`, () => (this.#received.length >= bytes ? bytes : -1));
    return this.#take(bytes);
  }

  /** Takes everything up to the peer's end. @throws when the connection ends with an error. */
  async rest(): Promise<string> {
    while (this.ending === undefined) await this.#change();
    if (this.ending !== 'end') throw new Error(`connection ended with ${this.ending} after "${this.unread}"`);
    return this.#take(this.#received.length).toString('latin1');
  }

  /** The connection's end: `end`, or the code of the error that broke it. */
  async ended(): Promise<string> {
    while (this.ending === undefined) await this.#change();
    return this.ending;
  }

  /** The next response: an interim one, or a final one with its body. */
  async response(requestMethod = 'GET'): Promise<RawResponse> {
    const head = await this.until('\r\n\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
    const field = (name: string) => new RegExp(`^${name}: (.*)\r$`, 'im').exec(head)?.[1];
    const hasBody = requestMethod !== 'HEAD' && status >= 200 && status !== 204 && status !== 304;
    if (!hasBody) return { status, head, field, body: '', trailers: '' };
    if (field('transfer-encoding') === 'chunked') return { status, head, field, ...(await this.#chunkedBody()) };
    const length = field('content-length');
    const body = length === undefined ? await this.rest() : (await this.take(Number(length))).toString('latin1');
    return { status, head, field, body, trailers: '' };
  }

  async #chunkedBody(): Promise<{ body: string; trailers: string }> {
    let body = '';
    for (;;) {
      const bytes = Number.parseInt(await this.until('\r\n'), 16);
      if (bytes === 0) return { body, trailers: await this.#trailers() };
      body += (await this.take(bytes)).toString('latin1');
      await this.until('\r\n');
    }
  }

  async #trailers(): Promise<string> {
    let trailers = '';
    for (;;) {
      const line = await this.until('\r\n');
      if (line === '\r\n') return trailers;
      trailers += line;
    }
  }

  async #find(what: string, look: () => number): Promise<number> {
    for (;;) {
      const at = look();
      if (at >= 0) return at;
      if (this.ending !== undefined || this.#isClosed) {
        throw new Error(`connection ended (${this.ending}) before ${what}, after "${this.unread}"`);
      }
      await this.#change();
    }
  }

  #change(): Promise<void> {
    const before = this.#wake;
    return new Promise((resolve) => {
      this.#wake = () => {
        before();
        resolve();
      };
    });
  }

  #take(bytes: number): Buffer {
    const taken = this.#received.subarray(0, bytes);
    this.#received = this.#received.subarray(bytes);
    return taken;
  }

  #push(piece: Buffer): void {
    this.#received = Buffer.concat([this.#received, piece]);
    this.#notify();
  }

  #finish(ending: string): void {
    this.ending ??= ending;
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = () => {};
    wake();
  }
}

function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
