/**
 * Refusal: how a message that breaks the HTTP grammar is reported. The words say what is wrong and where; of the sender's
 * own bytes they repeat at most `EXCERPT_CHARS`, escaped, because they end up in logs and terminals.
 */
import { type ErrorCode, TunnelError } from '../errors.js';
import { printable, shortened } from '../printable.js';

const EXCERPT_CHARS = 40;

/**
 * The error for a message that cannot be read.
 *
 * @param code REQUEST_INVALID when a visitor sent it, ORIGIN_INVALID when an origin did
 * @param status HTTP status of a refused request; ignored for origins, whose mistakes are always the table's 502
 */
export function refusal(code: ErrorCode, what: string, status = 400): TunnelError {
  if (code !== 'REQUEST_INVALID') return new TunnelError(code, `Cannot read response: ${what}`);
  return new TunnelError(code, `Cannot read request: ${what}`, { status });
}

/** The first characters of `text` in quotes, on one line that a terminal shows as it is. */
export function excerpt(text: string): string {
  return printable(JSON.stringify(shortened(text, EXCERPT_CHARS)));
}

/** A byte as `0x0a`; "the end" for the NaN that charCodeAt gives behind the last character. */
export function hexByte(byte: number): string {
  return Number.isNaN(byte) ? 'the end' : `byte 0x${byte.toString(16).padStart(2, '0')}`;
}
