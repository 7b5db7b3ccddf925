/**
 * Redirect: the plain HTTP port. It sends known hostnames to https (308 keeps method and body), answers the HTTP-01
 * challenges of CAs (RFC 8555 §8.3), and serves nothing else.
 *
 * Owns: one HTTP server. Owned by: Relay.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Address } from '../../shared/address.js';
import { hostnameOf } from '../../shared/hostname.js';
import { HeldPerAddress } from '../sessions/address-limits.js';
import { closeServer, listenOn } from './listen.js';

export interface RedirectOptions {
  /** Where https is reached from outside. */
  readonly publicPort: number;
  readonly headBytes: number;
  readonly headMs: number;
  readonly maxConnections: number;
  readonly connectionsPerIp: number;
  /** A proxy in front of the relay is one address for all its visitors. */
  readonly isTrusted: (address: string) => boolean;
  readonly isKnown: (hostname: string) => boolean;
  /** What a CA must read at this path; undefined when that is no challenge of ours. */
  readonly challengeAnswer: (hostname: string, path: string) => string | undefined;
}

export class Redirect {
  readonly #options: RedirectOptions;
  readonly #server: Server;
  readonly #perAddress: HeldPerAddress;

  constructor(options: RedirectOptions) {
    this.#options = options;
    this.#perAddress = new HeldPerAddress(options.connectionsPerIp);
    this.#server = createServer(
      {
        maxHeaderSize: options.headBytes,
        headersTimeout: options.headMs,
        requestTimeout: options.headMs,
        keepAliveTimeout: 5_000,
        connectionsCheckingInterval: 1_000,
      },
      this.#onRequest,
    );
    this.#server.maxConnections = options.maxConnections;
    this.#server.on('connection', this.#onConnection);
  }

  /** Starts accepting. Rejects with CONFIG_INVALID. */
  listen(address: Address): Promise<Address> {
    return listenOn(this.#server, address, 'listen.http');
  }

  /** Safe any number of times. */
  async close(): Promise<void> {
    const closed = closeServer(this.#server);
    this.#server.closeAllConnections();
    await closed;
  }

  readonly #onConnection = (socket: Socket): void => {
    const address = socket.remoteAddress ?? '';
    if (this.#options.isTrusted(address)) return;
    if (this.#perAddress.take(address)) socket.once('close', () => this.#perAddress.giveBack(address));
    else socket.destroy();
  };

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const hostname = hostnameOf((request.headers.host ?? '').replace(/:\d+$/, ''));
    const target = request.url ?? '/';
    const answer = hostname === undefined ? undefined : this.#options.challengeAnswer(hostname, target);
    if (answer !== undefined) {
      const fields = { 'Content-Type': 'application/octet-stream', 'Content-Length': Buffer.byteLength(answer) };
      response.writeHead(200, { ...fields, Connection: 'close' }).end(answer);
      return;
    }
    const known = hostname !== undefined && this.#options.isKnown(hostname) && target.startsWith('/');
    const { publicPort } = this.#options;
    if (!known) response.writeHead(404, { 'Content-Length': 0, Connection: 'close' });
    else {
      const port = publicPort === 443 ? '' : `:${publicPort}`;
      response.writeHead(308, {
        Location: `https://${hostname}${port}${target}`,
        'Content-Length': 0,
        Connection: 'close',
      });
    }
    response.end();
  };
}
