/**
 * ErrorResponse: an error of the table as a complete HTTP/1.1 response.
 */
import { STATUS_CODES } from 'node:http';
import type { TunnelError } from '../errors.js';
import { errorPage } from './error-page.js';
import { fieldValue, type RequestHead } from './request-head.js';
import { type ResponseHead, writeResponseHead } from './response-head.js';

export interface ErrorResponseOptions {
  readonly requestId: string;
  readonly keepAlive: boolean;
  /** Ready field lines to add. */
  readonly extra: string;
}

/** Head (latin1 text) and body of the answer to `request`; undefined for a request whose head could not be read. */
export function errorResponse(
  error: TunnelError,
  request: RequestHead | undefined,
  options: ErrorResponseOptions,
): { head: string; body: Buffer } {
  const { keepAlive, extra } = options;
  const { head, body } = errorAnswer(error, request, options.requestId);
  return {
    head: writeResponseHead(head, { framing: head.body, keepAlive, visitorVersion: request?.version ?? 11, extra }),
    body,
  };
}

/** The same before it is written: fields that any version of HTTP can carry, and the body. */
export function errorAnswer(
  error: TunnelError,
  request: RequestHead | undefined,
  requestId: string,
): { head: ResponseHead; body: Buffer } {
  const page = errorPage({
    code: error.code,
    status: error.status,
    requestId,
    accept: request === undefined ? '' : fieldValue(request, 'accept'),
    hostname: request?.hostname ?? '',
    ...(error.retryInMs === undefined ? {} : { retryAfterSeconds: Math.ceil(error.retryInMs / 1000) }),
  });
  const head: ResponseHead = {
    version: 11,
    status: error.status,
    reason: STATUS_CODES[error.status] ?? '',
    names: ['Content-Type', ...page.fields.map(([name]) => name)],
    values: [page.contentType, ...page.fields.map(([, value]) => value)],
    body: { kind: 'length', bytes: page.body.length },
    contentLength: undefined,
    keepAlive: true,
    upgrade: undefined,
    trailer: '',
  };
  return { head, body: request?.method === 'HEAD' ? Buffer.alloc(0) : page.body };
}
