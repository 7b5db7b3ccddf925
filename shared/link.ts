/**
 * Link: one WebSocket with two lanes. Text frames carry control messages, binary frames carry mux bytes.
 *
 * `ws` does the opening handshake, and reads and writes messages, pings and closes. The binary lane passes it by, in both
 * directions, because through ws it costs a copy of every byte: batches of the mux are framed here and written to the
 * socket in one piece (a frame's header is ten lines, RFC 6455 §5.2), and LinkReader takes them out of what is read. For
 * the same reason the client's mask is zero inside TLS: masking protects plain-text proxies, and inside TLS it only
 * costs CPU. On plain `ws://` ws masks with random keys.
 *
 * Owns: the WebSocket and its socket. Owned by: a session (relay-server/sessions, tunnel-client). The one door of `ws`.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import { BLOCK_BYTES } from './bytes/blocks.js';
import { asTunnelError, type ErrorCode, isErrorCode, TunnelError, wsCloseOf } from './errors.js';
import { LinkReader, type LinkReaderOwner } from './link-reader.js';
import { LINK_PATH, MAX_MESSAGE_BYTES, SUBPROTOCOL } from './messages.js';
import type { MuxTransport } from './mux/session.js';

/** A frame's header with a 16-bit length: 4 bytes, and 4 more for a client's mask. */
const RELAY_HEADROOM_BYTES = 4;
const CLIENT_HEADROOM_BYTES = 8;

/** How long the peer may take to answer our close frame. */
const CLOSE_MS = 2_000;

/** Pongs are not worth more memory than this when the peer reads nothing. */
const MAX_PONG_BACKLOG_BYTES = 16 * 1024;

/** What both ends of a link's TLS derive (RFC 5705); see `Link.exporter`. */
export const LINK_EXPORTER_LABEL = 'EXPORTER-sallyport-link-v1';
export const LINK_EXPORTER_BYTES = 32;

type SocketReader = (this: Socket, chunk: Buffer) => void;

/** Who uses the link. */
export interface LinkHandler {
  onMessage(text: string): void;
  /** Bytes of the binary lane in order; where one piece ends and the next begins means nothing. */
  onBytes(piece: Buffer): void;
  /** The system took the oldest batch that was sent. */
  onSent(): void;
  /** The link is over; called once. The error says who ended it and why. */
  onClose(error: TunnelError): void;
}

export class Link implements MuxTransport, LinkReaderOwner {
  readonly headroomBytes: number;
  readonly batchBytes: number;
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #isClient: boolean;
  readonly #exporter: Buffer;
  readonly #reader: LinkReader;
  /** How ws reads its socket. */
  readonly #wsReaders: readonly SocketReader[];
  #handler: LinkHandler | undefined;
  #endTold = false;
  readonly #held: { data: Buffer; isBinary: boolean }[] = [];
  #reason: TunnelError | undefined;
  #waitingSinceMs = 0;
  #waiting = 0;

  constructor(webSocket: WebSocket, socket: Socket, role: 'relay' | 'client', exporter = exporterOf(socket)) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#isClient = role === 'client';
    this.headroomBytes = this.#isClient ? CLIENT_HEADROOM_BYTES : RELAY_HEADROOM_BYTES;
    this.batchBytes = BLOCK_BYTES - this.headroomBytes;
    this.#exporter = exporter;
    this.#reader = new LinkReader(this, role);
    this.#wsReaders = socket.listeners('data') as SocketReader[];
    socket.removeAllListeners('data');
    socket.on('data', this.#onSocketData);
    // Before ws, which would take what a paused socket still holds for the beginning of a frame.
    socket.prependListener('close', this.#onSocketClose);
    webSocket.binaryType = 'nodebuffer';
    webSocket.on('message', this.#onMessage);
    webSocket.on('ping', this.#onPing);
    webSocket.on('error', this.#onError);
    webSocket.on('close', this.#onClose);
    webSocket.pause();
  }

  get handler(): LinkHandler | undefined {
    return this.#handler;
  }

  /**
   * Without a handler the link reads nothing, and holds what had been read already: a welcome and the first streams may
   * arrive in one piece. A new handler hears of it, or of the link's end, right after the code that sets it.
   */
  set handler(handler: LinkHandler | undefined) {
    this.#handler = handler;
    this.#endTold = false;
    if (handler === undefined) this.#webSocket.pause();
    else queueMicrotask(this.#onHandler);
  }

  get open(): boolean {
    return this.#webSocket.readyState === WebSocket.OPEN;
  }

  /** The peer's address as the socket sees it. */
  get remoteAddress(): string {
    return this.#socket.remoteAddress ?? '';
  }

  /** How long the oldest batch has been waiting for the system; 0 when none waits. */
  get stalledMs(): number {
    return this.#waiting === 0 ? 0 : performance.now() - this.#waitingSinceMs;
  }

  /** A value that only the two ends of this TLS connection know (RFC 5705); empty without TLS. */
  exporter(): Buffer {
    return this.#exporter;
  }

  /** Sends a control message. Does nothing on a closed link. */
  sendMessage(message: object): void {
    if (this.open) this.#webSocket.send(JSON.stringify(message));
  }

  /** Sends one batch; its first `headroomBytes` are overwritten. `handler.onSent` follows. */
  send(batch: Buffer): void {
    if (!this.open) return;
    if (this.#waiting === 0) this.#waitingSinceMs = performance.now();
    this.#waiting += 1;
    if (this.#isClient && !(this.#socket instanceof TLSSocket)) {
      this.#webSocket.send(batch.subarray(this.headroomBytes), { binary: true }, this.#onSent);
    } else {
      this.#socket.write(this.#frame(batch), this.#onSent);
    }
  }

  /** Ends the link with the code's close frame; the peer gets CLOSE_MS to answer. Safe in any state. */
  close(code: ErrorCode, message: string): void {
    if (this.#webSocket.readyState === WebSocket.CLOSED) return;
    this.#reason ??= new TunnelError(code, message);
    this.#webSocket.resume(); // The peer's answer must be read even when nobody handles this link.
    this.#webSocket.close(wsCloseOf(code), code);
  }

  /** Ends the link now, without a word to the peer. Safe in any state. */
  destroy(error: TunnelError): void {
    this.#reason ??= error;
    this.#webSocket.terminate();
  }

  /** Writes the WebSocket header right in front of the batch. */
  #frame(batch: Buffer): Buffer {
    const length = batch.length - this.headroomBytes;
    const maskBit = this.#isClient ? 0x80 : 0;
    const maskBytes = this.#isClient ? 4 : 0;
    const start = length < 126 ? this.headroomBytes - 2 - maskBytes : 0;
    batch[start] = 0x82;
    if (length < 126) {
      batch[start + 1] = maskBit | length;
    } else {
      batch[start + 1] = maskBit | 126;
      batch[start + 2] = length >>> 8;
      batch[start + 3] = length;
    }
    if (this.#isClient) batch.fill(0, this.headroomBytes - 4, this.headroomBytes);
    return start === 0 ? batch : batch.subarray(start);
  }

  readonly #onSent = (): void => {
    this.#waiting -= 1;
    this.#waitingSinceMs = performance.now();
    if (this.#webSocket.readyState !== WebSocket.CLOSED) this.#handler?.onSent();
  };

  readonly #onSocketData = (chunk: Buffer): void => {
    this.#reader.read(chunk);
  };

  readonly #onSocketClose = (): void => {
    const rest: Buffer | null = this.#socket.read();
    if (rest !== null) this.#reader.read(rest);
    this.#reader.stop();
  };

  /** LinkReaderOwner. */
  onBytes(piece: Buffer): void {
    this.#onMessage(piece, true);
  }

  /** LinkReaderOwner. */
  onOther(piece: Buffer): void {
    for (const read of this.#wsReaders) read.call(this.#socket, piece);
  }

  readonly #onHandler = (): void => {
    while (this.#handler !== undefined && this.open) {
      const next = this.#held.shift();
      if (next === undefined) break;
      this.#give(this.#handler, next.data, next.isBinary);
    }
    if (this.#handler !== undefined) this.#webSocket.resume();
    this.#tellEnd();
  };

  readonly #onMessage = (data: Buffer, isBinary: boolean): void => {
    if (!this.open) return; // We have said good-bye; what the peer still says has no meaning.
    if (this.#handler === undefined || this.#held.length > 0) this.#held.push({ data, isBinary });
    else this.#give(this.#handler, data, isBinary);
  };

  #give(handler: LinkHandler, data: Buffer, isBinary: boolean): void {
    if (isBinary) handler.onBytes(data);
    else if (data.length > MAX_MESSAGE_BYTES) this.close('PROTOCOL_VIOLATION', 'Cannot read message: too long');
    else handler.onMessage(data.toString());
  }

  readonly #onPing = (data: Buffer): void => {
    if (this.#socket.writableLength <= MAX_PONG_BACKLOG_BYTES) this.#webSocket.pong(data);
  };

  readonly #onError = (error: Error): void => {
    this.#reader.stop();
    // ws reports a violation of RFC 6455 or of maxPayload with a code of its own; everything else is the network.
    const violation = 'code' in error && String(error.code).startsWith('WS_ERR_');
    this.#reason ??= asTunnelError(error, violation ? 'PROTOCOL_VIOLATION' : 'LINK_LOST');
  };

  readonly #onClose = (closeCode: number, reason: Buffer): void => {
    this.#reason ??= peerClosed(closeCode, reason.toString());
    this.#tellEnd();
  };

  #tellEnd(): void {
    if (this.#webSocket.readyState !== WebSocket.CLOSED || this.#reason === undefined) return;
    if (this.#handler === undefined || this.#endTold) return;
    this.#endTold = true;
    this.#handler.onClose(this.#reason);
  }
}

/** What a close frame means: our peers put the error's code into the reason. */
function peerClosed(closeCode: number, reason: string): TunnelError {
  if (isErrorCode(reason)) return new TunnelError(reason, 'Cannot keep link: the other end closed it');
  const code = closeCode === 1001 ? 'RELAY_DRAINING' : 'LINK_LOST';
  return new TunnelError(code, `Link closed by the peer with WebSocket code ${closeCode}`);
}

function exporterOf(socket: Socket): Buffer {
  if (!(socket instanceof TLSSocket)) return Buffer.alloc(0);
  return socket.exportKeyingMaterial(LINK_EXPORTER_BYTES, LINK_EXPORTER_LABEL, Buffer.alloc(0));
}

const COMMON_OPTIONS = {
  maxPayload: BLOCK_BYTES, // What is left of it for ws: a message that its sender fragmented.
  perMessageDeflate: false,
  autoPong: false,
  // Many small messages in one chunk are handled in one go; ws would otherwise wait a turn between two of them.
  allowSynchronousEvents: true,
  closeTimeout: CLOSE_MS,
} as const;

/** How a relay refuses a client that does not offer its subprotocol (RFC 9110 §15.5.22), before any WebSocket begins. */
const WRONG_VERSION = 426;
const ERROR_FIELD = 'x-sallyport-error';
const VERSION_REFUSAL = `Cannot open link: this relay speaks ${SUBPROTOCOL}. Update the older of the two.\n`;
const OTHER_VERSION = `the relay does not speak ${SUBPROTOCOL}. Update the older of the two, this client or the relay.`;

export interface DialOptions {
  /** The relay's URL, https: or http:. */
  readonly url: URL;
  /** Opens the connection beneath; TLS and its checks are the caller's. */
  readonly connect: () => Socket;
  /** For the whole opening handshake, in milliseconds. */
  readonly timeoutMs: number;
  readonly agent: string;
  readonly signal: AbortSignal;
}

/**
 * Opens a link to a relay.
 * @throws {TunnelError} VERSION_UNSUPPORTED when the relay says that it speaks another protocol; LINK_LOST when it cannot be
 *   reached or answers with anything else but a WebSocket.
 */
export function dialLink(options: DialOptions): Promise<Link> {
  const url = new URL(LINK_PATH, options.url);
  url.protocol = options.url.protocol === 'https:' ? 'wss:' : 'ws:';
  let socket: Socket | undefined;
  const webSocket = new WebSocket(url, [SUBPROTOCOL], {
    ...COMMON_OPTIONS,
    headers: { 'User-Agent': options.agent },
    createConnection: () => {
      socket = options.connect();
      return socket;
    },
  });
  return new Promise((resolve, reject) => {
    const onAbort = () => fail(new Error('aborted'));
    // ws would only notice silence, not a server that answers one byte at a time.
    const deadline = setTimeout(() => fail(new Error(`no answer in ${options.timeoutMs} ms`)), options.timeoutMs);
    const settle = () => {
      clearTimeout(deadline);
      options.signal.removeEventListener('abort', onAbort);
      webSocket.off('error', onError).off('unexpected-response', onResponse);
    };
    const fail = (error: Error, code: ErrorCode = 'LINK_LOST') => {
      settle();
      webSocket.on('error', () => {});
      webSocket.terminate();
      reject(new TunnelError(code, `Cannot open link to ${options.url.host}: ${error.message}`, { cause: error }));
    };
    const onError = (error: Error) => fail(error);
    const onResponse = (_request: unknown, { statusCode, headers }: IncomingMessage) => {
      const isVersion = statusCode === WRONG_VERSION && headers[ERROR_FIELD] === 'VERSION_UNSUPPORTED';
      if (isVersion) fail(new Error(OTHER_VERSION), 'VERSION_UNSUPPORTED');
      else fail(new Error(`Unexpected server response: ${statusCode}`));
    };
    webSocket.on('error', onError).on('unexpected-response', onResponse);
    webSocket.once('open', () => {
      settle();
      if (socket === undefined) return fail(new Error('no socket'));
      socket.setNoDelay(true);
      resolve(new Link(webSocket, socket, 'client'));
    });
    options.signal.addEventListener('abort', onAbort, { once: true });
    if (options.signal.aborted) onAbort();
  });
}

/** Turns upgrade requests into links. Holds no socket of its own. */
export class LinkAcceptor {
  readonly #server = new WebSocketServer({
    ...COMMON_OPTIONS,
    noServer: true,
    clientTracking: false,
    handleProtocols: () => SUBPROTOCOL,
  });

  /**
   * Answers an upgrade request; a request that is no WebSocket handshake gets 400 and its socket is closed. False when the
   * client was refused because it does not speak our version.
   * @param exporter what the link's TLS derived where that ended in another process; else the socket is asked.
   */
  accept(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    onLink: (link: Link) => void,
    exporter?: Buffer,
  ): boolean {
    if (!offersOurVersion(request)) {
      socket.end(versionRefusal(), () => socket.destroy());
      return false;
    }
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      onLink(new Link(webSocket, socket as Socket, 'relay', exporter));
    });
    return true;
  }
}

/** What is no handshake of a WebSocket is for ws to refuse. */
function offersOurVersion({ headers }: IncomingMessage): boolean {
  if (headers.upgrade?.toLowerCase() !== 'websocket' || headers['sec-websocket-key'] === undefined) return true;
  const offered = headers['sec-websocket-protocol'] ?? '';
  return offered.split(',').some((protocol) => protocol.trim() === SUBPROTOCOL);
}

function versionRefusal(): string {
  const fields = [
    `HTTP/1.1 ${WRONG_VERSION} Upgrade Required`,
    'Upgrade: websocket',
    'Connection: Upgrade, close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${VERSION_REFUSAL.length}`,
    `${ERROR_FIELD}: VERSION_UNSUPPORTED`,
  ];
  return `${fields.join('\r\n')}\r\n\r\n${VERSION_REFUSAL}`;
}
