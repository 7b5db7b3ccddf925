/**
 * Trailers: which fields may follow a chunked body (RFC 9110 §6.5.1). They are never merged into the head's fields, and
 * none passes that frames, routes, authenticates or describes a message, or that only we may set.
 */
import type { ErrorCode } from '../errors.js';
import { type FieldEntry, FieldLines, type FieldPairs, type FieldRules, FieldTable } from './field-lines.js';
import type { HeadLimits } from './head-buffer.js';

/** How large a trailer section may be. */
export const TRAILER_LIMITS: HeadLimits = { headBytes: 4096, fields: 32 };

const FORBIDDEN = [
  // framing and hop-by-hop
  ...['content-length', 'transfer-encoding', 'connection', 'keep-alive', 'te', 'trailer', 'upgrade', 'http2-settings'],
  ...['proxy', 'proxy-connection', 'proxy-authorization', 'proxy-authenticate'],
  // routing and request modifiers
  ...['host', 'expect', 'max-forwards', 'range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since'],
  ...['if-unmodified-since', 'cache-control', 'pragma', 'location', 'vary', 'age', 'date', 'expires', 'retry-after'],
  // authentication and state
  ...['authorization', 'www-authenticate', 'cookie', 'set-cookie'],
  // how to process the content
  ...['content-encoding', 'content-type', 'content-range', 'content-location', 'content-disposition'],
  // ours
  ...['forwarded', 'x-real-ip', 'x-request-id'],
];

const forbidden = FORBIDDEN.map((name): FieldEntry<() => void> => [name, leaveOut]);
const special = new FieldTable(forbidden, ['x-forwarded', leaveOut]);
const REQUEST_RULES: FieldRules<undefined> = { code: 'REQUEST_INVALID', special, repairs: false, dropsAliases: true };
const RESPONSE_RULES: FieldRules<undefined> = { code: 'ORIGIN_INVALID', special, repairs: true, dropsAliases: false };

/**
 * Reads a trailer section (without its final CR LF CR LF) and returns the fields that may go on.
 * Throws TunnelError with `code` when it breaks the grammar or the limits.
 */
export function readTrailers(text: string, code: ErrorCode): FieldPairs {
  const lines = new FieldLines(text, 0, code === 'REQUEST_INVALID' ? REQUEST_RULES : RESPONSE_RULES);
  lines.read(undefined, TRAILER_LIMITS.fields);
  return lines;
}

function leaveOut(): void {}
