/**
 * OutgoingFields: fields as node:http2 wants them, for responses to visitors and requests to origins. Pure functions.
 */
import type { OutgoingHttpHeaders } from 'node:http2';
import type { FieldPairs } from '../http/field-lines.js';
import type { ResponseHead } from '../http/response-head.js';

/** Fields of a final response, without those that spoke about the origin's connection. */
export function responseFields(head: ResponseHead, extra: FieldPairs): OutgoingHttpHeaders {
  const fields = interimFields(head);
  if (head.body.kind === 'length') fields['content-length'] = head.body.bytes;
  else if (head.contentLength !== undefined) fields['content-length'] = head.contentLength;
  if (head.trailer !== '') fields.trailer = head.trailer;
  for (const [index, name] of extra.names.entries()) fields[name.toLowerCase()] ??= extra.values[index];
  return fields;
}

/** Fields of an interim response (1xx). */
export function interimFields(head: ResponseHead): OutgoingHttpHeaders {
  const fields = emptyFields();
  fields[':status'] = head.status;
  addFields(fields, head);
  return fields;
}

/** Fields behind a body. */
export function trailerFields(trailers: FieldPairs): OutgoingHttpHeaders {
  const fields = emptyFields();
  addFields(fields, trailers);
  return fields;
}

/** No name of an origin may meet a property that every object has. */
export function emptyFields(): OutgoingHttpHeaders {
  return Object.create(null) as OutgoingHttpHeaders;
}

/** Several fields of one name mean one list (RFC 9110 §5.3), but for cookies (RFC 6265 §3). */
export function addFields(fields: OutgoingHttpHeaders, { names, values }: FieldPairs): void {
  for (let index = 0; index < names.length; index += 1) {
    const name = (names[index] ?? '').toLowerCase();
    const value = values[index] ?? '';
    // The one field about a connection that an HTTP/1.1 response may still have here; node:http2 would refuse them all.
    if (name === 'http2-settings') continue;
    const before = fields[name];
    if (name === 'set-cookie') fields[name] = [...(Array.isArray(before) ? before : []), value];
    else fields[name] = before === undefined ? value : `${before}, ${value}`;
  }
}
