/**
 * Claims: decides who may have which public address, and which hostnames are known before anybody claims them.
 *
 * A claim is checked against the grants of its token, against the other clients, against what was promised about the end of
 * TLS (protected-hosts.ts), and only then a certificate is asked for. Hostnames that a token names exactly, those claimed
 * before, and those whose TLS ends elsewhere are known from the start, so that their visitors meet a tunnel that waits.
 *
 * Owns: the remembered and protected hostnames. Owned by: Relay.
 */
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import { normalisePattern } from '../../shared/hostname.js';
import type { Log } from '../../shared/log.js';
import type { Claim, Probe } from '../../shared/messages.js';
import type { RelayCertificates } from '../certs/relay-certificates.js';
import type { TcpPorts } from '../edge/tcp-ports.js';
import { publicUrl } from '../ops/relay-snapshot.js';
import { mayClaimHost, mayClaimPort } from './grants.js';
import type { HomeTlsMode, ProtectedHosts } from './protected-hosts.js';
import type { RememberedHosts } from './remembered-hosts.js';
import { portAddress, type Routes, wildcardAbove } from './routes.js';
import type { Session } from './session.js';
import { isExpired, type TokenRecord } from './token-record.js';
import type { TokenWatch } from './token-watch.js';
import type { Service, Tunnel } from './tunnel.js';

export interface ClaimsOptions {
  readonly domain: string;
  /** May change while the relay runs, as may the limits. */
  readonly publicPort: () => number;
  /** Hostnames that a token may have under its wildcard grants. */
  readonly limits: { readonly hostnamesPerToken: number };
  readonly tokens: TokenWatch;
  readonly routes: Routes;
  readonly remembered: RememberedHosts;
  readonly protectedHosts: ProtectedHosts;
  readonly certificates: RelayCertificates;
  readonly tcpPorts: TcpPorts;
  /** What was served before the relay started, by address. */
  readonly served: ReadonlyMap<string, Service>;
  readonly log: Log;
}

/** A client whose claim was denied comes again within a minute or so; after this it is not waited for. */
const WAITED_FOR_MS = 600_000;
/** As many as there may be routes. */
const MAX_WAITED_FOR = 10_000;

/** What a claim became. */
export interface ClaimedTunnel {
  readonly tunnel: Tunnel;
  /** Where visitors find it. */
  readonly url: string;
}

export class Claims {
  readonly #options: ClaimsOptions;
  /** Hostnames whose certificate is waited for, with the time of the newest claim, monotonic milliseconds. */
  readonly #waitedFor = new Map<string, number>();

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /** Before the relay listens: hostnames are held for their owners, as after any session that was lost. */
  async knowAtStart(): Promise<void> {
    this.#knowProtectedHosts();
    await this.#knowHosts('held');
    for (const [address, service] of this.#options.served) this.#recall(address, service);
  }

  /** Tokens were made, changed or ended. */
  onTokensChanged(): void {
    const { routes, tokens } = this.#options;
    for (const tunnel of [...routes.tunnels]) {
      tunnel.releaseUnless((id) => tokens.get(id) !== undefined);
      this.#withdrawUngranted(tunnel);
      this.#forgetUngranted(tunnel);
    }
    void this.#knowHosts('offline');
  }

  /**
   * Whether TLS of this hostname may still end here for somebody: its certificate is renewed for as long. One that never
   * came is tried again only while a client claims the hostname.
   */
  isWanted(hostname: string, hasCertificate: boolean): boolean {
    if (
      !hasCertificate &&
      performance.now() - (this.#waitedFor.get(hostname) ?? Number.NEGATIVE_INFINITY) > WAITED_FOR_MS
    ) {
      this.#waitedFor.delete(hostname);
      return false;
    }
    const { tokens, remembered } = this.#options;
    const isKnown = ({ grants }: TokenRecord) => grants.hosts.includes(hostname) || remembered.has(hostname);
    const mayClaim = (token: TokenRecord) =>
      !isExpired(token) && isKnown(token) && mayClaimHost(token.grants, hostname);
    return tokens.all().some(mayClaim) && this.#mayEndTlsOf(hostname);
  }

  /**
   * The tunnel of a claim, ready for visitors.
   * @throws {TunnelError} NOT_GRANTED, HOSTNAME_TAKEN, PORT_TAKEN, LIMIT_EXCEEDED, CERTIFICATE_FAILED …
   */
  async decide(session: Session, claim: Claim): Promise<ClaimedTunnel> {
    const { token, address: host } = this.checkGranted(session, claim);
    if (claim.tcpPort !== undefined) return this.#claimPort(session, claim.tcpPort);
    if (claim.tls !== 'relay') return this.#claimPassedHost(session, host, claim.tls);
    return this.#claimHost(session, host, token);
  }

  /** The operator misses this tunnel no longer. @throws {TunnelError} USAGE_INVALID when it is not down. */
  forget(address: string): void {
    const { routes } = this.#options;
    const tunnel = routes.get(address);
    if (tunnel?.downForMs === undefined) {
      const state = tunnel?.state === 'online' ? 'a client serves it' : 'no client has served it';
      throw new TunnelError('USAGE_INVALID', `Cannot forget ${address}: ${state}. See: relay status, relay host list`);
    }
    this.#endMissing(tunnel);
  }

  #endMissing(tunnel: Tunnel): void {
    tunnel.forget();
    if (tunnel.address.startsWith(':')) this.#options.routes.forget(tunnel.address);
  }

  /** What was served before a restart is missed after it, raw TCP ports included. */
  #recall(address: string, service: Service): void {
    if (!this.#maySomebodyServe(address, service)) return;
    const tunnel = this.#knowIfRoom(address);
    if (tunnel?.state !== 'online') tunnel?.recall(service);
  }

  /** To revoke its token is to end a tunnel for good. */
  #forgetUngranted(tunnel: Tunnel): void {
    const { address, service } = tunnel;
    if (service !== undefined && !this.#maySomebodyServe(address, service)) this.#endMissing(tunnel);
  }

  /** By name: a token that was rotated or has expired leaves its tunnels missed. */
  #maySomebodyServe(address: string, { tokenName }: Service): boolean {
    const grants = this.#options.tokens.all().find(({ name }) => name === tokenName)?.grants;
    if (grants === undefined) return false;
    return address.startsWith(':') ? mayClaimPort(grants, Number(address.slice(1))) : mayClaimHost(grants, address);
  }

  /** A token may have lost a grant while a client uses it. */
  #withdrawUngranted(tunnel: Tunnel): void {
    const { session, address, claim } = tunnel;
    const token = session && this.#options.tokens.get(session.owner.tokenId);
    if (session === undefined || token === undefined || claim === undefined) return;
    const { grants } = token;
    const isGranted = claim.tcpPort === undefined ? mayClaimHost(grants, address) : mayClaimPort(grants, claim.tcpPort);
    if (!isGranted) session.withdraw(tunnel, notGranted(address, token.name));
  }

  /**
   * The token of the session, and the address in stored form, when the one grants the other.
   * @throws {TunnelError} NOT_GRANTED, or TOKEN_REJECTED when the token has just gone.
   */
  checkGranted(
    session: Session,
    { host: text, tcpPort }: Pick<Claim, 'host' | 'tcpPort'>,
  ): { token: TokenRecord; address: string } {
    const token = this.#options.tokens.get(session.owner.tokenId);
    if (token === undefined) throw new TunnelError('TOKEN_REJECTED', 'Cannot claim: the token was revoked');
    if (tcpPort !== undefined) {
      if (!mayClaimPort(token.grants, tcpPort)) throw notGranted(`port ${tcpPort}`, token.name);
      return { token, address: portAddress(tcpPort) };
    }
    const host = normalisePattern(text ?? '', 'host');
    if (host === this.#options.domain || !mayClaimHost(token.grants, host)) throw notGranted(host, token.name);
    return { token, address: host };
  }

  /** Throws what the claim would be denied with now; asks for no certificate and leaves no trace. */
  probe(session: Session, probe: Probe): void {
    const { routes, protectedHosts } = this.#options;
    const { address } = this.checkGranted(session, probe);
    routes.get(address)?.checkTaking(session.owner);
    if (probe.host === undefined || probe.tls !== 'relay') return;
    for (const name of [address, wildcardAbove(address)]) {
      if (protectedHosts.has(name)) throw endsElsewhere(address, name);
    }
  }

  /** They are known whoever may claim them now: a name that nobody knows would fall to the wildcard above it. */
  #knowProtectedHosts(): void {
    const { protectedHosts, routes, tokens } = this.#options;
    for (const { host, tokenId, tls } of protectedHosts.all()) {
      const tunnel = routes.know(host);
      tunnel.endTlsAt(tls);
      const token = tokens.get(tokenId);
      if (token === undefined || isExpired(token) || !mayClaimHost(token.grants, host)) continue;
      tunnel.holdFor({ tokenId: token.id, tokenName: token.name, clientId: '' });
    }
  }

  async #knowHosts(state: 'held' | 'offline'): Promise<void> {
    const { tokens, remembered, domain, routes } = this.#options;
    for (const token of tokens.all()) {
      if (isExpired(token)) continue;
      const exact = token.grants.hosts.filter((host) => !host.startsWith('*.'));
      const claimed = remembered.of(token.id).filter((host) => mayClaimHost(token.grants, host));
      for (const host of new Set([...exact, ...claimed])) {
        if (host === domain || routes.knows(host) || !this.#endsTlsOf(host)) continue;
        await this.#prepareQuietly(host);
        const tunnel = this.#knowIfRoom(host);
        if (state === 'held') tunnel?.holdFor({ tokenId: token.id, tokenName: token.name, clientId: '' });
      }
    }
  }

  /** A name that finds no room before it is claimed is known when it is. */
  #knowIfRoom(host: string): Tunnel | undefined {
    try {
      return this.#options.routes.know(host);
    } catch (error) {
      this.#options.log.warn({ host, reason: asTunnelError(error).message }, 'granted host waits for its claim');
      return undefined;
    }
  }

  async #prepareQuietly(host: string): Promise<void> {
    const { certificates, log } = this.#options;
    try {
      await certificates.prepareAtStart(host);
    } catch (error) {
      log.warn({ host, reason: error instanceof Error ? error.message : '' }, 'no certificate for granted host');
    }
  }

  async #claimHost(session: Session, host: string, token: TokenRecord): Promise<ClaimedTunnel> {
    const { routes, remembered, certificates } = this.#options;
    // A name that the grant says exactly was the operator's choice; of the others a client could think up any number.
    const isChosen = token.grants.hosts.includes(host);
    if (!isChosen) this.#makeRoom(host, token);
    const tunnel = routes.know(host);
    tunnel.checkTaking(session.owner);
    this.#checkMayEndTls(host);
    if (!isChosen) remembered.remember(host, token.id);
    this.#waitFor(host);
    await certificates.prepareForClaim(host);
    this.#waitedFor.delete(host);
    return this.#claimed(tunnel);
  }

  #waitFor(host: string): void {
    this.#waitedFor.delete(host);
    this.#waitedFor.set(host, performance.now());
    const [oldest] = this.#waitedFor.keys();
    if (this.#waitedFor.size > MAX_WAITED_FOR && oldest !== undefined) this.#waitedFor.delete(oldest);
  }

  #makeRoom(host: string, token: TokenRecord): void {
    const { remembered, routes, limits } = this.#options;
    const isInUse = (name: string) => (routes.get(name)?.state ?? 'offline') !== 'offline';
    remembered.makeRoom(host, token.id, { max: limits.hostnamesPerToken, isInUse });
  }

  /** A hostname whose TLS the relay never ends: no certificate is made ready, and the promise is on disk first. */
  async #claimPassedHost(session: Session, host: string, tls: HomeTlsMode): Promise<ClaimedTunnel> {
    const { routes, protectedHosts } = this.#options;
    const tunnel = routes.know(host);
    tunnel.checkTaking(session.owner);
    const below = routes.relayTlsBelow(host);
    if (below !== undefined) {
      const message = `Cannot claim ${host} with tls: ${tls}: ${below}, below it, is in use with tls: relay. End that first.`;
      throw new TunnelError('HOSTNAME_TAKEN', message);
    }
    protectedHosts.protect({ host, tokenId: session.owner.tokenId, tls });
    tunnel.endTlsAt(tls);
    return this.#claimed(tunnel);
  }

  /**
   * Throws NOT_GRANTED when the name, or the wildcard above it, was claimed with TLS that ends elsewhere and the operator
   * has not said since that it may end here; from then on it may.
   */
  #checkMayEndTls(host: string): void {
    const { routes, protectedHosts } = this.#options;
    for (const name of [host, wildcardAbove(host)]) {
      const tunnel = routes.get(name);
      const inUse = name !== host && tunnel !== undefined && tunnel.tls !== 'relay' && tunnel.state !== 'offline';
      if (inUse || protectedHosts.has(name)) throw endsElsewhere(host, name);
      tunnel?.endTlsAt('relay');
    }
  }

  /** A disk that does not tell must not take a certificate away; whether it is shown is decided elsewhere. */
  #mayEndTlsOf(host: string): boolean {
    try {
      return this.#endsTlsOf(host);
    } catch {
      return true;
    }
  }

  #endsTlsOf(host: string): boolean {
    const { protectedHosts } = this.#options;
    return !protectedHosts.has(host) && !protectedHosts.has(wildcardAbove(host));
  }

  async #claimPort(session: Session, port: number): Promise<ClaimedTunnel> {
    const { routes, tcpPorts } = this.#options;
    const tunnel = routes.know(portAddress(port));
    tunnel.checkTaking(session.owner);
    await tcpPorts.open(port, tunnel);
    return this.#claimed(tunnel);
  }

  #claimed(tunnel: Tunnel): ClaimedTunnel {
    return {
      tunnel,
      url: publicUrl(tunnel.address, { domain: this.#options.domain, publicPort: this.#options.publicPort() }),
    };
  }
}

function notGranted(what: string, token: string): TunnelError {
  const cure = 'Ask for a token that grants it. On the VPS: relay token create NAME --host … or --tcp-port …';
  return new TunnelError('NOT_GRANTED', `Cannot claim ${what}: token ${token} does not grant it. ${cure}`);
}

function endsElsewhere(host: string, name: string): TunnelError {
  const state = `TLS of ${name} was claimed to end at home, and then it never ends at the relay`;
  const cure = `Write tls: end-to-end. Or, on the VPS: relay host forget '${name}'`;
  return new TunnelError('NOT_GRANTED', `Cannot claim ${host} with tls: relay: ${state}. ${cure}`);
}
