/**
 * ClientTunnel: one tunnel of this client over all its sessions: what was asked for, how it stands, what it carried.
 *
 * Owned by: Client. Written by the session (state) and by origin connections (counts).
 */
import type { ErrorCode } from '../shared/errors.js';
import type { SpliceTraffic } from '../shared/splice.js';
import type { LastError, TunnelStatus } from './client-status.js';
import type { TunnelSpec } from './tunnel-config.js';

export class ClientTunnel {
  readonly spec: TunnelSpec;
  state: TunnelStatus['state'] = 'offline';
  /** As the relay told it; '' before the first claim. */
  url = '';
  /** Claims in a row that the relay denied. */
  denials = 0;
  openStreams = 0;
  totalStreams = 0;
  readonly traffic: SpliceTraffic = { toSocketBytes: 0, fromSocketBytes: 0 };
  #failures = 0;
  #lastError: LastError | undefined;

  constructor(spec: TunnelSpec) {
    this.spec = spec;
  }

  /** A claim or an origin failed. */
  fail(code: ErrorCode, message: string): void {
    this.#failures += 1;
    this.#lastError = { code, message, atMs: Date.now() };
  }

  status(): TunnelStatus {
    return {
      name: this.spec.name,
      url: this.url || this.spec.host || `:${this.spec.tcpPort}`,
      origin: this.spec.origin.text,
      state: this.state,
      openStreams: this.openStreams,
      totalStreams: this.totalStreams,
      bytesIn: this.traffic.toSocketBytes,
      bytesOut: this.traffic.fromSocketBytes,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }
}
