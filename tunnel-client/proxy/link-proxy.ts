/**
 * LinkProxy: decides through which HTTP proxy the link to the relay goes, if through one.
 *
 * What tunnel.yaml says comes first (`proxy_url`, or `off`), then the variables that curl and most programs know:
 * https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY, each with the exceptions of no_proxy or NO_PROXY. They do not count for
 * a relay on this machine (as in Go), and a link without TLS, which only goes there, never takes a proxy. No message holds a login. Pure; owns nothing. Used by: dial-relay.ts, doctor.
 */
import { isIP } from 'node:net';
import { type Address, formatAddress, hostOf, networkMatcher, portOf } from '../../shared/address.js';
import { textKind } from '../../shared/config/config-kinds.js';
import type { Environment } from '../../shared/config/config-secret.js';
import { TunnelError } from '../../shared/errors.js';
import { Secret } from '../../shared/secret.js';

/** An HTTP proxy that is asked to CONNECT. */
export interface LinkProxy {
  readonly address: Address;
  /** Whether the connection to the proxy itself is TLS (`https://`). */
  readonly tls: boolean;
  /** `user:password` for Basic authentication. */
  readonly login: Secret | undefined;
  /** Who said so, for people: `proxy_url` or the name of a variable. */
  readonly from: string;
}

/** What tunnel.yaml says; undefined: the environment decides. */
export type ProxyChoice = 'off' | LinkProxy | undefined;

/** The part of a client's config that decides. */
export interface ProxiedConfig {
  readonly relayUrl: URL;
  readonly relayAddress: Address | undefined;
  readonly proxy: ProxyChoice;
}

const VARIABLES = ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'] as const;
const EXCEPTIONS = ['no_proxy', 'NO_PROXY'] as const;
const EXPECTED = 'a proxy such as http://proxy.lan:3128, or off';
const MAX_LENGTH = 2_048;
const isLoopbackAddress = networkMatcher(['127.0.0.0/8', '::1']);
const PLACEHOLDER: LinkProxy = { address: { host: '', port: 0 }, tls: false, login: undefined, from: '' };

/** `proxy_url` of tunnel.yaml. The login has an option of its own, so that this one may be shown. */
export const proxyChoiceKind = textKind<'off' | LinkProxy>({
  expected: EXPECTED,
  placeholder: 'off',
  parse(text, name) {
    if (text === 'off') return 'off';
    if (text.includes('@')) throw refusal(name, 'without user name and password. Write them under proxy_login');
    return parseProxyUrl(text, name);
  },
  show: (choice) => (choice === 'off' ? 'off' : proxyText(choice)),
});

/** Where the link connects to: the relay's address, whoever makes the connection. */
export function relayAddressOf({ relayUrl, relayAddress }: Pick<ProxiedConfig, 'relayUrl' | 'relayAddress'>): Address {
  const host = relayUrl.hostname.replace(/^\[|\]$/g, '');
  return relayAddress ?? { host, port: Number(relayUrl.port || (relayUrl.protocol === 'https:' ? 443 : 80)) };
}

/**
 * The proxy of the link; undefined when it goes straight to the relay.
 * @throws {TunnelError} CONFIG_INVALID for a variable that names no HTTP proxy.
 */
export function linkProxy(config: ProxiedConfig, env: Environment = process.env): LinkProxy | undefined {
  if (config.proxy === 'off' || reasonForNone(config, env) !== undefined) return undefined;
  if (config.proxy !== undefined) return config.proxy;
  const from = proxyVariable(env);
  return from === undefined ? undefined : parseProxyUrl(env[from] ?? '', from);
}

/** Why the link takes no proxy, for people; only where `linkProxy` gives none. */
export function whyNoProxy(config: ProxiedConfig, env: Environment = process.env): string {
  const from = proxyVariable(env);
  if (from === undefined) return reasonForNone(config, env) ?? 'none is set';
  return `${from} is set, but does not count: ${reasonForNone(config, env) ?? 'none is set'}`;
}

/** What keeps the link from a proxy, whoever names one; undefined for nothing. */
function reasonForNone(config: ProxiedConfig, env: Environment): string | undefined {
  if (config.proxy === 'off') return 'proxy_url is off';
  if (config.relayUrl.protocol !== 'https:') return 'the relay is on this machine, without TLS';
  if (config.proxy !== undefined) return undefined;
  const target = relayAddressOf(config);
  if (isLoopback(target.host)) return 'the relay is on this machine';
  const name = config.relayUrl.hostname.replace(/^\[|\]$/g, '');
  const exceptions = EXCEPTIONS.find((variable) => (env[variable] ?? '') !== '');
  if (exceptions === undefined) return undefined;
  const hit = [name, target.host].find((host) => isException(env[exceptions] ?? '', { host, port: target.port }));
  return hit === undefined ? undefined : `${exceptions} takes ${hit} out`;
}

function proxyVariable(env: Environment): (typeof VARIABLES)[number] | undefined {
  return VARIABLES.find((name) => (env[name] ?? '') !== '');
}

/** The proxy as people may see it, without its login. */
export function proxyText(proxy: LinkProxy): string {
  return `${proxy.tls ? 'https' : 'http'}://${formatAddress(proxy.address)}`;
}

/**
 * Whether a list such as `localhost,.lan,example.com:8443,10.0.0.0/8` or `*` takes this address out. A name takes its
 * subdomains with it, as curl reads it.
 */
export function isException(list: string, { host, port }: Address): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  return list.split(/[\s,]+/).some((entry) => entry !== '' && covers(entry.toLowerCase(), name, port));
}

/**
 * Reads `http://user:password@host:port`, `https://host` or `host:port`.
 * @param name What the text is, for the message; the text itself, which may hold a password, is never in it.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function parseProxyUrl(text: string, name: string): LinkProxy {
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const isPlain = text.length <= MAX_LENGTH && !/[\s\p{Cc}\\]/u.test(text);
  const url = isPlain && URL.canParse(whole) ? new URL(whole) : undefined;
  if (url === undefined) throw refusal(name, EXPECTED);
  const tls = url.protocol === 'https:';
  if (!tls && url.protocol !== 'http:') throw refusal(name, `${EXPECTED}; this version speaks no ${url.protocol}//`);
  const host = hostOf(url.hostname.replace(/^\[|\]$/g, ''));
  const port = portOf(url.port || (tls ? '443' : '80'), 1);
  if (host === undefined || port === undefined || (url.pathname !== '/' && url.pathname !== '') || url.search !== '') {
    throw refusal(name, EXPECTED);
  }
  return { ...PLACEHOLDER, address: { host, port }, tls, login: loginOf(url, name), from: name };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || isLoopbackAddress(host);
}

function loginOf({ username, password }: URL, name: string): Secret | undefined {
  if (username === '' && password === '') return undefined;
  try {
    return new Secret(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
  } catch {
    throw refusal(name, 'a URL whose user name and password are percent-encoded');
  }
}

function covers(entry: string, name: string, port: number): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isIn(entry, name);
  const [, host = '', onlyPort] = /^(.*?)(?::(\d{1,5}))?$/.exec(isIP(entry) === 6 ? `[${entry}]` : entry) ?? [];
  if (onlyPort !== undefined && Number(onlyPort) !== port) return false;
  const domain = host.replace(/^\[|\]$/g, '').replace(/^\*?\.|\.$/g, '');
  return domain !== '' && (name === domain || (isIP(domain) === 0 && name.endsWith(`.${domain}`)));
}

/** Other programs may understand what this one does not: an entry that is no network takes nothing out. */
function isIn(network: string, name: string): boolean {
  try {
    return networkMatcher([network])(name);
  } catch {
    return false;
  }
}

function refusal(name: string, expected: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} must be ${expected}`);
}
