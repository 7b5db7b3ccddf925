/**
 * RelayMetrics: which metrics a relay has, and with which labels. Labels come from what the operator or a token's owner
 * named: tunnels that were claimed, tokens, certificates, codes of the error table; never from what a visitor sends. At
 * most MAX_TUNNELS tunnels have series: those that are online or down (sessions/served-tunnels.ts).
 *
 * Pure but for the clock; docs/operations.md explains each name.
 */
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import type { CodeCounts } from '../../shared/metrics/code-counts.js';
import { codeSamples, type ExchangeMetrics, exposeExchanges } from '../../shared/metrics/exchange-metrics.js';
import { Exposition, type Labels, type Sample } from '../../shared/metrics/exposition.js';
import type { ProcessMetrics } from '../../shared/metrics/process-metrics.js';
import type { Session } from '../sessions/session.js';
import type { SessionCounts } from '../sessions/sessions.js';
import type { Tunnel } from '../sessions/tunnel.js';
import type { ChannelHealth } from './alerts/courier.js';
import type { Count } from './relay-status.js';

export interface MetricFacts {
  readonly isReady: boolean;
  readonly process: ProcessMetrics;
  /** Visitor connections. */
  readonly connections: Count;
  /** TLS handshakes with visitors and clients. */
  readonly handshakes: { readonly done: number; readonly failed: number };
  readonly refusals: CodeCounts;
  readonly sessionCounts: SessionCounts;
  readonly sessions: Iterable<Session>;
  readonly tunnels: Iterable<Tunnel>;
  /** HTTP requests that led to no tunnel. */
  readonly unrouted: ExchangeMetrics;
  readonly certificates: readonly CertificateStatus[];
  /** Of alerts. */
  readonly channels: readonly ChannelHealth[];
  /** What its logs had to leave out since the start. */
  readonly lost: { readonly accessLines: number; readonly auditRecords: number };
}

/** With series of their own; of more, those that are online come first. */
const MAX_TUNNELS = 500;
const MAX_TOKENS = 500;
const MAX_CERTIFICATES = 1_000;
const SECOND_MS = 1_000;
const SHOWN_FIRST = { online: 0, held: 1, offline: 2 } as const;

/** All of it as text. */
export function relayMetrics(facts: MetricFacts): string {
  const to = new Exposition();
  to.gauge('sallyport_ready', 'Whether /readyz says ready', [[facts.isReady ? 1 : 0]]);
  exposeVisitors(to, facts);
  exposeSessions(to, facts);
  exposeTunnels(to, shownTunnels(facts.tunnels));
  exposeCertificates(to, facts.certificates.slice(0, MAX_CERTIFICATES));
  to.gauge(
    'sallyport_alert_channel_failing',
    'Whether the newest alert could not be delivered there',
    facts.channels.map(({ name, isFailing }): Sample => [isFailing ? 1 : 0, { channel: name }]),
  );
  exposeLogs(to, facts.lost);
  facts.process.expose(to);
  return to.text;
}

function exposeVisitors(to: Exposition, { connections, handshakes, refusals, unrouted }: MetricFacts): void {
  to.gauge('sallyport_visitor_connections', 'Visitor connections open now', [[connections.now]]);
  to.counter('sallyport_visitor_connections_total', 'Visitor connections', [[connections.total]]);
  to.counter('sallyport_tls_handshakes_total', 'TLS handshakes that ended here, of visitors and clients', [
    [handshakes.done, { result: 'done' }],
    [handshakes.failed, { result: 'failed' }],
  ]);
  to.counter('sallyport_refusals_total', 'Refused visitors, claims and links, by code', codeSamples(refusals));
  const unroutedSamples = [...unrouted.statuses()].map(([status, count]): Sample => [count, { status }]);
  to.counter('sallyport_unrouted_requests_total', 'HTTP requests that led to no tunnel, by status', unroutedSamples);
}

function exposeSessions(to: Exposition, { sessionCounts, sessions }: MetricFacts): void {
  const byToken = [...sessionsByToken(sessions)].slice(0, MAX_TOKENS);
  const perToken = (measure: (sessions: readonly Session[]) => number | undefined) =>
    byToken.flatMap(([token, list]): Sample[] => {
      const value = measure(list);
      return value === undefined ? [] : [[value, { token }]];
    });
  const linksOf = (list: readonly Session[]) => list.flatMap((session) => [...session.links]);
  const counted = byToken.flatMap(([, list]) => list);
  const links = linksOf(counted);
  const { began, ended, linksClosed } = sessionCounts;
  to.gauge(
    'sallyport_sessions',
    'Connected clients, by token',
    perToken(({ length }) => length),
  );
  to.counter('sallyport_sessions_began_total', 'Sessions that began', [[began]]);
  to.counter('sallyport_sessions_ended_total', 'Sessions that ended, by code', codeSamples(ended));
  to.gauge(
    'sallyport_links',
    'Links open now, by token',
    perToken((list) => linksOf(list).length),
  );
  to.counter('sallyport_links_closed_total', 'Links that closed, by code', codeSamples(linksClosed));
  to.gauge(
    'sallyport_link_rtt_seconds',
    'Newest round trip of the slowest link, by token',
    perToken((list) => slowest(linksOf(list).map(({ rttMs }) => rttMs))),
  );
  to.gauge('sallyport_link_backlog_bytes', 'What waits to be sent on all links', [
    [sum(links.map(({ backlogBytes }) => backlogBytes))],
  ]);
  to.gauge('sallyport_window_budget_used_bytes', 'Memory that grown stream windows may take now', [
    [sum(counted.map(({ windowBudget }) => windowBudget.usedBytes))],
  ]);
  to.gauge('sallyport_window_budget_limit_bytes', 'The most that they may take, of all sessions', [
    [sum(counted.map(({ windowBudget }) => windowBudget.limitBytes))],
  ]);
}

function exposeTunnels(to: Exposition, tunnels: readonly Tunnel[]): void {
  const labelled = tunnels.map((tunnel) => [{ tunnel: tunnel.address }, tunnel] as const);
  const each = (measure: (tunnel: Tunnel) => number) =>
    labelled.map(([labels, tunnel]): Sample => [measure(tunnel), labels]);
  to.gauge(
    'sallyport_tunnel_up',
    'Whether a client serves it; 0 when one did and none does now',
    each(({ state }) => (state === 'online' ? 1 : 0)),
  );
  const info = labelled.map(([labels, { name, tls }]): Sample => [1, { ...labels, name, tls }]);
  to.gauge('sallyport_tunnel_info', "Always 1; the client's name for it and where visitors' TLS ends", info);
  const traffic = (tunnel: Tunnel) => tunnel.traffic;
  to.gauge(
    'sallyport_tunnel_open_streams',
    'Streams to the origin open now',
    each((of) => traffic(of).openStreams),
  );
  to.counter(
    'sallyport_tunnel_streams_total',
    'Streams to the origin',
    each((of) => traffic(of).totalStreams),
  );
  to.counter('sallyport_tunnel_bytes_total', 'Payload: in from visitors to the origin, out back to them', [
    ...labelled.map(([labels, of]): Sample => [traffic(of).bytesIn, { ...labels, direction: 'in' }]),
    ...labelled.map(([labels, of]): Sample => [traffic(of).bytesOut, { ...labels, direction: 'out' }]),
  ]);
  const withHttp = labelled.filter(([, of]) => traffic(of).requests > 0);
  exposeExchanges(
    to,
    'sallyport_tunnel',
    withHttp.map(([labels, { exchanges }]): [Labels, ExchangeMetrics] => [labels, exchanges]),
  );
}

function exposeCertificates(to: Exposition, certificates: readonly CertificateStatus[]): void {
  const expiring = certificates.flatMap(({ name, notAfterMs }): Sample[] =>
    notAfterMs === undefined ? [] : [[notAfterMs / SECOND_MS, { certificate: name }]],
  );
  to.gauge('sallyport_certificate_expiry_timestamp_seconds', 'When it expires, seconds since 1970', expiring);
  const renewed = certificates.flatMap(({ name, renewAtMs }): Sample[] =>
    renewAtMs === undefined ? [] : [[renewAtMs / SECOND_MS, { certificate: name }]],
  );
  to.gauge('sallyport_certificate_renewal_timestamp_seconds', 'When it is to be renewed, seconds since 1970', renewed);
  to.gauge(
    'sallyport_certificate_failing',
    'Whether the newest attempt to get or renew it failed',
    certificates.map(({ name, lastError }): Sample => [lastError === undefined ? 0 : 1, { certificate: name }]),
  );
}

function exposeLogs(to: Exposition, { accessLines, auditRecords }: MetricFacts['lost']): void {
  to.counter('sallyport_access_log_dropped_lines_total', 'Lines that disk or stdout did not take', [[accessLines]]);
  to.counter('sallyport_audit_log_lost_records_total', 'Records that could not be kept', [[auditRecords]]);
}

function shownTunnels(all: Iterable<Tunnel>): Tunnel[] {
  const shown = [...all].filter(({ service }) => service !== undefined);
  return shown.sort((one, other) => SHOWN_FIRST[one.state] - SHOWN_FIRST[other.state]).slice(0, MAX_TUNNELS);
}

function sessionsByToken(sessions: Iterable<Session>): Map<string, Session[]> {
  const byToken = new Map<string, Session[]>();
  for (const session of sessions) {
    const { tokenName } = session.owner;
    const list = byToken.get(tokenName);
    if (list === undefined) byToken.set(tokenName, [session]);
    else list.push(session);
  }
  return byToken;
}

/** In seconds; 0 stands for a link that has not been measured. */
function slowest(rttsMs: readonly number[]): number | undefined {
  const ms = Math.max(0, ...rttsMs);
  return ms === 0 ? undefined : ms / SECOND_MS;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
