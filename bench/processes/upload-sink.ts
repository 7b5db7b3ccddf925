/**
 * UploadSink: the origin of uploads: takes request bodies of a known length and throws them away, with less work than any
 * web server would have with them. Says `listening PORT`.
 */
import { createServer, type Socket } from 'node:net';

const HEAD_END = '\r\n\r\n';
const MAX_HEAD_BYTES = 64 * 1024;
const DONE = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const UNKNOWN_LENGTH = 'HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

/** One connection: head, body, answer, and again. */
class Uploads {
  readonly #socket: Socket;
  #head = '';
  #missingBytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#onData(chunk));
    socket.on('error', () => socket.destroy());
  }

  #onData(chunk: Buffer): void {
    if (this.#missingBytes === 0) {
      this.#onHead(chunk);
      return;
    }
    this.#missingBytes -= chunk.length;
    if (this.#missingBytes <= 0) this.#answer();
  }

  /** Nobody sends a second request before the answer to the first. */
  #onHead(chunk: Buffer): void {
    this.#head += chunk.toString('latin1');
    const end = this.#head.indexOf(HEAD_END);
    if (end < 0) {
      if (this.#head.length > MAX_HEAD_BYTES) this.#socket.destroy();
      return;
    }
    const length = /^content-length: *(\d+)/im.exec(this.#head.slice(0, end))?.[1];
    if (length === undefined) {
      this.#socket.end(UNKNOWN_LENGTH);
      return;
    }
    this.#missingBytes = Number(length) - (this.#head.length - end - HEAD_END.length);
    this.#head = '';
    if (this.#missingBytes <= 0) this.#answer();
  }

  #answer(): void {
    this.#missingBytes = 0;
    this.#socket.write(DONE);
  }
}

const server = createServer({ noDelay: true }, (socket) => new Uploads(socket));
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') console.log(`listening ${address.port}`);
});
