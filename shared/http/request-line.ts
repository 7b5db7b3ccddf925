/**
 * RequestLine: which request lines a visitor may send (RFC 9112 §3). Exactly one space between three parts, origin-form or
 * absolute-form (or `OPTIONS *`), HTTP/1.0 or HTTP/1.1. CONNECT and TRACE are nobody's business behind a tunnel: the first
 * would turn an origin into a proxy, the second shows a script what the browser hides from it.
 */
import { skipClass, skipOriginForm, TOKEN } from './grammar.js';
import { excerpt, hexByte, refusal } from './refusal.js';

const SPACE = 0x20;
const SLASH = 0x2f;
const CRLF = '\r\n';
const SCHEME = /^https?:\/\//i;
const REFUSED_METHODS = /^(?:CONNECT|TRACE)$/i;
const VERSION = /^HTTP\/[0-9]\.[0-9]$/;

export interface RequestLine {
  readonly method: string;
  /** Origin-form, or `*`. */
  readonly target: string;
  /** The authority of an absolute-form target, unchecked; undefined for the other forms. */
  readonly authority: string | undefined;
  readonly version: 10 | 11;
  /** Index of the first field line. */
  readonly end: number;
}

/** Reads the first line of a head. Throws TunnelError with 400, 405 or 505. */
export function parseRequestLine(text: string): RequestLine {
  const methodEnd = skipClass(text, 0, TOKEN);
  if (methodEnd === 0 || text.charCodeAt(methodEnd) !== SPACE) {
    throw bad(`has ${hexByte(text.charCodeAt(methodEnd))} in or after the method`);
  }
  const method = text.slice(0, methodEnd);
  const start = methodEnd + 1;
  if (text.charCodeAt(start) === SLASH) return readOriginForm(text, method, start);
  return readOtherForm(text, method, start);
}

function readOriginForm(text: string, method: string, start: number): RequestLine {
  const targetEnd = skipOriginForm(text, start);
  if (text.charCodeAt(targetEnd) !== SPACE) throw badTarget(text, targetEnd);
  const lineEnd = findLineEnd(text, targetEnd);
  const version = readVersion(text, targetEnd + 1, lineEnd);
  if (isRefused(method)) throw refusal('REQUEST_INVALID', `method ${excerpt(method)} is not allowed`, 405);
  return { method, target: text.slice(start, targetEnd), authority: undefined, version, end: lineEnd + CRLF.length };
}

/** Absolute-form (every proxy sends it), asterisk-form, and the authority-form of CONNECT. */
function readOtherForm(text: string, method: string, start: number): RequestLine {
  const lineEnd = findLineEnd(text, start);
  const targetEnd = text.indexOf(' ', start);
  if (targetEnd < 0 || targetEnd > lineEnd) throw bad('has no version. Send METHOD target HTTP/1.1');
  const version = readVersion(text, targetEnd + 1, lineEnd);
  if (isRefused(method)) throw refusal('REQUEST_INVALID', `method ${excerpt(method)} is not allowed`, 405);
  const target = text.slice(start, targetEnd);
  const end = lineEnd + CRLF.length;
  if (target === '*' && method === 'OPTIONS') return { method, target, authority: undefined, version, end };
  return { method, ...readAbsoluteForm(target, method), version, end };
}

/** RFC 9112 §3.2.2; an absent path is `/`, or `*` for OPTIONS (§3.2.4). */
function readAbsoluteForm(target: string, method: string): { target: string; authority: string } {
  const scheme = SCHEME.exec(target)?.[0];
  if (scheme === undefined) throw bad(`has the target ${excerpt(target)}, which begins neither with "/" nor "http"`);
  const authorityLength = target.slice(scheme.length).search(/[/?]/);
  if (authorityLength < 0) return { target: method === 'OPTIONS' ? '*' : '/', authority: target.slice(scheme.length) };
  const authorityEnd = scheme.length + authorityLength;
  const path = target.slice(authorityEnd);
  const originForm = path.startsWith('/') ? path : `/${path}`;
  const end = skipOriginForm(originForm, 0);
  if (end !== originForm.length) throw badTarget(originForm, end);
  return { target: originForm, authority: target.slice(scheme.length, authorityEnd) };
}

/** One constant comparison for nearly everybody. */
function isRefused(method: string): boolean {
  return method !== 'GET' && method !== 'POST' && REFUSED_METHODS.test(method);
}

function readVersion(text: string, start: number, end: number): 10 | 11 {
  const version = text.slice(start, end);
  if (version === 'HTTP/1.1') return 11;
  if (version === 'HTTP/1.0') return 10;
  if (!VERSION.test(version)) throw bad(`ends in ${excerpt(version)}. Send METHOD target HTTP/1.1`);
  throw refusal('REQUEST_INVALID', `version ${version} is not spoken here`, version.startsWith('HTTP/0') ? 400 : 505);
}

function findLineEnd(text: string, start: number): number {
  const end = text.indexOf(CRLF, start);
  return end < 0 ? text.length : end;
}

function badTarget(text: string, at: number): Error {
  return bad(`has ${hexByte(text.charCodeAt(at))} in the target`);
}

function bad(what: string): Error {
  return refusal('REQUEST_INVALID', `request line ${what}`);
}
