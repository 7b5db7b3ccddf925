/** The example files show exactly the options that the readers ask for, with their defaults, each explained. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseRelayConfig, readRelay, readRelayConfig } from '../relay-server/relay-config.js';
import type { Fields } from '../shared/config/config-fields.js';
import { listOptions } from '../shared/config-file.js';
import { readTunnel, readTunnelConfig } from '../tunnel-client/tunnel-config.js';
import { exampleOptions, switchedOn } from './support/example-options.js';
import { temporaryFolder } from './support/temporary-folder.js';

const place = (name: string) => fileURLToPath(new URL(`../../config/${name}`, import.meta.url));
const RELAY = place('relay.example.yaml');
const TUNNEL = place('tunnel.example.yaml');

/** Options without a default that the examples show switched on, because a file is nothing without them. */
const SHOWN_VALUES = ['domain', 'relay_url', 'token_file', 'tunnels[].name', 'tunnels[].host', 'tunnels[].origin'];

const PROGRAMS: [name: string, path: string, read: (root: Fields) => unknown][] = [
  ['relay', RELAY, readRelay],
  ['tunnel', TUNNEL, readTunnel],
];

for (const [name, path, read] of PROGRAMS) {
  const options = listOptions(read);
  const text = readFileSync(path, 'utf8');
  const shown = exampleOptions(text);
  const leaves = shown.filter(
    ({ path: own }) => !shown.some((o) => o.path.startsWith(`${own}.`) || o.path.startsWith(`${own}[`)),
  );

  test(`${name}: the reader's options and the example's are the same`, () => {
    assert.deepEqual(leaves.map((option) => option.path).sort(), options.map((option) => option.path).sort());
    assert.ok(options.length > 15);
  });

  test(`${name}: an option with a default is shown with it, others are switched off or an example`, () => {
    for (const option of options) {
      const example = leaves.find((leaf) => leaf.path === option.path);
      if (option.default === undefined) assert.equal(example?.isOff, !SHOWN_VALUES.includes(option.path), option.path);
      else assert.deepEqual([example?.value, example?.isOff], [option.default, false], option.path);
    }
  });

  test(`${name}: every option and section has a line of meaning above it`, () => {
    const silent = shown.filter(({ isExplained }) => !isExplained).map((option) => option.path);
    assert.deepEqual(silent, []);
  });
}

test('relay: the example means the same as a file with its domain alone', () => {
  const example = readRelayConfig(RELAY);
  assert.deepEqual(example, parseRelayConfig('domain: example.com', RELAY));
});

test('relay: every option of the example can be switched on', () => {
  const text = switchedOn(readFileSync(RELAY, 'utf8'))
    .replace('mode: local-ca', 'mode: files')
    // Of two ways to say the same thing a file has one.
    .replace(/^ *(?:hmac_file|key_file: tsig-key|command:).*$/gm, '')
    .replace(/^ *(?:webhook_url|ntfy_url|ntfy_token)_file:.*$/gm, '');
  const config = parseRelayConfig(text, RELAY, { ...process.env, HOOK_TOKEN: 'h', NTFY_TOPIC: 't', NTFY_TOKEN: 'k' });
  assert.equal(config.alerts.webhookUrl?.reveal(), 'https://hooks.example.com/h');
  assert.equal(config.alerts.mailTo, 'me@example.com');
  assert.equal(config.tls.certificates.length, 1);
  assert.deepEqual(
    config.acme.authorities.map(({ directoryUrl, externalAccount }) => [directoryUrl, externalAccount?.kid]),
    [
      ['https://acme-v02.api.letsencrypt.org/directory', 'kid-1'],
      ['https://acme.example.net/directory', 'kid-2'],
    ],
  );
  assert.deepEqual(config.acme.dns?.kind, 'update');
  assert.equal(config.listen.tcpHost, '0.0.0.0');
  assert.equal(config.hsts, true);
});

test('tunnel: the example means the same as a file with the shown values alone', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'token'), 'sp1.the-token\n', { mode: 0o600 });
  const path = join(folder, 'tunnel.yaml');
  copyFileSync(TUNNEL, path);
  const example = readTunnelConfig(path, {}, {});
  writeFileSync(
    path,
    'relay_url: https://example.com\ntoken_file: token\n' +
      'tunnels: [{ name: home, host: home.example.com, origin: "127.0.0.1:8123" }]',
  );
  assert.deepEqual(example, readTunnelConfig(path, {}, {}));
  assert.equal(example.token.reveal(), 'sp1.the-token');
});

test('tunnel: the options that the example has switched off can be switched on', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'ca.pem'), '-----BEGIN CERTIFICATE-----\n');
  const text = switchedOn(readFileSync(TUNNEL, 'utf8'))
    .replace(/^token_file:.*$/m, '')
    .replace(/^proxy_login_file:.*$/m, '')
    .replace(/^ *tcp_port:.*$/m, '')
    // Those that stand for what another one says.
    .replace(/^ *hmac_file:.*$/gm, '')
    .replace(/^ {4}(?:server|key_name|key|key_file|zone):.*$/gm, '')
    .replace('tls: relay', 'tls: end-to-end');
  const path = join(folder, 'tunnel.yaml');
  writeFileSync(path, text);
  const env = { MY_TOKEN: 'sp1.the-token', EAB_HMAC: 'c2VjcmV0', PROXY_LOGIN: 'me:pw' };
  const config = readTunnelConfig(path, {}, env);
  assert.ok(config.proxy !== undefined && config.proxy !== 'off');
  assert.deepEqual(config.proxy.address, { host: 'proxy.lan', port: 3128 });
  assert.equal(config.proxy.login?.reveal(), 'me:pw');
  assert.deepEqual(config.relayAddress, { host: '203.0.113.7', port: 443 });
  assert.equal(config.clientId, 'home-server');
  assert.equal(config.stateDir, join(folder, 'state'));
  assert.equal(config.acme.dns?.kind, 'program');
  assert.equal(config.acme.authorities[1]?.directoryUrl, 'https://acme-staging-v02.api.letsencrypt.org/directory');
  assert.equal(config.tunnels[0]?.hostHeader, '127.0.0.1:8123');
  assert.deepEqual(config.tunnels[0]?.certificate, {
    certFile: join(folder, 'home.example.com.pem'),
    keyFile: join(folder, 'home.example.com.key'),
  });
});
