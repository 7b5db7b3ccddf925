/**
 * Relay config: decides every option of `relay.yaml`: its name, meaning, default and limits. `config/relay.example.yaml`
 * shows them all, and a test keeps the two equal. Owns nothing. Used by: the verbs of `relay`.
 */
import { type AccessConfig, readAccessLog } from '../shared/access-log/access-config.js';
import type { Address } from '../shared/address.js';
import { type AcmeConfig, readAcme } from '../shared/certs/acme-config.js';
import { directoryUrlOf } from '../shared/certs/acme-issuer.js';
import type { Fields } from '../shared/config/config-fields.js';
import { choice, host, integer, listenAddress, network, orAuto, orOff } from '../shared/config/config-kinds.js';
import type { Environment } from '../shared/config/config-secret.js';
import { type LogConfig, readLogConfig } from '../shared/config/log-config.js';
import { parseConfig, readConfig } from '../shared/config-file.js';
import { HTTP2_MODES, type Http2Mode } from '../shared/http2/http2-mode.js';
import { type AlertConfig, readAlerts } from './ops/alerts/alert-config.js';
import { type AuditConfig, readAuditLog } from './ops/audit/audit-config.js';

export interface RelayConfig {
  /** The relay's own hostname, for links and its API. */
  readonly domain: string;
  /** The port that visitors see, for printed URLs; differs from the listener's behind a port forwarding. */
  readonly publicPort: number;
  readonly listen: RelayListeners;
  /** Absolute folder of tokens and certificates. */
  readonly stateDir: string;
  /** Whether connections from `trustedProxies` start with a PROXY header. */
  readonly proxyProtocol: boolean;
  /** Addresses and networks whose word about a visitor's address counts; see `networkMatcher`. */
  readonly trustedProxies: string[];
  readonly tls: RelayTls;
  /** What mode `acme` asks for; its defaults in the other modes. */
  readonly acme: AcmeConfig;
  /** Whether answers carry Strict-Transport-Security (RFC 6797). */
  readonly hsts: boolean;
  readonly http2: Http2Mode;
  /** Processes that end TLS; 1: the relay's only one. */
  readonly workers: number | 'auto';
  /** What `tls.hsts` says; undefined when `hsts` follows from the mode. */
  readonly writtenHsts: boolean | undefined;
  readonly limits: RelayLimits;
  readonly alerts: AlertConfig;
  readonly log: LogConfig;
  readonly accessLog: AccessConfig;
  readonly auditLog: AuditConfig;
  /** How long streams may finish after SIGTERM, in milliseconds. */
  readonly drainMs: number;
}

export interface RelayListeners {
  readonly https: Address;
  /** Plain HTTP, which redirects to https. */
  readonly http: Address | undefined;
  /** Health, metrics and the API of `relay status`. */
  readonly admin: Address | undefined;
  /** The host on which the ports of raw TCP tunnels are opened. */
  readonly tcpHost: string;
}

export interface RelayTls {
  /**
   * `acme`: certificates of a public or private CA, got and renewed by the relay. `local-ca`: certificates of a CA made on
   * first start. `files`: certificates of the operator.
   */
  readonly mode: 'acme' | 'local-ca' | 'files';
  /** Absolute paths; at least one pair in mode `files`, none in the other modes. */
  readonly certificates: CertificateFiles[];
}

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface RelayLimits {
  /** Size of a request head. */
  readonly headBytes: number;
  /** Fields of a request head. */
  readonly headFields: number;
  /** Visitor connections at a time. */
  readonly connections: number;
  readonly connectionsPerIp: number;
  /** From accepting a connection to its whole ClientHello. */
  readonly clientHelloMs: number;
  /** From the ClientHello to the end of the TLS handshake. */
  readonly tlsHandshakeMs: number;
  /** From the first byte of a request to the end of its head. */
  readonly headMs: number;
  /** Silence between two requests of a connection. */
  readonly keepAliveMs: number;
  /** No progress of a body, in either direction, while the peer is expected to move it. */
  readonly bodyIdleMs: number;
  /** Requests at a time on one HTTP/2 connection. */
  readonly http2Streams: number;
  /** Silence on a WebSocket or another upgraded connection. */
  readonly upgradedIdleMs: number;
  /** Silence on a raw TCP connection. */
  readonly tcpIdleMs: number;
  readonly streamsPerSession: number;
  readonly linksPerIp: number;
  readonly linksPerSession: number;
  /** From accepting a link to its proof. */
  readonly linkHandshakeMs: number;
  /** Wrong proofs per address; more are refused unread. */
  readonly failedProofsPerMinute: number;
  /** How long the addresses of a lost session wait for their owner. */
  readonly heldMs: number;
  /** Visitors per tunnel who wait meanwhile. */
  readonly heldVisitors: number;
  /** What the window of one stream may grow to. */
  readonly streamWindowBytes: number;
  /** What all windows of a session together may grow by. */
  readonly sessionWindowBytes: number;
  readonly tunnelsPerSession: number;
  /** Hostnames that one token may have had certificates made for, by its wildcard grants. */
  readonly hostnamesPerToken: number;
}

const KIB = 1 << 10;
const MIB = 1 << 20;
const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const MAX_COUNT = 1_000_000;
/** More processes than cores only wait for each other. */
const MAX_WORKERS = 64;

/**
 * Reads a relay's config file.
 * @throws {TunnelError} CONFIG_INVALID with one line for each thing that is wrong.
 */
export function readRelayConfig(path: string, env?: Environment): RelayConfig {
  return readConfig(path, readRelay, env);
}

/**
 * Reads the text of a relay's config file; relative paths in it count from the folder of `path`.
 * @throws {TunnelError} CONFIG_INVALID with one line for each thing that is wrong.
 */
export function parseRelayConfig(text: string, path: string, env?: Environment): RelayConfig {
  return parseConfig(text, path, readRelay, { env });
}

/**
 * Asks for every option of a relay.
 * @param onAcme looks at the section `acme` when certificates come from there.
 */
export function readRelay(root: Fields, onAcme?: (fields: Fields, acme: AcmeConfig) => void): RelayConfig {
  const domain = root.hostname('domain');
  const listen = root.section('listen', readListeners);
  const { hsts, ...tls } = root.section('tls', readTls);
  // Without a listener for plain HTTP nobody could answer http-01.
  const challenges = listen.http === undefined ? (['tls-alpn-01'] as const) : (['tls-alpn-01', 'http-01'] as const);
  const acme = root.section('acme', (fields) => {
    const read = readAcme(fields, { challenges });
    if (tls.mode === 'acme') onAcme?.(fields, read);
    return read;
  });
  const stateDir = root.path('state_dir', { default: '/var/lib/sallyport' });
  const config = {
    domain,
    publicPort: root.integer('public_port', { min: 1, max: 65_535, default: undefined }) ?? listen.https.port,
    listen,
    stateDir,
    proxyProtocol: root.boolean('proxy_protocol', { default: false }),
    trustedProxies: root.values('trusted_proxies', network),
    tls,
    acme,
    hsts: hsts ?? isTrustedByBrowsers({ tls, acme }),
    writtenHsts: hsts,
    http2: root.choice('http2', HTTP2_MODES, { default: 'auto' }),
    workers: root.value('workers', orAuto(integer({ min: 1, max: MAX_WORKERS })), { default: 1 }),
    limits: root.section('limits', readLimits),
    alerts: root.section('alerts', readAlerts),
    log: root.section('log', readLogConfig),
    accessLog: root.section('access_log', (fields) => readAccessLog(fields, stateDir, 'stdout')),
    auditLog: root.section('audit_log', (fields) => readAuditLog(fields, stateDir)),
    drainMs: root.duration('drain_timeout', { default: 30 * SECOND }),
  };
  if (config.proxyProtocol && !root.has('trusted_proxies')) {
    root.refuse('proxy_protocol', 'needs trusted_proxies: the addresses that send the PROXY header');
  }
  return config;
}

function readListeners(fields: Fields): RelayListeners {
  const https = fields.value('https', listenAddress, { default: { host: '0.0.0.0', port: 443 } });
  const http = fields.value('http', orOff(listenAddress), { default: { host: '0.0.0.0', port: 80 } });
  const admin = fields.value('admin', orOff(listenAddress), { default: { host: '127.0.0.1', port: 9180 } });
  const tcpHost = fields.value('tcp_host', host, { default: undefined }) ?? https.host;
  if (isSamePlace(https, http)) fields.refuse('http', ofAnother('https'));
  if (isSamePlace(https, admin)) fields.refuse('admin', ofAnother('https'));
  else if (isSamePlace(http, admin)) fields.refuse('admin', ofAnother('http'));
  return { https, http, admin, tcpHost };
}

function ofAnother(key: string): string {
  return `has the port of listen.${key}. Give it another one`;
}

/** Whether the two cannot both be listened on; the system gives port 0 another number each time. */
function isSamePlace(one: Address | undefined, other: Address | undefined): boolean {
  if (one === undefined || other === undefined || one.port !== other.port || one.port === 0) return false;
  const hosts = [one.host, other.host];
  const isIpv4 = hosts.every((host) => !host.includes(':'));
  return one.host === other.host || hosts.includes('::') || (isIpv4 && hosts.includes('0.0.0.0'));
}

function readTls(fields: Fields): RelayTls & { readonly hsts: boolean | undefined } {
  const mode = fields.value('mode', choice(['acme', 'local-ca', 'files']), { default: 'local-ca' });
  const certificates = fields.list('certificates', (pair) => ({
    certFile: pair.path('cert_file'),
    keyFile: pair.path('key_file'),
  }));
  if (mode === 'files' && certificates.length === 0) {
    fields.refuse('certificates', 'must have at least one pair of cert_file and key_file in mode files');
  }
  if (mode !== 'files' && fields.has('certificates')) {
    fields.refuse('certificates', `has no effect in mode ${mode}. Remove it, or write mode: files`);
  }
  return { mode, certificates, hsts: fields.boolean('hsts', { default: undefined }) };
}

/** A browser that once saw HSTS accepts no untrusted certificate for the name: right only where all of them are real. */
export function isTrustedByBrowsers({
  tls: { mode },
  acme: { authorities },
}: Pick<RelayConfig, 'tls' | 'acme'>): boolean {
  const staging = directoryUrlOf('staging');
  return mode === 'files' || (mode === 'acme' && authorities.every(({ directoryUrl }) => directoryUrl !== staging));
}

function readLimits(fields: Fields): RelayLimits {
  const count = (key: string, preset: number, min = 1) => fields.integer(key, { min, max: MAX_COUNT, default: preset });
  const time = (key: string, preset: number) => fields.duration(key, { min: 100, default: preset });
  return {
    headBytes: fields.bytes('head_size', { min: KIB, max: MIB, default: 16 * KIB }),
    headFields: fields.integer('head_fields', { min: 10, max: 1_000, default: 100 }),
    connections: count('connections', 10_000),
    connectionsPerIp: count('connections_per_ip', 256),
    clientHelloMs: time('client_hello_timeout', 10 * SECOND),
    tlsHandshakeMs: time('tls_handshake_timeout', 10 * SECOND),
    headMs: time('head_timeout', 10 * SECOND),
    keepAliveMs: time('keep_alive_timeout', 60 * SECOND),
    bodyIdleMs: time('body_idle_timeout', 60 * SECOND),
    http2Streams: fields.integer('http2_streams', { min: 1, max: 1_000, default: 100 }),
    upgradedIdleMs: time('upgraded_idle_timeout', HOUR),
    tcpIdleMs: time('tcp_idle_timeout', HOUR),
    streamsPerSession: count('streams_per_session', 1_024),
    linksPerIp: count('links_per_ip', 64),
    linksPerSession: fields.integer('links_per_session', { min: 1, max: 64, default: 8 }),
    linkHandshakeMs: time('link_handshake_timeout', 5 * SECOND),
    failedProofsPerMinute: count('failed_proofs_per_minute', 5),
    heldMs: time('hold_timeout', 15 * SECOND),
    heldVisitors: count('held_visitors', 256, 0),
    streamWindowBytes: fields.bytes('stream_window', { min: 256 * KIB, max: 256 * MIB, default: 16 * MIB }),
    sessionWindowBytes: fields.bytes('session_window', { min: 0, max: 4_096 * MIB, default: 32 * MIB }),
    tunnelsPerSession: count('tunnels_per_session', 64),
    hostnamesPerToken: count('hostnames_per_token', 100),
  };
}
