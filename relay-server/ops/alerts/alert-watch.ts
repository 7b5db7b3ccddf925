/**
 * AlertWatch: compares the relay's status with what it was, and makes alerts of the differences. It looks at the same
 * snapshot that `relay status` shows, so no other room knows of alerts.
 *
 * A tunnel that the status no longer shows, because the operator ended it, is not missed here either.
 *
 * Owns: one timer, and the memory. Owned by: Alerts.
 */
import type { CertificateStatus } from '../../../shared/certs/certificates.js';
import { roundedSpan } from '../../../shared/command/terminal-text.js';
import type { RelayStatus } from '../relay-status.js';
import type { AlertRules, News } from './alert.js';
import type { AlertMemory } from './alert-memory.js';
import { CertificateHealth, type CertificateTrouble } from './certificate-health.js';
import { TunnelHealth, type TunnelNews } from './tunnel-health.js';

const MAX_CERTIFICATES = 10_000;
/** Addresses that are watched. A client with a wildcard may claim ever new ones; those that are gone make room. */
const MAX_TUNNELS = 1_000;

export class AlertWatch {
  readonly #rules: AlertRules;
  readonly #memory: AlertMemory;
  readonly #tunnels = new Map<string, TunnelHealth>();
  /** The token whose client served an address last; unknown for those that were lost before the relay started. */
  readonly #tokens = new Map<string, string>();
  readonly #certificates = new Map<string, CertificateHealth>();

  /** `nowMs` counts on the monotonic clock, here and in `look`. */
  constructor(rules: AlertRules, memory: AlertMemory, nowMs: number) {
    this.#rules = rules;
    this.#memory = memory;
    for (const [url, state] of memory.tunnels) this.#tunnels.set(url, new TunnelHealth(rules, state, nowMs));
  }

  /** What is news about this status. */
  look(status: RelayStatus, nowMs: number, dateMs: number): News[] {
    return [
      ...this.#lookAtTunnels(status, nowMs),
      ...this.#lookAtCertificates(status, dateMs),
      ...(this.#rules.clientAddresses ? this.#lookAtClients(status) : []),
    ];
  }

  #lookAtTunnels(status: RelayStatus, nowMs: number): News[] {
    const sessions = new Map(status.sessions.map(({ id, tokenName }) => [id, tokenName]));
    const served = status.tunnels.filter(({ state }) => state === 'online');
    for (const { public: url, sessionId } of served) this.#tokens.set(url, sessions.get(sessionId ?? '') ?? '');
    const online = new Set(served.map((tunnel) => tunnel.public));
    for (const url of online) {
      // One that comes for the first time is no news.
      if (!this.#tunnels.has(url)) this.#tunnels.set(url, new TunnelHealth(this.#rules, undefined, nowMs));
    }
    const missed = new Set(status.tunnels.map((tunnel) => tunnel.public));
    for (const url of this.#tunnels.keys()) if (!missed.has(url)) this.#forget(url);
    this.#makeRoom(online);
    const news: News[] = [];
    for (const [url, health] of this.#tunnels) {
      const wasMs = health.unchangedMs(nowMs);
      const found = health.look(online.has(url), nowMs);
      if (found !== undefined)
        news.push({ ...tunnelNews(found, url, wasMs, this.#rules), share: this.#tokens.get(url) ?? '' });
      this.#memory.rememberTunnel(url, health.isDown ? 'down' : 'up');
    }
    return news;
  }

  /** Of those that are online the oldest stay watched. */
  #makeRoom(online: ReadonlySet<string>): void {
    const gone = [...this.#tunnels.keys()].filter((url) => !online.has(url));
    const newest = [...this.#tunnels.keys()].reverse();
    for (const url of [...gone, ...newest]) {
      if (this.#tunnels.size <= MAX_TUNNELS) return;
      this.#forget(url);
    }
  }

  #forget(url: string): void {
    this.#tunnels.delete(url);
    this.#tokens.delete(url);
    this.#memory.forgetTunnel(url);
  }

  #lookAtCertificates({ domain, certificates }: RelayStatus, dateMs: number): News[] {
    const news: News[] = [];
    for (const status of certificates.slice(0, MAX_CERTIFICATES)) {
      const health = this.#certificates.get(status.name) ?? new CertificateHealth(this.#rules);
      this.#certificates.set(status.name, health);
      const found = health.look(status, dateMs);
      if (found === undefined) continue;
      const share = status.name === domain ? domain : this.#tokenOf(status.name);
      news.push({ ...certificateNews(found, status, dateMs), share });
    }
    if (this.#certificates.size > certificates.length) {
      const names = new Set(certificates.map(({ name }) => name));
      for (const name of this.#certificates.keys()) if (!names.has(name)) this.#certificates.delete(name);
    }
    return news;
  }

  #tokenOf(hostname: string): string {
    for (const [url, token] of this.#tokens) if (new URL(url).hostname === hostname) return token;
    return '';
  }

  #lookAtClients({ sessions }: RelayStatus): News[] {
    const fresh = sessions.filter((session) => this.#memory.isNewAddress(session.tokenName, session.clientAddress));
    return fresh.map(({ tokenName, clientAddress }) => ({
      event: 'client-address',
      subject: tokenName,
      share: tokenName,
      title: `New address of a client: ${tokenName}`,
      text: `A client proved the token ${tokenName} from ${clientAddress}, where it never was before.`,
      cure: `If that is not you: relay token rotate ${tokenName}`,
    }));
  }
}

function tunnelNews(found: TunnelNews, url: string, wasMs: number, rules: AlertRules): Omit<News, 'share'> {
  if (found === 'down') {
    const text = `No client has served ${url} for ${roundedSpan(wasMs)}. Visitors see "offline".`;
    return {
      event: 'tunnel-down',
      subject: url,
      title: `Down: ${url}`,
      text,
      cure: 'At home: tunnel status, tunnel doctor',
    };
  }
  if (found !== 'flapping') {
    const [state, span] =
      found === 'up' ? ['is served again, after', wasMs] : ['has been steady for', rules.flappingWindowMs];
    const text = `${url} ${state} ${roundedSpan(span)}.`;
    return { event: 'tunnel-up', subject: url, title: `Up: ${url}`, text, cure: '' };
  }
  const window = roundedSpan(rules.flappingWindowMs);
  const text = `${url} was lost ${rules.flappingAfter} times within ${window}. The next word comes when it is steady.`;
  const cure = 'At home: look at the internet connection, and whether two clients run with one token';
  return { event: 'tunnel-flapping', subject: url, title: `Flapping: ${url}`, text, cure };
}

function certificateNews(
  found: CertificateTrouble | 'well',
  status: CertificateStatus,
  dateMs: number,
): Omit<News, 'share'> {
  const { name, lastError, notAfterMs } = status;
  const left = notAfterMs === undefined ? 'There is none yet' : `It ends in ${roundedSpan(notAfterMs - dateMs)}`;
  if (found === 'well') {
    const text = `The certificate of ${name} is well again. ${left}.`;
    return { event: 'certificate-well', subject: name, title: `Certificate well: ${name}`, text, cure: '' };
  }
  const state = found === 'expired' ? 'It has expired: visitors are turned away' : left;
  const reason = lastError === undefined ? '' : ` ${lastError}`;
  return {
    event: 'certificate-trouble',
    subject: name,
    title: `Certificate ${found}: ${name}`,
    text: `${state}.${reason}`,
    cure: 'On the VPS: relay cert list, relay doctor',
  };
}
