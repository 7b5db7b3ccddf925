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
import { closeServer, descriptorOf, listenOn } from './listen.js';

export interface RedirectOptions {
  /** Where https is reached from outside. */
  readonly publicPort: () => number;
  /** May change while it runs; the first two count for what was made with them. */
  readonly limits: {
    readonly headBytes: number;
    readonly headMs: number;
    readonly connections: number;
    readonly connectionsPerIp: number;
  };
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
  #open = 0;

  constructor(options: RedirectOptions) {
    this.#options = options;
    const { limits } = options;
    this.#perAddress = new HeldPerAddress(() => limits.connectionsPerIp);
    this.#server = createServer(
      {
        maxHeaderSize: limits.headBytes,
        headersTimeout: limits.headMs,
        requestTimeout: limits.headMs,
        keepAliveTimeout: 5_000,
        connectionsCheckingInterval: 1_000,
      },
      this.#onRequest,
    );
    this.#server.on('connection', this.#onConnection);
  }

  /** Starts accepting. Rejects with CONFIG_INVALID. */
  listen(address: Address, given?: number): Promise<Address> {
    return listenOn(this.#server, address, 'listen.http', given);
  }

  /** The descriptor of the listening socket, for a successor. */
  get descriptor(): number | undefined {
    return descriptorOf(this.#server);
  }

  /** Connections that are open. */
  get busyCount(): number {
    return this.#open;
  }

  /** Stops accepting; each connection ends with its answer. */
  drain(): void {
    this.#server.close();
  }

  /** Safe any number of times. */
  async close(): Promise<void> {
    const closed = closeServer(this.#server);
    this.#server.closeAllConnections();
    await closed;
  }

  readonly #onConnection = (socket: Socket): void => {
    this.#open += 1;
    socket.once('close', () => {
      this.#open -= 1;
    });
    const address = socket.remoteAddress ?? '';
    if (this.#open > this.#options.limits.connections) {
      socket.destroy();
      return;
    }
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
    const publicPort = this.#options.publicPort();
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
