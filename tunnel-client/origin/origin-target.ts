/**
 * Origin targets: decides which texts name an origin (`3000`, `host:3000`, `https://host`, `unix:/path`, `tcp://host:22`)
 * and what each one means. Pure; owns nothing. Used by: tunnel-config.ts, the command line.
 */
import { isIPv6 } from 'node:net';
import { type Address, formatAddress, hostOf, portOf, splitHostAndPort } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';
import { quoted } from '../../shared/printable.js';

export interface OriginTarget {
  /** As shown: scheme, host and port, or `unix:` and a path. */
  readonly text: string;
  /** What the client speaks to the origin: `https` is TLS around the visitor's bytes, `h2c` is HTTP/2 in clear text. */
  readonly scheme: 'http' | 'https' | 'h2c' | 'tcp';
  /** Whether an `https` origin must show a trusted certificate for its name. */
  readonly verifyTls: boolean;
  /** IP address without brackets, or a name; `localhost` for a unix socket. */
  readonly host: string;
  /** 1–65535; 0 for a unix socket. */
  readonly port: number;
  /** Absolute path of a unix socket. */
  readonly path: string | undefined;
}

interface Scheme {
  readonly scheme: OriginTarget['scheme'];
  readonly verifyTls: boolean;
  readonly defaultPort?: string;
}

const SCHEMES: ReadonlyMap<string, Scheme> = new Map([
  ['http', { scheme: 'http', verifyTls: true, defaultPort: '80' }],
  ['https', { scheme: 'https', verifyTls: true, defaultPort: '443' }],
  ['https+insecure', { scheme: 'https', verifyTls: false, defaultPort: '443' }],
  ['h2c', { scheme: 'h2c', verifyTls: true, defaultPort: '80' }],
  ['tcp', { scheme: 'tcp', verifyTls: true }],
]);
const SCHEME = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is;
const AUTHORITY_AND_PATH = /^([^/?#\\]*)(.*)$/s;
/** `sun_path` holds 108 bytes on Linux, 104 on macOS; one of them is the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 103;

/**
 * The origin that `text` names.
 * @param name What the text is, for the message: a config key or an argument.
 * @param bareScheme What a target without a scheme speaks.
 * @throws {TunnelError} CONFIG_INVALID with the cure.
 */
export function parseOriginTarget(text: string, name = 'target', bareScheme: 'http' | 'tcp' = 'http'): OriginTarget {
  if (/^unix:/i.test(text)) return socketTarget(text, name, bareScheme);
  if (text.includes('@')) throw new TunnelError('CONFIG_INVALID', `${name} must be without user name and password`);
  const [, word, rest] = SCHEME.exec(text) ?? [];
  const scheme = word?.toLowerCase() ?? bareScheme;
  const speech = SCHEMES.get(scheme);
  if (!speech) throw refusal(name, `host:port, or start with ${[...SCHEMES.keys()].join(', ')} or unix`, text);
  const [, authority = '', path = ''] = AUTHORITY_AND_PATH.exec(rest ?? text) ?? [];
  const defaultPort = rest === undefined ? undefined : speech.defaultPort;
  const place = rest === undefined ? withHost(authority) : authority;
  const address = addressOf(place, defaultPort);
  if (!address) throw refusal(name, expectedInsteadOf(place, defaultPort), text);
  const shown = `${scheme}://${formatAddress(address)}`;
  if (path !== '' && path !== '/') throw refusal(name, 'without a path', text, `. Write ${shown}`);
  return { text: shown, scheme: speech.scheme, verifyTls: speech.verifyTls, ...address, path: undefined };
}

function socketTarget(text: string, name: string, scheme: 'http' | 'tcp'): OriginTarget {
  const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
  if (!path.startsWith('/') || /\p{Cc}/u.test(path)) throw refusal(name, 'unix: and an absolute path', text);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw refusal(name, `unix: and a path of at most ${MAX_SOCKET_PATH_BYTES} bytes`, text);
  }
  return { text: `unix:${path}`, scheme, verifyTls: true, host: 'localhost', port: 0, path };
}

/** A port alone is one on this machine. */
function withHost(authority: string): string {
  return authority.replace(/^:?(\d+)$/, '127.0.0.1:$1');
}

function addressOf(authority: string, defaultPort: string | undefined): Address | undefined {
  const written = splitHostAndPort(authority);
  const host = written && hostOf(written.host);
  const port = written && portOf(written.port ?? defaultPort, 1);
  return host === undefined || port === undefined ? undefined : { host, port };
}

function expectedInsteadOf(authority: string, defaultPort: string | undefined): string {
  if (isIPv6(authority)) return 'written with brackets around the IPv6 address and with a port';
  const { host = '', port = '' } = splitHostAndPort(authority) ?? {};
  if (hostOf(host) !== undefined && /^\d+$/.test(port)) return 'host:port with a port from 1 to 65535';
  return defaultPort === undefined ? 'host:port' : 'a URL such as http://127.0.0.1:3000';
}

function refusal(name: string, expected: string, text: string, cure = ''): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(text)}${cure}`);
}
