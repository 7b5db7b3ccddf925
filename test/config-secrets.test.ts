// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax under test
/** Secrets in config files: where they may come from, who may read them, and that no message holds one. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import type { Fields } from '../shared/config/config-fields.js';
import { readSecretFile } from '../shared/config/config-secret.js';
import { parseConfig, readConfig } from '../shared/config-file.js';
import type { Secret } from '../shared/secret.js';
import { refusalOf } from './support/config-error.js';
import { temporaryFolder } from './support/temporary-folder.js';

const readToken = (root: Fields): Secret => root.secret('token');
const parse = (text: string, env: Record<string, string> = {}) =>
  parseConfig(text, '/etc/some.yaml', readToken, { env });

test('a secret takes environment variables, any number of them', () => {
  assert.equal(parse('token: ${A}-${B_2}', { A: 'a', B_2: '${A}' }).reveal(), 'a-${A}');
  assert.equal(parse('token: 12345').reveal(), '12345');
});

test('a variable that is missing or empty is named', () => {
  const message = 'some.yaml:1: token needs the environment variable GONE, which is not set';
  assert.equal(
    refusalOf(() => parse('token: ${GONE}')),
    message,
  );
  assert.equal(
    refusalOf(() => parse('token: ${GONE}', { GONE: '' })),
    message,
  );
  assert.match(
    refusalOf(() => parse('token: ${constructor}')),
    /constructor, which is not set/,
  );
});

for (const text of ['${}', '${A', '${A B}', '${1A}', 'x${']) {
  test(`${text} names no variable`, () => {
    const message = refusalOf(() => parse(`token: '${text}'`, { A: 'a' }));
    assert.equal(message, 'some.yaml:1: token must name an environment variable between ${ and }');
  });
}

test('environment variables are expanded in secrets alone', () => {
  const read = (root: Fields) => root.string('name');
  assert.equal(parseConfig('name: ${HOME}', 'some.yaml', read, { env: { HOME: '/root' } }), '${HOME}');
});

test('an empty secret, one of several lines and one that is no text are refused unseen', () => {
  assert.equal(
    refusalOf(() => parse('token: ""')),
    'some.yaml:1: token is empty',
  );
  assert.equal(
    refusalOf(() => parse('token: |\n  hunter2\n  hunter2\n')),
    'some.yaml:1: token must be one line of text',
  );
  assert.equal(
    refusalOf(() => parse('token: [hunter2]')),
    'some.yaml:1: token must be text',
  );
  assert.equal(
    refusalOf(() => parse('token: { hunter2: 1 }')),
    'some.yaml:1: token must be text',
  );
  assert.equal(
    refusalOf(() => parse('token:')),
    'some.yaml:1: token must be text',
  );
});

test('a secret never prints', () => {
  const token = parse('token: hunter2');
  for (const text of [String(token), JSON.stringify({ token }), inspect({ token }, { depth: 9, showHidden: true })]) {
    assert.ok(!text.includes('hunter2'), text);
  }
});

test('a secret file is read relative to the config file, without the white space around it', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'secrets'));
  writeFileSync(join(folder, 'secrets/token'), '\n hunter2 \r\n', { mode: 0o600 });
  writeFileSync(join(folder, 'some.yaml'), 'token_file: secrets/token');
  assert.equal(readConfig(join(folder, 'some.yaml'), readToken, {}).reveal(), 'hunter2');
});

test('a secret file that others can read is refused with its cure', { skip: process.platform === 'win32' }, (t) => {
  const path = join(temporaryFolder(t), 'token');
  writeFileSync(path, 'hunter2');
  for (const mode of [0o644, 0o640, 0o604, 0o601, 0o620]) {
    chmodSync(path, mode);
    const octal = `0${mode.toString(8)}`;
    assert.equal(
      refusalOf(() => readSecretFile(path, {}, '--token-file')),
      `--token-file must be in a file that only its owner can read; its mode is ${octal}. Do: chmod 600 ${path}`,
    );
  }
  chmodSync(path, 0o400);
  assert.equal(readSecretFile(path, {}, '--token-file').reveal(), 'hunter2');
});

test('a credential of systemd may mirror its access list in its mode', { skip: process.platform === 'win32' }, (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'token');
  writeFileSync(path, 'hunter2');
  chmodSync(path, 0o440);
  assert.equal(readSecretFile(path, { CREDENTIALS_DIRECTORY: folder }, 'token_file').reveal(), 'hunter2');
  refusalOf(() => readSecretFile(path, { CREDENTIALS_DIRECTORY: '' }, 'token_file'));
  refusalOf(() => readSecretFile(path, { CREDENTIALS_DIRECTORY: join(folder, 'other') }, 'token_file'));
});

test('a config file with a secret in it is refused when others can read it', {
  skip: process.platform === 'win32',
}, (t) => {
  const path = join(temporaryFolder(t), 'some.yaml');
  writeFileSync(path, 'token: hunter2');
  chmodSync(path, 0o644);
  assert.equal(
    refusalOf(() => readConfig(path, readToken, {})),
    `some.yaml:1: token must be in a file that only its owner can read; its mode is 0644. Do: chmod 600 ${path}`,
  );
  chmodSync(path, 0o600);
  assert.equal(readConfig(path, readToken, {}).reveal(), 'hunter2');
});

test('a config file whose secret is elsewhere may be read by everybody', (t) => {
  const path = join(temporaryFolder(t), 'some.yaml');
  writeFileSync(path, 'token: ${TOKEN}');
  chmodSync(path, 0o644);
  assert.equal(readConfig(path, readToken, { TOKEN: 'hunter2' }).reveal(), 'hunter2');
});

test('a secret file that is missing, too long, empty or no text is refused by name', (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'token');
  const refusal = () => refusalOf(() => readSecretFile(path, {}, 'token_file'));
  assert.equal(refusal(), `Cannot read token_file ${path}: no such file`);
  writeFileSync(path, ' \n', { mode: 0o600 });
  assert.equal(refusal(), 'token_file is empty');
  writeFileSync(path, 'x'.repeat(70_000));
  assert.equal(refusal(), `Cannot read token_file ${path}: it is longer than 65536 bytes`);
  writeFileSync(path, Buffer.from([0xff]));
  assert.equal(refusal(), `Cannot read token_file ${path}: it is not UTF-8 text`);
});
