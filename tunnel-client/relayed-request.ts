/**
 * RelayedRequest: a request head as the relay wrote it, taken apart for an origin that does not speak HTTP/1.1.
 *
 * The relay's own reader was strict with its visitor; this one only has to understand what the relay's writer writes
 * (shared/http/request-head.ts). Whatever it does not understand ends the stream, in case the relay is not what it was.
 * Pure.
 */
import { type BodyFraming, CHUNKED, NO_BODY } from '../shared/http/body.js';
import {
  type FieldEntry,
  type FieldHandler,
  FieldLines,
  type FieldPairs,
  type FieldRules,
  FieldTable,
} from '../shared/http/field-lines.js';
import { parseDigits } from '../shared/http/grammar.js';
import type { HeadLimits } from '../shared/http/head-buffer.js';
import { excerpt, refusal } from '../shared/http/refusal.js';
import { parseRequestLine } from '../shared/http/request-line.js';

export interface RelayedRequest {
  readonly method: string;
  readonly target: string;
  /** Host, as the origin is to see it. */
  readonly authority: string;
  /** End-to-end fields. */
  readonly fields: FieldPairs;
  readonly body: BodyFraming;
  /** The visitor takes trailers. */
  readonly acceptsTrailers: boolean;
}

/** A visitor's head of the usual limit, and what the relay adds. */
export const RELAYED_HEAD_LIMITS: HeadLimits = { headBytes: 1024 * 1024 + 4096, fields: 1_024 };

class SeenFields {
  host = '';
  contentLength: string | undefined;
  isChunked = false;
  acceptsTrailers = false;
}

const RULES: FieldRules<SeenFields> = {
  code: 'REQUEST_INVALID',
  special: new FieldTable<FieldHandler<SeenFields>>([
    ['host', (seen, value) => (seen.host = value)],
    ['content-length', (seen, value) => (seen.contentLength = value)],
    ['transfer-encoding', (seen) => (seen.isChunked = true)],
    ['te', (seen) => (seen.acceptsTrailers = true)],
    // An Upgrade may be ignored (RFC 9110 §7.8), and HTTP/2 has none.
    ...['connection', 'upgrade'].map((name): FieldEntry<FieldHandler<SeenFields>> => [name, () => {}]),
  ]),
  repairs: false,
  dropsAliases: false,
};

/**
 * Reads a head, without its final CR LF CR LF.
 * @throws {TunnelError} REQUEST_INVALID
 */
export function readRelayedRequest(text: string): RelayedRequest {
  const line = parseRequestLine(text);
  const seen = new SeenFields();
  const fields = new FieldLines(text, line.end, RULES);
  fields.read(seen, RELAYED_HEAD_LIMITS.fields);
  return {
    method: line.method,
    target: line.target,
    authority: seen.host,
    fields,
    body: bodyOf(seen),
    acceptsTrailers: seen.acceptsTrailers,
  };
}

function bodyOf({ isChunked, contentLength }: SeenFields): BodyFraming {
  if (isChunked) return CHUNKED;
  if (contentLength === undefined) return NO_BODY;
  const bytes = parseDigits(contentLength);
  if (bytes === undefined) throw refusal('REQUEST_INVALID', `Content-Length is ${excerpt(contentLength)}`);
  return { kind: 'length', bytes };
}
