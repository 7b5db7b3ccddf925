/**
 * H2cResponse: an origin's HTTP/2 response as the bytes of an HTTP/1.1 response. It decides how the body is framed:
 *
 *   no body         HEAD, 204 and 304; and a head that ends its stream, as `Content-Length: 0`: gRPC's "trailers-only"
 *                   response must be told by its head alone
 *   Content-Length  as the origin said it, to visitors who take no trailers
 *   chunked         all others: trailers may follow
 *
 * Pure. Owned by: H2cOrigin, one for each request.
 */
import { STATUS_CODES } from 'node:http';
import { CHUNK_TAIL, chunkHead } from '../../shared/http/body.js';
import type { RelayedRequest } from '../relayed-request.js';

const NO_CONTENT = 204;
const NOT_MODIFIED = 304;
const LINE_BREAK = /[\r\n\0]/;

export class H2cResponse {
  readonly #request: RelayedRequest;
  #framing: 'none' | 'length' | 'chunked' = 'none';
  #trailers = '';

  constructor(request: RelayedRequest) {
    this.#request = request;
  }

  /** A 1xx head. */
  interim(status: number, fields: readonly string[]): Buffer {
    return headBytes(status, fieldLines(fields, false));
  }

  /** The final head. @param ends whether nothing follows it */
  head(status: number, fields: readonly string[], ends: boolean): Buffer {
    const bodiless = this.#request.method === 'HEAD' || status === NO_CONTENT || status === NOT_MODIFIED;
    const hasLength = fields.includes('content-length');
    if (!bodiless && !ends) this.#framing = hasLength && !this.#request.acceptsTrailers ? 'length' : 'chunked';
    const lines = fieldLines(fields, bodiless || this.#framing === 'length');
    if (this.#framing === 'chunked') return headBytes(status, `${lines}Transfer-Encoding: chunked\r\n`);
    return headBytes(status, ends && !bodiless ? `${lines}Content-Length: 0\r\n` : lines);
  }

  /** A piece of the body, ready to be written in this order. */
  pieces(piece: Buffer): readonly Buffer[] {
    if (this.#framing === 'none' || piece.length === 0) return [];
    return this.#framing === 'chunked' ? [chunkHead(piece.length), piece, CHUNK_TAIL] : [piece];
  }

  /** Fields behind the body. */
  trailers(fields: readonly string[]): void {
    this.#trailers = fieldLines(fields, false);
  }

  /** What ends the body; empty where its length did. */
  end(): Buffer {
    return Buffer.from(this.#framing === 'chunked' ? `0\r\n${this.#trailers}\r\n` : '', 'latin1');
  }
}

function headBytes(status: number, lines: string): Buffer {
  return Buffer.from(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}\r\n`, 'latin1');
}

/** Names and values in turn as field lines, without pseudo-fields. */
function fieldLines(fields: readonly string[], withLength: boolean): string {
  let lines = '';
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] ?? '';
    const value = fields[index + 1] ?? '';
    if (name.startsWith(':') || (name === 'content-length' && !withLength)) continue;
    if (LINE_BREAK.test(value)) throw new Error(`line break in the value of ${name}`);
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}
