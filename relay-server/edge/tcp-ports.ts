/**
 * TcpPorts: raw TCP tunnels. Each has a public port of its own, open from its first claim until it goes offline.
 *
 * Owns: one listening socket per port. Owned by: Relay.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Deadlines } from '../../shared/deadlines.js';
import { asTunnelError, type ErrorCode, TunnelError } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import type { NamedSocket } from '../../shared/service/listen-sockets.js';
import { abortSocket } from '../../shared/splice.js';
import type { Tunnel } from '../sessions/tunnel.js';
import { carryVisit, type OnCarried } from './carry-visit.js';
import { closeServer, descriptorOf, type GivenSocket, listenOn } from './listen.js';
import type { Visitors } from './visitors.js';

export interface TcpPortsOptions {
  /** Where the ports are opened. */
  readonly host: string;
  /** Sockets named `tcp-PORT` that a predecessor handed over. */
  readonly given?: GivenSocket;
  readonly visitors: Visitors;
  readonly deadlines: Deadlines;
  /** May change while it runs. */
  readonly limits: { readonly tcpIdleMs: number };
  readonly log: Log;
  readonly refused: (code: ErrorCode) => void;
  /** A connection ended. */
  readonly carried: OnCarried;
}

export class TcpPorts {
  readonly #options: TcpPortsOptions;
  readonly #servers = new Map<number, Server>();
  readonly #opening = new Map<number, Promise<void>>();

  constructor(options: TcpPortsOptions) {
    this.#options = options;
  }

  /** Opens the port for its tunnel; nothing happens when it is open. Rejects with PORT_TAKEN. */
  async open(port: number, tunnel: Tunnel): Promise<void> {
    if (this.#servers.has(port)) return;
    const opening = this.#opening.get(port) ?? this.#listen(port, tunnel);
    this.#opening.set(port, opening);
    try {
      await opening;
    } finally {
      this.#opening.delete(port);
    }
  }

  /** Closes the port; its connections go on until they end. */
  closePort(port: number): void {
    this.#servers.get(port)?.close();
    this.#servers.delete(port);
  }

  /** The descriptors of the listening sockets, for a successor. */
  get descriptors(): NamedSocket[] {
    return [...this.#servers].flatMap(([port, server]) => {
      const descriptor = descriptorOf(server);
      return descriptor === undefined ? [] : [{ name: tcpSocketName(port), descriptor }];
    });
  }

  /** Stops accepting everywhere; connections go on. */
  drain(): void {
    for (const port of [...this.#servers.keys()]) this.closePort(port);
  }

  /** Closes every port. The connections belong to `Visitors`. Safe any number of times. */
  async close(): Promise<void> {
    const servers = [...this.#servers.values()];
    this.#servers.clear();
    await Promise.all(servers.map(closeServer));
  }

  async #listen(port: number, tunnel: Tunnel): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
      this.#serve(socket, tunnel).catch((error: unknown) => this.#turnAway(socket, tunnel, asTunnelError(error)));
    });
    const given = this.#options.given?.(tcpSocketName(port));
    try {
      await listenOn(server, { host: this.#options.host, port }, 'tcp_port', given);
    } catch (cause) {
      throw new TunnelError('PORT_TAKEN', `Cannot open port ${port}: another program on the relay has it.`, { cause });
    }
    this.#servers.set(port, server);
  }

  async #serve(socket: Socket, tunnel: Tunnel): Promise<void> {
    const visitor = await this.#options.visitors.admit(socket);
    const { deadlines, limits, carried, refused } = this.#options;
    const said = { authority: '', alpn: '', tlsEnds: 'relay' } as const;
    await carryVisit(socket, visitor, tunnel, {
      kind: 'tcp',
      deadlines,
      idleMs: limits.tcpIdleMs,
      said,
      carried,
      refused,
    });
  }

  #turnAway(socket: Socket, tunnel: Tunnel, error: TunnelError): void {
    this.#options.refused(error.code);
    this.#options.log.debug({ public: tunnel.address, code: error.code, reason: error.message }, 'visitor refused');
    abortSocket(socket);
  }
}

/** What the socket of a public port is called when it is handed over. */
function tcpSocketName(port: number): string {
  return `tcp-${port}`;
}
