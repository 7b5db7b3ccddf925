/**
 * Wrong config files. The first line of each file in config/invalid is a comment: exactly what the operator is told
 * first. `relay-*` is read as a relay.yaml, `tunnel-*` as a tunnel.yaml.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseRelayConfig } from '../relay-server/relay-config.js';
import { parseTunnelConfig } from '../tunnel-client/tunnel-config.js';
import { refusalOf } from './support/config-error.js';

const folder = new URL('../../config/invalid/', import.meta.url);
const ENV = { TEST_TOKEN: 'sp1.the-token' };
const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));

for (const name of files) {
  test(`config/invalid/${name} is refused with the message in its first line`, () => {
    const path = fileURLToPath(new URL(name, folder));
    const text = readFileSync(path, 'utf8');
    const read = () =>
      name.startsWith('relay-') ? parseRelayConfig(text, path, ENV) : parseTunnelConfig(text, path, {}, ENV);
    const [first] = refusalOf(read).split('\n');
    assert.equal(`# ${first}`, text.slice(0, text.indexOf('\n')));
  });
}

test('there are wrong files for both programs, and no others', () => {
  assert.ok(files.filter((name) => name.startsWith('relay-')).length >= 25);
  assert.ok(files.filter((name) => name.startsWith('tunnel-')).length >= 25);
  assert.deepEqual(
    readdirSync(folder).filter((name) => !/^(?:relay|tunnel)-[a-z0-9-]+\.yaml$/.test(name)),
    [],
  );
});
