/**
 * ConfigChanges: decides what becomes of a tunnel.yaml that has changed under a running client: which tunnels are claimed
 * and given back, which only go elsewhere from now on, and which options wait for a restart. Pure functions.
 */
import type { TunnelConfig, TunnelSpec } from './tunnel-config.js';

export interface ConfigChanges {
  /** Names that are no longer there, or whose claim has changed: the relay gets these back first. */
  readonly release: readonly string[];
  /** Tunnels to claim, new ones and those whose claim has changed. */
  readonly claim: readonly TunnelSpec[];
  /** Tunnels of which the relay need not know that they have changed: another origin, another certificate. */
  readonly redirect: readonly TunnelSpec[];
  /** Whether certificates must be opened anew, or other tunnels end TLS here. */
  readonly isHomeTlsChanged: boolean;
  /** Other changed options that count from now on, as tunnel.yaml calls them. */
  readonly applied: readonly string[];
  /** Changed options that count after a restart only. */
  readonly waiting: readonly string[];
}

/** What differs between the config of a running client and the one in its file. */
export function configChanges(running: TunnelConfig, wanted: TunnelConfig): ConfigChanges {
  const before = new Map(running.tunnels.map((spec) => [spec.name, spec]));
  const after = new Set(wanted.tunnels.map(({ name }) => name));
  const claim = wanted.tunnels.filter((spec) => !isSameClaim(before.get(spec.name), spec));
  const changed = claim.filter(({ name }) => before.has(name)).map(({ name }) => name);
  const gone = running.tunnels.map(({ name }) => name).filter((name) => !after.has(name));
  const kept = wanted.tunnels.filter((spec) => !claim.includes(spec));
  return {
    release: [...gone, ...changed],
    claim,
    redirect: kept.filter((spec) => textOf(before.get(spec.name)) !== textOf(spec)),
    isHomeTlsChanged: homeTlsOf(running) !== homeTlsOf(wanted),
    applied: changedOptions(nowOptions(running), nowOptions(wanted)),
    waiting: changedOptions(laterOptions(running), laterOptions(wanted)),
  };
}

/** The config that counts from now on: that of `wanted`, but what must wait stays as it is. */
export function withChanges(
  running: TunnelConfig,
  { tunnels, dialMs, drainMs, log, accessLog }: TunnelConfig,
): TunnelConfig {
  return { ...running, tunnels, dialMs, drainMs, accessLog, log: { ...running.log, level: log.level } };
}

/** Whether the relay has been told all that it needs to know about the new one. */
function isSameClaim(one: TunnelSpec | undefined, other: TunnelSpec): boolean {
  const claimOf = ({ host, tcpPort, hostHeader, responseTimeoutMs, tls }: TunnelSpec) =>
    textOf([host, tcpPort, hostHeader, responseTimeoutMs, tls]);
  return one !== undefined && claimOf(one) === claimOf(other);
}

function homeTlsOf({ tunnels }: TunnelConfig): string {
  const atHome = tunnels.filter(({ tls }) => tls === 'end-to-end');
  return textOf(atHome.map(({ name, host, certificate }) => [name, host, certificate]));
}

/** `stateDir` is `state_dir` in the file. */
function asKey(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

type Options = ReadonlyMap<string, string>;

function nowOptions({ dialMs, drainMs, log, accessLog }: TunnelConfig): Options {
  return options([
    ['connect_timeout', dialMs],
    ['drain_timeout', drainMs],
    ['log.level', log.level],
    ['access_log', accessLog],
  ]);
}

function laterOptions(config: TunnelConfig): Options {
  const {
    relayUrl,
    relayAddress,
    relayCa,
    token,
    links,
    clientId,
    log,
    accessLog,
    tunnels,
    dialMs,
    drainMs,
    path,
    ...rest
  } = config;
  return options([
    ['relay_url', relayUrl.href],
    ['relay_address', relayAddress],
    ['relay_ca_file', relayCa],
    // Secrets print masked; that they differ is no secret.
    ['token', token.reveal()],
    ['links', links],
    ['client_id', clientId],
    ['log.format', log.format],
    // What this file does not know yet cannot be promised.
    ...Object.entries(rest).map(([name, value]) => [asKey(name), value] as const),
  ]);
}

function options(entries: readonly (readonly [name: string, value: unknown])[]): Options {
  return new Map(entries.map(([name, value]) => [name, textOf(value)]));
}

function changedOptions(before: Options, after: Options): string[] {
  return [...after].filter(([name, text]) => before.get(name) !== text).map(([name]) => name);
}

function textOf(value: unknown): string {
  return JSON.stringify(value) ?? '';
}
