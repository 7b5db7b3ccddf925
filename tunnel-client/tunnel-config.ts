/**
 * Tunnel config: decides every option of `tunnel.yaml`: its name, meaning, default and limits.
 * `config/tunnel.example.yaml` shows them all, and a test keeps the two equal.
 *
 * What the command line says (tunnel-overrides.ts) comes before what the file says. Owns nothing. Used by: the verbs of
 * `tunnel`.
 */
import { type AccessConfig, readAccessLog } from '../shared/access-log/access-config.js';
import type { Address } from '../shared/address.js';
import { type AcmeConfig, type AcmePlace, readAcme } from '../shared/certs/acme-config.js';
import { directoryUrlOf } from '../shared/certs/acme-issuer.js';
import type { PairFiles } from '../shared/certs/certificate-pair.js';
import type { Fields } from '../shared/config/config-fields.js';
import {
  certificateFile,
  choice,
  dialAddress,
  duration,
  hostnamePattern,
  listenAddress,
  orOff,
  textKind,
} from '../shared/config/config-kinds.js';
import type { Environment } from '../shared/config/config-secret.js';
import { type LogConfig, readLogConfig } from '../shared/config/log-config.js';
import { parseConfig, readConfig } from '../shared/config-file.js';
import { TunnelError } from '../shared/errors.js';
import { HTTP2_MODES, type Http2Mode } from '../shared/http2/http2-mode.js';
import type { TlsMode } from '../shared/messages.js';
import type { Secret } from '../shared/secret.js';
import { type OriginTarget, parseOriginTarget } from './origin/origin-target.js';
import { type ProxyChoice, proxyChoiceKind } from './proxy/link-proxy.js';
import { parseRelayUrl } from './session/relay-url.js';
import { defaultStateDir } from './state-folder.js';
import {
  type Overrides,
  readOverrides,
  TUNNEL_NAME,
  TUNNEL_NAME_RULE,
  type TunnelOfCommand,
  type TunnelOverrides,
} from './tunnel-overrides.js';

export interface TunnelConfig {
  /** https, or http when the relay is on this machine. */
  readonly relayUrl: URL;
  /** Where to connect to instead of the URL's host; the name for TLS stays. */
  readonly relayAddress: Address | undefined;
  /** PEM text of the CA that alone is trusted for the link. */
  readonly relayCa: string | undefined;
  /** The HTTP proxy of the link. */
  readonly proxy: ProxyChoice;
  readonly token: Secret;
  /** Links of the session, 1–8. */
  readonly links: number;
  /** The name under which this client replaces its own older session. */
  readonly clientId: string | undefined;
  /** Whether visitors of tunnels with tls: end-to-end are offered HTTP/2. */
  readonly http2: Http2Mode;
  /** How end-to-end tunnels without certificate files get theirs. */
  readonly acme: AcmeConfig;
  /** Absolute folder of those certificates and their keys. */
  readonly stateDir: string;
  /** In the order of the file; may be empty. */
  readonly tunnels: TunnelSpec[];
  readonly log: LogConfig;
  /** Health and metrics; undefined for none. */
  readonly admin: Address | undefined;
  /** Of tunnels whose TLS ends here; the relay knows nothing of their requests. */
  readonly accessLog: AccessConfig;
  /** How long one attempt to reach the relay may take, in milliseconds. */
  readonly dialMs: number;
  /** How long streams may finish after a signal, in milliseconds. */
  readonly drainMs: number;
  /** The config file; undefined when there is none. */
  readonly path: string | undefined;
}

export interface TunnelSpec {
  /** Unique in the file. */
  readonly name: string;
  /** Public hostname or `*.` wildcard in stored form; exactly one of `host` and `tcpPort` is there. */
  readonly host: string | undefined;
  /** Public port, 1–65535. */
  readonly tcpPort: number | undefined;
  /** With tls: passthrough always of scheme tcp: the visitor's TLS is the origin's. */
  readonly origin: OriginTarget;
  /** Sent to the origin instead of the public host. */
  readonly hostHeader: string | undefined;
  /** The PROXY header that the origin asks for. */
  readonly proxyProtocol: 'v1' | 'v2' | undefined;
  /** How long the origin may take to begin its response; undefined: as long as it likes. */
  readonly responseTimeoutMs: number | undefined;
  /** Where the visitor's TLS ends. */
  readonly tls: TlsMode;
  /** Absolute paths; with tls: end-to-end only. Without them the certificate comes from an ACME CA. */
  readonly certificate: PairFiles | undefined;
  /** Whether answers carry Strict-Transport-Security (RFC 6797); with tls: end-to-end only. */
  readonly hsts: boolean;
}

const NO_OVERRIDES: Overrides = {
  relayUrl: undefined,
  relayAddress: undefined,
  relayCa: undefined,
  token: undefined,
  tunnel: undefined,
  selected: undefined,
};
const NO_ORIGIN: OriginTarget = { text: '', scheme: 'http', verifyTls: true, host: '', port: 0, path: undefined };
const HOST_HEADER = /^(?:[\w.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
const SECOND = 1_000;
/** What the command line has no flags for. */
const REST_OF_COMMAND = {
  hostHeader: undefined,
  proxyProtocol: undefined,
  responseTimeoutMs: undefined,
  certificate: undefined,
} as const;
/** Port 80 is the relay's, which the client does not ask to prove anything for it. */
const AT_HOME: AcmePlace = { challenges: ['tls-alpn-01'] };
const STAGING = directoryUrlOf('staging');

/**
 * Reads a client's config file; what `overrides` say comes before what it says.
 * @throws {TunnelError} CONFIG_INVALID with one line for each thing that is wrong; USAGE_INVALID for a wrong override.
 */
export function readTunnelConfig(path: string, overrides: TunnelOverrides = {}, env = process.env): TunnelConfig {
  const before = readOverrides(overrides, env);
  const config = readConfig(path, (root) => readTunnel(root, before, defaultStateDir(path, env)), env);
  return { ...config, tunnels: selectTunnels(config, before), path };
}

/**
 * Reads the text of a client's config file; relative paths in it count from the folder of `path`.
 * @throws {TunnelError} CONFIG_INVALID with one line for each thing that is wrong; USAGE_INVALID for a wrong override.
 */
export function parseTunnelConfig(
  text: string,
  path: string,
  overrides: TunnelOverrides = {},
  env: Environment = process.env,
): TunnelConfig {
  const before = readOverrides(overrides, env);
  const config = parseConfig(text, path, (root) => readTunnel(root, before, defaultStateDir(path, env)), { env });
  return { ...config, tunnels: selectTunnels(config, before), path };
}

/**
 * The config of a client without a file: everything from the command line and SALLYPORT_TOKEN, the rest by default.
 * @throws {TunnelError} CONFIG_INVALID when relay or token is missing; USAGE_INVALID for a wrong override.
 */
export function tunnelConfigFrom(overrides: TunnelOverrides, env: Environment = process.env): TunnelConfig {
  const before = readOverrides(overrides, env);
  if (!before.relayUrl) throw cannotStart('no relay is known. Do "tunnel join", or add --relay https://example.com');
  if (!before.token)
    throw cannotStart('no token is known. Do "tunnel join", or add --token-file, or set SALLYPORT_TOKEN');
  const stateDir = defaultStateDir(undefined, env);
  const config = parseConfig('', 'command line', (root) => readTunnel(root, before, stateDir), { env });
  return { ...config, tunnels: selectTunnels(config, before) };
}

/** Asks for every option of a client. `tunnels` are the file's; `stateDir` holds when the file names none. */
export function readTunnel(root: Fields, before: Overrides = NO_OVERRIDES, stateDir = ''): TunnelConfig {
  const relayUrl = root.value('relay_url', relayUrlKind, before.relayUrl ? { default: before.relayUrl } : {});
  const relayAddress = root.value('relay_address', dialAddress, { default: undefined });
  const relayCa = root.value('relay_ca_file', certificateFile(root.folder), { default: undefined });
  const token = root.secret('token', { override: before.token });
  const acme = root.section('acme', (section) => readAcme(section, AT_HOME));
  const ownStateDir = root.path('state_dir', { default: undefined }) ?? stateDir;
  return {
    relayUrl: before.relayUrl ?? relayUrl,
    relayAddress: before.relayAddress ?? relayAddress,
    relayCa: before.relayCa ?? relayCa,
    proxy: readProxy(root),
    token,
    links: root.integer('links', { min: 1, max: 8, default: 2 }),
    clientId: root.string('client_id', {
      expected: 'up to 64 letters, digits, dots, hyphens and underscores',
      form: /^[\w.-]{1,64}$/,
      default: undefined,
    }),
    dialMs: root.duration('connect_timeout', { min: 100, default: 10 * SECOND }),
    drainMs: root.duration('drain_timeout', { default: 30 * SECOND }),
    http2: root.choice('http2', HTTP2_MODES, { default: 'auto' }),
    acme,
    stateDir: ownStateDir,
    tunnels: readTunnels(root, acme),
    log: root.section('log', readLogConfig),
    admin: root.value('admin', orOff(listenAddress), { default: undefined }),
    accessLog: root.section('access_log', (fields) => readAccessLog(fields, ownStateDir, 'stderr')),
    path: undefined,
  };
}

function readProxy(root: Fields): ProxyChoice {
  const choice = root.value('proxy_url', proxyChoiceKind, { default: undefined });
  const login = root.secret('proxy_login', { default: undefined });
  if (choice !== undefined && choice !== 'off') return { ...choice, login };
  for (const key of ['proxy_login', 'proxy_login_file']) {
    if (root.has(key)) root.refuse(key, 'has no effect without proxy_url. Name the proxy there');
  }
  return choice;
}

const relayUrlKind = textKind({
  expected: 'a URL such as https://example.com',
  placeholder: new URL('https://relay.invalid'),
  parse: parseRelayUrl,
  show: (url) => url.origin,
});

const originKind = (bareScheme: 'http' | 'tcp') =>
  textKind({
    expected: 'host:port',
    placeholder: NO_ORIGIN,
    parse: (text, name) => parseOriginTarget(text, name, bareScheme),
    show: (origin) => origin.text,
  });

function readTunnels(root: Fields, acme: AcmeConfig): TunnelSpec[] {
  const seen = new Set<string>();
  return root.list('tunnels', (fields) => {
    const spec = readTunnelSpec(fields, acme);
    refuseTwice(fields, 'name', spec.name, seen);
    refuseTwice(fields, 'host', spec.host, seen);
    refuseTwice(fields, 'tcp_port', spec.tcpPort, seen);
    return spec;
  });
}

function readTunnelSpec(fields: Fields, acme: AcmeConfig): TunnelSpec {
  const tls = fields.value('tls', choice(['relay', 'end-to-end', 'passthrough']), { default: 'relay' });
  const isTcp = fields.has('tcp_port') && !fields.has('host');
  const endsHere = tls === 'end-to-end' && !isTcp;
  const bareScheme = isTcp || tls === 'passthrough' ? 'tcp' : 'http';
  const origin = fields.value('origin', originKind(bareScheme));
  const proxyProtocol = fields.choice('proxy_protocol', ['off', 'v1', 'v2'], { default: 'off' });
  const certificate = fields.section('certificate', (section) => readCertificate(section, endsHere));
  const hsts = fields.boolean('hsts', { default: undefined });
  const spec: TunnelSpec = {
    name: fields.string('name', { expected: TUNNEL_NAME_RULE, form: TUNNEL_NAME }),
    host: fields.value('host', hostnamePattern, { default: undefined }),
    tcpPort: fields.integer('tcp_port', { min: 1, max: 65_535, default: undefined }),
    origin: tls === 'passthrough' ? { ...origin, scheme: 'tcp' } : origin,
    hostHeader: fields.string('host_header', {
      expected: 'a host, or host:port',
      form: HOST_HEADER,
      default: undefined,
    }),
    proxyProtocol: proxyProtocol === 'off' ? undefined : proxyProtocol,
    responseTimeoutMs: fields.value('response_timeout', orOff(duration({ min: 100 })), { default: undefined }),
    tls,
    certificate,
    hsts: endsHere && (hsts ?? isTrusted(certificate, acme)),
  };
  refuseContradictions(fields, { tls, origin });
  if (hsts !== undefined && !endsHere) fields.refuse('hsts', 'has no effect without tls: end-to-end. Remove it');
  const unproven = unprovenWildcard(spec, acme);
  if (unproven !== undefined) fields.refuse('host', unproven);
  return spec;
}

function readCertificate(fields: Fields, endsHere: boolean): PairFiles | undefined {
  const certFile = fields.path('cert_file', { default: undefined });
  const keyFile = fields.path('key_file', { default: undefined });
  if (!endsHere) {
    for (const key of ['cert_file', 'key_file']) {
      if (fields.has(key)) fields.refuse(key, 'has no effect without tls: end-to-end. Remove it');
    }
    return undefined;
  }
  if (certFile === undefined && keyFile !== undefined) fields.refuse('cert_file', 'is missing beside key_file');
  if (certFile !== undefined && keyFile === undefined)
    fields.refuse('key_file', 'is missing; it must be the private key of cert_file');
  return certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile };
}

/** A browser that once saw the field accepts no untrusted certificate for the name: right only where all is real. */
function isTrusted(certificate: PairFiles | undefined, acme: AcmeConfig): boolean {
  return certificate !== undefined || acme.authorities[0].directoryUrl !== STAGING;
}

/** Why nobody would give a certificate for this tunnel's name; undefined when somebody may. */
function unprovenWildcard({ host, tls, certificate }: TunnelSpec, acme: AcmeConfig): string | undefined {
  const isWildcard = tls === 'end-to-end' && host?.startsWith('*.') === true;
  if (!isWildcard || certificate !== undefined || acme.challenges.includes('dns-01')) return undefined;
  return 'is a wildcard: a CA proves those by dns-01 only. Set up acme.dns, or name cert_file and key_file';
}

function refuseContradictions(fields: Fields, { tls, origin }: Pick<TunnelSpec, 'tls' | 'origin'>): void {
  const hasHost = fields.has('host');
  const hasPort = fields.has('tcp_port');
  if (!hasHost && !hasPort) fields.refuse('host', 'is missing; a tunnel needs host or tcp_port');
  if (hasHost && hasPort) fields.refuse('tcp_port', 'stands beside host. Keep one of them');
  if (tls === 'passthrough' && (origin.scheme === 'http' || origin.scheme === 'h2c')) {
    const state = `is ${origin.scheme}://, but with tls: passthrough it ends TLS itself`;
    fields.refuse('origin', `${state}. Write https:// or tcp://`);
  }
  if (hasPort && origin.scheme === 'h2c')
    fields.refuse('origin', 'is h2c://, which needs host. For raw TCP write tcp://');
  if (hasHost && tls !== 'passthrough' && origin.scheme === 'tcp') {
    fields.refuse('origin', 'is tcp://, which needs tcp_port instead of host');
  }
  if (hasPort) refuseWithoutEffect(fields, ['host_header', 'response_timeout', 'tls'], 'tcp_port');
  else if (tls === 'passthrough') refuseWithoutEffect(fields, ['host_header', 'response_timeout'], 'tls: passthrough');
}

function refuseWithoutEffect(fields: Fields, keys: readonly string[], beside: string): void {
  for (const key of keys) if (fields.has(key)) fields.refuse(key, `has no effect beside ${beside}. Remove it`);
}

function refuseTwice(fields: Fields, key: string, value: string | number | undefined, seen: Set<string>): void {
  if (value === undefined || !fields.has(key)) return;
  const mark = `${key} ${value}`;
  if (seen.has(mark)) fields.refuse(key, `is the same as that of another tunnel: ${value}`);
  seen.add(mark);
}

function selectTunnels({ tunnels: ofFile, acme }: TunnelConfig, { tunnel, selected }: Overrides): TunnelSpec[] {
  if (tunnel) return [tunnelOf(tunnel, acme)];
  if (selected === undefined) return ofFile;
  const found = ofFile.filter(({ name }) => name === selected);
  if (found.length > 0) return found;
  const known = ofFile.map(({ name }) => name).join(', ') || 'none';
  throw new TunnelError(
    'USAGE_INVALID',
    `Cannot open tunnel ${selected}: the config file has none of that name. Known: ${known}`,
  );
}

function tunnelOf(tunnel: TunnelOfCommand, acme: AcmeConfig): TunnelSpec {
  const hsts = tunnel.tls === 'end-to-end' && isTrusted(undefined, acme);
  const spec: TunnelSpec = { ...tunnel, ...REST_OF_COMMAND, hsts };
  const unproven = unprovenWildcard(spec, acme);
  if (unproven !== undefined) throw new TunnelError('USAGE_INVALID', `Cannot open tunnel: --host ${unproven}`);
  return spec;
}

function cannotStart(why: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `Cannot start: ${why}`);
}
