/**
 * Overrides: decides what the flags, the argument and the environment of `tunnel` mean, before or without a config file.
 *
 * A flag that is wrong is USAGE_INVALID; a file that a flag names and that cannot be used is CONFIG_INVALID.
 * Owns nothing. Used by: tunnel-config.ts.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Address, parseDialAddress, portOf } from '../shared/address.js';
import { readCertificates } from '../shared/config/config-kinds.js';
import { type Environment, readSecretFile } from '../shared/config/config-secret.js';
import { asTunnelError, TunnelError } from '../shared/errors.js';
import { normalisePattern } from '../shared/hostname.js';
import type { TlsMode } from '../shared/messages.js';
import { quoted } from '../shared/printable.js';
import { Secret } from '../shared/secret.js';
import { type OriginTarget, parseOriginTarget } from './origin/origin-target.js';
import { parseRelayUrl } from './session/relay-url.js';

/** What the command line says, as it was typed; relative paths count from the working folder. */
export interface TunnelOverrides {
  /** `--relay URL`. */
  readonly relay?: string | undefined;
  /** `--relay-address HOST:PORT`. */
  readonly relayAddress?: string | undefined;
  /** `--relay-ca-file FILE`. */
  readonly relayCaFile?: string | undefined;
  /** `--token-file FILE`. */
  readonly tokenFile?: string | undefined;
  /** The argument TARGET. */
  readonly target?: string | undefined;
  /** `--host HOST`. */
  readonly host?: string | undefined;
  /** `--tcp-port PORT`. */
  readonly tcpPort?: string | undefined;
  /** `--tls WHERE`. */
  readonly tls?: string | undefined;
  /** `--name NAME`: the name of the tunnel to TARGET; without TARGET, which tunnel of the file to open. */
  readonly name?: string | undefined;
}

/** The same, understood. */
export interface Overrides {
  readonly relayUrl: URL | undefined;
  readonly relayAddress: Address | undefined;
  /** PEM text. */
  readonly relayCa: string | undefined;
  readonly token: Secret | undefined;
  /** The one tunnel to open in place of the file's. */
  readonly tunnel: TunnelOfCommand | undefined;
  /** The one tunnel of the file to open. */
  readonly selected: string | undefined;
}

export interface TunnelOfCommand {
  readonly name: string;
  readonly host: string | undefined;
  readonly tcpPort: number | undefined;
  readonly origin: OriginTarget;
  readonly tls: TlsMode;
}

const TLS_MODES: readonly TlsMode[] = ['relay', 'end-to-end', 'passthrough'];
/** What systemd gives to the service (LoadCredential in sallyport-tunnel.service). */
const CREDENTIAL = 'sallyport.token';

/** Names of tunnels, on the command line and in the file. */
export const TUNNEL_NAME = /^[a-z0-9-]{1,63}$/;
/** What `TUNNEL_NAME` accepts, in words. */
export const TUNNEL_NAME_RULE = 'a name of a-z, 0-9 and -, at most 63 characters';

/**
 * Understands the command line.
 * @throws {TunnelError} USAGE_INVALID for a wrong flag, CONFIG_INVALID for a file that cannot be used.
 */
export function readOverrides(texts: TunnelOverrides, env: Environment): Overrides {
  const { relay, relayAddress, relayCaFile, target, name } = texts;
  return {
    relayUrl: relay === undefined ? undefined : asUsage(() => parseRelayUrl(relay, '--relay')),
    relayAddress:
      relayAddress === undefined ? undefined : asUsage(() => parseDialAddress(relayAddress, '--relay-address')),
    relayCa: relayCaFile === undefined ? undefined : readCertificates(resolve(relayCaFile), '--relay-ca-file'),
    token: readToken(texts.tokenFile, env),
    tunnel: asUsage(() => readTunnel(texts)),
    selected: target === undefined && name !== undefined ? asUsage(() => checkName(name)) : undefined,
  };
}

function readToken(tokenFile: string | undefined, env: Environment): Secret | undefined {
  if (tokenFile !== undefined) return readSecretFile(resolve(tokenFile), env, '--token-file');
  const text = env.SALLYPORT_TOKEN?.trim() ?? '';
  if (text !== '') return new Secret(text);
  const credential = env.CREDENTIALS_DIRECTORY && join(env.CREDENTIALS_DIRECTORY, CREDENTIAL);
  return credential && existsSync(credential) ? readSecretFile(credential, env, `credential ${CREDENTIAL}`) : undefined;
}

function readTunnel({ target, host, tcpPort, name, tls: where }: TunnelOverrides): TunnelOfCommand | undefined {
  if (target === undefined) {
    if (host === undefined && tcpPort === undefined && where === undefined) return undefined;
    throw cannotOpen('no target is given. Write it first: tunnel up 3000 --host app.example.com');
  }
  if (host !== undefined && tcpPort !== undefined) throw cannotOpen('--host and --tcp-port are both given. Keep one');
  if (tcpPort !== undefined && where !== undefined)
    throw cannotOpen('--tls needs --host: a port carries bytes as they are');
  if (tcpPort !== undefined) return tcpTunnel(target, tcpPort, name);
  if (host === undefined) throw cannotOpen('no public address is given. Add --host app.example.com');
  const tls = TLS_MODES.find((mode) => mode === (where ?? 'relay'));
  if (tls === undefined) throw cannotOpen(`--tls must be ${TLS_MODES.join(', ')}, got ${quoted(where ?? '')}`);
  const pattern = normalisePattern(host, '--host');
  const origin = tls === 'passthrough' ? passedOrigin(target) : httpOrigin(target);
  return { name: checkName(name ?? nameOfHost(pattern)), host: pattern, tcpPort: undefined, origin, tls };
}

function httpOrigin(target: string): OriginTarget {
  const origin = parseOriginTarget(target, 'target');
  if (origin.scheme === 'tcp') throw cannotOpen('a tcp:// target has no hostname. Write --tcp-port instead of --host');
  return origin;
}

function passedOrigin(target: string): OriginTarget {
  const origin = parseOriginTarget(target, 'target', 'tcp');
  if (origin.scheme !== 'http') return { ...origin, scheme: 'tcp' };
  throw cannotOpen('an http:// target ends no TLS. With --tls passthrough write https:// or host:port');
}

function tcpTunnel(target: string, portText: string, name: string | undefined): TunnelOfCommand {
  const tcpPort = portOf(portText, 1);
  if (tcpPort === undefined) {
    throw new TunnelError('USAGE_INVALID', `--tcp-port must be from 1 to 65535, got ${quoted(portText)}`);
  }
  const origin = parseOriginTarget(target, 'target', 'tcp');
  return { name: checkName(name ?? `tcp-${tcpPort}`), host: undefined, tcpPort, origin, tls: 'relay' };
}

/** The first label that is no star: `app` for `app.example.com`, `home` for `*.home.example.com`. */
function nameOfHost(host: string): string {
  return host.replace(/^\*\./, '').replace(/\..*$/, '');
}

function checkName(name: string): string {
  if (TUNNEL_NAME.test(name)) return name;
  throw new TunnelError('USAGE_INVALID', `--name must be ${TUNNEL_NAME_RULE}, got ${quoted(name)}`);
}

function cannotOpen(why: string): TunnelError {
  return new TunnelError('USAGE_INVALID', `Cannot open tunnel: ${why}`);
}

function asUsage<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new TunnelError('USAGE_INVALID', asTunnelError(error).message, { cause: error });
  }
}
