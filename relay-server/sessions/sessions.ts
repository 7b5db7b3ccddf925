/**
 * Sessions: every client that is connected. It decides what a proven link becomes: a new session, one more link of a
 * session, or the replacement of the same client's older session, at once and whatever state that one is in. And it
 * ends the sessions of tokens that are revoked or expire.
 *
 * Owns: the sessions. Owned by: Relay.
 */
import { randomBytes } from 'node:crypto';
import { asTunnelError, type ErrorCode, TunnelError } from '../../shared/errors.js';
import { DEFAULT_HEARTBEAT } from '../../shared/heartbeat.js';
import type { Link } from '../../shared/link.js';
import type { Log } from '../../shared/log.js';
import type { Proof } from '../../shared/messages.js';
import { CodeCounts } from '../../shared/metrics/code-counts.js';
import { AGENT } from '../../shared/version.js';
import type { Audit } from '../ops/audit/audit-log.js';
import { FailuresPerMinute, HeldPerAddress } from './address-limits.js';
import { Devices } from './devices.js';
import { type ProvenLink, shakeHands } from './handshake.js';
import { Session, type SessionHost, type SessionLimits } from './session.js';
import { isExpired, type TokenRecord } from './token-record.js';

/** Replaced sessions remembered for links of theirs that come late; the oldest make room. */
const MAX_REPLACED = 1_024;

export interface SessionsLimits extends SessionLimits {
  readonly linksPerIp: number;
  readonly linkHandshakeMs: number;
  readonly failedProofsPerMinute: number;
}

export interface SessionsOptions {
  readonly relay: string;
  readonly limits: SessionsLimits;
  readonly log: Log;
  readonly audit: Audit;
  /** The token of this id, if there is one. */
  readonly token: (tokenId: string) => TokenRecord | undefined;
  readonly claim: SessionHost['claim'];
  readonly probe: SessionHost['probe'];
  readonly watch: SessionHost['watch'];
  /** A link or handshake was refused. */
  readonly refused: (code: ErrorCode) => void;
}

/** What happened since the relay started. */
export interface SessionCounts {
  began: number;
  readonly ended: CodeCounts;
  readonly linksClosed: CodeCounts;
}

export class Sessions implements SessionHost {
  readonly limits: SessionsLimits;
  readonly log: Log;
  readonly audit: Audit;
  readonly claim: SessionHost['claim'];
  readonly probe: SessionHost['probe'];
  readonly watch: SessionHost['watch'];
  readonly counts: SessionCounts = { began: 0, ended: new CodeCounts(), linksClosed: new CodeCounts() };
  readonly devices = new Devices();
  readonly #options: SessionsOptions;
  readonly #byId = new Map<string, Session>();
  /** Ids. Were one unknown, its client would begin anew and replace its own successor. */
  readonly #replaced = new Set<string>();
  readonly #handshaking = new Set<Link>();
  readonly #links: HeldPerAddress;
  readonly #failures: FailuresPerMinute;
  #state: 'running' | 'draining' | 'closed' = 'running';

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.log = options.log;
    this.audit = options.audit;
    this.claim = options.claim;
    this.probe = options.probe;
    this.watch = options.watch;
    this.#links = new HeldPerAddress(() => options.limits.linksPerIp);
    this.#failures = new FailuresPerMinute(() => options.limits.failedProofsPerMinute);
  }

  get all(): IterableIterator<Session> {
    return this.#byId.values();
  }

  get streamCount(): number {
    let streams = 0;
    for (const session of this.#byId.values()) streams += session.streamCount;
    return streams;
  }

  /** Takes a new link. `address` is the client's, which behind a trusted proxy is not the socket's. */
  async accept(link: Link, socketClosed: Promise<void>, address: string, tlsEndsElsewhere: boolean): Promise<void> {
    try {
      this.#admit(address);
    } catch (error) {
      this.#refuse(link, asTunnelError(error), address);
      return;
    }
    void socketClosed.then(() => this.#links.giveBack(address));
    this.#handshaking.add(link);
    try {
      const { relay, token } = this.#options;
      const timeoutMs = this.limits.linkHandshakeMs;
      this.#join(link, await shakeHands(link, { relay, timeoutMs, tlsEndsElsewhere, token }), address);
    } catch (error) {
      this.#refuse(link, asTunnelError(error), address);
    } finally {
      this.#handshaking.delete(link);
    }
  }

  /** Ends the sessions of tokens that are no longer valid. Called whenever a token changed. */
  enforceTokens(): void {
    for (const session of this.#byId.values()) {
      const token = this.#options.token(session.owner.tokenId);
      if (token !== undefined && !isExpired(token)) continue;
      session.close('TOKEN_REJECTED', 'Session ended: its token was revoked or has expired');
    }
  }

  /** Tells every client to come back in `reconnectInMs`, and takes no new links. */
  drain(reconnectInMs: number): void {
    this.#state = 'draining';
    for (const session of this.#byId.values()) session.drain(reconnectInMs);
  }

  /** Ends everything now. Safe any number of times. */
  close(): void {
    this.#state = 'closed';
    for (const link of this.#handshaking) link.close('RELAY_DRAINING', 'Relay is stopping');
    for (const session of [...this.#byId.values()]) session.close('RELAY_DRAINING', 'Relay is stopping');
  }

  /** SessionHost: the session is over. */
  closed(session: Session, code: ErrorCode): void {
    this.counts.ended.count(code);
    this.devices.left(session);
    this.#byId.delete(session.id);
  }

  /** SessionHost. */
  linkClosed(code: ErrorCode): void {
    this.counts.linksClosed.count(code);
  }

  #admit(address: string): void {
    if (this.#state !== 'running') throw new TunnelError('RELAY_DRAINING', 'Cannot accept link: the relay is stopping');
    if (this.#failures.exceeded(address)) {
      throw new TunnelError('LIMIT_EXCEEDED', 'Cannot accept link: too many failed proofs from this address');
    }
    if (!this.#links.take(address)) {
      throw new TunnelError('LIMIT_EXCEEDED', 'Cannot accept link: too many links from this address');
    }
  }

  #join(link: Link, { proof, token }: ProvenLink, address: string): void {
    const session = proof.sessionId === '' ? this.#begin(proof, token, address) : this.#find(proof);
    session.checkJoining();
    // The welcome goes first: a stream may follow in the same turn.
    link.sendMessage({
      type: 'welcome',
      sessionId: session.id,
      heartbeatMs: DEFAULT_HEARTBEAT.intervalMs,
      maxLinks: this.limits.linksPerSession,
      maxTunnels: this.limits.tunnelsPerSession,
      maxStreams: this.limits.streamsPerSession,
      agent: AGENT,
    });
    session.addLink(link);
  }

  #begin(proof: Proof, token: TokenRecord, address: string): Session {
    this.#replaceOlder(proof);
    const owner = { tokenId: token.id, tokenName: token.name, clientId: proof.clientId };
    const session = new Session(randomBytes(9).toString('base64url'), owner, address, this);
    this.#byId.set(session.id, session);
    this.counts.began += 1;
    this.devices.came(session, proof.agent);
    this.log.info({ session: session.id, tokenName: token.name, client: address, agent: proof.agent }, 'session began');
    this.audit('token-used', { tokenName: token.name, client: address, session: session.id, agent: proof.agent });
    return session;
  }

  /** Its tunnels stay held for the newcomer, which claims them next. */
  #replaceOlder(proof: Proof): void {
    for (const session of this.#byId.values()) {
      const { tokenId, clientId } = session.owner;
      if (tokenId !== proof.tokenId || clientId !== proof.clientId) continue;
      session.close('SESSION_REPLACED', 'Session replaced: the same client connected anew', true);
      this.#replaced.add(session.id);
    }
    for (const oldest of this.#replaced) {
      if (this.#replaced.size <= MAX_REPLACED) break;
      this.#replaced.delete(oldest);
    }
  }

  #find(proof: Proof): Session {
    if (this.#replaced.has(proof.sessionId)) {
      throw new TunnelError('SESSION_REPLACED', 'Cannot join session: the same client connected anew');
    }
    const session = this.#byId.get(proof.sessionId);
    const same = session?.owner.tokenId === proof.tokenId && session.owner.clientId === proof.clientId;
    if (session === undefined || !same) {
      throw new TunnelError('SESSION_UNKNOWN', 'Cannot join session: there is none of this id');
    }
    return session;
  }

  #refuse(link: Link, error: TunnelError, address: string): void {
    if (error.code === 'TOKEN_REJECTED') {
      this.#failures.count(address);
      this.audit('login-failed', { client: address, code: error.code });
    }
    this.#options.refused(error.code);
    this.log.warn({ client: address, code: error.code, reason: error.message }, 'link refused');
    link.sendMessage({ type: 'refused', code: error.code, message: error.message });
    link.close(error.code, error.message);
  }
}
