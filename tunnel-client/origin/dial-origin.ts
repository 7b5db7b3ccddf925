/**
 * DialOrigin: opens one connection to an origin and decides what a failure is called.
 */
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { checkServerIdentity, connect as connectTls, type PeerCertificate } from 'node:tls';
import { BorrowedReads } from '../../shared/bytes/borrowed-reads.js';
import { TunnelError } from '../../shared/errors.js';
import { hostnameOf } from '../../shared/hostname.js';
import { H2cOrigin } from './h2c-origin.js';
import type { OriginTarget } from './origin-target.js';

export interface DialOriginOptions {
  readonly target: OriginTarget;
  /** For TCP, and TLS where there is any, together. */
  readonly timeoutMs: number;
  /** Bytes for the start of the TCP connection, before TLS: a PROXY header. */
  readonly preamble: Buffer | undefined;
  /** Whether the caller can do with borrowed reads. */
  readonly borrows?: boolean;
  /** The name for SNI when the origin is an IP address: the public hostname. */
  readonly serverName: string;
  /**
   * A connection that speaks HTTP/1.1, or whatever the visitor does: the socket, but for an h2c origin. `reads` tells how
   * it is read; undefined: by its 'data' events, as every socket with TLS.
   */
  readonly onOpen: (socket: Duplex, reads: BorrowedReads | undefined) => void;
  readonly onFail: (error: TunnelError) => void;
}

/** Dials; exactly one of `onOpen` and `onFail` is called. Returns what ends the attempt without calling either. */
export function dialOrigin(options: DialOriginOptions): () => void {
  return new OriginDial(options).start();
}

class OriginDial {
  readonly #options: DialOriginOptions;
  #socket: Duplex | undefined;
  #reads: BorrowedReads | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reached: 'nothing' | 'tcp' = 'nothing';

  constructor(options: DialOriginOptions) {
    this.#options = options;
  }

  start(): () => void {
    const { target, timeoutMs, borrows } = this.#options;
    if (borrows === true && target.scheme !== 'https' && target.scheme !== 'h2c') this.#reads = new BorrowedReads();
    const onread = this.#reads === undefined ? {} : { onread: this.#reads.onread };
    const where = target.path === undefined ? { host: target.host, port: target.port } : { path: target.path };
    this.#timer = setTimeout(() => this.#onTimeout(), timeoutMs);
    const tcp = connect({ ...where, ...onread, allowHalfOpen: target.scheme !== 'h2c', noDelay: true });
    this.#watch(tcp, 'connect', () => this.#onTcp(tcp));
    return () => this.#stop()?.destroy();
  }

  #watch(socket: Duplex, event: 'connect' | 'secureConnect' | 'ready', next: () => void): void {
    this.#socket = socket;
    socket.once(event, next);
    socket.on('error', this.#onError);
  }

  #onTcp(tcp: Socket): void {
    const { target, preamble } = this.#options;
    this.#reached = 'tcp';
    if (preamble !== undefined) tcp.write(preamble);
    if (target.scheme === 'https') this.#startTls(tcp, target);
    else if (target.scheme === 'h2c') this.#watch(new H2cOrigin(tcp), 'ready', this.#onOpen);
    else this.#onOpen();
  }

  #startTls(tcp: Socket, target: OriginTarget): void {
    // `tcp` keeps its error handler: writing the preamble may still fail when TLS has taken over the reading.
    const tls = connectTls({
      socket: tcp,
      host: target.host,
      ...this.#serverName(),
      rejectUnauthorized: target.verifyTls,
      ALPNProtocols: ['http/1.1'],
      checkServerIdentity: (name, certificate) => checkOrigin(name, target.host, certificate),
    });
    this.#watch(tls, 'secureConnect', this.#onOpen);
  }

  /** The name for SNI: the origin's own, else the public one where it is a name at all. */
  #serverName(): { servername?: string } {
    const { target, serverName } = this.#options;
    const servername = isName(target.host) ? target.host : hostnameOf(serverName);
    return servername === undefined ? {} : { servername };
  }

  readonly #onOpen = (): void => {
    const socket = this.#stop();
    if (socket !== undefined) this.#options.onOpen(socket, this.#reads);
  };

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    this.#fail(describe(error, this.#options.target, this.#reached));
  };

  #onTimeout(): void {
    const { target, timeoutMs } = this.#options;
    this.#fail(new TunnelError('ORIGIN_TIMEOUT', `Cannot reach origin ${target.text}: no answer in ${timeoutMs} ms`));
  }

  #fail(error: TunnelError): void {
    const socket = this.#stop();
    if (socket === undefined) return;
    socket.on('error', () => {});
    socket.destroy();
    this.#options.onFail(error);
  }

  /** Ends the attempt; the socket if it still ran. */
  #stop(): Duplex | undefined {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.off('error', this.#onError);
    return socket;
  }
}

/** An origin that is dialled by its IP address may show a certificate for that address or for the public hostname. */
function checkOrigin(name: string, host: string, certificate: PeerCertificate): Error | undefined {
  const wrongName = checkServerIdentity(name, certificate);
  return wrongName === undefined || name === host ? wrongName : checkServerIdentity(host, certificate);
}

function isName(host: string): boolean {
  return !/^[\d.]+$/.test(host) && !host.includes(':');
}

function describe(error: NodeJS.ErrnoException, target: OriginTarget, reached: 'nothing' | 'tcp'): TunnelError {
  const what = error.code ?? error.message;
  if (reached === 'tcp' && target.scheme === 'https') {
    const cure = target.verifyTls
      ? ` If you trust it anyway, write https+insecure://${target.host}:${target.port}.`
      : '';
    const message = `Cannot speak TLS with origin ${target.text}: ${what}.${cure}`;
    return new TunnelError('ORIGIN_TLS_FAILED', message, { cause: error });
  }
  if (reached === 'tcp' && target.scheme === 'h2c') {
    const cure = `If it speaks HTTP/1.1, write http://${target.host}:${target.port}.`;
    const message = `Cannot speak HTTP/2 with origin ${target.text}: ${what}. ${cure}`;
    return new TunnelError('ORIGIN_INVALID', message, { cause: error });
  }
  const code = error.code === 'ETIMEDOUT' ? 'ORIGIN_TIMEOUT' : 'ORIGIN_REFUSED';
  return new TunnelError(code, `Cannot reach origin ${target.text}: ${what}. Is the app running?`, { cause: error });
}
