/**
 * AdminServer: the small HTTP server with which a program answers its operator. It decides who gets an answer; which
 * questions there are is the program's business.
 *
 * It listens on loopback by default, so it must not answer a web page that the operator happens to have open: requests
 * that a browser sends for another site, and names that DNS could have been made to point here (DNS rebinding), are
 * refused. What changes something needs a field besides that no page can add (ACTION_FIELD). Where an operator has put a
 * token into the state folder, everything but the two health questions needs that as well.
 *
 * Owns: one HTTP server. Owned by: the program's admin listener.
 */
import { timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { type Address, formatAddress, splitHostAndPort } from './address.js';
import { TunnelError } from './errors.js';
import type { Secret } from './secret.js';

/** A request that changes something must carry it: browsers send it to other sites only after asking, and we decline. */
export const ACTION_FIELD = 'x-sallyport-action';

/** One answer, complete. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface AdminServerOptions {
  /** The option that says where it listens, for messages. */
  readonly option: string;
  /** Whether a POST to this path does something; without it nothing does. */
  readonly isAction?: (path: string) => boolean;
  /** What a request must prove to know; undefined: nothing. Throws when it cannot be read, and nobody gets in then. */
  readonly token?: () => Secret | undefined;
  /** The answer to a request that may have one; undefined when it answers by itself. A stranger asks after health only. */
  readonly answer: (
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
    who: Asker,
  ) => Answer | Promise<Answer> | undefined;
}

/** Who proved the token, where there is one, is the operator; with a token that cannot be read nobody is known. */
export type Asker = 'operator' | 'stranger' | 'unknown';

/** Why visitors should not come. */
export interface NotReady {
  /** The check that fails, in a word that tells nothing about the inside. */
  readonly check: string;
  /** All that is known, for the operator. */
  readonly reason: string;
}

/** Whether visitors may come (yet, or still). */
export type Readiness = true | NotReady;

const LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 8 * 1024,
  connectionsCheckingInterval: 2_000,
} as const;
const MAX_CONNECTIONS = 64;
/** For a connection on which nothing moves, as when nobody reads the answer; a followed request may take nearly as long. */
const SILENCE_MS = 90_000;
const LOCAL_NAMES: ReadonlySet<string> = new Set(['localhost', 'localhost.']);
/** Values of Sec-Fetch-Site that no other site can cause (W3C Fetch Metadata). */
const OWN_FETCH_SITES: ReadonlySet<string> = new Set(['same-origin', 'none']);
/** What load balancers and service managers ask, without a token; then they are told nothing that a token should keep. */
const HEALTH_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz']);
const BEARER = /^Bearer +(\S+)$/i;

export class AdminServer {
  /** Where it listens, with the port that the system chose for port 0. */
  readonly address: Address;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    const { address, port } = server.address() as AddressInfo;
    this.address = { host: address, port };
  }

  /**
   * Listens at `address`, or with the `given` descriptor.
   * @throws {TunnelError} CONFIG_INVALID when the address cannot be taken.
   */
  static async listen(address: Address, options: AdminServerOptions, given?: number): Promise<AdminServer> {
    const server = createServer(LIMITS, async (request, response) => {
      const answer = await whole(() => answerTo(request, response, address.host, options));
      if (answer !== undefined) send(request, response, answer);
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.timeout = SILENCE_MS;
    server.listen(given === undefined ? { port: address.port, host: address.host } : { fd: given });
    try {
      await once(server, 'listening');
    } catch (cause) {
      const { code = String(cause) } = cause as NodeJS.ErrnoException;
      const message = `Cannot listen on ${formatAddress(address)}: ${code}. Free it or change ${options.option}.`;
      throw new TunnelError('CONFIG_INVALID', message, { cause });
    }
    return new AdminServer(server);
  }

  /** What listens, for a successor. */
  get server(): Server {
    return this.#server;
  }

  /** Ends every connection and frees the port. Safe in any state, any number of times. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

/** A line of text. */
export function textAnswer(status: number, line: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${line}\n` };
}

export function jsonAnswer(document: unknown, status = 200): Answer {
  return { status, contentType: 'application/json; charset=utf-8', body: `${JSON.stringify(document)}\n` };
}

/** What /readyz says: the reason may hold names and the words of a CA, which are the operator's alone. */
export function readinessAnswer(ready: Readiness, who: Asker): Answer {
  if (ready === true) return textAnswer(200, 'ready');
  return textAnswer(503, `not ready: ${who === 'operator' ? ready.reason : ready.check}`);
}

/** Answers somebody who is known to be the operator, by the way the request came. */
export async function answerKnown(
  request: IncomingMessage,
  response: ServerResponse,
  { isAction, answer }: Pick<AdminServerOptions, 'isAction' | 'answer'>,
): Promise<void> {
  const path = pathOf(request);
  const isAct = request.method === 'POST' && isAction?.(path) === true;
  const given = await whole(() => {
    if (request.method !== 'GET' && !isAct) return textAnswer(405, 'Cannot do that: it can only be read.');
    return answer(path, request, response, 'operator');
  });
  if (given !== undefined) send(request, response, given);
}

/** A question that cannot be answered must not end the program: a file of the package may be gone after an upgrade. */
async function whole(answer: () => Answer | Promise<Answer> | undefined): Promise<Answer | undefined> {
  try {
    return await answer();
  } catch {
    return textAnswer(500, 'Cannot answer this question. Restart the program; if that does not help, report it.');
  }
}

function answerTo(
  request: IncomingMessage,
  response: ServerResponse,
  listenHost: string,
  options: AdminServerOptions,
): Answer | Promise<Answer> | undefined {
  const path = pathOf(request);
  const who = askerOf(request, options);
  const refusal = refusalOf(request, listenHost, options) ?? refusalOfStranger(path, who);
  return refusal ?? refusalOfAct(request, path, options) ?? options.answer(path, request, response, who);
}

/** Why a request gets no answer, or undefined. */
function refusalOf(request: IncomingMessage, listenHost: string, { option }: AdminServerOptions): Answer | undefined {
  const { host = '', origin, 'sec-fetch-site': fetchSite } = request.headers;
  if (!isOwnHost(host, listenHost)) {
    return textAnswer(421, `Cannot answer for this Host. Use the address of ${option}.`);
  }
  const isForeign = origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`;
  if (isForeign || (typeof fetchSite === 'string' && !OWN_FETCH_SITES.has(fetchSite))) {
    return textAnswer(403, 'Cannot answer requests of other sites.');
  }
  return undefined;
}

function askerOf(request: IncomingMessage, { token }: AdminServerOptions): Asker {
  try {
    const wanted = token?.();
    if (wanted === undefined || isSame(BEARER.exec(request.headers.authorization ?? '')?.[1], wanted))
      return 'operator';
    return 'stranger';
  } catch {
    return 'unknown';
  }
}

function refusalOfStranger(path: string, who: Asker): Answer | undefined {
  if (who === 'operator' || HEALTH_PATHS.has(path)) return undefined;
  if (who === 'stranger') {
    return textAnswer(401, 'Cannot answer without the admin token. Send it as: Authorization: Bearer TOKEN');
  }
  return textAnswer(500, 'Cannot answer: the admin token cannot be read. Look at its file and its permissions.');
}

function refusalOfAct(request: IncomingMessage, path: string, { isAction }: AdminServerOptions): Answer | undefined {
  if (request.method === 'GET' || request.method === 'HEAD') return undefined;
  if (request.method !== 'POST' || isAction?.(path) !== true) {
    return textAnswer(405, 'Cannot do that: it can only be read.');
  }
  if (request.headers[ACTION_FIELD] === undefined) {
    return textAnswer(403, `Cannot do that without the field ${ACTION_FIELD}.`);
  }
  return undefined;
}

/** Takes as long for a wrong token as for the right one. */
function isSame(given: string | undefined, wanted: Secret): boolean {
  const one = Buffer.from(given ?? '');
  const other = Buffer.from(wanted.reveal());
  return one.length === other.length && timingSafeEqual(one, other);
}

/** Whether DNS cannot have been bent to this name: an IP address, `localhost`, or the host we were told to listen on. */
function isOwnHost(field: string, listenHost: string): boolean {
  const host = splitHostAndPort(field)?.host.toLowerCase();
  return host !== undefined && (isIP(host) !== 0 || LOCAL_NAMES.has(host) || host === listenHost.toLowerCase());
}

function pathOf(request: IncomingMessage): string {
  const [path = ''] = (request.url ?? '').split('?');
  return path;
}

function send(request: IncomingMessage, response: ServerResponse, { status, contentType, body }: Answer): void {
  response.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    ...(status === 405 ? { Allow: 'GET, HEAD' } : {}),
    ...(status === 401 ? { 'WWW-Authenticate': 'Bearer' } : {}),
    // A body that nobody wants is not read either.
    ...(status === 200 || status === 503 || status === 409 ? {} : { Connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
