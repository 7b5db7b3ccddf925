/**
 * RelayReload: decides what becomes of a relay.yaml that has changed under a running relay: which options it takes over
 * at once, and which wait for a restart. Pure functions; the relay does what they say.
 */
import * as path from 'node:path';
import { Secret } from '../shared/secret.js';
import { isTrustedByBrowsers, type RelayConfig, type RelayLimits } from './relay-config.js';

/** What `relay reload` answers. */
export interface ReloadReport {
  /** Changed options, as relay.yaml calls them, that count from now on. */
  readonly applied: readonly string[];
  /** Changed options that count after `relay restart` only. */
  readonly waiting: readonly string[];
}

interface Option {
  readonly name: string;
  /** `later` where the running rooms hold fast to the value that they began with. */
  readonly counts: 'now' | 'later';
  /** The same text means that nothing has changed. */
  readonly text: string;
}

/** The option whose change makes alerts begin anew; see `Relay.reload`. */
export const ALERTS = 'alerts';

/** Limits that OpenSSL's server object took over when it was made. */
const LATER_LIMITS: ReadonlyMap<keyof RelayLimits, string> = new Map([
  ['tlsHandshakeMs', 'limits.tls_handshake_timeout'],
]);

/** Which options differ between the config of a running relay and the one in its file. */
export function relayChanges(running: RelayConfig, wanted: RelayConfig): ReloadReport {
  const before = new Map(optionsOf(running).map((option) => [option.name, option.text]));
  const changed = optionsOf({ ...wanted, ...derived(running, wanted) }).filter(
    ({ name, text }) => before.get(name) !== text,
  );
  const names = (counts: Option['counts']) => changed.filter((o) => o.counts === counts).map(({ name }) => name);
  return { applied: names('now'), waiting: names('later') };
}

/** The config that counts from now on: that of `wanted`, but what must wait stays as it is. */
export function reloaded(running: RelayConfig, wanted: RelayConfig): RelayConfig {
  const { publicPort, listen, proxyProtocol, trustedProxies, writtenHsts, http2, limits, alerts, log, drainMs } =
    wanted;
  return {
    ...running,
    ...derived(running, wanted),
    publicPort,
    listen: { ...listen, tcpHost: running.listen.tcpHost },
    proxyProtocol,
    trustedProxies,
    http2,
    writtenHsts,
    limits: { ...limits, tlsHandshakeMs: running.limits.tlsHandshakeMs },
    alerts,
    log: { ...running.log, level: log.level },
    drainMs,
  };
}

/**
 * What follows from options that wait, where the file does not say: HSTS from the mode of the certificates that are shown
 * now, the logs' places from the state folder that is used now.
 */
function derived(running: RelayConfig, wanted: RelayConfig): Pick<RelayConfig, 'hsts' | 'accessLog' | 'auditLog'> {
  const { writtenHsts, accessLog, auditLog } = wanted;
  return {
    hsts: writtenHsts ?? isTrustedByBrowsers(running),
    accessLog: { ...accessLog, file: fromStateOf(running, wanted, accessLog.file) },
    auditLog: { ...auditLog, folder: fromStateOf(running, wanted, auditLog.folder) },
  };
}

/** A place inside the state folder that is wanted is the same place inside the one that is used. */
function fromStateOf(running: RelayConfig, wanted: RelayConfig, place: string): string {
  const inside = path.relative(wanted.stateDir, place);
  return inside.startsWith('..') || path.isAbsolute(inside) ? place : path.join(running.stateDir, inside);
}

/** Every option, each once; sections whose options go together are one. */
function optionsOf(config: RelayConfig): Option[] {
  const {
    domain,
    publicPort,
    listen,
    stateDir,
    proxyProtocol,
    trustedProxies,
    tls,
    hsts,
    http2,
    workers,
    writtenHsts: _writtenHsts,
    limits,
    alerts,
    log,
    accessLog,
    auditLog,
    drainMs,
    acme,
    ...rest
  } = config;
  const now = (name: string, value: unknown): Option => ({ name, counts: 'now', text: textOf(value) });
  const later = (name: string, value: unknown): Option => ({ name, counts: 'later', text: textOf(value) });
  return [
    later('domain', domain),
    now('public_port', publicPort),
    now('listen.https', listen.https),
    now('listen.http', listen.http),
    now('listen.admin', listen.admin),
    later('listen.tcp_host', listen.tcpHost),
    later('state_dir', stateDir),
    now('proxy_protocol', proxyProtocol),
    now('trusted_proxies', trustedProxies),
    later('tls', tls),
    now('tls.hsts', hsts),
    now('http2', http2),
    // Tickets and visitors are the workers' that run.
    later('workers', workers),
    // Its defaults follow from other options; nobody reads them in another mode.
    later('acme', tls.mode === 'acme' ? acme : undefined),
    ...[...LATER_LIMITS].map(([key, name]) => later(name, limits[key])),
    now(
      'limits',
      Object.entries(limits).filter(([key]) => !LATER_LIMITS.has(key as keyof RelayLimits)),
    ),
    now(ALERTS, alerts),
    now('log.level', log.level),
    later('log.format', log.format),
    now('access_log', accessLog),
    now('audit_log', auditLog),
    now('drain_timeout', drainMs),
    // What this file does not know yet cannot be promised.
    ...Object.entries(rest).map(([name, value]) => later(name, value)),
  ];
}

/** Secrets count with what was read, also where it stands in a file of its own; the text is compared and shown nowhere. */
function textOf(value: unknown): string {
  const open = function (this: Readonly<Record<string, unknown>>, key: string, shown: unknown): unknown {
    const held = this[key];
    return held instanceof Secret ? held.reveal() : shown;
  };
  return JSON.stringify(value, open) ?? 'off';
}
