/** The visitor's error pages: which form, which words, and nothing that a visitor wrote gets out unescaped. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, isErrorCode, statusOf } from '../shared/errors.js';
import { type ErrorPage, type ErrorPageRequest, errorPage, prefersHtml } from '../shared/http/error-page.js';
import { errorTexts } from '../shared/http/error-texts.js';
import { codeOf, sourcesIn } from './support/source-files.js';

const CODES = Object.keys(errorTexts).filter(isErrorCode);
const CHROME = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8';
const NO_ORIGIN_ANSWER: ErrorCode[] = ['ORIGIN_REFUSED', 'ORIGIN_TIMEOUT', 'ORIGIN_TLS_FAILED', 'ORIGIN_CLOSED'];

function page(code: ErrorCode, changes: Partial<ErrorPageRequest> = {}): ErrorPage {
  const request = { code, status: statusOf(code), requestId: 'req-1', accept: CHROME, hostname: 'home.example.com' };
  return errorPage({ ...request, ...changes });
}

function html(code: ErrorCode, changes: Partial<ErrorPageRequest> = {}): string {
  return page(code, changes).body.toString();
}

function field(answer: ErrorPage, name: string): string | undefined {
  return answer.fields.find(([candidate]) => candidate === name)?.[1];
}

test('whoever may read it at home is told that a verb of relay is typed on the VPS', () => {
  const files = [...sourcesIn('shared'), ...sourcesIn('tunnel-client')];
  const lines = files.flatMap(({ path, text }) =>
    codeOf(text)
      .split('\n')
      .map((line) => `${path}: ${line.trim()}`),
  );
  const verbs = lines.filter((line) =>
    /\brelay (?:status|cert|token|host|doctor|audit|why|restart|reload)\b/.test(line),
  );
  assert.ok(verbs.length > 5);
  assert.deepEqual(
    verbs.filter((line) => !/on the VPS/i.test(line)),
    [],
  );
});

test('HTML goes to whoever names text/html, and JSON to everybody else', () => {
  const expected: [accept: string, html: boolean][] = [
    [CHROME, true],
    ['text/html', true],
    ['TEXT/HTML; charset=utf-8', true],
    ['application/xhtml+xml;q=0.5', true],
    ['application/json;q=0.5, text/html;q=0.5', true],
    ['', false],
    ['*/*', false],
    ['text/*', false],
    ['text/plain', false],
    ['application/json', false],
    ['application/json, text/html;q=0.9', false],
    ['text/html;q=0', false],
    ['text/html;q=2', false],
    ['text/htmlx', false],
  ];
  for (const [accept, isHtml] of expected) {
    const type = isHtml ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8';
    assert.equal(page('TUNNEL_OFFLINE', { accept }).contentType, type, `Accept: ${accept}`);
  }
});

test('any Accept field gets an answer', () => {
  const piece = fc.constantFrom('text/html', 'application/json', ';', ',', 'q=', '0.5', '1', ' ', '*/*', '\u0000', 'é');
  const accept = fc.oneof(
    fc.string(),
    fc.array(piece).map((pieces) => pieces.join('')),
  );
  fc.assert(fc.property(accept, (text) => typeof prefersHtml(text) === 'boolean'));
});

test('every page tells code, status, request id and hostname, and stays below 6 KiB', () => {
  for (const code of CODES) {
    const answer = page(code, { hostname: 'h'.repeat(5_000), requestId: 'r'.repeat(5_000) });
    assert.ok(answer.body.length < 6 * 1024, `${code}: ${answer.body.length} bytes`);
    assert.equal(field(answer, 'X-Sallyport-Error'), code);
    for (const part of [code, String(statusOf(code)), 'req-1', 'home.example.com']) {
      assert.ok(html(code).includes(part), `${code} without ${part}`);
    }
  }
});

test('the JSON form carries the same facts for programs', () => {
  const answer = page('ORIGIN_REFUSED', { accept: '*/*', retryAfterSeconds: 2.2 });
  const document = JSON.parse(answer.body.toString());
  assert.equal(document.code, 'ORIGIN_REFUSED');
  assert.equal(document.status, 502);
  assert.equal(document.requestId, 'req-1');
  assert.equal(document.hostname, 'home.example.com');
  assert.equal(document.retryAfterSeconds, 3);
  assert.equal(document.title, errorTexts.ORIGIN_REFUSED.title);
  assert.ok(!answer.body.includes('`'));
});

test('a closed tunnel and a stopped app are different pages that name different culprits', () => {
  const offline = html('TUNNEL_OFFLINE');
  assert.match(offline, /class="bad"><i aria-hidden="true">!<\/i>Home server/);
  for (const code of NO_ORIGIN_ANSWER) {
    const app = html(code);
    assert.match(app, /class="bad"><i aria-hidden="true">!<\/i>App/);
    assert.match(app, /class="ok"><i aria-hidden="true">✓<\/i>Home server/);
    assert.match(app, /The home server is connected and its tunnel works/);
  }
  assert.doesNotMatch(offline, /The home server is connected/);
});

test('no two texts share a title', () => {
  const texts = [...new Set(Object.values(errorTexts))];
  assert.equal(new Set(texts.map((text) => text.title)).size, texts.length);
  assert.ok(texts.length >= 14);
});

test('only the page of a closed tunnel reloads itself, at the pace of Retry-After', () => {
  const reloading = CODES.filter((code) => html(code).includes('http-equiv="refresh"'));
  assert.deepEqual(reloading, ['TUNNEL_OFFLINE']);
  const answer = page('TUNNEL_OFFLINE', { retryAfterSeconds: 7 });
  assert.match(answer.body.toString(), /http-equiv="refresh" content="7"/);
  assert.equal(field(answer, 'Retry-After'), '7');
  assert.equal(field(page('TUNNEL_OFFLINE'), 'Retry-After'), undefined);
});

test('what a visitor wrote never becomes markup', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 400 }), fc.constantFrom(...CODES), (hostile, code) => {
      const clean = html(code, { hostname: 'x', requestId: 'x' });
      const dirty = html(code, { hostname: `<${hostile}`, requestId: `"'>${hostile}&` });
      for (const mark of ['<', '>', '"']) assert.equal(count(dirty, mark), count(clean, mark), mark);
    }),
  );
});

function count(text: string, mark: string): number {
  return text.split(mark).length - 1;
}

test('the page is never stored, loads nothing, and its policy allows exactly its own style', () => {
  for (const code of CODES) {
    const answer = page(code);
    const text = answer.body.toString();
    assert.doesNotMatch(text, /<script|<img|<link|url\(|@import|\ssrc=|href="[^"]|\sstyle=/);
    assert.equal(field(answer, 'Cache-Control'), 'no-store');
    assert.equal(field(answer, 'X-Content-Type-Options'), 'nosniff');
    const style = /<style>([\s\S]*)<\/style>/.exec(text)?.[1] ?? '';
    const hash = createHash('sha256').update(style).digest('base64');
    const policy = field(answer, 'Content-Security-Policy') ?? '';
    assert.match(policy, /^default-src 'none';/);
    assert.ok(policy.includes(`style-src 'sha256-${hash}'`));
  }
});
