/**
 * ErrorPage: what a visitor gets instead of the origin's answer, as HTML or JSON by Accept.
 *
 * Pure: text in, bytes out. The page loads nothing and runs nothing; whatever came from the visitor is escaped; it tells
 * the code, the request id and the visitor's own hostname, and nothing about the inside.
 */
import { createHash } from 'node:crypto';
import type { ErrorCode } from '../errors.js';
import { shortened } from '../printable.js';
import { type ErrorText, errorTexts, STATIONS } from './error-texts.js';

export interface ErrorPageRequest {
  readonly code: ErrorCode;
  /** HTTP status of the response, shown on the page. */
  readonly status: number;
  readonly requestId: string;
  /** The visitor's Accept field; empty when there was none. */
  readonly accept: string;
  /** The name the visitor asked for; empty when none was understood. */
  readonly hostname: string;
  /** Seconds until a new attempt makes sense; becomes Retry-After. */
  readonly retryAfterSeconds?: number;
}

export interface ErrorPage {
  readonly contentType: string;
  readonly body: Buffer;
  /** Every other field of the response but Content-Length and Connection, which the writer of the head decides. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** Longest hostname (RFC 1035 §2.3.4) and request id that a page repeats, in UTF-16 units. */
const ECHO_LIMIT = 253;
/** The page of TUNNEL_OFFLINE reloads itself after so many seconds, unless the caller knows better. */
const RELOAD_SECONDS = 10;

const TURNS = {
  visitor: 'Your turn',
  owner: 'The owner’s turn',
  nobody: 'It passes by itself',
} as const satisfies Record<ErrorText['turn'], string>;

const STYLE = `:root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--ink:#1b1f27;--dim:#5a6372;--line:#dde1e7;--ok:#17804a;--bad:#c02b2b;--soft:#fdeeee}
@media(prefers-color-scheme:dark){:root{--bg:#101318;--card:#191d24;--ink:#e8ebf0;--dim:#9ba5b4;--line:#2e3540;--ok:#4ecb89;--bad:#ff7b73;--soft:#371f21}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--bg);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:40rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:clamp(1.25rem,5vw,2.5rem)}
.host{margin:0;color:var(--dim);overflow-wrap:anywhere}
h1{margin:.15rem 0 .6rem;font-size:clamp(1.4rem,5vw,1.9rem);line-height:1.2;text-wrap:balance}
p{margin:0 0 1rem}
ol{list-style:none;display:flex;margin:1.75rem 0;padding:0;font-size:.875rem;text-align:center}
li{flex:1;position:relative;color:var(--dim)}
li+li:before{content:"";position:absolute;top:.95rem;right:calc(50% + 1.25rem);width:calc(100% - 2.5rem);border-top:2px dashed var(--line)}
li i{display:grid;place-items:center;width:2rem;height:2rem;margin:0 auto .35rem;border:2px solid var(--line);border-radius:50%;font-style:normal;font-weight:700}
li.ok i{color:var(--ok);border-color:var(--ok)}
li.ok+li.ok:before{border-top:2px solid var(--ok)}
li.bad{color:var(--bad);font-weight:600}
li.bad i{background:var(--bad);border-color:var(--bad);color:var(--card)}
li small{display:block;font-size:.75rem}
.turn{display:inline-block;margin:0 0 1rem;padding:.15rem .75rem;border-radius:1rem;background:var(--soft);color:var(--bad);font-weight:600;font-size:.875rem}
.nobody{background:var(--bg);color:var(--dim)}
h2{margin:0;font-size:1rem}
code{padding:.1em .35em;border-radius:.3em;background:var(--bg);font-size:.9em;white-space:nowrap}
a{display:inline-block;margin-bottom:1.25rem;padding:.3rem 1rem;border:1px solid var(--dim);border-radius:.5rem;color:inherit;font-weight:600;text-decoration:none}
a:hover{background:var(--bg)}
footer{border-top:1px solid var(--line);padding-top:1rem;color:var(--dim);font-size:.8125rem;overflow-wrap:anywhere}`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** No `frame-ancestors`: the page has nothing to click by mistake, and dashboards that embed an app should show why. */
const POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'`;

/** The response for one failed request: HTML for whoever accepts `text/html`, JSON for everybody else. */
export function errorPage(request: ErrorPageRequest): ErrorPage {
  const text = errorTexts[request.code];
  const html = prefersHtml(request.accept);
  return {
    contentType: html ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8',
    body: Buffer.from(html ? renderHtml(request, text) : renderJson(request, text)),
    fields: responseFields(request),
  };
}

function responseFields(request: ErrorPageRequest): [string, string][] {
  const fields: [string, string][] = [
    ['X-Sallyport-Error', request.code],
    ['Cache-Control', 'no-store'],
    ['X-Content-Type-Options', 'nosniff'],
    ['Referrer-Policy', 'no-referrer'],
    ['Content-Security-Policy', POLICY],
  ];
  if (request.retryAfterSeconds !== undefined) fields.push(['Retry-After', String(wholeSeconds(request))]);
  return fields;
}

/** True when `accept` names HTML and does not rank JSON above it (RFC 9110 §12.5.1); `*` alone is no browser. */
export function prefersHtml(accept: string): boolean {
  let html = 0;
  let json = 0;
  for (const item of accept.toLowerCase().split(',')) {
    const [range = '', ...parameters] = item.split(';').map((part) => part.trim());
    if (range === 'text/html' || range === 'application/xhtml+xml') html = Math.max(html, qualityOf(parameters));
    if (range === 'application/json') json = Math.max(json, qualityOf(parameters));
  }
  return html > 0 && html >= json;
}

/** The weight of a media range: 1 without a `q`, 0 for a malformed one. */
function qualityOf(parameters: readonly string[]): number {
  const q = parameters.find((parameter) => parameter.startsWith('q='));
  if (q === undefined) return 1;
  return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(q.slice(2)) ? Number(q.slice(2)) : 0;
}

function renderJson(request: ErrorPageRequest, text: ErrorText): string {
  const document = {
    code: request.code,
    status: request.status,
    title: text.title,
    detail: text.what,
    turn: text.turn,
    visitor: plain(text.visitor),
    owner: plain(text.owner),
    requestId: shortened(request.requestId, ECHO_LIMIT),
    hostname: shortened(request.hostname, ECHO_LIMIT),
    ...(request.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: wholeSeconds(request) }),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function renderHtml(request: ErrorPageRequest, text: ErrorText): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex">${reloadTag(request)}
<title>${text.title}</title>
<style>${STYLE}</style>
</head>
<body>
<main>${hostLine(request)}
<h1>${text.title}</h1>
<p>${withCode(text.what)}</p>
<ol aria-label="How far your request came">
${renderPath(text)}
</ol>
<p class="turn ${text.turn}">${TURNS[text.turn]}</p>
<h2>If you are visiting</h2>
<p>${withCode(text.visitor)}</p>
<a href="">Try again</a>
<h2>If this server is yours</h2>
<p>${withCode(text.owner)}</p>
<footer>Error ${request.status} · ${request.code}<br>Request ${escapeHtml(shortened(request.requestId, ECHO_LIMIT))}</footer>
</main>
</body>
</html>
`;
}

function hostLine(request: ErrorPageRequest): string {
  return request.hostname === '' ? '' : `\n<p class="host">${escapeHtml(shortened(request.hostname, ECHO_LIMIT))}</p>`;
}

/** The stations as a list: passed, stopped here, not reached. */
function renderPath(text: ErrorText): string {
  const stop = STATIONS.indexOf(text.stoppedAt);
  const items = STATIONS.map((station, at) => {
    if (at < stop) return `<li class="ok"><i aria-hidden="true">✓</i>${station}<small>reached</small></li>`;
    if (at > stop) return `<li><i aria-hidden="true">·</i>${station}<small>not reached</small></li>`;
    return `<li class="bad"><i aria-hidden="true">!</i>${station}<small>stopped here</small></li>`;
  });
  return items.join('\n');
}

function reloadTag(request: ErrorPageRequest): string {
  if (request.code !== 'TUNNEL_OFFLINE') return '';
  const seconds = request.retryAfterSeconds === undefined ? RELOAD_SECONDS : Math.max(2, wholeSeconds(request));
  return `\n<meta http-equiv="refresh" content="${seconds}">`;
}

/** Retry-After is a whole number of seconds (RFC 9110 §10.2.3). */
function wholeSeconds(request: ErrorPageRequest): number {
  return Math.max(0, Math.ceil(request.retryAfterSeconds ?? 0));
}

function plain(text: string): string {
  return text.replaceAll('`', '');
}

function withCode(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** `text` as HTML text or as a quoted attribute value. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
