/**
 * Stored records: decides what is remembered of a certificate beside its files (`certificate.json`): when it is to be
 * renewed, what the CA said about that, and the last failure. Anything unreadable is forgotten: all of it can be found
 * out again. Pure functions; own nothing.
 */

export interface StoredRecord {
  /** When it came; milliseconds since 1970. */
  readonly issuedAtMs?: number | undefined;
  /** The moment chosen for its renewal; milliseconds since 1970. */
  readonly renewAtMs?: number | undefined;
  /** The CA's window that this moment was chosen from (RFC 9773); milliseconds since 1970. */
  readonly window?: { readonly startMs: number; readonly endMs: number } | undefined;
  /** When the CA wants to be asked again; milliseconds since 1970. */
  readonly askAgainAtMs?: number | undefined;
  /** Renewals in a row that came soon after the one before. */
  readonly hasty?: number | undefined;
  /** Attempts to renew in a row that failed. */
  readonly failures?: number | undefined;
  /** Message of the newest failure, with its cure. */
  readonly lastError?: string | undefined;
  /** When the next attempt is; milliseconds since 1970. */
  readonly retryAtMs?: number | undefined;
  /** Folders of the CAs that were asked and failed. */
  readonly askedCas?: readonly string[] | undefined;
}

/** CAs that are remembered of one attempt. */
const MAX_CAS = 20;
const MAX_MESSAGE = 2_000;

/** The record in parsed JSON, whatever that is. */
export function readRecord(value: unknown): StoredRecord {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const { startMs, endMs } = (typeof fields.window === 'object' && fields.window !== null ? fields.window : {}) as {
    startMs?: unknown;
    endMs?: unknown;
  };
  const hasWindow = isTime(startMs) && isTime(endMs) && startMs < endMs;
  return {
    ...timeIn(fields, 'issuedAtMs'),
    ...timeIn(fields, 'renewAtMs'),
    ...(hasWindow ? { window: { startMs, endMs } } : {}),
    ...timeIn(fields, 'askAgainAtMs'),
    ...timeIn(fields, 'hasty'),
    ...timeIn(fields, 'failures'),
    ...(typeof fields.lastError === 'string' ? { lastError: fields.lastError.slice(0, MAX_MESSAGE) } : {}),
    ...timeIn(fields, 'retryAtMs'),
    ...(Array.isArray(fields.askedCas) ? { askedCas: fields.askedCas.slice(0, MAX_CAS).filter(isText) } : {}),
  };
}

function timeIn<Name extends string>(fields: Record<string, unknown>, name: Name): { [key in Name]?: number } {
  const value = fields[name];
  return isTime(value) ? ({ [name]: value } as { [key in Name]?: number }) : {};
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 && value <= 8.64e15;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
