/**
 * H2cOrigin: a connection to an origin that speaks HTTP/2 in clear text with prior knowledge (RFC 9113 §3.3), with the
 * face of one that speaks HTTP/1.1: what the relay writes is read here and asked in HTTP/2, and what the origin answers
 * becomes HTTP/1.1 again (h2c-response.ts). One request at a time and one connection for each stream, as with any other
 * origin: a call that nobody reads holds up no other one, and no two visitors share a window or a table.
 *
 *   dialling → idle → exchange → idle …        any → over
 *
 * 'ready' is emitted when the origin said its SETTINGS: it does speak HTTP/2.
 *
 * Owns: the socket and the HTTP/2 session on it. Owned by: the splice or exchange that uses it.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { BodyReader } from '../../shared/http/body.js';
import { HeadBuffer } from '../../shared/http/head-buffer.js';
import { addFields, emptyFields } from '../../shared/http2/outgoing-fields.js';
import { RELAYED_HEAD_LIMITS, type RelayedRequest, readRelayedRequest } from '../relayed-request.js';
import { H2cResponse } from './h2c-response.js';

/** How much of a response may wait here while the visitor does not read. */
const WINDOW_BYTES = 256 * 1024;
const BUFFER_BYTES = 64 * 1024;
/** Bytes of a response's fields, and how many of them. */
const HEAD_BYTES = 64 * 1024;
const HEAD_FIELDS = 256;

type Done = (error?: Error | null) => void;
type Fields = IncomingHttpHeaders & IncomingHttpStatusHeader;

export class H2cOrigin extends Duplex {
  readonly #socket: Socket;
  readonly #session: ClientHttp2Session;
  readonly #heads = new HeadBuffer(RELAYED_HEAD_LIMITS);
  #state: 'dialling' | 'idle' | 'exchange' | 'over' = 'dialling';
  #call: ClientHttp2Stream | undefined;
  /** The request's body, while more of it is to come. */
  #body: BodyReader | undefined;
  #responseEnded = false;
  /** The origin takes no more of the request for now; likewise the relay of the response. */
  #originFull = false;
  #relayFull = false;
  /** Bytes of the relay that cannot be used yet. */
  #waiting: { readonly bytes: Buffer; readonly done: Done } | undefined;

  /** `socket` is connected, and nobody has read from it. */
  constructor(socket: Socket) {
    super({ allowHalfOpen: true, highWaterMark: BUFFER_BYTES });
    this.#socket = socket;
    this.#session = connect('http://origin', {
      createConnection: () => socket,
      maxHeaderListPairs: HEAD_FIELDS,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES, maxHeaderListSize: HEAD_BYTES },
    });
    this.#session.on('error', (error) => this.destroy(error));
    this.#session.on('close', this.#onSessionClose);
    this.#session.once('remoteSettings', this.#onReady);
  }

  // ---- node:stream asks ----

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#use(chunk, done);
  }

  override _read(): void {
    if (!this.#relayFull) return;
    this.#relayFull = false;
    this.#call?.resume();
  }

  override _final(done: Done): void {
    if (this.#state === 'idle') this.#session.close();
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#state = 'over';
    // Not by `close`, which ends the request first: one that was cut would look complete.
    this.#call?.destroy(error ?? new Error('the stream ended'));
    this.#session.destroy();
    // The session waits until the origin has read its last words; an origin that reads nothing would keep the socket.
    setImmediate(() => this.#socket.destroy());
    done(error);
  }

  // ---- from the relay ----

  /** Uses as many bytes as may be used now; `done` is called when all are. */
  #use(bytes: Buffer, done: Done): void {
    try {
      let at = 0;
      while (at < bytes.length && this.#mayGoOn) {
        at = this.#body === undefined ? this.#readHead(bytes, at) : this.#readBody(this.#body, bytes, at);
      }
      if (at === bytes.length && !this.#originFull) done();
      else this.#waiting = { bytes: bytes.subarray(at), done };
    } catch (error) {
      done(error as Error);
    }
  }

  /** A request may begin once the one before is answered; its body may go on while the origin takes it. */
  get #mayGoOn(): boolean {
    return !this.#originFull && (this.#state === 'idle' || this.#body !== undefined);
  }

  #goOn(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#use(waiting.bytes, waiting.done);
  }

  #readHead(bytes: Buffer, at: number): number {
    const text = this.#heads.push(bytes, at);
    if (text === undefined) return bytes.length;
    const { next } = this.#heads;
    this.#ask(readRelayedRequest(text));
    return next;
  }

  #readBody(body: BodyReader, bytes: Buffer, at: number): number {
    const next = body.read(bytes, at, this.#sendToOrigin);
    if (!body.done) return next;
    this.#body = undefined;
    this.#call?.end();
    this.#settle();
    return next;
  }

  readonly #sendToOrigin = (piece: Buffer): void => {
    const call = this.#call;
    // An origin that has answered early, and closed the call, wants no more of it.
    if (call === undefined || call.closed || call.destroyed || call.write(piece) || this.#originFull) return;
    this.#originFull = true;
    call.once('drain', this.#onOriginDrain);
  };

  readonly #onOriginDrain = (): void => {
    this.#originFull = false;
    this.#goOn();
  };

  #ask(request: RelayedRequest): void {
    const body = new BodyReader(request.body, { output: 'payload', trailers: 'drop', code: 'REQUEST_INVALID' });
    const call = this.#session.request(requestFields(request), { endStream: body.done });
    this.#state = 'exchange';
    this.#call = call;
    this.#body = body.done ? undefined : body;
    this.#responseEnded = false;
    this.#relayFull = false;
    this.#listen(call, new H2cResponse(request));
  }

  // ---- from the origin ----

  #listen(call: ClientHttp2Stream, response: H2cResponse): void {
    call.on('headers', (fields: Fields, _flags: number, raw?: readonly string[]) => {
      this.#say([response.interim(fields[':status'] ?? 0, raw ?? [])]);
    });
    call.on('response', (fields: Fields, flags: number, raw?: readonly string[]) => {
      const ends = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      this.#say([response.head(fields[':status'] ?? 0, raw ?? [], ends)]);
      // Only now: what node:http2 has of the body already must not pass its own head.
      call.on('data', (piece: Buffer) => this.#say(response.pieces(piece)));
      call.on('end', () => this.#onResponseEnd(call, response));
    });
    call.on('trailers', (_fields: Fields, _flags: number, raw?: readonly string[]) => response.trailers(raw ?? []));
    call.on('error', (error) => this.destroy(error));
    call.on('close', () => this.#onCallClose(call));
  }

  #say(pieces: readonly Buffer[]): void {
    let room = true;
    for (const piece of pieces) room = this.push(piece);
    if (room || this.#call === undefined) return;
    this.#relayFull = true;
    this.#call.pause();
  }

  #onResponseEnd(call: ClientHttp2Stream, response: H2cResponse): void {
    // node:http2 ends what was cut as well; 'close' follows then.
    if (call.rstCode !== constants.NGHTTP2_NO_ERROR) return;
    this.#say([response.end()]);
    this.#responseEnded = true;
    this.#settle();
  }

  #onCallClose(call: ClientHttp2Stream): void {
    if (this.#call !== call || this.#responseEnded) return;
    this.destroy(new Error(`the origin cut the call (code ${call.rstCode})`));
  }

  /** Once both are complete the next request may come. */
  #settle(): void {
    if (this.#state !== 'exchange' || !this.#responseEnded || this.#body !== undefined) return;
    this.#state = 'idle';
    this.#call = undefined;
    this.#originFull = false;
    if (this.writableEnded) this.#session.close();
    else this.#goOn();
  }

  readonly #onReady = (): void => {
    if (this.#state !== 'dialling') return;
    this.#state = 'idle';
    this.emit('ready');
  };

  readonly #onSessionClose = (): void => {
    if (this.#state === 'idle') this.push(null);
    else this.destroy(new Error('the origin closed the connection'));
  };
}

function requestFields(request: RelayedRequest): OutgoingHttpHeaders {
  const fields = emptyFields();
  fields[':method'] = request.method;
  fields[':scheme'] = 'http';
  fields[':authority'] = request.authority;
  fields[':path'] = request.target;
  addFields(fields, request.fields);
  if (request.acceptsTrailers) fields.te = 'trailers';
  if (request.body.kind === 'length') fields['content-length'] = request.body.bytes;
  return fields;
}
