/**
 * Follow: sends one real request to a public URL and follows it hop by hop: DNS, connection, TLS at this end, then what
 * the relay noted of it (messages.ts, `watch`). It says what each hop took and which one failed, with the cure.
 *
 *   dns → connect → tls → route → policy → session → stream → dial → app        (raw TCP: follow-tcp.ts)
 *
 * Where the relay cannot be asked, or does not see the request (TLS that ends at home), the error code of the answer tells
 * which hop failed; hops in between are then without a time. Owns: one socket, which it closes. Owned by: the verbs.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { type Address, formatAddress } from '../address.js';
import { addressesOf, dnsFailure, recordsText, tlsCure, trustCure } from '../doctor/network-findings.js';
import { connectTcp, opened, reasonOf, timed } from '../doctor/reach.js';
import { isErrorCode, TunnelError } from '../errors.js';
import { hostnameOf } from '../hostname.js';
import { type PassedHop, RELAY_HOPS, TRACE_FIELD } from '../messages.js';
import { quoted } from '../printable.js';
import { type KnownTunnel, tcpHops } from './follow-tcp.js';
import { type Hop, type HopName, hopOf, type Way } from './way.js';

/** Announces the request to the relay; `outcome` tells how it fared there. */
export type Announce = (id: string, host: string) => Promise<{ readonly outcome: Promise<RelayWord> }>;

/** What the relay says of the request. */
export interface RelayWord {
  readonly code: string | undefined;
  readonly message: string;
  readonly hops: readonly PassedHop[];
}

export interface FollowOptions {
  readonly url: URL;
  /** Connect here instead of where DNS leads. */
  readonly address: Address | undefined;
  /** PEM text of the CAs that visitors trust, beside the public ones. */
  readonly trusted: readonly string[];
  readonly announce: Announce;
  /** How to name the root of a private CA, where that is not relay_ca_file. */
  readonly rootCure?: string;
  /** Why there is no TLS with this name, as far as the programs that run here know. */
  readonly explain?: (name: string) => Promise<Explained | undefined>;
  /** What the programs that run here know of the raw TCP tunnel of this URL. */
  readonly tunnelOf?: (url: URL) => Promise<KnownTunnel | undefined>;
  readonly signal: AbortSignal;
}

export interface Explained {
  /** Where it ends; `tls` when left out. */
  readonly hop?: HopName;
  readonly found: string;
  readonly cure: string;
}

/** For the app to begin its answer: longer than impatient visitors wait. */
const ANSWER_MS = 30_000;
/** After the answer came here, the relay's word is on its way already. */
const WORD_MS = 3_000;
const MAX_HEAD_BYTES = 64 * 1024;

/**
 * The URL of a request that `why` can follow.
 * @throws {TunnelError} USAGE_INVALID
 */
export function parseWhyUrl(text: string): URL {
  const whole = /^[a-z]+:\/\//i.test(text) ? text : `https://${text}`;
  const url = URL.canParse(whole) ? new URL(whole) : undefined;
  if (url?.protocol === 'https:' && hostnameOf(url.hostname) !== undefined && url.username === '') return url;
  if (url?.protocol === 'tcp:' && hostnameOf(url.hostname) !== undefined && url.port !== '') return url;
  const like = 'https://app.example.com/path or tcp://example.com:2222';
  throw new TunnelError('USAGE_INVALID', `URL must be like ${like}, got ${quoted(text)}`);
}

/** Rejects only when `signal` aborts. */
export async function follow(options: FollowOptions): Promise<Way> {
  const hops: Hop[] = [];
  const sockets: Socket[] = [];
  const isTcp = options.url.protocol === 'tcp:';
  try {
    const address = await resolveHop(options, hops);
    const known = isTcp ? await options.tunnelOf?.(options.url).catch(() => undefined) : undefined;
    const socket = address && (await connectHop(address, options, hops, sockets));
    if (socket && isTcp) hops.push(...(await tcpHops(socket, known, options.signal)));
    if (socket === undefined || socket === 'reset' || isTcp) return { url: options.url.href, hops };
    const tls = await tlsHop(socket, options, hops, sockets);
    if (tls) await requestHops(tls, options, hops);
    return { url: options.url.href, hops };
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

async function resolveHop(options: FollowOptions, hops: Hop[]): Promise<Address | undefined> {
  const { url, address, signal } = options;
  if (address !== undefined) {
    hops.push({ hop: 'dns', state: 'SKIP', found: `not asked: the address is given, ${formatAddress(address)}` });
    return address;
  }
  const { value, ms } = await timed(signal, (limit) => addressesOf(url.hostname, limit));
  const [first] = value.addresses;
  if (first === undefined) {
    const { found, cure } = dnsFailure(url.hostname, value.failure ?? 'none');
    hops.push({ hop: 'dns', state: 'FAIL', ms, found, ...(cure === undefined ? {} : { cure }) });
    return undefined;
  }
  hops.push({ hop: 'dns', state: 'PASS', ms, found: recordsText(value.addresses) });
  return { host: first, port: Number(url.port || 443) };
}

/** `reset` for a raw TCP connection that was accepted and reset before this program could look. */
async function connectHop(
  address: Address,
  { url, signal }: FollowOptions,
  hops: Hop[],
  sockets: Socket[],
): Promise<Socket | 'reset' | undefined> {
  const place = formatAddress(address);
  const isTcp = url.protocol === 'tcp:';
  try {
    const { value, ms } = await timed(signal, (limit) => connectTcp(address, limit));
    sockets.push(value);
    hops.push({ hop: 'connect', state: 'PASS', ms, found: place });
    return value;
  } catch (error) {
    signal.throwIfAborted();
    const reason = reasonOf(error);
    if (isTcp && reason === 'ECONNRESET') {
      hops.push({ hop: 'connect', state: 'PASS', found: place });
      return 'reset';
    }
    const cause = isTcp ? 'a client serves the port (on the VPS: relay status)' : 'the relay runs';
    const cure = `Check that ${cause}, and that the firewall of the VPS lets TCP ${address.port} in.`;
    hops.push({ hop: 'connect', state: 'FAIL', found: `${place} ${reason}`, cure });
    return undefined;
  }
}

async function tlsHop(
  tcp: Socket,
  options: FollowOptions,
  hops: Hop[],
  sockets: Socket[],
): Promise<TLSSocket | undefined> {
  const { url, trusted, signal } = options;
  const name = url.hostname;
  try {
    const asked = { socket: tcp, servername: name, ca: [...trusted], ALPNProtocols: ['http/1.1'] };
    const { value, ms } = await timed(signal, (limit) => {
      const tls = connectTls({ ...asked, minVersion: 'TLSv1.2', rejectUnauthorized: false });
      sockets.unshift(tls);
      return opened(tls, 'secureConnect', limit);
    });
    if (value.authorized) {
      hops.push({ hop: 'tls', state: 'PASS', ms, found: `${value.getProtocol()}, the certificate is trusted` });
      return value;
    }
    // Not the end: no secret is sent, and what is wrong behind the certificate had better be known, too.
    const problem = String(value.authorizationError);
    hops.push({
      hop: 'tls',
      state: 'FAIL',
      ms,
      found: `visitors refuse the certificate: ${problem}`,
      cure: trustCure(problem, name, options.rootCure),
    });
    return value;
  } catch (error) {
    signal.throwIfAborted();
    const explained = await options.explain?.(name).catch(() => undefined);
    hops.push(explained ? { hop: 'tls', ...explained, state: 'FAIL' } : handshakeFailure(reasonOf(error), name));
    return undefined;
  }
}

/** The relay says by an alert what it cannot say by a page. */
function handshakeFailure(reason: string, name: string): Hop {
  const cure = tlsCure(reason, name);
  if (/UNRECOGNIZED_NAME/i.test(reason)) {
    return { hop: 'route', state: 'FAIL', found: `the relay knows no tunnel for ${name}`, cure };
  }
  if (/INTERNAL_ERROR/i.test(reason)) {
    return { hop: 'session', state: 'FAIL', found: 'the client that ends the TLS of this hostname is away', cure };
  }
  if (/HANDSHAKE_FAILURE/i.test(reason)) {
    const missing = 'Its own reason is at home: tunnel status';
    return { hop: 'tls', state: 'FAIL', found: `the client has no certificate for ${name} yet`, cure: missing };
  }
  return { hop: 'tls', state: 'FAIL', found: `no handshake: ${reason}`, cure };
}

async function requestHops(tls: TLSSocket, options: FollowOptions, hops: Hop[]): Promise<void> {
  const { url, announce, signal } = options;
  const id = randomBytes(18).toString('base64url');
  const watch = await announce(id, url.hostname).catch((error: Error) => error);
  const answer = await timed(signal, (limit) => ask(tls, url, id, limit), ANSWER_MS).catch((error: unknown) => {
    signal.throwIfAborted();
    return reasonOf(error);
  });
  const word = watch instanceof Error ? undefined : await soon(watch.outcome, signal);
  const silence = watch instanceof Error ? watch.message : undefined;
  hops.push(...relayHops(word, answer, silence));
}

async function ask(tls: TLSSocket, url: URL, id: string, signal: AbortSignal): Promise<IncomingMessage> {
  const asked = request({
    path: `${url.pathname}${url.search}`,
    headers: {
      Host: url.host,
      Accept: 'application/json, */*;q=0.5',
      'User-Agent': 'sallyport-why',
      [TRACE_FIELD]: id,
    },
    createConnection: () => tls,
    maxHeaderSize: MAX_HEAD_BYTES,
    signal,
  });
  asked.on('error', ignore);
  asked.end();
  const [response] = (await once(asked, 'response', { signal })) as [IncomingMessage];
  response.on('error', ignore);
  return response;
}

function soon(outcome: Promise<RelayWord>, signal: AbortSignal): Promise<RelayWord | undefined> {
  return timed(
    signal,
    (limit) => {
      return new Promise<RelayWord | undefined>((resolve) => {
        limit.addEventListener('abort', () => resolve(undefined), { once: true });
        outcome.then(resolve, () => resolve(undefined));
      });
    },
    WORD_MS,
  ).then(({ value }) => value);
}

type Answer = { readonly value: IncomingMessage; readonly ms: number } | string;

/** What the relay noted, and where that ends, what the answer itself says. */
function relayHops(word: RelayWord | undefined, answer: Answer, silence: string | undefined): Hop[] {
  const passed = new Map(word?.hops.map((hop) => [hop.hop, hop]));
  const failed = failedHop(word, answer, passed.size > 0);
  const hops: Hop[] = [];
  for (const name of RELAY_HOPS) {
    const known = passed.get(name);
    if (name === failed?.hop) return [...hops, failed];
    if (name === 'app') return [...hops, appHop(answer, known)];
    if (known !== undefined) hops.push({ hop: name, state: 'PASS', ms: known.ms, found: known.fact });
    else hops.push({ hop: name, state: 'SKIP', found: silence ?? 'not seen by the relay: TLS ends at home' });
  }
  return hops;
}

function failedHop(word: RelayWord | undefined, answer: Answer, isSeen: boolean): Hop | undefined {
  if (word?.code !== undefined && isErrorCode(word.code))
    return hopOf(
      word.code,
      word.hops.map(({ hop }) => hop),
    );
  if (typeof answer === 'string' || isSeen) return undefined;
  const code = String(answer.value.headers['x-sallyport-error'] ?? '');
  return isErrorCode(code) ? hopOf(code, []) : undefined;
}

function appHop(answer: Answer, known: PassedHop | undefined): Hop {
  if (typeof answer === 'string') {
    const cure = 'The tunnel is fine as far as it was seen. Look at the load and the log of the app.';
    return { hop: 'app', state: 'FAIL', found: `no answer: ${answer}`, cure };
  }
  const status = answer.value.statusCode ?? 0;
  const ms = known?.ms ?? answer.ms;
  const found = `the app answered ${status}`;
  if (status === 400) {
    const cure = 'Apps such as Home Assistant answer 400 to a proxy that they do not trust: run tunnel doctor.';
    return { hop: 'app', state: 'FAIL', ms, found, cure };
  }
  if (status < 500) return { hop: 'app', state: 'PASS', ms, found };
  return {
    hop: 'app',
    state: 'FAIL',
    ms,
    found,
    cure: 'The tunnel is fine: this is the answer of the app. Look at its log.',
  };
}

export type { Hop, HopName, Way };

function ignore(): void {}
