/**
 * ClientMetrics: which metrics a client has. Labels are the names in its own tunnel.yaml and codes of the error table; a
 * tunnel that is taken out of the file leaves no series behind. docs/operations.md explains each name.
 */
import type { CodeCounts } from '../../shared/metrics/code-counts.js';
import { codeSamples, exposeExchanges } from '../../shared/metrics/exchange-metrics.js';
import { Exposition, type Sample } from '../../shared/metrics/exposition.js';
import type { ProcessMetrics } from '../../shared/metrics/process-metrics.js';
import type { ClientTunnel } from '../client-tunnel.js';
import type { ClientStatus, TunnelStatus } from './client-status.js';

/** What happened since the client started. */
export interface ClientCounts {
  /** Waits before another attempt to reach the relay, by the code of what went before. */
  readonly reconnects: CodeCounts;
  readonly linksClosed: CodeCounts;
  /** TLS handshakes of visitors that ended at this client. */
  readonly handshakes: { done: number; failed: number };
}

export interface ClientFacts {
  readonly status: ClientStatus;
  readonly counts: ClientCounts;
  readonly tunnels: Iterable<ClientTunnel>;
  readonly process: ProcessMetrics;
  /** Lines that the access log had to leave out since the start. */
  readonly droppedLines: number;
}

const SECOND_MS = 1_000;

/** All of it as text. */
export function clientMetrics({ status, counts, tunnels, process, droppedLines }: ClientFacts): string {
  const to = new Exposition();
  exposeLink(to, status, counts);
  exposeTunnels(to, status.tunnels, [...tunnels]);
  to.counter('sallyport_client_access_log_dropped_lines_total', 'Lines that disk or stderr did not take', [
    [droppedLines],
  ]);
  process.expose(to);
  return to.text;
}

function exposeLink(to: Exposition, { state, links }: ClientStatus, counts: ClientCounts): void {
  to.gauge('sallyport_client_connected', 'Whether the client serves', [[state === 'serving' ? 1 : 0]]);
  to.gauge('sallyport_client_links', 'Links open now', [[links.length]]);
  const rtts = links.flatMap(({ rttMs }, link): Sample[] =>
    rttMs === undefined ? [] : [[rttMs / SECOND_MS, { link: String(link) }]],
  );
  to.gauge('sallyport_client_link_rtt_seconds', 'Newest round trip of each link', rtts);
  to.counter('sallyport_client_links_closed_total', 'Links that closed, by code', codeSamples(counts.linksClosed));
  to.counter(
    'sallyport_client_reconnects_total',
    'Times that the relay was lost or not reached, by code',
    codeSamples(counts.reconnects),
  );
  const { done, failed } = counts.handshakes;
  to.counter('sallyport_client_tls_handshakes_total', 'TLS handshakes of visitors that ended here', [
    [done, { result: 'done' }],
    [failed, { result: 'failed' }],
  ]);
}

function exposeTunnels(to: Exposition, statuses: readonly TunnelStatus[], tunnels: readonly ClientTunnel[]): void {
  const each = (measure: (tunnel: TunnelStatus) => number, labels = {}) =>
    statuses.map((tunnel): Sample => [measure(tunnel), { tunnel: tunnel.name, ...labels }]);
  to.gauge(
    'sallyport_client_tunnel_up',
    'Whether the relay sends visitors here',
    each(({ state }) => (state === 'online' ? 1 : 0)),
  );
  to.gauge(
    'sallyport_client_tunnel_open_streams',
    'Visitors connected now',
    each(({ openStreams }) => openStreams),
  );
  to.counter(
    'sallyport_client_tunnel_streams_total',
    'Visitors so far',
    each(({ totalStreams }) => totalStreams),
  );
  to.counter('sallyport_client_tunnel_bytes_total', 'Payload: in from visitors to the origin, out back to them', [
    ...each(({ bytesIn }) => bytesIn, { direction: 'in' }),
    ...each(({ bytesOut }) => bytesOut, { direction: 'out' }),
  ]);
  to.counter(
    'sallyport_client_tunnel_failures_total',
    'Claims and origins that failed, by code',
    tunnels.flatMap(({ spec, failures }) => codeSamples(failures, { tunnel: spec.name })),
  );
  const atHome = tunnels.filter(({ spec }) => spec.tls === 'end-to-end');
  exposeExchanges(
    to,
    'sallyport_client_tunnel',
    atHome.map(({ spec, exchanges }) => [{ tunnel: spec.name }, exchanges] as const),
  );
  const expiring = statuses.flatMap(({ name, certificate }): Sample[] => {
    const notAfterMs = certificate?.notAfterMs;
    return notAfterMs === undefined ? [] : [[notAfterMs / SECOND_MS, { tunnel: name }]];
  });
  to.gauge('sallyport_client_certificate_expiry_timestamp_seconds', 'When it expires, seconds since 1970', expiring);
  const renewed = statuses.flatMap(({ name, certificate }): Sample[] => {
    const renewAtMs = certificate?.renewAtMs;
    return renewAtMs === undefined ? [] : [[renewAtMs / SECOND_MS, { tunnel: name }]];
  });
  to.gauge(
    'sallyport_client_certificate_renewal_timestamp_seconds',
    'When it is to be renewed, seconds since 1970',
    renewed,
  );
}
