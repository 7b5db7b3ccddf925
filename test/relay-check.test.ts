/** `relay check`: mistakes of the section `acme` with their lines, and what is right but hardly meant. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { runCheck } from '../relay-server/check-command.js';
import { makeGrants } from '../relay-server/sessions/grants.js';
import { TokenStore } from '../relay-server/sessions/token-store.js';
import { recordingIo } from './support/recording-io.js';
import { temporaryFolder } from './support/temporary-folder.js';

function check(t: TestContext, ...lines: string[]): string[] {
  const folder = temporaryFolder(t);
  const config = join(folder, 'relay.yaml');
  TokenStore.open(join(folder, 'state')).create('home', makeGrants(['*.example.com'], []));
  writeFileSync(config, ['domain: example.com', 'state_dir: state', ...lines, ''].join('\n'));
  const io = recordingIo();
  runCheck({ config }, io);
  return io.noted;
}

test('files and programs of acme that cannot be used are named with their line', (t) => {
  const acme = ['tls: { mode: acme }', 'acme:', '  ca_file: none.pem', '  dns:', '    command: /none/dns.sh'];
  assert.throws(() => check(t, ...acme), {
    code: 'CONFIG_INVALID',
    message:
      /^relay\.yaml:5: acme\.ca_file cannot be used: .*none\.pem.*\nrelay\.yaml:6: acme\.dns has the command "\/none\/dns\.sh", which/,
  });
});

test('a section acme that is ignored, and ports that no CA asks, are warned of', (t) => {
  const ignored = 'Warning: the section acme is ignored in tls.mode local-ca. Write tls: { mode: acme }, or remove it.';
  assert.deepEqual(check(t, 'acme: { directory_url: staging }'), [ignored]);
  const ports = 'CAs ask ports 443 and 80, and the relay listens on 8443. Forward one of them here, or set up acme.dns';
  const other = ['tls: { mode: acme }', 'listen: { https: ":8443", http: off }'];
  assert.deepEqual(check(t, ...other), [`Warning: ${ports}.`]);
  assert.deepEqual(check(t, 'tls: { mode: acme }', 'listen: { https: ":443", http: off }'), []);
});

test('listeners that share a port are refused, whatever they call their addresses', (t) => {
  const refused: [listen: string, message: RegExp][] = [
    ['https: ":8443", http: "127.0.0.1:8443"', /:3: listen\.http has the port of listen\.https/],
    ['https: "0.0.0.0:9180", http: off', /:3: listen\.admin has the port of listen\.https/],
    [
      'https: ":8443", http: "127.0.0.1:9000", admin: "127.0.0.1:9000"',
      /:3: listen\.admin has the port of listen\.http\./,
    ],
    ['https: ":80"', /listen\.http has the port of listen\.https/],
  ];
  for (const [listen, message] of refused) {
    assert.throws(() => check(t, `listen: { ${listen} }`), { code: 'CONFIG_INVALID', message }, listen);
  }
  const fine = ['https: "127.0.0.1:8443", http: "127.0.0.2:8443"', 'https: "127.0.0.1:0", http: "127.0.0.1:0"'];
  for (const listen of fine) assert.deepEqual(check(t, `listen: { ${listen} }`), []);
});

test('an admin listener that others reach is warned of while there is no admin token', (t) => {
  const [warning] = check(t, 'listen: { admin: "0.0.0.0:9180" }');
  assert.match(
    warning ?? '',
    /^Warning: everybody who reaches listen\.admin may ask it\. Do: relay admin-token create/,
  );
  assert.deepEqual(check(t, 'listen: { admin: "[::1]:9180" }'), []);
});
