/**
 * The one error table: every failure that crosses a boundary (link, stream, visitor, command line) has a code here.
 *
 * A code is the log field, the metric label, the WebSocket close reason, the visitor's error page and the test's
 * expectation. Code elsewhere never invents a close code, an HTTP status or an exit code.
 */

/** How the client answers a failure with this code. */
export type Retry = 'never' | 'yes' | 'slowly' | 'when-told';

interface ErrorRow {
  readonly retry: Retry;
  /** WebSocket close code (RFC 6455 §7.4; 4000–4999 are private). */
  readonly wsClose?: number;
  /** HTTP status of the visitor's error page. */
  readonly status?: number;
  /** Process exit code (sysexits.h). */
  readonly exit?: number;
  /** First byte that the client sends back on a stream; 0 is "connected". */
  readonly verdict?: number;
}

const TABLE = {
  USAGE_INVALID: { retry: 'never', exit: 64 },
  CONFIG_INVALID: { retry: 'never', exit: 78 },
  AUDIT_BROKEN: { retry: 'never', exit: 65 },
  TOKEN_REJECTED: { retry: 'never', wsClose: 4401, exit: 77 },
  NOT_GRANTED: { retry: 'never', wsClose: 4403, exit: 77 },
  VERSION_UNSUPPORTED: { retry: 'never', wsClose: 4426, exit: 76 },
  SESSION_REPLACED: { retry: 'never', wsClose: 4409, exit: 0 },
  SESSION_UNKNOWN: { retry: 'yes', wsClose: 4404 },
  HOSTNAME_TAKEN: { retry: 'slowly' },
  PORT_TAKEN: { retry: 'slowly' },
  PROTOCOL_VIOLATION: { retry: 'yes', wsClose: 1002 },
  HANDSHAKE_TIMEOUT: { retry: 'yes', wsClose: 4408, status: 502, exit: 69 },
  HEARTBEAT_LOST: { retry: 'yes', wsClose: 4408, status: 502, exit: 69 },
  LINK_LOST: { retry: 'yes', wsClose: 4408, status: 502, exit: 69 },
  RELAY_DRAINING: { retry: 'when-told', wsClose: 1001, status: 503 },
  LIMIT_EXCEEDED: { retry: 'yes', wsClose: 4429, status: 503, verdict: 5 },
  CERTIFICATE_FAILED: { retry: 'slowly' },
  REQUEST_INVALID: { retry: 'never', status: 400 },
  ROUTE_NOT_FOUND: { retry: 'never', status: 404, verdict: 4 },
  HOST_MISDIRECTED: { retry: 'never', status: 421 },
  TUNNEL_OFFLINE: { retry: 'yes', status: 503 },
  ORIGIN_REFUSED: { retry: 'yes', status: 502, verdict: 1 },
  ORIGIN_TIMEOUT: { retry: 'yes', status: 504, verdict: 2 },
  ORIGIN_TLS_FAILED: { retry: 'yes', status: 502, verdict: 3 },
  ORIGIN_CLOSED: { retry: 'yes', status: 502 },
  ORIGIN_INVALID: { retry: 'yes', status: 502, verdict: 8 },
  STREAM_RESET: { retry: 'yes', status: 502, verdict: 6 },
  INTERNAL: { retry: 'yes', wsClose: 1011, status: 500, exit: 70, verdict: 7 },
} as const satisfies Record<string, ErrorRow>;

/** Every code of the table. */
export type ErrorCode = keyof typeof TABLE;

/** The verdict byte of a stream whose origin accepted the connection. */
export const VERDICT_CONNECTED = 0;

const rows = new Map<string, ErrorRow>(Object.entries(TABLE));
const codeByVerdict = new Map<number, ErrorCode>();
for (const [code, row] of rows) if (row.verdict !== undefined) codeByVerdict.set(row.verdict, code as ErrorCode);

/** True when `text` is a code of the table. */
export function isErrorCode(text: string): text is ErrorCode {
  return rows.has(text);
}

/** How the client answers this code. */
export function retryOf(code: ErrorCode): Retry {
  return TABLE[code].retry;
}

/** The WebSocket close code; 1011 (internal error) for codes that never close a link by themselves. */
export function wsCloseOf(code: ErrorCode): number {
  return rows.get(code)?.wsClose ?? 1011;
}

/** The HTTP status of the visitor's page; 500 for codes that no visitor should meet. */
export function statusOf(code: ErrorCode): number {
  return rows.get(code)?.status ?? 500;
}

/** The process exit code; 70 (EX_SOFTWARE) for codes that end no process by themselves. */
export function exitOf(code: ErrorCode): number {
  return rows.get(code)?.exit ?? 70;
}

/** The verdict byte that tells the relay this code; the byte of INTERNAL for codes that no origin dial produces. */
export function verdictOf(code: ErrorCode): number {
  return rows.get(code)?.verdict ?? TABLE.INTERNAL.verdict;
}

/** The code behind a verdict byte other than `VERDICT_CONNECTED`; PROTOCOL_VIOLATION for bytes we never send. */
export function codeOfVerdict(verdict: number): ErrorCode {
  return codeByVerdict.get(verdict) ?? 'PROTOCOL_VIOLATION';
}

export interface TunnelErrorOptions {
  readonly cause?: unknown;
  /** A more exact HTTP status than the table's (431 or 501 instead of 400, 429 instead of 503). */
  readonly status?: number;
  /** When a retry makes sense, in milliseconds from now. */
  readonly retryInMs?: number;
}

/** A failure of the table: a code, and a message that says the act, the state and the cure. Never holds a secret. */
export class TunnelError extends Error {
  override readonly name = 'TunnelError';
  readonly code: ErrorCode;
  /** HTTP status of the visitor's page. */
  readonly status: number;
  /** When a retry makes sense, in milliseconds from now. */
  readonly retryInMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: TunnelErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? statusOf(code);
    this.retryInMs = options.retryInMs;
  }
}

/** The failure itself when it already has a code, else the same failure under `code`. */
export function asTunnelError(error: unknown, code: ErrorCode = 'INTERNAL'): TunnelError {
  if (error instanceof TunnelError) return error;
  return new TunnelError(code, error instanceof Error ? error.message : String(error), { cause: error });
}
