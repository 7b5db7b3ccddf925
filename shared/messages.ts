/**
 * Messages: every control message of a link, as JSON in the text lane. The whole conversation:
 *
 *   relay                                     client
 *   challenge  ────────────────────────────▶           who I am, a nonce
 *              ◀────────────────────────────  proof     which token, signed; a new session or one more link of mine
 *   welcome    ────────────────────────────▶           session id, limits, heartbeat    (or refused, and the link ends)
 *              ◀────────────────────────────  claim     once for each tunnel, any time
 *   claimed    ────────────────────────────▶           its public URL                   (or denied, and the link lives)
 *              ◀────────────────────────────  release   gives one tunnel back
 *              ◀────────────────────────────  leave     gives all back: hold nothing for me
 *              ◀────────────────────────────  probe     would this claim be granted? (`tunnel doctor`)
 *   probed     ────────────────────────────▶           yes, or the code of the refusal; nothing was claimed
 *              ◀────────────────────────────  watch     tell me how the request with this id fares (`tunnel why`)
 *   watched    ────────────────────────────▶           hop by hop, once it has been answered
 *   drain      ────────────────────────────▶           I am stopping: come back then
 *
 * Limits: a message is at most MAX_MESSAGE_BYTES; every field has a length. Unknown fields are ignored (a newer peer
 * may send more), unknown types and wrong fields are a PROTOCOL_VIOLATION.
 */
import { type ErrorCode, isErrorCode, TunnelError } from './errors.js';

/** The protocol's version: the subprotocol is `sallyport.v1`. */
export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = 'sallyport.v1';
export const LINK_PATH = '/.sallyport/link';

export const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_TEXT = 1024;

export interface Challenge {
  readonly type: 'challenge';
  readonly version: number;
  /** 32 random bytes, base64url. */
  readonly nonce: string;
  /** The relay's own name, which the proof signs. */
  readonly relay: string;
}

export interface Proof {
  readonly type: 'proof';
  readonly version: number;
  readonly tokenId: string;
  /** Which installation this is, so that it can replace its own older session. */
  readonly clientId: string;
  /** The session that this link joins; empty begins a new one. */
  readonly sessionId: string;
  /** TLS exporter of the client's end, base64url; empty without TLS. */
  readonly exporter: string;
  /** Ed25519 over `proofPayload`, base64url. */
  readonly signature: string;
  /** Program and version, for logs. */
  readonly agent: string;
}

export interface Welcome {
  readonly type: 'welcome';
  readonly sessionId: string;
  /** How often each end pings, in milliseconds. */
  readonly heartbeatMs: number;
  readonly maxLinks: number;
  readonly maxTunnels: number;
  readonly maxStreams: number;
  readonly agent: string;
}

export interface Refused {
  readonly type: 'refused';
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * Where a visitor's TLS ends: at the relay, at the client (`end-to-end`), or at the origin (`passthrough`). In the last
 * two the relay passes the visitor's bytes as they come.
 */
export type TlsMode = 'relay' | 'end-to-end' | 'passthrough';

export interface Claim {
  readonly type: 'claim';
  /** The client's name for the tunnel, unique in its session. */
  readonly name: string;
  /** Exactly one of `host` (a hostname, or `*.` and a hostname) and `tcpPort`. */
  readonly host: string | undefined;
  readonly tcpPort: number | undefined;
  /** Sent to the origin instead of the public host. */
  readonly hostHeader: string | undefined;
  /** How long the origin may take to begin its response; undefined: as long as it likes. */
  readonly responseTimeoutMs: number | undefined;
  /** `relay` when the message does not say; always for a port. */
  readonly tls: TlsMode;
}

export interface Claimed {
  readonly type: 'claimed';
  readonly name: string;
  readonly url: string;
  /** What the relay understood; `relay` when the message does not say. Another than claimed ends the tunnel. */
  readonly tls: TlsMode;
}

export interface Denied {
  readonly type: 'denied';
  readonly name: string;
  readonly code: ErrorCode;
  readonly message: string;
  /** The same claim would fail in the same way before this; undefined when the relay cannot tell. */
  readonly retryInMs?: number | undefined;
}

export interface Release {
  readonly type: 'release';
  readonly name: string;
}

export interface Leave {
  readonly type: 'leave';
}

/** A claim that is not carried out. */
export interface Probe {
  readonly type: 'probe';
  readonly name: string;
  /** Exactly one of `host` and `tcpPort`, as in a claim. */
  readonly host: string | undefined;
  readonly tcpPort: number | undefined;
  readonly tls: TlsMode;
}

export interface Probed {
  readonly type: 'probed';
  readonly name: string;
  /** What the claim would be denied with; undefined: it would be granted. */
  readonly code: ErrorCode | undefined;
  readonly message: string;
}

/** Follow one request, which is still to come, to a hostname that the token may claim. */
export interface Watch {
  readonly type: 'watch';
  /** 16 or more random bytes, base64url: the value of TRACE_FIELD in that request. */
  readonly id: string;
  readonly host: string;
}

/** The request field that names a watched request. Nobody but who announced the id learns anything by it. */
export const TRACE_FIELD = 'X-Sallyport-Trace';
export const TRACE_ID = /^[\w-]{22,64}$/;

/** The hops that a relay sees of a request, in their order. */
export const RELAY_HOPS = ['route', 'policy', 'session', 'stream', 'dial', 'app'] as const;
export type RelayHop = (typeof RELAY_HOPS)[number];

/** A hop that was passed. */
export interface PassedHop {
  readonly hop: RelayHop;
  readonly ms: number;
  /** What is worth knowing of it, one line. */
  readonly fact: string;
}

export interface WatchedRequest {
  readonly type: 'watched';
  readonly id: string;
  /** Why the request ended without an answer of the app; undefined when the app answered. */
  readonly code: ErrorCode | undefined;
  readonly message: string;
  /** Empty when no such request came. */
  readonly hops: readonly PassedHop[];
}

export interface Drain {
  readonly type: 'drain';
  readonly reconnectInMs: number;
}

export type RelayMessage = Challenge | Welcome | Refused | Claimed | Denied | Drain | Probed | WatchedRequest;
export type ClientMessage = Proof | Claim | Release | Leave | Probe | Watch;

/** Reads what a relay sent. Throws PROTOCOL_VIOLATION. */
export function readRelayMessage(text: string): RelayMessage {
  const message = new MessageReader(text);
  switch (message.type) {
    case 'challenge':
      return {
        type: 'challenge',
        version: message.integer('version'),
        nonce: message.text('nonce'),
        relay: message.text('relay'),
      };
    case 'welcome':
      return {
        type: 'welcome',
        sessionId: message.text('sessionId'),
        heartbeatMs: message.integer('heartbeatMs'),
        maxLinks: message.integer('maxLinks'),
        maxTunnels: message.integer('maxTunnels'),
        maxStreams: message.integer('maxStreams'),
        agent: message.text('agent'),
      };
    case 'refused':
      return { type: 'refused', code: message.code('code'), message: message.text('message') };
    case 'claimed':
      return { type: 'claimed', name: message.text('name'), url: message.text('url'), tls: message.tls() };
    case 'denied':
      return {
        type: 'denied',
        name: message.text('name'),
        code: message.code('code'),
        message: message.text('message'),
        retryInMs: message.optional('retryInMs', () => message.integer('retryInMs')),
      };
    case 'drain':
      return { type: 'drain', reconnectInMs: message.integer('reconnectInMs') };
    case 'probed':
      return { type: 'probed', name: message.text('name'), ...readOutcome(message) };
    case 'watched':
      return { type: 'watched', id: message.text('id'), ...readOutcome(message), hops: message.hops() };
    default:
      throw message.violation('type');
  }
}

/** Reads what a client sent. Throws PROTOCOL_VIOLATION. */
export function readClientMessage(text: string): ClientMessage {
  const message = new MessageReader(text);
  switch (message.type) {
    case 'proof':
      return {
        type: 'proof',
        version: message.integer('version'),
        tokenId: message.text('tokenId'),
        clientId: message.text('clientId'),
        sessionId: message.text('sessionId'),
        exporter: message.text('exporter'),
        signature: message.text('signature'),
        agent: message.text('agent'),
      };
    case 'claim':
      return readClaim(message);
    case 'release':
      return { type: 'release', name: message.text('name') };
    case 'leave':
      return { type: 'leave' };
    case 'probe':
      return readProbe(message);
    case 'watch':
      return { type: 'watch', id: message.text('id'), host: message.text('host') };
    default:
      throw message.violation('type');
  }
}

function readOutcome(message: MessageReader): { code: ErrorCode | undefined; message: string } {
  return { code: message.optional('code', () => message.code('code')), message: message.text('message') };
}

function readProbe(message: MessageReader): Probe {
  const { name, host, tcpPort, tls } = readClaim(message);
  return { type: 'probe', name, host, tcpPort, tls };
}

function readClaim(message: MessageReader): Claim {
  const claim: Claim = {
    type: 'claim',
    name: message.text('name'),
    host: message.optional('host', () => message.text('host')),
    tcpPort: message.optional('tcpPort', () => message.integer('tcpPort')),
    hostHeader: message.optional('hostHeader', () => message.text('hostHeader')),
    responseTimeoutMs: message.optional('responseTimeoutMs', () => message.integer('responseTimeoutMs')),
    tls: message.tls(),
  };
  if ((claim.host === undefined) === (claim.tcpPort === undefined)) throw message.violation('host or tcpPort');
  if (claim.tcpPort !== undefined && claim.tls !== 'relay') throw message.violation('tls');
  return claim;
}

/** Typed access to one parsed message. */
class MessageReader {
  readonly type: string;
  readonly #fields: Map<string, unknown>;

  constructor(text: string) {
    if (text.length > MAX_MESSAGE_BYTES) throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot read message: too long');
    this.#fields = new Map(Object.entries(parseObject(text)));
    this.type = this.text('type');
  }

  text(name: string): string {
    const value = this.#fields.get(name);
    if (typeof value !== 'string' || value.length > MAX_TEXT) throw this.violation(name);
    return value;
  }

  integer(name: string): number {
    const value = this.#fields.get(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw this.violation(name);
    return value;
  }

  code(name: string): ErrorCode {
    const value = this.text(name);
    return isErrorCode(value) ? value : 'INTERNAL';
  }

  /** A mode that we do not know must not pass for one that ends TLS at the relay. */
  tls(): TlsMode {
    const value = this.optional('tls', () => this.text('tls')) ?? 'relay';
    if (value !== 'relay' && value !== 'end-to-end' && value !== 'passthrough') throw this.violation('tls');
    return value;
  }

  hops(): PassedHop[] {
    const value = this.#fields.get('hops');
    if (!Array.isArray(value) || value.length > RELAY_HOPS.length) throw this.violation('hops');
    return value.map((item: unknown) => this.#hop(item));
  }

  #hop(item: unknown): PassedHop {
    const { hop, ms, fact } = (item ?? {}) as Partial<Record<keyof PassedHop, unknown>>;
    const known = RELAY_HOPS.find((name) => name === hop);
    const isTime = typeof ms === 'number' && Number.isFinite(ms) && ms >= 0;
    if (known === undefined || !isTime || typeof fact !== 'string' || fact.length > MAX_TEXT) {
      throw this.violation('hops');
    }
    return { hop: known, ms, fact };
  }

  optional<T>(name: string, read: () => T): T | undefined {
    return this.#fields.get(name) === undefined ? undefined : read();
  }

  violation(name: string): TunnelError {
    return new TunnelError('PROTOCOL_VIOLATION', `Cannot read message: field ${name} is missing or wrong`);
  }
}

function parseObject(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot read message: not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot read message: not an object');
  }
  return value;
}
