/**
 * AcmeTransport: decides how a request reaches a CA: HTTPS only, over one trusted root if the CA is private, bounded in
 * time and size, ended by a signal. Every answer that is no success becomes an AcmeRefusal, except a bad nonce, which
 * acme-client answers itself.
 *
 * It stands in for acme-client's own transport, which has no deadline, no signal, and one set of roots per process.
 * Owns: a pool of connections. Owned by: AcmeConnection, for one order.
 */
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { AGENT } from '../version.js';
import { AcmeRefusal, IssueFailure, readProblem } from './issue-failure.js';
import { withTimeLimit } from './time-limit.js';

const MAX_BYTES = 1 << 20;
const BAD_NONCE = 'badNonce';

/** An answer in the shape that acme-client expects. */
export interface AcmeAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Parsed when it is JSON, else text. */
  readonly data: unknown;
}

export interface TransportOptions {
  /** PEM of the one root to trust; the public ones when left out. */
  readonly caPem?: string | undefined;
  /** For each request. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export class AcmeTransport {
  readonly #agent: Agent;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal;

  constructor({ caPem, timeoutMs, signal }: TransportOptions) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: 4, ...(caPem === undefined ? {} : { ca: caPem }) });
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
  }

  /**
   * @param body JSON text of a signed request; undefined for GET and HEAD.
   * @throws {AcmeRefusal} for an answer of 400 or more; {IssueFailure} `ca-down` when there is no answer.
   */
  async request(url: string, method: string, body?: string): Promise<AcmeAnswer> {
    const target = httpsUrl(url);
    const late = () => new IssueFailure('ca-down', `Cannot use ${target.host}: no answer in ${this.#timeoutMs} ms.`);
    try {
      return await withTimeLimit(this.#timeoutMs, late, this.#signal, async (signal) => {
        return refuseFailures(await this.#exchange(target, method, body, signal));
      });
    } catch (error) {
      if (this.#signal.aborted || error instanceof AcmeRefusal || error instanceof IssueFailure) throw error;
      throw unreachable(target, error);
    }
  }

  /** Closes the connections. Safe any number of times. */
  close(): void {
    this.#agent.destroy();
  }

  async #exchange(url: URL, method: string, body: string | undefined, signal: AbortSignal): Promise<AcmeAnswer> {
    const headers = {
      'user-agent': AGENT,
      accept: '*/*',
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/jose+json', 'content-length': Buffer.byteLength(body) }),
    };
    const sent = request(url, { method: method.toUpperCase(), headers, agent: this.#agent, signal });
    // Once the response has begun, a failure also ends the response, and that is where it is seen.
    sent.on('error', () => {});
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const text = await readText(response);
    const isJson = /[/+]json\b/.test(response.headers['content-type'] ?? '');
    return { status: response.statusCode ?? 0, headers: response.headers, data: isJson ? parse(text) : text };
  }
}

/**
 * RFC 9110 §10.2.3 in milliseconds from now: seconds or a date; undefined for anything else.
 * @param nowMs milliseconds since 1970.
 */
export function readRetryAfter(value: string | undefined, nowMs = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  // Date.parse takes nearly anything; an HTTP date begins with the name of a day.
  const atMs = /^[A-Z][a-z]{2,8},? /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}

function refuseFailures(answer: AcmeAnswer): AcmeAnswer {
  if (answer.status < 400) return answer;
  const problem = readProblem(answer.data);
  if (problem.type === BAD_NONCE) return answer;
  throw new AcmeRefusal(answer.status, problem, readRetryAfter(answer.headers['retry-after']));
}

async function readText(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of response) {
    bytes += (piece as Buffer).length;
    if (bytes > MAX_BYTES) throw new Error(`its answer is longer than ${MAX_BYTES} bytes`);
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces).toString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function httpsUrl(url: string): URL {
  const target = URL.canParse(url) ? new URL(url) : undefined;
  if (target?.protocol === 'https:') return target;
  throw new IssueFailure('config', `Cannot use a CA: "${url.slice(0, 200)}" is no https:// address.`);
}

function unreachable(url: URL, cause: unknown): IssueFailure {
  const state =
    cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause);
  const isTrust = /certificate|self.signed|UNABLE_TO/i.test(state);
  const cure = isTrust
    ? 'A private CA needs its root named as ca_file.'
    : 'It is tried again; check DNS and the firewall for outgoing connections if it stays so.';
  return new IssueFailure('ca-down', `Cannot reach the CA at ${url.host}: ${state}. ${cure}`, { cause });
}
