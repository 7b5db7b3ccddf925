/**
 * OwnSite: what the relay answers under its own name: links from clients, and a plain page for everybody else. This is
 * no hot path, so node:http reads it.
 *
 * Owns: an HTTP server without a listening socket. Owned by: Relay.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { ErrorCode } from '../../shared/errors.js';
import { errorPage } from '../../shared/http/error-page.js';
import { plainAddress } from '../../shared/ip-address.js';
import { type Link, LinkAcceptor } from '../../shared/link.js';
import { LINK_PATH } from '../../shared/messages.js';
import { newRequestId } from '../../shared/request-id.js';
import type { Visitor } from './visitors.js';

export interface OwnSiteOptions {
  readonly domain: string;
  readonly headBytes: number;
  readonly headMs: number;
  readonly keepAliveMs: number;
  readonly isTrusted: (address: string) => boolean;
  /** A new link; `closed` resolves when its socket is gone. */
  readonly onLink: (link: Link, closed: Promise<void>, address: string, tlsEndsElsewhere: boolean) => void;
  /** A link was refused before it began. */
  readonly refused: (code: ErrorCode) => void;
}

/** What is known of a connection. */
interface OwnConnection {
  readonly visitor: Visitor;
  readonly exporter: Buffer | undefined;
}

export class OwnSite {
  readonly #options: OwnSiteOptions;
  readonly #server: Server;
  readonly #acceptor = new LinkAcceptor();
  readonly #connections = new WeakMap<object, OwnConnection>();

  constructor(options: OwnSiteOptions) {
    this.#options = options;
    this.#server = createServer({
      maxHeaderSize: options.headBytes,
      headersTimeout: options.headMs,
      requestTimeout: options.headMs,
      keepAliveTimeout: options.keepAliveMs,
      connectionsCheckingInterval: 1_000,
    });
    this.#server.on('request', this.#onRequest);
    this.#server.on('upgrade', this.#onUpgrade);
  }

  /**
   * Takes over a connection after its TLS handshake.
   * @param exporter what the handshake derived for links, where another process made it.
   */
  accept(socket: Socket, visitor: Visitor, exporter?: Buffer): void {
    this.#connections.set(socket, { visitor, exporter });
    this.#server.emit('connection', socket);
  }

  /** Takes over limits that have changed; that of a head's size counts for a new relay only. */
  limit({ headMs, keepAliveMs }: { readonly headMs: number; readonly keepAliveMs: number }): void {
    Object.assign(this.#server, { headersTimeout: headMs, requestTimeout: headMs, keepAliveTimeout: keepAliveMs });
  }

  /** Ends idle and running HTTP connections; links belong to their sessions. Safe any number of times. */
  close(): void {
    // Stops the server's own timer as well.
    this.#server.close();
    this.#server.closeAllConnections();
  }

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    if (!this.#isOurs(request)) this.#answer(request, response, 'HOST_MISDIRECTED', 421);
    else this.#answer(request, response, 'ROUTE_NOT_FOUND', request.url === LINK_PATH ? 426 : 404);
  };

  readonly #onUpgrade = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    const known = this.#connections.get(socket);
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
