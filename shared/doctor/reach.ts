/**
 * Reach: goes the way of a visitor to one address, step by step (TCP, TLS, one HEAD request), and tells how far it came,
 * what each step took and what stands there. It trusts nothing and judges nothing: a certificate that is wrong is a fact
 * to report, not an end. Nothing secret is sent.
 *
 * Owns: one socket, which it closes. Owned by: the checks of both doctors, `why`.
 */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, rootCertificates, type TLSSocket } from 'node:tls';
import type { Address } from '../address.js';
import { TunnelError } from '../errors.js';
import { readTextFile } from '../files/bounded-file.js';

export interface ReachOptions {
  /** The name for SNI and Host. */
  readonly serverName: string;
  /** PEM text of CAs. */
  readonly trusted: readonly string[];
  readonly signal: AbortSignal;
  /** Opens the TCP connection; by default straight to the address. */
  readonly connect?: (address: Address, signal: AbortSignal) => Promise<Socket>;
}

/** The certificate that was shown. */
export interface SeenCertificate {
  /** SHA-256 of it, as Node writes it. */
  readonly fingerprint: string;
  /** Organisation or name of who signed it. */
  readonly issuer: string;
  readonly notAfterMs: number;
  /** OpenSSL's word for what is wrong; undefined when it is trusted and covers the name. */
  readonly problem: string | undefined;
}

/** How far it came: each part is there once that step worked. Times in milliseconds. */
export interface Reached {
  readonly address: Address;
  readonly tcpMs?: number;
  readonly tlsMs?: number;
  readonly certificate?: SeenCertificate;
  /** The clock of who answered, to the second (field Date), beside ours at that moment. */
  readonly clock?: { readonly theirsMs: number; readonly oursMs: number };
  /** Why the next step did not work; undefined when all did. */
  readonly failure?: string;
}

const STEP_MS = 8_000;
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_EXTRA_BYTES = 1 << 20;

/** Goes as far as it can. Never rejects but for `signal`. */
export async function reach(address: Address, options: ReachOptions): Promise<Reached> {
  const sockets: Socket[] = [];
  let reached: Reached = { address };
  try {
    const tcp = await timed(options.signal, (signal) => (options.connect ?? connectTcp)(address, signal));
    sockets.push(tcp.value);
    reached = { ...reached, tcpMs: tcp.ms };
    const tls = await timed(options.signal, (signal) => secure(tcp.value, options, signal, sockets));
    reached = { ...reached, tlsMs: tls.ms, certificate: certificateOf(tls.value) };
    const head = await timed(options.signal, (signal) => askHead(tls.value, options.serverName, signal));
    return { ...reached, ...clockOf(head.value) };
  } catch (error) {
    options.signal.throwIfAborted();
    return { ...reached, failure: reasonOf(error) };
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

/** A TCP connection. @throws the system's error. */
export async function connectTcp(address: Address, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ ...address, noDelay: true });
  return opened(socket, 'connect', signal);
}

/** The word of the system, or that of OpenSSL, for a failure; our own failures have whole sentences. */
export function reasonOf(error: unknown): string {
  if (error instanceof TunnelError) return error.message;
  const { code, name, message } = error as NodeJS.ErrnoException;
  if (name === 'TimeoutError' || name === 'AbortError') return 'no answer';
  return code ?? message;
}

/** Every public CA that Node knows, those of NODE_EXTRA_CA_CERTS, as for all programs of Node, and these. */
export function publicAnd(...more: readonly (string | undefined)[]): readonly string[] {
  return [...rootCertificates, ...[extraCertificates(), ...more].filter((ca) => ca !== undefined)];
}

/** Node warns of a file that it cannot read, and goes on without. */
function extraCertificates(): string | undefined {
  const file = process.env.NODE_EXTRA_CA_CERTS;
  try {
    return file ? readTextFile(file, MAX_EXTRA_BYTES).text : undefined;
  } catch {
    return undefined;
  }
}

/** Runs one step with its own limit, and says what it took. */
export async function timed<T>(
  outer: AbortSignal,
  act: (signal: AbortSignal) => Promise<T>,
  limitMs = STEP_MS,
): Promise<{ value: T; ms: number }> {
  const beganAtMs = performance.now();
  const value = await act(AbortSignal.any([outer, AbortSignal.timeout(limitMs)]));
  return { value, ms: performance.now() - beganAtMs };
}

/** The socket once `event` has happened; destroyed when something else comes first. */
export async function opened<S extends Socket>(socket: S, event: string, signal: AbortSignal): Promise<S> {
  try {
    await once(socket, event, { signal });
    socket.on('error', ignore);
    return socket;
  } catch (error) {
    socket.on('error', ignore);
    socket.destroy();
    throw error;
  }
}

function secure(
  tcp: Socket,
  { serverName, trusted }: ReachOptions,
  signal: AbortSignal,
  sockets: Socket[],
): Promise<TLSSocket> {
  const tls = connectTls({
    socket: tcp,
    servername: serverName,
    ca: [...trusted],
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // What is wrong with a certificate is the answer, not an end.
    rejectUnauthorized: false,
  });
  sockets.unshift(tls);
  return opened(tls, 'secureConnect', signal);
}

function certificateOf(socket: TLSSocket): SeenCertificate {
  const { fingerprint256, issuer, valid_to } = socket.getPeerCertificate();
  // Its type says Error; what Node sets is the error's code.
  const problem = socket.authorized ? undefined : String(socket.authorizationError);
  return {
    fingerprint: fingerprint256,
    issuer: String(issuer?.O ?? issuer?.CN ?? '?'),
    notAfterMs: Date.parse(valid_to),
    problem,
  };
}

async function askHead(socket: Socket, host: string, signal: AbortSignal): Promise<IncomingMessage> {
  const asked = request({
    method: 'HEAD',
    path: '/',
    headers: { Host: host, Connection: 'close' },
    createConnection: () => socket,
    maxHeaderSize: MAX_HEAD_BYTES,
    signal,
  });
  asked.on('error', ignore);
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  response.on('error', ignore);
  return response;
}

function clockOf(response: IncomingMessage): Pick<Reached, 'clock'> {
  const theirsMs = Date.parse(response.headers.date ?? '');
  return Number.isNaN(theirsMs) ? {} : { clock: { theirsMs, oursMs: Date.now() } };
}

function ignore(): void {}
