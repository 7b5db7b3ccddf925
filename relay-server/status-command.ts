/**
 * `relay status`: asks the running relay at its admin address, and shows the answer as text or as JSON.
 */
import type { Command } from 'commander';
import { type Address, formatAddress } from '../shared/address.js';
import type { CommandIo } from '../shared/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { fetchJson } from '../shared/fetch-json.js';
import { printable } from '../shared/printable.js';
import { findRelayConfig } from './find-relay-config.js';
import { formatRelayStatus, type RelayStatus } from './ops/relay-status.js';
import { readRelayConfig } from './relay-config.js';

export interface StatusOptions {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
  /** Print the answer of `/api/v1/status` instead of text. */
  readonly json?: boolean;
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
    .option('--json', 'print one object')
    .option('--config <file>', 'relay.yaml')
    .action((options: StatusOptions) => runStatus(options, io));
}

/**
 * Writes the status of the relay that runs with this configuration.
 * @throws {TunnelError} CONFIG_INVALID when the configuration is wrong or has no admin listener; LINK_LOST (exit 69) when
 *   no relay answers.
 */
export async function runStatus(options: StatusOptions, io: Pick<CommandIo, 'print'>): Promise<void> {
  const { admin } = readRelayConfig(findRelayConfig(options.config)).listen;
  if (admin === undefined) {
    throw new TunnelError('CONFIG_INVALID', 'Cannot ask the relay: it has no admin listener. Set listen.admin.');
  }
  const status = await fetchRelayStatus(admin);
  io.print(options.json ? printable(JSON.stringify(status)) : formatRelayStatus(status));
}

/**
 * The snapshot of the relay whose admin listener is at `admin`.
 * @throws {TunnelError} LINK_LOST when no relay answers there.
 */
export async function fetchRelayStatus(admin: Address): Promise<RelayStatus> {
  const address = addressOfAdmin(admin);
  try {
    const status = await fetchJson({ ...address, path: '/api/v1/status' }, ANSWER_LIMITS);
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

/** Enough of a check to tell a relay from another program at the same address. */
function isRelayStatus(document: unknown): document is RelayStatus {
  if (typeof document !== 'object' || document === null) return false;
  const { domain, listeners, sessions, tunnels, certificates } = document as Partial<
    Record<keyof RelayStatus, unknown>
  >;
  return typeof domain === 'string' && [listeners, sessions, tunnels, certificates].every(Array.isArray);
}
