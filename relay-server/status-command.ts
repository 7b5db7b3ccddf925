/**
 * `relay status`: asks the running relay, and shows the answer as text or as JSON.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { type WatchOptions, watchView } from '../shared/command/watch-view.js';
import { fetchJson } from '../shared/fetch-json.js';
import { printable } from '../shared/printable.js';
import { TrafficRates } from '../shared/traffic-rates.js';
import { configForVerb } from './config-for-verb.js';
import { type DoorOption, failureAt, findRelay, type RelayDoor, TCP_HELP } from './find-relay.js';
import { CONFIG_HELP } from './find-relay-config.js';
import { formatRelayStatus, type RelayStatus } from './ops/relay-status.js';

export interface StatusOptions extends WatchOptions, DoorOption {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
}

const ANSWER_LIMITS = { timeoutMs: 5_000, maxBytes: 64 * 1024 * 1024 };

/** Adds the verb to `relay`. */
export function addStatusCommand(program: Command, io: CommandIo): void {
  program
    .command('status')
    .description('show sessions, tunnels, certificates and traffic of the running relay')
    .option('--json', 'print one object, or with --watch one per line')
    .option('--watch', 'show it every two seconds, with rates, until it is ended')
    .option('--tcp', TCP_HELP)
    .option('--config <file>', CONFIG_HELP)
    .action((options: StatusOptions) => runStatus(options, io));
}

/**
 * Writes the status of the relay that runs with this configuration.
 * @throws {TunnelError} CONFIG_INVALID when the configuration is wrong; LINK_LOST (exit 69) when no relay answers.
 */
export async function runStatus(options: StatusOptions, io: Pick<CommandIo, 'print' | 'note'>): Promise<void> {
  const config = configForVerb(options.config, ['state_dir', 'listen.admin'], io);
  const rates = options.watch ? new TrafficRates() : undefined;
  const look = async () => {
    const status = await fetchRelayStatus(await findRelay(config, options));
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
 * The snapshot of the relay behind this door.
 * @throws {TunnelError} LINK_LOST when no relay answers there.
 */
export async function fetchRelayStatus(door: RelayDoor): Promise<RelayStatus> {
  try {
    const status = await fetchJson({ ...door.target, path: '/api/v1/status' }, ANSWER_LIMITS);
    if (isRelayStatus(status)) return status;
    throw new Error('it is no status of a relay');
  } catch (cause) {
    throw failureAt(door, cause);
  }
}

/** Enough of a check to tell a relay from another program at the same address. */
function isRelayStatus(document: unknown): document is RelayStatus {
  if (typeof document !== 'object' || document === null) return false;
  const { domain, listeners, sessions, tunnels, certificates } = document as Partial<
    Record<keyof RelayStatus, unknown>
  >;
  return typeof domain === 'string' && [listeners, sessions, tunnels, certificates].every(Array.isArray);
}
