/**
 * RelayStatus: what a running relay tells about itself, to the admin listener, `relay status` and tests.
 * A plain snapshot: whoever shows it holds no reference into the relay. Never holds a secret.
 */
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import { counted, roundedBytes, roundedSpan, tableLines } from '../../shared/command/terminal-text.js';
import type { ErrorCode } from '../../shared/errors.js';
import type { TlsMode } from '../../shared/messages.js';
import { printable } from '../../shared/printable.js';
import { type Rate, rateCells } from '../../shared/traffic-rates.js';
import { relayCureOf } from './relay-cures.js';

/** The process's states (architecture §7). */
export type RelayState = 'starting' | 'running' | 'draining' | 'stopped';

/** Something that comes and goes: how many now, and how many since the relay started. */
export interface Count {
  readonly now: number;
  readonly total: number;
}

export interface ListenerStatus {
  /** `https`, `http`, `admin`, or the tunnel of a public port. */
  readonly name: string;
  /** `host:port`, with brackets around IPv6. */
  readonly address: string;
}

export interface WorkerStatus {
  readonly pid: number;
  /** Visitor connections that it has now. */
  readonly visitors: number;
}

export interface SessionLinkStatus {
  /** Round trip of the newest heartbeat in milliseconds; undefined until the first answer. */
  readonly rttMs: number | undefined;
  readonly streams: number;
}

export interface SessionStatus {
  readonly id: string;
  /** Name of the token that the client proved. */
  readonly tokenName: string;
  /** Where the client's first link came from. */
  readonly clientAddress: string;
  readonly links: readonly SessionLinkStatus[];
  readonly openForMs: number;
}

export interface RelayTunnelStatus {
  readonly name: string;
  /** The public address, e.g. `https://home.example.com` or `tcp://example.com:2222`. */
  readonly public: string;
  /** The session that serves it; undefined while it is down. */
  readonly sessionId: string | undefined;
  /** Name of the token whose client serves it, or did last. */
  readonly tokenName: string;
  /** While it is held its visitors wait for the client; when it is offline they are told so. */
  readonly state: 'online' | 'held' | 'offline';
  /** For how long no client has served it; undefined when it is online. */
  readonly downForMs?: number | undefined;
  /** Where visitors' TLS ends. */
  readonly tls: TlsMode;
  readonly openStreams: number;
  readonly totalStreams: number;
  /** HTTP requests; 0 for raw tunnels. */
  readonly requests: number;
  /** Payload bytes from visitors to the origin, and back. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The newest refusal of a visitor, claim or link. */
export interface LastRefusal {
  readonly code: ErrorCode;
  /** Milliseconds since 1970. */
  readonly atMs: number;
}

export interface RelayStatus {
  readonly version: string;
  /** The relay's own name. */
  readonly domain: string;
  /** In milliseconds since 1970. */
  readonly startedAtMs: number;
  readonly uptimeMs: number;
  readonly state: RelayState;
  readonly listeners: readonly ListenerStatus[];
  /** Visitor connections. */
  readonly connections: Count;
  /** Processes that are ready to end TLS; undefined where the relay is one process. */
  readonly workers?: readonly WorkerStatus[] | undefined;
  readonly streams: Count;
  /** Refused visitors, claims and handshakes, by code; codes that never happened are left out. */
  readonly refusals: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly lastRefusal?: LastRefusal | undefined;
  readonly sessions: readonly SessionStatus[];
  readonly tunnels: readonly RelayTunnelStatus[];
  readonly certificates: readonly CertificateStatus[];
}

const RATE_HEAD = ['IN/S', 'OUT/S'];
const DAY_MS = 86_400_000;

/** The relay sees that the client is connected, and no more. */
const ENDS_AT_HOME = '  End-to-end: whether it has its certificate is known at home alone; there: tunnel status';

/** Bytes per second of a tunnel, by its public URL. */
export type RateOf = (publicUrl: string) => Rate;

/** The snapshot as text for a terminal, without a line break at the end; rates are shown where they are known. */
export function formatRelayStatus(status: RelayStatus, nowMs: number = Date.now(), rateOf?: RateOf): string {
  const sections = [
    headLines(status),
    section(
      'SESSIONS',
      ['ID', 'TOKEN', 'CLIENT', 'LINKS', 'RTT', 'STREAMS', 'OPEN FOR'],
      status.sessions.map(sessionRow),
    ),
    [
      ...section(
        'TUNNELS',
        [
          'NAME',
          'STATE',
          'PUBLIC',
          'TLS',
          'TOKEN',
          'SESSION',
          'VISITORS',
          'REQUESTS',
          'IN',
          'OUT',
          ...(rateOf ? RATE_HEAD : []),
        ],
        status.tunnels.map((tunnel) => [...tunnelRow(tunnel), ...(rateOf ? rateCells(rateOf(tunnel.public)) : [])]),
      ),
      ...(status.tunnels.some(endsAtHome) ? [ENDS_AT_HOME] : []),
    ],
    section(
      'CERTIFICATES',
      ['NAME', 'STATE', 'EXPIRES'],
      status.certificates.map((certificate) => certificateRow(certificate, nowMs)),
    ),
    section(
      'REFUSALS BY CODE',
      ['CODE', 'COUNT'],
      Object.entries(status.refusals).map(([code, count]) => [code, String(count)]),
    ),
  ];
  const last = status.lastRefusal === undefined ? [] : [lastLines(status.lastRefusal, nowMs)];
  return [...sections, ...last].map((lines) => lines.join('\n')).join('\n\n');
}

function lastLines({ code, atMs }: LastRefusal, nowMs: number): string[] {
  const cure = relayCureOf(code);
  return [`LAST REFUSAL: ${code}, ${roundedSpan(nowMs - atMs)} ago`, ...(cure === undefined ? [] : [`  ${cure}`])];
}

function headLines(status: RelayStatus): string[] {
  const { connections, streams, workers } = status;
  const listeners = status.listeners.map(({ name, address }) => `${name} ${address}`);
  const rows = [
    ['Relay', `${status.domain} ${status.state}, up ${roundedSpan(status.uptimeMs)}, version ${status.version}`],
    ['Listeners', listeners.join(', ') || 'none'],
    ['Visitors', `${counted(connections.now, 'connection')} now, ${connections.total} in total`],
    ['Streams', `${streams.now} now, ${streams.total} in total`],
    ...(workers === undefined ? [] : [['Workers', workersText(workers)]]),
  ];
  return tableLines(printableRows(rows));
}

function workersText(workers: readonly WorkerStatus[]): string {
  return workers.map(({ pid, visitors }) => `${pid} (${counted(visitors, 'visitor')})`).join(', ') || 'none runs';
}

/** A titled table; one line that says so when there is nothing to show. */
function section(title: string, head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [`${title}: none`];
  return [`${title}: ${rows.length}`, ...tableLines(printableRows([head, ...rows])).map((line) => `  ${line}`)];
}

function printableRows(rows: readonly (readonly string[])[]): string[][] {
  return rows.map((row) => row.map(printable));
}

function sessionRow(session: SessionStatus): string[] {
  const { links } = session;
  const rtts = links.map((link) => (link.rttMs === undefined ? '–' : `${link.rttMs.toFixed(1)} ms`));
  const streams = links.reduce((sum, link) => sum + link.streams, 0);
  return [
    session.id,
    session.tokenName,
    session.clientAddress,
    String(links.length),
    rtts.join(' ') || '–',
    String(streams),
    roundedSpan(session.openForMs),
  ];
}

function endsAtHome({ tls, public: url }: RelayTunnelStatus): boolean {
  return tls === 'end-to-end' && url.startsWith('https:');
}

function stateOf({ state, downForMs }: RelayTunnelStatus): string {
  return downForMs === undefined ? state : `${state} for ${roundedSpan(downForMs)}`;
}

function tunnelRow(tunnel: RelayTunnelStatus): string[] {
  return [
    tunnel.name,
    stateOf(tunnel),
    tunnel.public,
    tunnel.public.startsWith('https:') ? tunnel.tls : '–',
    tunnel.tokenName,
    tunnel.sessionId ?? '–',
    `${tunnel.openStreams} of ${tunnel.totalStreams}`,
    String(tunnel.requests),
    roundedBytes(tunnel.bytesIn),
    roundedBytes(tunnel.bytesOut),
  ];
}

function certificateRow({ name, state, notAfterMs }: CertificateStatus, nowMs: number): string[] {
  if (notAfterMs === undefined) return [name, state, '-'];
  const day = new Date(notAfterMs).toISOString().slice(0, 10);
  const daysLeft = Math.floor((notAfterMs - nowMs) / DAY_MS);
  return [name, state, notAfterMs <= nowMs ? `${day} (expired)` : `${day} (in ${counted(daysLeft, 'day')})`];
}
