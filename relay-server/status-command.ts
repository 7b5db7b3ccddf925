/**
 * `relay status`: asks the running relay at its admin address, and shows the answer as text or as JSON.
 */
import type { Command } from 'commander';
import { type Address, formatAddress } from '../shared/address.js';
import type { CommandIo } from '../shared/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { fetchJson } from '../shared/fetch-json.js';
import { printable } from '../shared/printable.js';
import { TrafficRates } from '../shared/traffic-rates.js';
import { type WatchOptions, watchView } from '../shared/watch-view.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { adminAuthorization } from './ops/admin-token.js';
import { formatRelayStatus, type RelayStatus } from './ops/relay-status.js';
import { readRelayConfig } from './relay-config.js';

export interface StatusOptions extends WatchOptions {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
}

const ANSWER_LIMITS = { timeoutMs: 5_000, maxBytes: 64 * 1024 * 1024 };
/** Listening on every address includes loopback, and only there can we be sure whom we ask. */
const LOOPBACKS: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** Adds the verb to `relay`. */
export function addStatusCommand(program: Command, io: CommandIo): void {
  program
    .command('status')
    .description('show sessions, tunnels, certificates and traffic of the running relay')
    .option('--json', 'print one object, or with --watch one per line')
    .option('--watch', 'show it every two seconds, with rates, until it is ended')
    .option('--config <file>', CONFIG_HELP)
    .action((options: StatusOptions) => runStatus(options, io));
}

/**
 * Writes the status of the relay that runs with this configuration.
 * @throws {TunnelError} CONFIG_INVALID when the configuration is wrong or has no admin listener; LINK_LOST (exit 69) when
 *   no relay answers.
 */
export async function runStatus(options: StatusOptions, io: Pick<CommandIo, 'print'>): Promise<void> {
  const { listen, stateDir } = readRelayConfig(findRelayConfig(options.config));
  const { admin } = listen;
  if (admin === undefined) {
    throw new TunnelError('CONFIG_INVALID', 'Cannot ask the relay: it has no admin listener. Set listen.admin.');
  }
  const rates = options.watch ? new TrafficRates() : undefined;
  const look = async () => {
    const status = await fetchRelayStatus(admin, adminAuthorization(stateDir));
    return options.json ? printable(JSON.stringify(status)) : textOf(status, rates);
  };
  if (options.watch) await watchView(look, io, options);
  else io.print(await look());
}

function textOf(status: RelayStatus, rates: TrafficRates | undefined): string {
  const nowMs = Date.now();
  rates?.measure(
    status.tunnels.map((tunnel) => ({ ...tunnel, name: tunnel.public })),
    nowMs,
  );
  return formatRelayStatus(status, nowMs, rates && ((publicUrl) => rates.of(publicUrl)));
}

/**
 * The snapshot of the relay whose admin listener is at `admin`.
 * @throws {TunnelError} LINK_LOST when no relay answers there.
 */
export async function fetchRelayStatus(admin: Address, headers: AdminHeaders = {}): Promise<RelayStatus> {
  const address = addressOfAdmin(admin);
  try {
    const status = await fetchJson({ ...address, path: '/api/v1/status', headers }, ANSWER_LIMITS);
    if (isRelayStatus(status)) return status;
    throw new Error('it is no status of a relay');
  } catch (cause) {
    throw failureOfAdmin(address, cause);
  }
}

/** Where a relay that listens at `admin` is asked from this machine. */
export function addressOfAdmin({ host, port }: Address): Address {
  return { host: LOOPBACKS.get(host) ?? host, port };
}

/** LINK_LOST, saying why no relay answered there. */
export function failureOfAdmin(address: Address, cause: unknown): TunnelError {
  return new TunnelError('LINK_LOST', `Cannot ask the relay at ${formatAddress(address)}: ${reasonOf(cause)}`, {
    cause,
  });
}

function reasonOf(cause: unknown): string {
  const { code, name, message } = cause as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 'it is not running. Start it with `relay serve`.';
  if (name === 'TimeoutError') return 'it does not answer. Look at its log.';
  return `${printable(message)}. Check listen.admin and what listens there.`;
}

/** With which a verb proves that it may ask (ops/admin-token.ts). */
export type AdminHeaders = Readonly<Record<string, string>>;

/** Enough of a check to tell a relay from another program at the same address. */
function isRelayStatus(document: unknown): document is RelayStatus {
  if (typeof document !== 'object' || document === null) return false;
  const { domain, listeners, sessions, tunnels, certificates } = document as Partial<
    Record<keyof RelayStatus, unknown>
  >;
  return typeof domain === 'string' && [listeners, sessions, tunnels, certificates].every(Array.isArray);
}
