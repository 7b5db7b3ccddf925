/**
 * AdminListener: answers the operator's questions about a running relay: is it alive, is it ready, what does it do.
 *
 * It has no password, because it listens on loopback by default; so it must not answer a web page that the operator
 * happens to have open: requests that a browser sends for another site, and names that DNS could have been made to point
 * here (DNS rebinding), are refused. What changes something needs a field besides that no page can add (ACTION_FIELD).
 *
 * Owns: one HTTP server. Owned by: Relay, which closes it last.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { type Address, formatAddress, splitHostAndPort } from '../../shared/address.js';
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import { certificateEntry } from './certificate-report.js';
import type { RelayStatus } from './relay-status.js';

/** What the listener needs of the relay. */
export interface AdminSubject {
  status(): RelayStatus;
  /** True, or the reason why visitors should not be sent here (yet, or any more). */
  ready(): true | string;
  /** Every certificate, ready or not. */
  certificates(): readonly CertificateStatus[];
  /** Replaces a certificate now. Rejects with the TunnelError that says why that failed. */
  renewCertificate(hostname: string): Promise<void>;
  /** Takes what was put into the state folder meanwhile. */
  reloadCertificates(): void;
}

/** A request that changes something must carry it: browsers send it to other sites only after asking, and we decline. */
export const ACTION_FIELD = 'x-sallyport-action';

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
const CERTIFICATES = '/api/v1/certificates';
const ACTIONS = /^\/api\/v1\/certificates\/(reload$|([^/]+)\/renew$)/;
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
    const server = createServer(LIMITS, async (request, response) => {
      send(request, response, refusalOf(request, address.host) ?? (await answer(request, subject)));
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
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (isRead) return undefined;
  if (request.method !== 'POST' || !ACTIONS.test(pathOf(request)))
    return text(405, 'Cannot do that: it can only be read.');
  if (request.headers[ACTION_FIELD] === undefined)
    return text(403, `Cannot do that without the field ${ACTION_FIELD}.`);
  return undefined;
}

/** Whether DNS cannot have been bent to this name: an IP address, `localhost`, or the host we were told to listen on. */
function isOwnHost(field: string, listenHost: string): boolean {
  const host = splitHostAndPort(field)?.host.toLowerCase();
  return host !== undefined && (isIP(host) !== 0 || LOCAL_NAMES.has(host) || host === listenHost.toLowerCase());
}

function answer(request: IncomingMessage, subject: AdminSubject): Answer | Promise<Answer> {
  const path = pathOf(request);
  if (request.method === 'POST') return act(path, subject);
  if (path === '/healthz') return text(200, 'ok');
  if (path === '/readyz') return readiness(subject.ready());
  if (path === '/api/v1/status') return json(subject.status());
  if (path === CERTIFICATES) return json(subject.certificates().map(certificateEntry));
  return text(404, `Cannot find that. Ask for /healthz, /readyz, /api/v1/status or ${CERTIFICATES}.`);
}

/** The two things that can be asked for: `…/reload`, and `…/NAME/renew`. */
async function act(path: string, subject: AdminSubject): Promise<Answer> {
  const [, , hostname] = ACTIONS.exec(path) ?? [];
  try {
    if (hostname === undefined) subject.reloadCertificates();
    else await subject.renewCertificate(decodeURIComponent(hostname));
  } catch (error) {
    const { code, message } = asTunnelError(error, 'REQUEST_INVALID');
    return json({ code, message }, 409);
  }
  return json(subject.certificates().map(certificateEntry));
}

function pathOf(request: IncomingMessage): string {
  const [path = ''] = (request.url ?? '').split('?');
  return path;
}

function readiness(ready: true | string): Answer {
  return ready === true ? text(200, 'ready') : text(503, `not ready: ${ready}`);
}

function text(status: number, line: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${line}\n` };
}

function json(document: unknown, status = 200): Answer {
  return { status, contentType: 'application/json; charset=utf-8', body: `${JSON.stringify(document)}\n` };
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
    ...(status === 200 || status === 503 || status === 409 ? {} : { Connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
