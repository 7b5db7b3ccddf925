/**
 * Addresses: decides how `host:port` pairs and lists of networks are written in config files and flags.
 *
 * A host is an IP address (IPv6 in brackets beside a port) or a name of the local network, which may be one label and may
 * hold underscores, as container names do. Public names have stricter rules: see hostname.ts. Pure; owns nothing.
 */
import { BlockList, isIPv6 } from 'node:net';
import { TunnelError } from './errors.js';
import { hostnameOf } from './hostname.js';
import { plainAddress } from './ip-address.js';
import { quoted } from './printable.js';

/** Where a socket listens or connects to. */
export interface Address {
  /** IP address without brackets, or a name. */
  readonly host: string;
  /** 0–65535; 0 lets the system choose a port to listen on. */
  readonly port: number;
}

/** Host and port as written; the port is undefined when none stood there. */
export interface HostAndPort {
  readonly host: string;
  readonly port: string | undefined;
}

/** A listener without a host takes IPv6 and, as long as the system allows it, IPv4 as well. */
const EVERY_ADDRESS = '::';
const MAX_PORT = 65_535;
const IN_BRACKETS = /^\[([^\]]*)\](?::(.*))?$/;

/**
 * Where to listen: `0.0.0.0:443`, `[::]:443`, `localhost:443`; `:443` and `443` listen on every address.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function parseListenAddress(text: string, name = 'address'): Address {
  const everywhere = /^:?(\d+)$/.exec(text);
  const parts = everywhere ? { host: EVERY_ADDRESS, port: everywhere[1] } : splitHostAndPort(text);
  const address = parts && addressOf(parts, 0);
  if (!address) throw refusal(name, 'an address such as 0.0.0.0:443, [::]:443 or :443', text);
  return address;
}

/**
 * Where to connect to: `203.0.113.7:443`, `[2001:db8::1]:443`, `relay.lan:443`.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function parseDialAddress(text: string, name = 'address'): Address {
  const parts = splitHostAndPort(text);
  const address = parts && addressOf(parts, 1);
  if (!address) throw refusal(name, 'an address with a port, such as 203.0.113.7:443 or [2001:db8::1]:443', text);
  return address;
}

/** `host:port`, with brackets where IPv6 needs them; what the parsers above read back. */
export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Cuts `host`, `host:port` and `[v6]:port` apart, without checking either; undefined for IPv6 without brackets. */
export function splitHostAndPort(text: string): HostAndPort | undefined {
  const bracketed = IN_BRACKETS.exec(text);
  if (bracketed) return isIPv6(bracketed[1] ?? '') ? { host: bracketed[1] ?? '', port: bracketed[2] } : undefined;
  const [host = '', port, ...rest] = text.split(':');
  return rest.length === 0 ? { host, port } : undefined;
}

/** The stored form of an IP address (a zone stays) or of a local name; undefined when `text` is neither. */
export function hostOf(text: string): string | undefined {
  if (text.includes('%')) return isIPv6(text) ? text.toLowerCase() : undefined;
  return plainAddress(text) ?? hostnameOf(text) ?? containerNameOf(text);
}

/** A port from `least` to 65535, written in decimal digits; undefined for anything else. */
export function portOf(text: string | undefined, least: 0 | 1): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= least && port <= MAX_PORT ? port : undefined;
}

/**
 * The stored form of a network (`10.0.0.0/8`, `fd00::/8`) or of one address.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function parseNetwork(text: string, name = 'network'): string {
  const network = networkOf(text);
  if (!network) throw refusal(name, 'an IP address or a network such as 10.0.0.0/8 or fd00::/8', text);
  return network.bits === undefined ? network.address : `${network.address}/${network.bits}`;
}

/**
 * The question "is this address in one of these networks?". Asked with an address in any form that a socket reports,
 * IPv4-mapped and zoned ones included; false for text that is no address.
 * @throws {TunnelError} CONFIG_INVALID for a network that `parseNetwork` refuses.
 */
export function networkMatcher(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const text of networks) addNetwork(list, text);
  return (text) => {
    const address = plainAddress(text);
    return address !== undefined && list.check(address, familyOf(address));
  };
}

function addNetwork(list: BlockList, text: string): void {
  const network = networkOf(parseNetwork(text));
  if (!network) return;
  const family = familyOf(network.address);
  if (network.bits === undefined) list.addAddress(network.address, family);
  else list.addSubnet(network.address, network.bits, family);
}

function networkOf(text: string): { address: string; bits: number | undefined } | undefined {
  const [host = '', bitsText, ...rest] = text.split('/');
  const address = host.includes('%') ? undefined : plainAddress(host);
  if (address === undefined || rest.length > 0) return undefined;
  if (bitsText === undefined) return { address, bits: undefined };
  const most = familyOf(address) === 'ipv4' ? 32 : 128;
  const isCount = /^(?:0|[1-9]\d{0,2})$/.test(bitsText) && Number(bitsText) <= most;
  return isCount ? { address, bits: Number(bitsText) } : undefined;
}

/** A name that would be a hostname if its underscores were letters. */
function containerNameOf(text: string): string | undefined {
  return hostnameOf(text.replaceAll('_', 'x')) === undefined ? undefined : text.toLowerCase();
}

function addressOf(parts: HostAndPort, leastPort: 0 | 1): Address | undefined {
  const host = hostOf(parts.host);
  const port = portOf(parts.port, leastPort);
  return host === undefined || port === undefined ? undefined : { host, port };
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return address.includes(':') ? 'ipv6' : 'ipv4';
}

function refusal(name: string, expected: string, text: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(text)}`);
}
