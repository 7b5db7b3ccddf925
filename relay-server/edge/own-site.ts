/**
 * OwnSite: what the relay answers under its own name: links from clients, and a plain page for everybody else. This is
 * no hot path, so node:http reads it.
 *
 * Owns: an HTTP server without a listening socket, and its connections until they are links. Owned by: Relay.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Deadlines, Watched } from '../../shared/deadlines.js';
import type { ErrorCode } from '../../shared/errors.js';
import { errorPage } from '../../shared/http/error-page.js';
import { DRAIN_IDLE_MS } from '../../shared/http/http-site.js';
import { plainAddress } from '../../shared/ip-address.js';
import { type Link, LinkAcceptor } from '../../shared/link.js';
import { LINK_PATH } from '../../shared/messages.js';
import { newRequestId } from '../../shared/request-id.js';
import type { Visitor } from './visitors.js';

export interface OwnSiteOptions {
  readonly domain: string;
  /** May change at any time; that of a head's size counts for a new relay only. */
  readonly limits: { readonly headBytes: number; readonly headMs: number; readonly keepAliveMs: number };
  readonly deadlines: Deadlines;
  readonly isTrusted: (address: string) => boolean;
  /** A new link; `closed` resolves when its socket is gone. */
  readonly onLink: (link: Link, closed: Promise<void>, address: string, tlsEndsElsewhere: boolean) => void;
  /** A link was refused before it began. */
  readonly refused: (code: ErrorCode) => void;
}

/** A connection that is no link yet. */
interface OwnConnection {
  readonly visitor: Visitor;
  readonly exporter: Buffer | undefined;
  /** When the head of its next request must have come. */
  deadlineAtMs: number;
  isAnswered: boolean;
}

export class OwnSite implements Watched {
  readonly #options: OwnSiteOptions;
  readonly #server: Server;
  readonly #acceptor = new LinkAcceptor();
  readonly #connections = new Map<Socket, OwnConnection>();
  #draining = false;

  constructor(options: OwnSiteOptions) {
    this.#options = options;
    // Node looks after the times of connections only where it listens itself.
    this.#server = createServer({ maxHeaderSize: options.limits.headBytes, keepAliveTimeout: 0 });
    this.#server.on('request', this.#onRequest);
    this.#server.on('upgrade', this.#onUpgrade);
    options.deadlines.watch(this);
  }

  /**
   * Takes over a connection after its TLS handshake.
   * @param exporter what the handshake derived for links, where another process made it.
   */
  accept(socket: Socket, visitor: Visitor, exporter?: Buffer): void {
    const { deadlines, limits } = this.#options;
    const deadlineAtMs = deadlines.nowMs + (this.#draining ? DRAIN_IDLE_MS : limits.headMs);
    this.#connections.set(socket, { visitor, exporter, deadlineAtMs, isAnswered: false });
    socket.once('close', () => this.#connections.delete(socket));
    this.#server.emit('connection', socket);
  }

  /** Visitors who wait for an answer, or are about to ask. */
  get busyCount(): number {
    let count = 0;
    for (const { isAnswered } of this.#connections.values()) if (!isAnswered) count += 1;
    return count;
  }

  /** The relay will end when nobody waits for an answer. */
  drain(): void {
    this.#draining = true;
    const latestAtMs = this.#options.deadlines.nowMs + DRAIN_IDLE_MS;
    for (const connection of this.#connections.values()) {
      connection.deadlineAtMs = Math.min(connection.deadlineAtMs, latestAtMs);
    }
  }

  /** Ends all HTTP connections; links belong to their sessions. Safe any number of times. */
  close(): void {
    this.#options.deadlines.unwatch(this);
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  /** Watched. */
  onTick(nowMs: number): void {
    for (const [socket, { deadlineAtMs }] of this.#connections) if (nowMs >= deadlineAtMs) socket.destroy();
  }

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    response.once('finish', () => this.#onAnswered(request.socket));
    if (!this.#isOurs(request)) this.#answer(request, response, 'HOST_MISDIRECTED', 421);
    else this.#answer(request, response, 'ROUTE_NOT_FOUND', request.url === LINK_PATH ? 426 : 404);
  };

  readonly #onUpgrade = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    const known = this.#connections.get(socket);
    this.#connections.delete(socket);
    if (known === undefined || request.url !== LINK_PATH || !this.#isOurs(request)) {
      const answer = 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';
      // After an upgrade request the server watches the socket no longer: a visitor who never leaves would stay.
      socket.end(answer, () => socket.destroy());
      return;
    }
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
    });
    const { address, elsewhere } = this.#clientOf(request, known.visitor);
    const { onLink, refused } = this.#options;
    const accepted = (link: Link) => onLink(link, closed, address, elsewhere);
    const isOurVersion = this.#acceptor.accept(request, socket, head, accepted, known.exporter);
    if (!isOurVersion) refused('VERSION_UNSUPPORTED');
  };

  #onAnswered(socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    const { deadlines, limits } = this.#options;
    connection.isAnswered = true;
    connection.deadlineAtMs = deadlines.nowMs + limits.keepAliveMs;
  }

  /** The client's address; a trusted proxy that forwards HTTP ends TLS itself and names the client in a field. */
  #clientOf(request: IncomingMessage, visitor: Visitor): { address: string; elsewhere: boolean } {
    const forwarded = request.headers['x-forwarded-for'];
    if (!visitor.viaProxy || typeof forwarded !== 'string') return { address: visitor.address, elsewhere: false };
    const addresses = forwarded.split(',').map((text) => plainAddress(text.trim()));
    const real = addresses.findLast((address) => address !== undefined && !this.#options.isTrusted(address));
    return { address: real ?? visitor.address, elsewhere: true };
  }

  #isOurs(request: IncomingMessage): boolean {
    const host = (request.headers.host ?? '').toLowerCase().replace(/:\d+$/, '');
    return host === this.#options.domain;
  }

  #answer(request: IncomingMessage, response: ServerResponse, code: ErrorCode, status: number): void {
    const page = errorPage({
      code,
      status,
      requestId: newRequestId(),
      accept: request.headers.accept ?? '',
      hostname: this.#options.domain,
    });
    response.writeHead(status, {
      ...Object.fromEntries(page.fields),
      'Content-Type': page.contentType,
      'Content-Length': page.body.length,
      ...(status === 426 ? { Upgrade: 'websocket' } : {}),
    });
    response.end(page.body);
  }
}
