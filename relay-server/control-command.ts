/**
 * `relay reload` and `relay restart`: change a running relay without losing a visitor.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { printable } from '../shared/printable.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { askRelay } from './ops/control-socket.js';
import { readRelayConfig } from './relay-config.js';
import type { ReloadReport } from './relay-reload.js';

export interface ControlOptions {
  readonly config?: string;
  /** Print the answer of the relay as it is. */
  readonly json?: boolean;
}

/** Adds the verbs to `relay`. */
export function addControlCommands(program: Command, io: CommandIo): void {
  program
    .command('reload')
    .description('make the running relay read relay.yaml again; says which options wait for a restart')
    .option('--json', 'print one object')
    .option('--config <file>', CONFIG_HELP)
    .action((options: ControlOptions) => runReload(options, io));
  program
    .command('restart')
    .description('replace the running relay by a new process that takes over its sockets; no visitor is refused')
    .option('--json', 'print one object')
    .option('--config <file>', CONFIG_HELP)
    .action((options: ControlOptions) => runRestart(options, io));
}

/** @throws {TunnelError} CONFIG_INVALID when the file is wrong, and then the relay goes on as it was; LINK_LOST without a relay. */
export async function runReload(options: ControlOptions, io: Pick<CommandIo, 'print'>): Promise<void> {
  const { stateDir } = readRelayConfig(findRelayConfig(options.config));
  const report = (await askRelay(stateDir, 'reload')) as ReloadReport;
  io.print(options.json ? printable(JSON.stringify(report)) : formatReload(report));
}

/** @throws {TunnelError} CONFIG_INVALID when no new process can take over, and then the relay goes on; LINK_LOST without a relay. */
export async function runRestart(options: ControlOptions, io: Pick<CommandIo, 'print'>): Promise<void> {
  const { stateDir } = readRelayConfig(findRelayConfig(options.config));
  const { pid } = (await askRelay(stateDir, 'restart')) as { pid: number };
  io.print(
    options.json ? JSON.stringify({ pid }) : `Process ${pid} has taken over; the old one finishes its visitors.`,
  );
}

function formatReload({ applied, waiting }: ReloadReport): string {
  const lines = ['Certificates and tokens are up to date.'];
  if (applied.length > 0) lines.push(`Changed: ${applied.join(', ')}.`);
  if (waiting.length > 0) lines.push(`Waiting for a restart: ${waiting.join(', ')}. Do: relay restart`);
  return printable(lines.join(' '));
}
