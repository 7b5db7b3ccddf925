/**
 * AdminListener: answers the operator's questions about a running relay: is it alive, is it ready, what does it do.
 *
 * It reads only. It has no password, because it listens on loopback by default; so it must not answer a web page that
 * the operator happens to have open: requests that a browser sends for another site, and names that DNS could have been
 * made to point here (DNS rebinding), are refused.
 *
 * Owns: one HTTP server. Owned by: Relay, which closes it last.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { type Address, formatAddress, splitHostAndPort } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';
import type { RelayStatus } from './relay-status.js';
import { answerWatch, type WatchSubject } from './watch-answer.js';

/** What the listener needs of the relay. */
export interface AdminSubject extends WatchSubject {
  status(): RelayStatus;
  /** True, or the reason why visitors should not be sent here (yet, or any more). */
  ready(): true | string;
}

/** One answer, complete. */
interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 8 * 1024,
  connectionsCheckingInterval: 2_000,
} as const;
const MAX_CONNECTIONS = 64;
const LOCAL_NAMES: ReadonlySet<string> = new Set(['localhost', 'localhost.']);
/** Values of Sec-Fetch-Site that no other site can cause (W3C Fetch Metadata). */
const OWN_FETCH_SITES: ReadonlySet<string> = new Set(['same-origin', 'none']);

export class AdminListener {
  /** Where it listens, with the port that the system chose for port 0. */
  readonly address: Address;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    const { address, port } = server.address() as AddressInfo;
    this.address = { host: address, port };
  }

  /**
   * Listens at `address`.
   * @throws {TunnelError} CONFIG_INVALID when the address cannot be taken.
   */
  static async listen(address: Address, subject: AdminSubject): Promise<AdminListener> {
    const server = createServer(LIMITS, (request, response) => {
      const refusal = refusalOf(request, address.host);
      if (refusal === undefined && answerWatch(request, response, subject)) return;
      send(request, response, refusal ?? answer(request, subject));
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.listen(address.port, address.host);
    try {
      await once(server, 'listening');
    } catch (cause) {
      const { code = String(cause) } = cause as NodeJS.ErrnoException;
      const message = `Cannot listen on ${formatAddress(address)}: ${code}. Free it or change listen.admin.`;
      throw new TunnelError('CONFIG_INVALID', message, { cause });
    }
    return new AdminListener(server);
  }

  /** Ends every connection and frees the port. Safe in any state, any number of times. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

/** Why a request gets no answer, or undefined. */
function refusalOf(request: IncomingMessage, listenHost: string): Answer | undefined {
  const { host = '', origin, 'sec-fetch-site': fetchSite } = request.headers;
  if (!isOwnHost(host, listenHost)) return text(421, `Cannot answer for this Host. Use the address of listen.admin.`);
  const isForeign = origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`;
  if (isForeign || (typeof fetchSite === 'string' && !OWN_FETCH_SITES.has(fetchSite))) {
    return text(403, 'Cannot answer requests of other sites.');
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'Cannot do that: the API is read-only.');
  return undefined;
}

/** Whether DNS cannot have been bent to this name: an IP address, `localhost`, or the host we were told to listen on. */
function isOwnHost(field: string, listenHost: string): boolean {
  const host = splitHostAndPort(field)?.host.toLowerCase();
  return host !== undefined && (isIP(host) !== 0 || LOCAL_NAMES.has(host) || host === listenHost.toLowerCase());
}

function answer(request: IncomingMessage, subject: AdminSubject): Answer {
  const [path] = (request.url ?? '').split('?');
  if (path === '/healthz') return text(200, 'ok');
  if (path === '/readyz') return readiness(subject.ready());
  if (path === '/api/v1/status') return json(subject.status());
  return text(404, 'Cannot find that. Ask for /healthz, /readyz or /api/v1/status.');
}

function readiness(ready: true | string): Answer {
  return ready === true ? text(200, 'ready') : text(503, `not ready: ${ready}`);
}

function text(status: number, line: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${line}\n` };
}

function json(document: unknown): Answer {
  return { status: 200, contentType: 'application/json; charset=utf-8', body: `${JSON.stringify(document)}\n` };
}

function send(request: IncomingMessage, response: ServerResponse, { status, contentType, body }: Answer): void {
  response.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    ...(status === 405 ? { Allow: 'GET, HEAD' } : {}),
    // A body that nobody wants is not read either.
    ...(status === 200 || status === 503 ? {} : { Connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
