/** How a request looks in the access log: who, what, how it went; printable, bounded, and without what a query may hide. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { AccessConfig } from '../shared/access-log/access-config.js';
import { connectionLine, MAX_LINE_BYTES, requestLine, shownTarget } from '../shared/access-log/access-line.js';
import type { ExchangeRecord } from '../shared/http/http-site.js';
import { parseRequestHead } from '../shared/http/request-head.js';

const TIME = Date.UTC(2026, 10, 20, 22, 45, 1);
const PLACE = { visitor: '192.0.2.7', tunnel: 'app', public: 'app.example.com' };
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
/** What nginx's and Apache's `combined` is, as log analysers read it. */
const COMBINED =
  /^(\S+) - - \[(\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d \+0000)\] "([^"]*)" (\d+) (\d+) "([^"]*)" "([^"]*)" (\w+=\S+ ?)+$/;

const config = (changes: Partial<AccessConfig> = {}): AccessConfig => ({
  to: 'file',
  file: '/dev/null',
  format: 'json',
  maxFileBytes: 1,
  maxFiles: 1,
  query: 'names',
  skipPaths: [],
  ...changes,
});

function record(text: string, changes: Partial<ExchangeRecord> = {}): ExchangeRecord {
  const request = parseRequestHead(text, { headBytes: 65_536, fields: 100 });
  const known = { requestId: 'id1', route: undefined, status: 200, code: undefined, ms: 12.345, firstByteMs: 3 };
  return { request, ...known, bytesIn: 5, bytesOut: 99, ...changes };
}

const GET = record(
  'GET /a?token=s3cret&b HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: curl "8"\r\nReferer: https://x.org/?q=s3cret#f',
);

test('json: one object with everything that is known', () => {
  assert.deepEqual(JSON.parse(requestLine(GET, PLACE, config(), TIME)), {
    ...{ time: '2026-11-20T22:45:01.000Z', kind: 'http', ...PLACE },
    ...{ method: 'GET', path: '/a?token=-&-', protocol: 'HTTP/1.1', status: 200, ms: 12.3, firstByteMs: 3 },
    ...{ bytesIn: 5, bytesOut: 99, requestId: 'id1', referrer: 'https://x.org/?q=-', userAgent: 'curl "8"' },
  });
});

test('combined: what analysers know, then the rest as key=value', () => {
  const line = requestLine(
    { ...GET, status: 502, code: 'ORIGIN_REFUSED' },
    PLACE,
    config({ format: 'combined' }),
    TIME,
  );
  assert.equal(
    line,
    '192.0.2.7 - - [20/Nov/2026:22:45:01 +0000] "GET /a?token=-&- HTTP/1.1" 502 99 "https://x.org/?q=-" ' +
      '"curl \\x228\\x22" public=app.example.com tunnel=app ms=12.3 in=5 code=ORIGIN_REFUSED id=id1',
  );
  assert.match(line, COMBINED);
});

test('a query is shown whole, by its names, or not at all', () => {
  const target = '/p?a=1&b=2=3&c&=4';
  const shown = (['full', 'names', 'none'] as const).map((query) => shownTarget(target, query));
  assert.deepEqual(shown, [target, '/p?a=-&b=-&-&=-', '/p']);
  assert.equal(shownTarget('/p', 'names'), '/p');
});

test('a request that could not be read, and carried connections, have lines too', () => {
  const unread = record('GET / HTTP/1.0', { request: undefined, status: 400, code: 'REQUEST_INVALID' });
  assert.match(requestLine(unread, { ...PLACE, tunnel: '' }, config({ format: 'combined' }), TIME), COMBINED);
  const carried = { kind: 'tcp', requestId: 'id2', code: undefined, ms: 1, bytesIn: 2, bytesOut: 3 } as const;
  const place = { ...PLACE, public: ':2222' };
  assert.deepEqual(JSON.parse(connectionLine(carried, place, config(), TIME)), {
    ...{ time: '2026-11-20T22:45:01.000Z', ...place, kind: 'tcp', ms: 1, bytesIn: 2, bytesOut: 3, requestId: 'id2' },
  });
  const combined = connectionLine({ ...carried, code: 'TUNNEL_OFFLINE' }, place, config({ format: 'combined' }), TIME);
  assert.match(combined, /"CONNECT :2222 TCP" 503 3 "-" "-" public=:2222 .* code=TUNNEL_OFFLINE/);
});

test('whatever a visitor writes, it is one printable line that a pipe takes in one piece, and parses', () => {
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 6_000 }), fc.string({ maxLength: 50 }));
  const heads = fc.record({ method: text, target: text, agent: text, referrer: text, hostname: text, tunnel: text });
  fc.assert(
    fc.property(
      heads,
      fc.constantFrom('full', 'names', 'none'),
      ({ method, target, agent, referrer, ...place }, query) => {
        const names = ['User-Agent', 'Referer'];
        const request = GET.request && { ...GET.request, method, target, names, values: [agent, referrer] };
        const at = { visitor: '2001:db8::1', public: place.hostname.slice(0, 253), tunnel: place.tunnel.slice(0, 63) };
        for (const format of ['json', 'combined'] as const) {
          const line = requestLine({ ...GET, request }, at, config({ format, query }), TIME);
          assert.doesNotMatch(line, UNPRINTABLE);
          assert.ok(Buffer.byteLength(line) < MAX_LINE_BYTES);
          if (format === 'json') assert.equal(JSON.parse(line).status, 200);
          else assert.match(line, COMBINED);
        }
      },
    ),
    { numRuns: 300 },
  );
});
