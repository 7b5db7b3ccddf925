// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of secrets in config files
/** What tunnel.yaml, the flags of `tunnel up` and SALLYPORT_TOKEN mean together. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseTunnelConfig, readTunnelConfig, tunnelConfigFrom } from '../tunnel-client/tunnel-config.js';
import type { TunnelOverrides } from '../tunnel-client/tunnel-overrides.js';
import { refusalOf } from './support/config-error.js';
import { temporaryFolder } from './support/temporary-folder.js';

const ENV = { TOKEN: 'sp1.of-file' };
const FILE = `
relay_url: https://example.com:8443
token: \${TOKEN}
tunnels:
  - { name: home, host: Home.Example.com, origin: 8123 }
  - { name: ssh, tcp_port: 2222, origin: 127.0.0.1:22 }
`;

const parse = (text: string, overrides: TunnelOverrides = {}, env: Record<string, string> = ENV) =>
  parseTunnelConfig(text, '/etc/sallyport/tunnel.yaml', overrides, env);

test('a file with its two tunnels', () => {
  const config = parse(FILE);
  assert.equal(config.relayUrl.href, 'https://example.com:8443/');
  assert.equal(config.token.reveal(), 'sp1.of-file');
  assert.equal(config.path, '/etc/sallyport/tunnel.yaml');
  assert.deepEqual(
    [config.links, config.dialMs, config.drainMs, config.log, config.relayAddress, config.relayCa, config.clientId],
    [2, 10_000, 30_000, { level: 'info', format: 'auto' }, undefined, undefined, undefined],
  );
  const nothing = { hostHeader: undefined, proxyProtocol: undefined, responseTimeoutMs: undefined };
  const rest = { ...nothing, tls: 'relay', certificate: undefined, hsts: false };
  const loopback = { verifyTls: true, host: '127.0.0.1', path: undefined };
  assert.deepEqual(config.tunnels, [
    {
      ...rest,
      name: 'home',
      host: 'home.example.com',
      tcpPort: undefined,
      origin: { ...loopback, text: 'http://127.0.0.1:8123', scheme: 'http', port: 8123 },
    },
    {
      ...rest,
      name: 'ssh',
      host: undefined,
      tcpPort: 2222,
      origin: { ...loopback, text: 'tcp://127.0.0.1:22', scheme: 'tcp', port: 22 },
    },
  ]);
});

test('every option of a tunnel is read', () => {
  const text = `relay_url: http://127.0.0.1:8443
token: x
links: 8
client_id: My.Host_1
connect_timeout: 3s
drain_timeout: 4s
relay_address: 192.0.2.1:443
tunnels:
  - { name: a, host: "*.a.example", origin: "unix:/run/a", host_header: "[::1]:80", proxy_protocol: v2, response_timeout: 5s, tls: relay }
  - { name: b, tcp_port: 1, origin: "https://b.lan", proxy_protocol: v1 }
`;
  const config = parse(text);
  assert.deepEqual([config.links, config.clientId, config.dialMs, config.drainMs], [8, 'My.Host_1', 3_000, 4_000]);
  assert.deepEqual(config.relayAddress, { host: '192.0.2.1', port: 443 });
  const [a, b] = config.tunnels;
  assert.deepEqual(
    [a?.host, a?.hostHeader, a?.proxyProtocol, a?.responseTimeoutMs],
    ['*.a.example', '[::1]:80', 'v2', 5_000],
  );
  assert.deepEqual([b?.proxyProtocol, b?.origin.scheme], ['v1', 'https']);
});

test('tls: end-to-end takes its certificate from files, counted from the config file', () => {
  const [vault] = parse(
    'relay_url: https://example.com\ntoken: x\ntunnels:\n' +
      '  - { name: vault, host: vault.example.com, origin: 8222, tls: end-to-end, certificate: { cert_file: v.pem, key_file: /k/v.key } }',
  ).tunnels;
  assert.deepEqual(
    [vault?.tls, vault?.origin.scheme, vault?.certificate],
    ['end-to-end', 'http', { certFile: '/etc/sallyport/v.pem', keyFile: '/k/v.key' }],
  );
});

test('tls: end-to-end without files gets its certificate from a CA, proven through the tunnel', () => {
  const text =
    'relay_url: https://example.com\ntoken: x\ntunnels: [{ name: v, host: v.example.com, origin: 1, tls: end-to-end }]';
  const { acme, tunnels } = parse(text);
  assert.deepEqual([tunnels[0]?.tls, tunnels[0]?.certificate, tunnels[0]?.hsts], ['end-to-end', undefined, true]);
  assert.equal(acme.authorities[0].directoryUrl, 'https://acme-v02.api.letsencrypt.org/directory');
  assert.deepEqual(acme.challenges, ['tls-alpn-01']);
  assert.equal(parse(`${text}\nacme: { directory_url: staging }`).tunnels[0]?.hsts, false, 'nobody trusts staging');
  const dns = 'acme: { dns: { command: /bin/hook } }';
  assert.deepEqual(parse(`${text}\n${dns}`).acme.challenges, ['dns-01', 'tls-alpn-01']);
  assert.equal(parse(`${text.replace('v.example.com', '"*.example.com"')}\n${dns}`).tunnels[0]?.host, '*.example.com');
});

test('--tls says where TLS of a tunnel of the command line ends', () => {
  const up = (overrides: TunnelOverrides) => parse(FILE, { target: '3000', host: 'a.example.com', ...overrides });
  const [ended] = up({ tls: 'end-to-end' }).tunnels;
  assert.deepEqual(
    [ended?.tls, ended?.origin.scheme, ended?.certificate, ended?.hsts],
    ['end-to-end', 'http', undefined, true],
  );
  const [passed] = up({ tls: 'passthrough' }).tunnels;
  assert.deepEqual([passed?.tls, passed?.origin.scheme, passed?.origin.port], ['passthrough', 'tcp', 3_000]);
  assert.equal(up({}).tunnels[0]?.tls, 'relay');
  for (const wrong of [
    { tls: 'here' },
    { tls: 'passthrough', target: 'http://127.0.0.1:1' },
    { tls: 'end-to-end', target: 'tcp://127.0.0.1:1' },
    { tls: 'end-to-end', host: '*.example.com' },
    { tls: 'end-to-end', host: undefined, tcpPort: '2222' },
    { tls: 'end-to-end', host: undefined, target: undefined },
  ]) {
    assert.throws(() => up(wrong), { code: 'USAGE_INVALID' }, JSON.stringify(wrong));
  }
});

test('certificates are kept in state_dir, in the folder that systemd names, or beside the config file', () => {
  const [text, home] = ['relay_url: https://example.com\ntoken: x', '/etc/sallyport/tunnel.yaml'];
  const stateDir = (path: string, env: Record<string, string>, more = '') =>
    parseTunnelConfig(`${text}\n${more}`, path, {}, env).stateDir;
  assert.equal(stateDir(home, {}), '/etc/sallyport');
  assert.equal(stateDir(home, { STATE_DIRECTORY: '/var/lib/a:/var/lib/b' }), '/var/lib/a');
  assert.equal(stateDir(home, { STATE_DIRECTORY: '/var/lib/a' }, 'state_dir: kept'), '/etc/sallyport/kept');
  const user = { XDG_CONFIG_HOME: '/home/me/.config', XDG_STATE_HOME: '/home/me/.local/state' };
  assert.equal(stateDir('/home/me/.config/sallyport/tunnel.yaml', user), '/home/me/.local/state/sallyport');
  const alone = tunnelConfigFrom(
    { relay: 'https://example.com', target: '1', host: 'a.example.com' },
    { ...user, SALLYPORT_TOKEN: 'x' },
  );
  assert.equal(alone.stateDir, '/home/me/.local/state/sallyport');
});

for (const origin of ['https://127.0.0.1:8443', 'tcp://127.0.0.1:8443', '127.0.0.1:8443', '8443', 'unix:/run/tls']) {
  test(`tls: passthrough dials ${origin} as plain bytes`, () => {
    const text = `relay_url: https://example.com\ntoken: x\ntunnels: [{ name: a, host: a.example.com, tls: passthrough, origin: "${origin}" }]`;
    const [tunnel] = parse(text).tunnels;
    assert.deepEqual([tunnel?.tls, tunnel?.origin.scheme, tunnel?.certificate], ['passthrough', 'tcp', undefined]);
  });
}

for (const url of [
  'http://localhost:1',
  'http://relay.localhost',
  'http://127.9.9.9:1',
  'http://[::1]:1',
  'https://[2001:db8::1]',
]) {
  test(`${url} may be a relay`, () => {
    assert.equal(parse(`relay_url: ${url}\ntoken: x`).relayUrl.origin, url);
  });
}

for (const url of [
  'http://192.0.2.1',
  'http://localhost.example.com',
  'https://',
  'https://a b',
  'https:example.com',
  'wss://example.com',
  'https://example.com?x',
  'https://example.com#x',
  'https:\\\\example.com',
]) {
  test(`${url} may be no relay`, () => {
    assert.match(
      refusalOf(() => parse(`relay_url: '${url}'\ntoken: x`)),
      /^tunnel\.yaml:1: relay_url must be /,
    );
  });
}

test('a file without tunnels is one, as tunnel join writes it', () => {
  assert.deepEqual(parse('relay_url: https://example.com\ntoken: x').tunnels, []);
});

test('a target on the command line is opened instead of the tunnels of the file', () => {
  const config = parse(FILE, { target: '3000', host: 'App.example.com' });
  assert.equal(config.relayUrl.host, 'example.com:8443');
  assert.deepEqual(
    config.tunnels.map(({ name, host, origin }) => [name, host, origin.text]),
    [['app', 'app.example.com', 'http://127.0.0.1:3000']],
  );
});

test('a tunnel of the command line is named after its address unless it has a name', () => {
  const nameOf = (overrides: TunnelOverrides) => parse(FILE, overrides).tunnels.map(({ name }) => name);
  assert.deepEqual(nameOf({ target: '1', host: '*.home.example.com' }), ['home']);
  assert.deepEqual(nameOf({ target: '1', tcpPort: '2222' }), ['tcp-2222']);
  assert.deepEqual(nameOf({ target: '1', host: 'app.example.com', name: 'mine' }), ['mine']);
});

test('a target without a scheme is raw TCP for --tcp-port', () => {
  assert.equal(parse(FILE, { target: '22', tcpPort: '2222' }).tunnels[0]?.origin.text, 'tcp://127.0.0.1:22');
});

test('a name alone selects one tunnel of the file', () => {
  assert.deepEqual(
    parse(FILE, { name: 'ssh' }).tunnels.map(({ name }) => name),
    ['ssh'],
  );
  assert.equal(
    refusalOf(() => parse(FILE, { name: 'nas' }), 'USAGE_INVALID'),
    'Cannot open tunnel nas: the config file has none of that name. Known: home, ssh',
  );
});

const WRONG_FLAGS: [overrides: TunnelOverrides, message: RegExp][] = [
  [{ host: 'app.example.com' }, /no target is given/],
  [{ tcpPort: '22' }, /no target is given/],
  [{ target: '3000' }, /no public address is given/],
  [{ target: '3000', host: 'a.example', tcpPort: '22' }, /--host and --tcp-port are both given/],
  [{ target: '3000x', host: 'a.example' }, /^target must be host:port, got "3000x"$/],
  [{ target: '3000', host: 'a b' }, /^--host must be a hostname/],
  [{ target: '3000', tcpPort: '0' }, /^--tcp-port must be from 1 to 65535, got "0"$/],
  [{ target: 'tcp://a:22', host: 'a.example' }, /a tcp:\/\/ target has no hostname/],
  [{ target: '3000', host: 'a.example', name: 'A B' }, /^--name must be a name of a-z/],
  [{ name: 'A B' }, /^--name must be a name of a-z/],
  [{ relay: 'example.com' }, /^--relay must be a URL/],
  [{ relayAddress: '192.0.2.1' }, /^--relay-address must be an address with a port/],
];

for (const [overrides, message] of WRONG_FLAGS) {
  test(`flags ${JSON.stringify(overrides)} are a wrong usage`, () => {
    assert.match(
      refusalOf(() => parse(FILE, overrides), 'USAGE_INVALID'),
      message,
    );
  });
}

test('flags come before the file', (t) => {
  const ca = join(temporaryFolder(t), 'ca.pem');
  writeFileSync(ca, '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n');
  const config = parse(FILE, { relay: 'https://other.example', relayAddress: '192.0.2.1:1', relayCaFile: ca });
  assert.equal(config.relayUrl.host, 'other.example');
  assert.deepEqual(config.relayAddress, { host: '192.0.2.1', port: 1 });
  assert.match(config.relayCa ?? '', /^-----BEGIN CERTIFICATE-----\nMII/);
});

test('a token comes from --token-file, else SALLYPORT_TOKEN, else the file', (t) => {
  const tokenFile = join(temporaryFolder(t), 'token');
  writeFileSync(tokenFile, '  sp1.of-flag\n', { mode: 0o600 });
  const env = { ...ENV, SALLYPORT_TOKEN: ' sp1.of-env\n' };
  assert.equal(parse(FILE, { tokenFile }, env).token.reveal(), 'sp1.of-flag');
  assert.equal(parse(FILE, {}, env).token.reveal(), 'sp1.of-env');
  assert.equal(parse(FILE, {}, { ...ENV, SALLYPORT_TOKEN: ' ' }).token.reveal(), 'sp1.of-file');
});

test('a token from elsewhere makes that of the file not even looked at', () => {
  const text = 'relay_url: https://example.com\ntoken_file: /no/such/file\n';
  assert.equal(parse(text, {}, { SALLYPORT_TOKEN: 'sp1.of-env' }).token.reveal(), 'sp1.of-env');
});

test('without a file, relay, token and target come from the command line', () => {
  const config = tunnelConfigFrom(
    { relay: 'https://example.com', target: '3000', host: 'a.example' },
    { SALLYPORT_TOKEN: 'x' },
  );
  assert.deepEqual(
    [config.relayUrl.host, config.token.reveal(), config.links, config.path],
    ['example.com', 'x', 2, undefined],
  );
  assert.deepEqual(
    config.tunnels.map(({ host }) => host),
    ['a.example'],
  );
});

test('without a file, a missing relay or token says how to give one', () => {
  assert.match(
    refusalOf(() => tunnelConfigFrom({}, { SALLYPORT_TOKEN: 'x' })),
    /no relay is known\. Do "tunnel join", or add --relay/,
  );
  assert.match(
    refusalOf(() => tunnelConfigFrom({ relay: 'https://a.example' }, {})),
    /no token is known\. Do "tunnel join", or add --token-file/,
  );
});

test('the CA of the relay is read from its file, counted from the config file', (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'tunnel.yaml');
  writeFileSync(path, 'relay_url: https://example.com\ntoken: ${TOKEN}\nrelay_ca_file: ca.pem\n');
  assert.equal(
    refusalOf(() => readTunnelConfig(path, {}, ENV)),
    `tunnel.yaml:3: Cannot read relay_ca_file ${join(folder, 'ca.pem')}: no such file`,
  );
  writeFileSync(join(folder, 'ca.pem'), 'no certificate');
  assert.equal(
    refusalOf(() => readTunnelConfig(path, {}, ENV)),
    `tunnel.yaml:3: relay_ca_file must be a PEM file with a certificate, but ${join(folder, 'ca.pem')} has none`,
  );
  writeFileSync(join(folder, 'ca.pem'), '-----BEGIN CERTIFICATE-----\n');
  assert.equal(readTunnelConfig(path, {}, ENV).relayCa, '-----BEGIN CERTIFICATE-----\n');
});

test('a credential of systemd comes before the token of the file, and after the environment', (t) => {
  const CREDENTIALS_DIRECTORY = temporaryFolder(t);
  assert.equal(parse(FILE, {}, { ...ENV, CREDENTIALS_DIRECTORY }).token.reveal(), 'sp1.of-file');
  writeFileSync(join(CREDENTIALS_DIRECTORY, 'sallyport.token'), 'sp1.of-credential\n', { mode: 0o440 });
  assert.equal(parse(FILE, {}, { ...ENV, CREDENTIALS_DIRECTORY }).token.reveal(), 'sp1.of-credential');
  const env = { ...ENV, CREDENTIALS_DIRECTORY, SALLYPORT_TOKEN: 'sp1.of-env' };
  assert.equal(parse(FILE, {}, env).token.reveal(), 'sp1.of-env');
});
