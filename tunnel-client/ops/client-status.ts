/**
 * ClientStatus: what a running client tells about itself, to the live screen, `tunnel status` and tests.
 * A plain snapshot: whoever shows it holds no reference into the client.
 */
import type { CertificateStatus } from '../../shared/certs/certificates.js';
import type { ErrorCode } from '../../shared/errors.js';
import type { TlsMode } from '../../shared/messages.js';

/** The supervisor's states (architecture §7). */
export type ClientState = 'stopped' | 'connecting' | 'handshaking' | 'serving' | 'waiting' | 'failed' | 'stopping';

/** A failure as people see it: its code, what happened and when (milliseconds since 1970). */
export interface LastError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly atMs: number;
}

export interface LinkStatus {
  /** Round trip of the newest heartbeat in milliseconds; undefined until the first answer. */
  readonly rttMs: number | undefined;
  readonly streams: number;
  readonly openForMs: number;
}

export interface TunnelStatus {
  readonly name: string;
  /** Public URL, e.g. `https://home.example.com` or `tcp://example.com:2222`. */
  readonly url: string;
  /** The origin as the person wrote it, e.g. `http://127.0.0.1:8123`. */
  readonly origin: string;
  readonly state: 'claiming' | 'online' | 'denied' | 'offline';
  /** Visitor connections open now, and since the client started. */
  readonly openStreams: number;
  readonly totalStreams: number;
  /** Payload bytes from visitors to the origin, and back. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Origin failures since the client started, and the newest claim or origin failure. */
  readonly failures: number;
  readonly lastError: LastError | undefined;
  /** Where visitors' TLS ends. */
  readonly tls: TlsMode;
  /** Of an end-to-end tunnel. */
  readonly certificate: HomeCertificate | undefined;
}

/** The certificate of an end-to-end tunnel. Times are milliseconds since 1970. */
export interface HomeCertificate extends Omit<CertificateStatus, 'name'> {
  /** The DNS records that keep everybody else from getting one; none for certificates in files. */
  readonly caa: readonly string[];
  /** There are none because the CA says no name of its own for them. */
  readonly isCaaUnnamed?: boolean;
}

/** What happened to a certificate that a tunnel gets by itself. Times are RFC 3339. */
export interface CertificateNews {
  /** `failed`: the newest attempt; one that is there serves on until `notAfter`. */
  readonly state: 'issuing' | 'valid' | 'failed';
  readonly host: string;
  /** Name of the CA; undefined while there is no certificate. */
  readonly issuer: string | undefined;
  readonly notAfter: string | undefined;
  /** What was seen, and the cure. */
  readonly error: string | undefined;
  /** When the next attempt is. */
  readonly retryAt: string | undefined;
  /** The DNS records that keep everybody else from getting one; told with the first certificate. */
  readonly caa: readonly string[];
}

/** How the config file differs from what runs. */
export interface ConfigStatus {
  /** Why the file as it is now was not taken over; the configuration before it runs on. */
  readonly problem?: LastError | undefined;
  /** Changed options that count after a restart only, as tunnel.yaml calls them. */
  readonly waiting: readonly string[];
}

export interface ClientStatus {
  readonly state: ClientState;
  /** The relay's own name, e.g. `example.com`. */
  readonly relay: string;
  readonly version: string;
  readonly pid: number;
  readonly uptimeMs: number;
  readonly sessionId: string | undefined;
  readonly links: readonly LinkStatus[];
  readonly tunnels: readonly TunnelStatus[];
  /** In state `waiting`: milliseconds until the next attempt. */
  readonly retryInMs: number | undefined;
  readonly config: ConfigStatus;
  /** Sessions begun after the first one. */
  readonly reconnects: number;
  readonly lastError: LastError | undefined;
}
