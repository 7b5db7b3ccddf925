/**
 * Visitors: who is connected to the public ports, how many there may be, and who they are. Behind a trusted proxy the
 * socket's peer is the proxy, and its PROXY header (if it sends one) names the visitor.
 *
 * Owns: the public sockets, as a set, so that closing the relay ends each of them. Owned by: Relay.
 */
import type { Socket } from 'node:net';
import { networkMatcher } from '../../shared/address.js';
import type { Deadlines } from '../../shared/deadlines.js';
import { TunnelError } from '../../shared/errors.js';
import { plainAddress } from '../../shared/ip-address.js';
import { readProxyHeader } from '../../shared/proxy-protocol.js';
import { HeldPerAddress } from '../sessions/address-limits.js';
import { readFirstBytes } from './first-bytes.js';

/** Where a connection comes from and which public address it reached. */
export interface Visitor {
  readonly address: string;
  readonly port: number;
  readonly publicAddress: string;
  readonly publicPort: number;
  /** True when whoever speaks HTTP to us is a trusted proxy, whose forwarded fields count. */
  readonly viaProxy: boolean;
}

/** Who may speak for a visitor. */
export interface ProxyTrust {
  readonly trustedProxies: readonly string[];
  /** Whether connections of trusted proxies start with a PROXY header. */
  readonly proxyProtocol: boolean;
}

export interface VisitorsOptions extends ProxyTrust {
  readonly deadlines: Deadlines;
  readonly limits: { readonly connections: number; readonly connectionsPerIp: number; readonly clientHelloMs: number };
}

export class Visitors {
  readonly #options: VisitorsOptions;
  readonly #sockets = new Set<Socket>();
  readonly #perAddress: HeldPerAddress;
  /** Requests over HTTP/2: an address may have as many of them at a time as connections, which in HTTP/1.1 is the same. */
  readonly #requestsPerAddress: HeldPerAddress;
  #total = 0;
  #proxies: ProxyTrust;
  #isProxy: (address: string) => boolean;

  constructor(options: VisitorsOptions) {
    this.#options = options;
    this.#proxies = options;
    this.#isProxy = networkMatcher(options.trustedProxies);
    this.#perAddress = new HeldPerAddress(() => options.limits.connectionsPerIp);
    this.#requestsPerAddress = new HeldPerAddress(() => options.limits.connectionsPerIp);
  }

  /** Whether this address is a proxy of ours. */
  readonly isTrusted = (address: string): boolean => this.#isProxy(address);

  /** Other proxies are trusted from now on; for connections that are open nothing changes. */
  trust(proxies: ProxyTrust): void {
    this.#proxies = proxies;
    this.#isProxy = networkMatcher(proxies.trustedProxies);
  }

  /** Connections open now, and since the relay started. */
  get count(): { now: number; total: number } {
    return { now: this.#sockets.size, total: this.#total };
  }

  /**
   * Counts a new connection and finds out who it is. Rejects with LIMIT_EXCEEDED, or PROTOCOL_VIOLATION for a wrong
   * PROXY header; the caller destroys the socket then.
   */
  async admit(socket: Socket): Promise<Visitor> {
    this.#total += 1;
    // The peer may reset at any time; 'close' follows and is what everybody waits for.
    socket.on('error', ignore);
    if (this.#sockets.size >= this.#options.limits.connections) {
      throw new TunnelError('LIMIT_EXCEEDED', 'Cannot accept visitor: the relay has too many connections');
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const visitor = await this.#identify(socket);
    this.#countAddress(socket, visitor);
    return visitor;
  }

  /** Counts a request of many on one connection; false when the visitor's address has too many. */
  takeRequest(visitor: Visitor): boolean {
    return this.#isManyVisitors(visitor) || this.#requestsPerAddress.take(visitor.address);
  }

  /** Gives one back that `takeRequest` granted. */
  giveBackRequest(visitor: Visitor): void {
    if (!this.#isManyVisitors(visitor)) this.#requestsPerAddress.giveBack(visitor.address);
  }

  /**
   * Ends every connection that is still open in the next turn. Not at once: Node (20.20) crashes when a socket is
   * destroyed beneath a TLS socket which somebody destroys in the same turn.
   */
  close(): void {
    setImmediate(() => {
      for (const socket of this.#sockets) socket.destroy();
    });
  }

  /** Behind a proxy every visitor has the proxy's address unless its PROXY header says otherwise: no limit then. */
  #isManyVisitors(visitor: Visitor): boolean {
    return visitor.viaProxy && !this.#proxies.proxyProtocol;
  }

  #countAddress(socket: Socket, visitor: Visitor): void {
    if (this.#isManyVisitors(visitor)) return;
    if (!this.#perAddress.take(visitor.address)) {
      throw new TunnelError('LIMIT_EXCEEDED', 'Cannot accept visitor: too many connections from its address');
    }
    if (socket.closed) this.#perAddress.giveBack(visitor.address);
    else socket.once('close', () => this.#perAddress.giveBack(visitor.address));
  }

  async #identify(socket: Socket): Promise<Visitor> {
    const peer = visitorOf(socket, this.isTrusted(socket.remoteAddress ?? ''));
    if (!peer.viaProxy || !this.#proxies.proxyProtocol) return peer;
    const { deadlines, limits } = this.#options;
    const header = await readFirstBytes(socket, {
      deadlines,
      timeoutMs: limits.clientHelloMs,
      parse: (bytes) => {
        const read = readProxyHeader(bytes);
        return read.kind === 'more' ? undefined : { value: read.header, usedBytes: read.bytes };
      },
    });
    if (header.command === 'local' || header.sourceAddress === '') return peer;
    return {
      address: header.sourceAddress,
      port: header.sourcePort,
      publicAddress: header.destinationAddress,
      publicPort: header.destinationPort,
      // A proxy that speaks in a PROXY header passes the visitor's own bytes: their fields are the visitor's words.
      viaProxy: this.isTrusted(header.sourceAddress),
    };
  }
}

/** What the socket itself says. */
function visitorOf(socket: Socket, viaProxy: boolean): Visitor {
  return {
    address: plainAddress(socket.remoteAddress ?? '') ?? '',
    port: socket.remotePort ?? 0,
    publicAddress: plainAddress(socket.localAddress ?? '') ?? '',
    publicPort: socket.localPort ?? 0,
    viaProxy,
  };
}

function ignore(): void {}
