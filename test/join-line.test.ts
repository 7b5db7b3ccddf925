/** The join line: what a relay writes, a client reads back; anything else is refused without repeating the secret. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { makeCaCertificate, makeKey } from '../relay-server/certs/local-issuer.js';
import { formatJoinLine, type JoinLine, parseJoinLine } from '../shared/command/join-line.js';
import { TunnelError } from '../shared/errors.js';
import { Secret } from '../shared/secret.js';
import { generateToken } from '../shared/token.js';

const token = generateToken().text;
const plainToken = token.reveal();
const dayMs = 86_400_000;
const caPem = await makeCaCertificate(await makeKey(), { fromMs: Date.now() - dayMs, toMs: Date.now() + dayMs });
const ca = new X509Certificate(caPem).raw;

const least: JoinLine = { relayUrl: 'https://example.com', token, ca: undefined, address: undefined };

function shown(line: JoinLine): object {
  return { ...line, token: line.token.reveal(), ca: line.ca?.toString('hex') };
}

function refusal(text: string): TunnelError {
  try {
    parseJoinLine(text);
  } catch (error) {
    assert.ok(error instanceof TunnelError, `parseJoinLine threw ${String(error)}`);
    assert.ok(error.code === 'USAGE_INVALID' || error.code === 'TOKEN_REJECTED', error.code);
    return error;
  }
  throw new assert.AssertionError({ message: `accepted ${text}` });
}

test('the shortest join line is the URL and the token', () => {
  assert.equal(formatJoinLine(least).reveal(), `https://example.com/#token=${plainToken}`);
});

test('a join line reads back to what it was made from, wrapped by a terminal or not', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,3})?$/);
  const line = fc.record({
    host: fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => [...labels, 'example'].join('.')),
    port: fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
    ca: fc.constantFrom(ca, undefined),
    address: fc.constantFrom(undefined, '203.0.113.7:443', '[2001:db8::1]:8443', 'relay.lan:443'),
  });
  fc.assert(
    fc.property(line, fc.integer({ min: 10, max: 90 }), ({ host, port, ca, address }, width) => {
      const relayUrl = port === undefined || port === 443 ? `https://${host}` : `https://${host}:${port}`;
      const text = formatJoinLine({ relayUrl, token, ca, address }).reveal();
      const wrapped = text.replaceAll(new RegExp(`.{${width}}`, 'g'), '$&\r\n  ');
      for (const form of [text, ` ${text}\n`, wrapped, new Secret(text)]) {
        assert.deepEqual(shown(parseJoinLine(form)), shown({ relayUrl, token, ca, address }));
      }
    }),
    { numRuns: 50 },
  );
});

test('a port of 443 and capital letters do not make another relay', () => {
  const line = parseJoinLine(`https://EXAMPLE.com:443/#token=${plainToken}`);
  assert.equal(line.relayUrl, 'https://example.com');
});

test('a damaged join line is refused with what is wrong and what to do', () => {
  const good = formatJoinLine({ ...least, ca }).reveal();
  const cases: [string, RegExp][] = [
    ['', /it is empty/],
    ['x'.repeat(20_000), /longer than 16384 characters/],
    ['https://example.com/', /after # is missing.*single quotes/],
    [good.replace('https:', 'http:'), /does not start with https:/],
    [good.replace('example.com', ''), /names no relay/],
    [good.replace('example.com', 'exa mple..com'), /names no relay/],
    [good.replace('example.com', '203.0.113.7'), /names no relay/],
    [good.replace('example.com', 'me@example.com'), /more than a hostname and a port/],
    [good.replace('/#', '/path#'), /more than a hostname and a port/],
    [good.replace('/#', '/?a=b#'), /more than a hostname and a port/],
    [good.replace('#token', '#tokem'), /not known to this version/],
    [`${good}&`, /not known to this version/],
    [`${good}&ca=AAAA`, /two parts called ca/],
    [good.replace(/#token=[^&]*&/, '#'), /it has no token/],
    [good.slice(0, -1), /its ca is damaged or cut off/],
    [good.replace(/&ca=.*/, '&ca=AAAA'), /its ca is damaged or cut off/],
    [`${good}&address=here`, /its address is not host:port/],
  ];
  for (const [text, expected] of cases) {
    const { code, message } = refusal(text);
    assert.match(message, expected);
    assert.match(message, /Copy the whole line/);
    assert.equal(code, 'USAGE_INVALID');
  }
});

test('a join line with a cut-off token says so with the code of tokens', () => {
  const { code, message } = refusal(`https://example.com/#token=${plainToken.slice(0, 40)}`);
  assert.equal(code, 'TOKEN_REJECTED');
  assert.match(message, /cut off \(40 of 69 characters\)/);
});

test('a certificate that is no CA cannot come in through a join line', async () => {
  const { makeServerCertificate } = await import('../relay-server/certs/local-issuer.js');
  const keyPem = await makeKey();
  const validity = { fromMs: Date.now(), toMs: Date.now() + dayMs };
  const certPem = await makeCaCertificate(keyPem, validity);
  const leaf = new X509Certificate(await makeServerCertificate({ certPem, keyPem }, 'a.example', keyPem, validity));
  assert.match(refusal(formatJoinLine({ ...least, ca: leaf.raw }).reveal()).message, /its ca is damaged/);
});

test('any text is read or refused with a code of the table, and no message repeats the token', () => {
  const good = formatJoinLine({ ...least, ca, address: '203.0.113.7:443' }).reveal();
  const seed = plainToken.split('.')[2] ?? '';
  const cut = fc
    .tuple(fc.nat(good.length), fc.nat(60), fc.string({ maxLength: 5 }))
    .map(([at, length, filling]) => good.slice(0, at) + filling + good.slice(at + length));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.webUrl({ withFragments: true }), cut), (text) => {
      try {
        const line = parseJoinLine(text);
        assert.equal(line.token.reveal(), plainToken);
      } catch (error) {
        assert.ok(error instanceof TunnelError, String(error));
        assert.ok(!error.message.includes(seed.slice(0, 12)));
        assert.equal(error.cause, undefined);
      }
    }),
    { numRuns: 300 },
  );
});
