// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of secrets in config files
/** Which YAML is a config file: bounded, without aliases, and refused without being quoted. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseRelayConfig, readRelayConfig } from '../relay-server/relay-config.js';
import { parseTunnelConfig } from '../tunnel-client/tunnel-config.js';
import { refusalOf, unlessRefused } from './support/config-error.js';
import { temporaryFolder } from './support/temporary-folder.js';

const SECRET = 'hunter2hunter2';

test('a billion laughs are refused before anyone laughs', () => {
  const lines = [
    'a: &a [lol]',
    ...Array.from({ length: 9 }, (_, i) => `k${i}: &k${i} [${`*${i === 0 ? 'a' : `k${i - 1}`}, `.repeat(10)}]`),
  ];
  assert.match(
    refusalOf(() => parseRelayConfig(lines.join('\n'), 'relay.yaml')),
    /relay\.yaml:2: an alias is not accepted/,
  );
});

for (const text of [
  '['.repeat(50_000),
  '{a: '.repeat(50_000),
  '- '.repeat(50_000),
  '? '.repeat(50_000),
  'a: '.repeat(50_000),
]) {
  test(`deep nesting is refused: ${text.slice(0, 6)}…`, () => {
    assert.match(
      refusalOf(() => parseRelayConfig(text, 'relay.yaml')),
      /relay\.yaml:1: this is nested more than 32 levels deep/,
    );
  });
}

test('a file that is too long is refused by name', (t) => {
  const path = join(temporaryFolder(t), 'relay.yaml');
  writeFileSync(path, `domain: example.com\n${'#'.repeat(1 << 20)}`);
  assert.equal(
    refusalOf(() => readRelayConfig(path)),
    `Cannot read config file ${path}: it is longer than 1048576 bytes`,
  );
});

test('a file that is missing, a folder or no text is refused by name', (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'relay.yaml');
  assert.equal(
    refusalOf(() => readRelayConfig(path)),
    `Cannot read config file ${path}: no such file`,
  );
  assert.equal(
    refusalOf(() => readRelayConfig(folder)),
    `Cannot read config file ${folder}: it is a folder`,
  );
  writeFileSync(path, Buffer.from('domain: \xff\n', 'latin1'));
  assert.equal(
    refusalOf(() => readRelayConfig(path)),
    `Cannot read config file ${path}: it is not UTF-8 text`,
  );
});

test('a byte order mark, CRLF and directives change nothing', () => {
  const plain = parseRelayConfig('domain: example.com\nlimits:\n  connections: 5\n', 'relay.yaml');
  for (const text of [
    '\ufeffdomain: example.com\r\nlimits:\r\n  connections: 5\r\n',
    '%YAML 1.1\n---\ndomain: example.com\nlimits: {connections: 5}\n...\n',
  ]) {
    assert.deepEqual(parseRelayConfig(text, 'relay.yaml'), plain);
  }
});

test('an old YAML version does not bring its booleans back', () => {
  const text = '%YAML 1.1\n---\ndomain: example.com\nproxy_protocol: no\n';
  assert.match(
    refusalOf(() => parseRelayConfig(text, 'relay.yaml')),
    /proxy_protocol must be true or false, got/,
  );
});

test('a file that cannot be parsed is refused without a character of its secrets', () => {
  const broken = [
    `token: "${SECRET}`,
    `token: "a\\q${SECRET}"`,
    `token:${SECRET}\nlinks: 2`,
    `token: ${SECRET}: x`,
    `token: @${SECRET}`,
    `token: !${SECRET} x`,
    `token: *${SECRET}`,
    `token: [${SECRET}`,
    `token:\n\t${SECRET}`,
    `{token:${SECRET}}`,
    `token: { ${SECRET}: ${SECRET} }`,
    `? [${SECRET}]\n: x`,
    `%${SECRET}\n---\nlinks: 9`,
    `sp1.${SECRET}`,
    `relay_url: sp1.${SECRET}`,
    `token: \${${SECRET} }`,
    `token: \${${SECRET}`,
  ];
  for (const text of broken) {
    const message = refusalOf(() =>
      parseTunnelConfig(`relay_url: https://example.com\n${text}`, 'tunnel.yaml', {}, {}),
    );
    assert.ok(!message.includes(SECRET), `${JSON.stringify(text)} is quoted: ${message}`);
    assert.ok(!refusalOf(() => parseTunnelConfig(text, 'tunnel.yaml', {}, {})).includes(SECRET), text);
  }
});

const keys = [
  'domain',
  'listen',
  'https',
  'tls',
  'mode',
  'certificates',
  'limits',
  'head_size',
  'trusted_proxies',
  'log',
  'token',
  'token_file',
  'relay_url',
  'tunnels',
  'name',
  'host',
  'tcp_port',
  'origin',
  '__proto__',
];
const values = [
  'example.com',
  '0.0.0.0:443',
  '16KiB',
  '10s',
  'files',
  'true',
  'off',
  '~',
  '1',
  '-1',
  '.nan',
  '[]',
  '{}',
  '*a',
  '&a b',
  '!x y',
  '"',
  "'",
  '|',
  '>',
  '[',
  '{',
  '# c',
  '${X}',
  '\t',
  '---',
  '%',
];
const line = fc
  .tuple(
    fc.nat(4),
    fc.constantFrom('', '', '- ', '? '),
    fc.constantFrom(...keys),
    fc.constantFrom(': ', ': ', ':', ' '),
    fc.constantFrom(...values, ''),
  )
  .map(([depth, dash, key, colon, value]) => `${'  '.repeat(depth)}${dash}${key}${colon}${value}`);
const yamlish = fc.oneof(
  fc.array(line, { maxLength: 12 }).map((lines) => lines.join('\n')),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc
    .array(fc.constantFrom(...keys, ...values, '\n', '  ', ': ', '- ', ', ', ']', '}'), { maxLength: 40 })
    .map((parts) => parts.join('')),
  fc.json(),
);

test('any text is a config, or refused with a line number', () => {
  fc.assert(
    fc.property(yamlish, (text) => {
      for (const parse of [parseRelayConfig, (t: string, path: string) => parseTunnelConfig(t, path, {}, {})]) {
        const config = unlessRefused(() => parse(text, 'some.yaml'));
        if (config === undefined)
          assert.match(
            refusalOf(() => parse(text, 'some.yaml')),
            /^some\.yaml:[1-9]\d*: /,
          );
      }
    }),
    { numRuns: 1_000 },
  );
});
