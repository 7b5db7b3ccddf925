/** What relay.yaml means. That it is refused when wrong: config-invalid.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRelayConfig } from '../relay-server/relay-config.js';

const parse = (text: string) => parseRelayConfig(text, '/etc/sallyport/relay.yaml');

test('a relay needs its domain alone', () => {
  assert.deepEqual(parse('domain: Example.COM.'), {
    domain: 'example.com',
    publicPort: 443,
    listen: {
      https: { host: '0.0.0.0', port: 443 },
      http: { host: '0.0.0.0', port: 80 },
      admin: { host: '127.0.0.1', port: 9180 },
      tcpHost: '0.0.0.0',
    },
    stateDir: '/var/lib/sallyport',
    proxyProtocol: false,
    trustedProxies: [],
    tls: { mode: 'local-ca', certificates: [] },
    acme: {
      authorities: [
        {
          directoryUrl: 'https://acme-v02.api.letsencrypt.org/directory',
          email: undefined,
          caFile: undefined,
          profile: undefined,
          externalAccount: undefined,
        },
      ],
      keyType: 'p256',
      challenges: ['tls-alpn-01', 'http-01'],
      dns: undefined,
      wildcards: [],
      maxHostnames: 1_000,
    },
    hsts: false,
    http2: 'auto',
    workers: 1,
    writtenHsts: undefined,
    accessLog: {
      to: 'off',
      file: '/var/lib/sallyport/access.log',
      format: 'json',
      query: 'names',
      skipPaths: [],
      maxFileBytes: 50 * 1_048_576,
      maxFiles: 5,
    },
    auditLog: {
      enabled: true,
      folder: '/var/lib/sallyport/audit',
      maxFileBytes: 10 * 1_048_576,
      maxFiles: 10,
      toLog: false,
    },
    limits: {
      headBytes: 16_384,
      headFields: 100,
      connections: 10_000,
      connectionsPerIp: 256,
      clientHelloMs: 10_000,
      tlsHandshakeMs: 10_000,
      headMs: 10_000,
      keepAliveMs: 60_000,
      bodyIdleMs: 60_000,
      http2Streams: 100,
      upgradedIdleMs: 3_600_000,
      tcpIdleMs: 3_600_000,
      streamsPerSession: 1_024,
      linksPerIp: 64,
      linksPerSession: 8,
      linkHandshakeMs: 5_000,
      failedProofsPerMinute: 5,
      heldMs: 15_000,
      heldVisitors: 256,
      streamWindowBytes: 16 * 1_048_576,
      sessionWindowBytes: 32 * 1_048_576,
      tunnelsPerSession: 64,
      hostnamesPerToken: 100,
    },
    alerts: {
      webhookUrl: undefined,
      ntfyUrl: undefined,
      ntfyToken: undefined,
      mailTo: undefined,
      mailFrom: undefined,
      sendmail: '/usr/sbin/sendmail',
      rules: {
        downAfterMs: 60_000,
        flappingAfter: 4,
        flappingWindowMs: 600_000,
        certificateWithinMs: 864_000_000,
        clientAddresses: true,
      },
    },
    log: { level: 'info', format: 'auto' },
    drainMs: 30_000,
  });
});

test('every limit can be changed', () => {
  const names = Object.keys(parse('domain: a.example').limits);
  const { limits } = parse(`
domain: a.example
limits:
  head_size: 2KiB
  head_fields: 11
  connections: 12
  connections_per_ip: 13
  client_hello_timeout: 14s
  tls_handshake_timeout: 15s
  head_timeout: 16s
  keep_alive_timeout: 17s
  body_idle_timeout: 18s
  http2_streams: 50
  upgraded_idle_timeout: 19s
  tcp_idle_timeout: 20s
  streams_per_session: 21
  links_per_ip: 22
  links_per_session: 23
  link_handshake_timeout: 24s
  failed_proofs_per_minute: 25
  hold_timeout: 26s
  held_visitors: 27
  stream_window: 28MiB
  session_window: 29MiB
  tunnels_per_session: 30
  hostnames_per_token: 31
`);
  const seconds = (n: number) => n * 1_000;
  assert.deepEqual(
    names.map((name) => Object.entries(limits).find(([key]) => key === name)?.[1]),
    [
      ...[
        2_048,
        11,
        12,
        13,
        ...[14, 15, 16, 17, 18].map(seconds),
        50,
        ...[19, 20].map(seconds),
        21,
        22,
        23,
        seconds(24),
        25,
        seconds(26),
        27,
      ],
      ...[28 << 20, 29 << 20, 30, 31],
    ],
  );
});

test('the public port and the host of raw TCP follow listen.https', () => {
  const config = parse('domain: a.example\nlisten: { https: "[::1]:8443" }');
  assert.deepEqual([config.publicPort, config.listen.tcpHost], [8_443, '::1']);
});

test('the public port and the host of raw TCP can differ from listen.https', () => {
  const config = parse('domain: a.example\npublic_port: 443\nlisten: { https: ":0", tcp_host: 192.0.2.1 }');
  assert.deepEqual(
    [config.publicPort, config.listen.https, config.listen.tcpHost],
    [443, { host: '::', port: 0 }, '192.0.2.1'],
  );
});

test('the plain and the admin listener can be off', () => {
  const { listen } = parse('domain: a.example\nlisten: { http: off, admin: "off" }');
  assert.deepEqual([listen.http, listen.admin], [undefined, undefined]);
});

test('certificate files are absolute, counted from the folder of the config file', () => {
  const text =
    'domain: a.example\nstate_dir: state\ntls:\n  mode: files\n  certificates: [{ cert_file: a.pem, key_file: /keys/a.key }]';
  const { tls, stateDir, hsts } = parse(text);
  assert.deepEqual(tls.certificates, [{ certFile: '/etc/sallyport/a.pem', keyFile: '/keys/a.key' }]);
  assert.deepEqual([stateDir, hsts], ['/etc/sallyport/state', true]);
});

test('strict transport security can be set against the mode', () => {
  assert.equal(parse('domain: a.example\ntls: { hsts: true }').hsts, true);
});

test('a relay behind another proxy knows its addresses', () => {
  const config = parse(
    'domain: a.example\nproxy_protocol: true\ntrusted_proxies: [10.0.0.0/8, "2001:DB8::/32", 192.0.2.1]',
  );
  assert.equal(config.proxyProtocol, true);
  assert.deepEqual(config.trustedProxies, ['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']);
});

test('the section acme says which CAs are asked, for whom, and how hostnames are proven', () => {
  const { tls, acme, hsts } = parse(`
domain: a.example
tls: { mode: acme }
acme:
  directory_url: https://ca.example/dir
  email: me@a.example
  ca_file: ca.pem
  external_account: { kid: kid-1, hmac: bWFjLWtleQ }
  fallbacks: [{ directory_url: staging, profile: shortlived }]
  key_type: rsa2048
  dns: { server: "192.0.2.53:53", key_name: k, key: c2VjcmV0, resolvers: ["192.0.2.54:53"] }
  wildcards: ["*.A.example"]
  max_hostnames: 7
`);
  assert.equal(tls.mode, 'acme');
  const [first, second] = acme.authorities;
  assert.deepEqual(
    [first.directoryUrl, first.email, first.caFile],
    ['https://ca.example/dir', 'me@a.example', '/etc/sallyport/ca.pem'],
  );
  assert.deepEqual([first.externalAccount?.kid, first.externalAccount?.hmac.reveal()], ['kid-1', 'bWFjLWtleQ']);
  assert.equal(second?.directoryUrl, 'https://acme-staging-v02.api.letsencrypt.org/directory');
  assert.equal(second?.profile, 'shortlived');
  assert.deepEqual(acme.challenges, ['dns-01', 'tls-alpn-01', 'http-01'], 'dns-01 first where it is set up');
  assert.deepEqual([acme.wildcards, acme.maxHostnames, acme.keyType], [['*.a.example'], 7, 'rsa2048']);
  const { dns } = acme;
  assert.ok(dns?.kind === 'update');
  assert.deepEqual(
    [dns.server, dns.key.name, dns.resolvers],
    [{ host: '192.0.2.53', port: 53 }, 'k', ['192.0.2.54:53']],
  );
  assert.equal(hsts, false, 'nobody trusts staging');
});

test('certificates of ACME are real ones, so that HSTS is on, and without port 80 nothing is proven there', () => {
  const config = parse('domain: a.example\ntls: { mode: acme }\nlisten: { http: off }');
  assert.equal(config.hsts, true);
  assert.deepEqual(config.acme.challenges, ['tls-alpn-01']);
});
