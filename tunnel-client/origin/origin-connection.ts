/**
 * OriginConnection: one visitor's stream at home. It reads the Opening, dials the tunnel's origin, and joins the two; or
 * tells the relay with one byte, the verdict, why that cannot be.
 *
 *   opening → dialling → joined        any → over
 *
 * Where TLS ends at home there is nothing to dial yet: HomeEdge takes the stream after the Opening.
 *
 * The verdict "connected" travels in front of the origin's first bytes: it costs no packet.
 * Owns: the stream, and the socket until the splice has both. Owned by: nobody; it lives as long as they do.
 */
import type { Duplex } from 'node:stream';
import type { BorrowedReads } from '../../shared/bytes/borrowed-reads.js';
import type { Deadlines } from '../../shared/deadlines.js';
import { TunnelError, VERDICT_CONNECTED, verdictOf } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import type { MuxStream, StreamHandler } from '../../shared/mux/stream.js';
import { type OpeningRead, originProxyHeader, readOpening, sharedTurnsOf } from '../../shared/opening.js';
import { Splice } from '../../shared/splice.js';
import type { ClientTunnel } from '../client-tunnel.js';
import type { HomeEdge } from '../home/home-edge.js';
import { dialOrigin } from './dial-origin.js';

export interface OriginConnectionOptions {
  readonly dialMs: number;
  readonly deadlines: Deadlines;
  readonly log: Log;
  readonly tunnel: (name: string) => ClientTunnel | undefined;
  /** Takes visitors whose TLS ends here. */
  readonly home: HomeEdge;
}

type OpeningFound = Extract<OpeningRead, { kind: 'opening' }>;

const CONNECTED = Buffer.of(VERDICT_CONNECTED);

export class OriginConnection implements StreamHandler {
  readonly #stream: MuxStream;
  readonly #options: OriginConnectionOptions;
  #state: 'opening' | 'dialling' | 'joined' | 'over' = 'opening';
  #bytes: Buffer = Buffer.alloc(0);
  #tunnel: ClientTunnel | undefined;
  #stopDialling: (() => void) | undefined;

  constructor(stream: MuxStream, options: OriginConnectionOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.handler = this;
    stream.resume();
  }

  onData(piece: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? piece : Buffer.concat([this.#bytes, piece]);
    if (this.#state !== 'opening') return;
    try {
      const read = readOpening(this.#bytes);
      if (read.kind === 'opening') this.#open(read);
    } catch {
      this.#refuse(new TunnelError('PROTOCOL_VIOLATION', 'Cannot serve stream: its opening is malformed'));
    }
  }

  onEnd(): void {
    if (this.#state === 'opening')
      this.#refuse(new TunnelError('PROTOCOL_VIOLATION', 'Cannot serve stream: no opening'));
  }

  onDrain(): void {}

  /** The visitor left before the origin answered. */
  onClose(): void {
    this.#stopDialling?.();
    this.#finish();
  }

  #open(read: OpeningFound): void {
    this.#state = 'dialling';
    this.#stream.pause();
    const { opening, header } = read;
    const tunnel = this.#options.tunnel(opening.tunnel);
    if (tunnel === undefined) {
      this.#refuse(new TunnelError('ROUTE_NOT_FOUND', 'Cannot serve stream: no such tunnel here'));
      return;
    }
    this.#bytes = this.#bytes.subarray(read.bytes);
    this.#count(tunnel);
    const turns = sharedTurnsOf(opening);
    if (turns !== undefined) this.#stream.shareTurns(turns);
    if (tunnel.spec.tls === 'end-to-end') {
      this.#hand(read, tunnel);
      return;
    }
    const { origin, proxyProtocol } = tunnel.spec;
    this.#stopDialling = dialOrigin({
      target: origin,
      borrows: true,
      timeoutMs: this.#options.dialMs,
      preamble: proxyProtocol === undefined ? undefined : originProxyHeader(header, proxyProtocol),
      serverName: opening.authority.replace(/:\d+$/, ''),
      onOpen: (socket, reads) => this.#join(socket, reads, tunnel, opening.trace === true),
      onFail: (error) => this.#onDialFailed(error, tunnel),
    });
  }

  #hand({ opening }: OpeningFound, tunnel: ClientTunnel): void {
    if (opening.tlsVersion !== '') {
      this.#refuse(new TunnelError('PROTOCOL_VIOLATION', 'Cannot serve stream: its TLS ended at the relay'));
      return;
    }
    this.#state = 'joined';
    const first = this.#bytes;
    this.#bytes = Buffer.alloc(0);
    this.#stream.write(CONNECTED);
    this.#options.home.accept(this.#stream, { opening, first, tunnel }, () => this.#finish());
  }

  #count(tunnel: ClientTunnel): void {
    this.#tunnel = tunnel;
    tunnel.openStreams += 1;
    tunnel.totalStreams += 1;
  }

  /** A followed visitor gets the verdict at once, so that the relay can tell the dial's time from the app's. */
  #join(socket: Duplex, reads: BorrowedReads | undefined, tunnel: ClientTunnel, isFollowed: boolean): void {
    this.#state = 'joined';
    if (isFollowed) this.#stream.write(CONNECTED);
    if (this.#bytes.length > 0) socket.write(this.#bytes);
    tunnel.traffic.toSocketBytes += this.#bytes.length;
    this.#bytes = Buffer.alloc(0);
    new Splice(socket, this.#stream, {
      deadlines: this.#options.deadlines,
      // The relay knows what the visitor is doing and ends what idles; here nothing may end a healthy connection.
      idleMs: Number.POSITIVE_INFINITY,
      ...(isFollowed ? {} : { preface: CONNECTED }),
      ...(reads === undefined ? {} : { reads }),
      traffic: tunnel.traffic,
      onClose: () => this.#finish(),
    });
  }

  #onDialFailed(error: TunnelError, tunnel: ClientTunnel): void {
    tunnel.fail(error.code, error.message);
    this.#options.log.warn({ tunnel: tunnel.spec.name, code: error.code, reason: error.message }, 'origin unreachable');
    this.#refuse(error);
  }

  /** One byte tells the relay why; it resets the stream when it has read it. */
  #refuse(error: TunnelError): void {
    this.#state = 'over';
    this.#stream.write(Buffer.of(verdictOf(error.code)));
    this.#stream.end();
    // What the visitor still sends is of no use to anybody.
    this.#bytes = Buffer.alloc(0);
    this.#stream.handler = { onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClose: () => this.#finish() };
    this.#stream.resume();
  }

  #finish(): void {
    this.#state = 'over';
    if (this.#tunnel !== undefined) this.#tunnel.openStreams -= 1;
    this.#tunnel = undefined;
  }
}
