/**
 * RelaySnapshot: turns the running rooms into a RelayStatus, a plain value that may be sent anywhere.
 */
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import type { ErrorCode } from '../../shared/errors.js';
import type { Session } from '../sessions/session.js';
import type { Tunnel } from '../sessions/tunnel.js';
import type {
  Count,
  LastRefusal,
  ListenerStatus,
  RelayState,
  RelayStatus,
  RelayTunnelStatus,
  SessionStatus,
  WorkerStatus,
} from './relay-status.js';

export interface RelayFacts {
  readonly version: string;
  readonly domain: string;
  readonly publicPort: number;
  readonly startedAtMs: number;
  readonly state: RelayState;
  readonly listeners: readonly ListenerStatus[];
  readonly connections: Count;
  readonly workers: readonly WorkerStatus[] | undefined;
  readonly refusals: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly lastRefusal: LastRefusal | undefined;
  readonly sessions: Iterable<Session>;
  readonly tunnels: Iterable<Tunnel>;
  readonly certificates: readonly CertificateStatus[];
}

export function relayStatus(facts: RelayFacts): RelayStatus {
  const { sessions, tunnels, startedAtMs, publicPort, ...same } = facts;
  const shown = [...tunnels].filter(({ service }) => service !== undefined);
  return {
    ...same,
    startedAtMs,
    uptimeMs: Date.now() - startedAtMs,
    streams: {
      now: shown.reduce((sum, tunnel) => sum + tunnel.traffic.openStreams, 0),
      total: shown.reduce((sum, tunnel) => sum + tunnel.traffic.totalStreams, 0),
    },
    sessions: [...sessions].map(sessionStatus),
    tunnels: shown.map((tunnel) => tunnelStatus(tunnel, facts)),
  };
}

function sessionStatus(session: Session): SessionStatus {
  return {
    id: session.id,
    tokenName: session.owner.tokenName,
    clientAddress: session.clientAddress,
    links: [...session.links].map((link) => ({ rttMs: link.rttMs || undefined, streams: link.streamCount })),
    openForMs: Math.round(session.openForMs),
  };
}

function tunnelStatus(tunnel: Tunnel, facts: RelayFacts): RelayTunnelStatus {
  const { openStreams, totalStreams, requests, bytesIn, bytesOut } = tunnel.traffic;
  return {
    name: tunnel.name,
    public: publicUrl(tunnel.address, facts),
    sessionId: tunnel.session?.id,
    tokenName: tunnel.service?.tokenName ?? '',
    state: tunnel.state,
    ...(tunnel.downForMs === undefined ? {} : { downForMs: tunnel.downForMs }),
    tls: tunnel.tls,
    openStreams,
    totalStreams,
    requests,
    bytesIn,
    bytesOut,
  };
}

/** The URL of a tunnel's address: a hostname, a wildcard or `:port`. */
export function publicUrl(address: string, relay: { readonly domain: string; readonly publicPort: number }): string {
  if (address.startsWith(':')) return `tcp://${relay.domain}${address}`;
  return `https://${address}${relay.publicPort === 443 ? '' : `:${relay.publicPort}`}`;
}
