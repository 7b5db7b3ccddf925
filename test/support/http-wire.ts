/**
 * HTTP messages on a wire: reads the same bytes as the edge does and as Node's own parser does, for tests that compare.
 */
import { once } from 'node:events';
import { type ClientRequest, createServer, type IncomingMessage, request } from 'node:http';
import { Duplex } from 'node:stream';
import { TunnelError } from '../../shared/errors.js';
import { BodyReader } from '../../shared/http/body.js';
import { HeadBuffer } from '../../shared/http/head-buffer.js';
import { parseRequestHead, type RequestHead } from '../../shared/http/request-head.js';
import { parseResponseHead, type ResponseHead } from '../../shared/http/response-head.js';

/** The limits of facts/hardening.md. */
export const LIMITS = { headBytes: 16_384, fields: 100 };

/** What two readers must agree on. */
export interface SeenRequest {
  method: string;
  target: string;
  host: string;
  body: string;
}

export interface SeenResponse {
  status: number;
  body: string;
}

/** Messages that were complete, and whether the reader then refused to go on. */
export interface Seen<T> {
  messages: T[];
  refused: TunnelError | undefined;
}

/** A text of `latin1` bytes. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** `bytes` cut at the given places (any numbers: they are brought into range). */
export function splitAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  const pieces: Buffer[] = [];
  let start = 0;
  for (const cut of [...cuts, bytes.length]) {
    pieces.push(bytes.subarray(start, cut));
    start = cut;
  }
  return pieces;
}

/** `bytes` as chunks of one byte. */
export function singleBytes(bytes: Buffer): Buffer[] {
  return Array.from(bytes, (_, index) => bytes.subarray(index, index + 1));
}

/** Reads pipelined requests as the edge does: head, body, head … until the bytes or the connection end. */
export function readRequests(chunks: readonly Buffer[]): Seen<SeenRequest> & { heads: RequestHead[] } {
  const heads: RequestHead[] = [];
  const messages: SeenRequest[] = [];
  const buffer = new HeadBuffer(LIMITS);
  const reader = new MessageReader(buffer, (text) => {
    const head = parseRequestHead(text, LIMITS);
    heads.push(head);
    return new BodyReader(head.body, { output: 'payload', trailers: 'drop', code: 'REQUEST_INVALID' });
  });
  reader.onMessage = (body) => {
    const head = heads.at(-1);
    if (head === undefined) throw new Error('a body without a head');
    messages.push({ method: head.method, target: head.target, host: head.authority, body });
    return head.keepAlive;
  };
  return { heads, messages, refused: reader.readAll(chunks, false) };
}

/** Reads the responses of an origin that closes after `chunks`; informational ones are among the heads only. */
export function readResponses(
  chunks: readonly Buffer[],
  method: string,
): Seen<SeenResponse> & { heads: ResponseHead[] } {
  const heads: ResponseHead[] = [];
  const messages: SeenResponse[] = [];
  const buffer = new HeadBuffer(LIMITS, 'ORIGIN_INVALID');
  const reader = new MessageReader(buffer, (text) => {
    const head = parseResponseHead(text, method, LIMITS);
    heads.push(head);
    return new BodyReader(head.body, { output: 'payload', trailers: 'drop', code: 'ORIGIN_INVALID' });
  });
  reader.onMessage = (body) => {
    const head = heads.at(-1);
    if (head === undefined) throw new Error('a body without a head');
    if (head.status >= 200) messages.push({ status: head.status, body });
    return head.keepAlive && head.status !== 101;
  };
  return { heads, messages, refused: reader.readAll(chunks, true) };
}

/** Alternates between head and body. */
class MessageReader {
  onMessage: (body: string) => boolean = () => true;
  readonly #heads: HeadBuffer;
  readonly #startBody: (head: string) => BodyReader;
  #body: BodyReader | undefined;
  #text = '';
  #open = true;

  constructor(heads: HeadBuffer, startBody: (head: string) => BodyReader) {
    this.#heads = heads;
    this.#startBody = startBody;
  }

  /** Returns the refusal, if any; every other error is the test's failure. */
  readAll(chunks: readonly Buffer[], ended: boolean): TunnelError | undefined {
    try {
      for (const chunk of chunks) this.#read(chunk);
      if (ended && this.#body !== undefined) this.#endBody(this.#body);
    } catch (error) {
      if (error instanceof TunnelError) return error;
      throw error;
    }
    return undefined;
  }

  #endBody(body: BodyReader): void {
    body.end();
    this.#finish();
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (this.#open && at < chunk.length) at = this.#step(chunk, at);
  }

  #step(chunk: Buffer, at: number): number {
    let next = at;
    if (this.#body === undefined) {
      const head = this.#heads.push(chunk, at);
      next = inRange(this.#heads.next, at, chunk);
      if (head === undefined) return next;
      this.#body = this.#startBody(head);
    }
    const sink = (piece: Buffer) => (this.#text += piece.toString('latin1'));
    next = inRange(this.#body.read(chunk, next, sink), next, chunk);
    if (this.#body.done) this.#finish();
    return next;
  }

  #finish(): void {
    this.#body = undefined;
    this.#open = this.onMessage(this.#text);
    this.#text = '';
  }
}

function inRange(next: number, start: number, chunk: Buffer): number {
  if (next < start || next > chunk.length) throw new Error(`index ${next} is outside ${start}–${chunk.length}`);
  return next;
}

/** One end of a connection: gives `bytes`, then ends; swallows what is written, but remembers it. */
class WireSocket extends Duplex {
  written = '';

  constructor(bytes: Buffer) {
    super();
    this.push(bytes);
    this.push(null);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written += chunk.toString('latin1');
    done();
  }
}

export interface NodeRequest extends SeenRequest {
  rawHeaders: string[];
  rawTrailers: string[];
}

/** What node:http makes of the same bytes. */
export class NodeReader {
  readonly #server = createServer({ requestTimeout: 0, headersTimeout: 0 });
  readonly #seen = new Map<unknown, { messages: NodeRequest[]; refused: boolean }>();

  constructor() {
    this.#server.on('request', (message, response) => this.#onRequest(message, () => response.end()));
    this.#server.on('checkContinue', (message, response) => this.#onRequest(message, () => response.end()));
    this.#server.on('checkExpectation', (message, response) => this.#onRequest(message, () => response.end()));
    this.#server.on('clientError', (_error, socket) => {
      const seen = this.#seen.get(socket);
      if (seen !== undefined) seen.refused = true;
      socket.destroy();
    });
  }

  async readRequests(bytes: Buffer): Promise<{ messages: NodeRequest[]; refused: boolean }> {
    const socket = new WireSocket(bytes);
    const seen = { messages: [], refused: false };
    this.#seen.set(socket, seen);
    const closed = once(socket, 'close');
    this.#server.emit('connection', socket);
    await closed;
    this.#seen.delete(socket);
    if (socket.written.startsWith('HTTP/1.1 400')) seen.refused = true;
    return seen;
  }

  /** Frees the server's interval. */
  close(): void {
    this.#server.close();
  }

  #onRequest(message: IncomingMessage, answer: () => void): void {
    let body = '';
    message.setEncoding('latin1');
    message.on('error', () => {});
    message.on('data', (text: string) => (body += text));
    message.on('end', () => {
      const { method = '', url: target = '', rawHeaders, rawTrailers } = message;
      const host = message.headers.host ?? '';
      this.#seen.get(message.socket)?.messages.push({ method, target, host, body, rawHeaders, rawTrailers });
    });
    answer();
  }
}

export interface NodeResponse extends SeenResponse {
  rawHeaders: string[];
  rawTrailers: string[];
}

/** What node:http makes of an origin's first final response; undefined when it refuses it. */
export async function readNodeResponse(bytes: Buffer, method: string): Promise<NodeResponse | undefined> {
  const socket = new WireSocket(bytes);
  // No agent: with one (`agent: false` makes one too) Node ignores createConnection.
  const message = request({ method, host: 'origin.invalid', createConnection: () => socket });
  const answer = whenAnswered(message);
  message.end();
  const response = await answer;
  socket.destroy();
  return response;
}

function whenAnswered(message: ClientRequest): Promise<NodeResponse | undefined> {
  return new Promise((resolve) => {
    const refuse = () => resolve(undefined);
    message.on('error', refuse);
    message.on('upgrade', refuse);
    message.on('close', refuse);
    message.on('response', (response) => {
      message.off('close', refuse);
      let body = '';
      response.setEncoding('latin1');
      response.on('error', refuse);
      response.on('close', refuse);
      response.on('data', (text: string) => (body += text));
      response.on('end', () => {
        const { statusCode: status = 0, rawHeaders, rawTrailers } = response;
        if (response.complete) resolve({ status, body, rawHeaders, rawTrailers });
      });
    });
  });
}
