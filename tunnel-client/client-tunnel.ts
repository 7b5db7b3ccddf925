/**
 * ClientTunnel: one tunnel of this client over all its sessions: what was asked for, how it stands, what it carried.
 *
 * Owned by: Client. Written by the session (state) and by origin connections (counts).
 */
import type { ErrorCode } from '../shared/errors.js';
import { CodeCounts } from '../shared/metrics/code-counts.js';
import { ExchangeMetrics } from '../shared/metrics/exchange-metrics.js';
import type { SpliceTraffic } from '../shared/splice.js';
import type { HomeCertificate, LastError, TunnelStatus } from './ops/client-status.js';
import type { TunnelSpec } from './tunnel-config.js';

export class ClientTunnel {
  state: TunnelStatus['state'] = 'offline';
  /** As the relay told it; '' before the first claim. */
  url = '';
  /** Claims in a row that the relay denied. */
  denials = 0;
  openStreams = 0;
  totalStreams = 0;
  readonly traffic: SpliceTraffic = { toSocketBytes: 0, fromSocketBytes: 0 };
  /** Claims and origins that failed. */
  readonly failures = new CodeCounts();
  #spec: TunnelSpec;
  #exchanges: ExchangeMetrics | undefined;
  #lastError: LastError | undefined;

  constructor(spec: TunnelSpec) {
    this.#spec = spec;
  }

  get spec(): TunnelSpec {
    return this.#spec;
  }

  /** What its HTTP exchanges add up to, where TLS ends at this client; made for the first of them. */
  get exchanges(): ExchangeMetrics {
    this.#exchanges ??= new ExchangeMetrics();
    return this.#exchanges;
  }

  /** Counts for visitors who come from now on. */
  change(spec: TunnelSpec): void {
    this.#spec = spec;
  }

  /** A claim or an origin failed. */
  fail(code: ErrorCode, message: string): void {
    this.failures.count(code);
    this.#lastError = { code, message, atMs: Date.now() };
  }

  status(certificate?: HomeCertificate): TunnelStatus {
    return {
      name: this.spec.name,
      url: this.url || this.spec.host || `:${this.spec.tcpPort}`,
      origin: this.spec.origin.text,
      state: this.state,
      openStreams: this.openStreams,
      totalStreams: this.totalStreams,
      bytesIn: this.traffic.toSocketBytes,
      bytesOut: this.traffic.fromSocketBytes,
      failures: [...this.failures.entries()].reduce((sum, [, count]) => sum + count, 0),
      lastError: this.#lastError,
      tls: this.spec.tls,
      certificate,
    };
  }
}
