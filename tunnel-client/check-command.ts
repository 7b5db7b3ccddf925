/**
 * `tunnel check`: says what is wrong with tunnel.yaml, without connecting anywhere.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { parseToken } from '../shared/token.js';
import { userTunnelConfig } from './find-tunnel-config.js';
import { checkCertificates } from './home/check-certificates.js';
import { readTunnelConfig } from './tunnel-config.js';

export interface CheckOptions {
  readonly config?: string;
}

/** Adds the verb to `tunnel`. */
export function addCheckCommand(program: Command, io: CommandIo): void {
  program
    .command('check')
    .description('say what is wrong with tunnel.yaml')
    .option('--config <file>', 'tunnel.yaml; ~/.config/sallyport/tunnel.yaml when left out')
    .action((options: CheckOptions) => runCheck(options, io));
}

/** Prints one line when all is well, and how the certificates of end-to-end tunnels stand. @throws {TunnelError} CONFIG_INVALID with everything that is wrong. */
export function runCheck(options: CheckOptions, io: CommandIo): void {
  const file = options.config ?? userTunnelConfig();
  const config = readTunnelConfig(file);
  parseToken(config.token);
  const certificates = checkCertificates(config);
  io.print(`${file}: ok (relay ${config.relayUrl.host}, ${config.tunnels.length} tunnels)`);
  for (const line of certificates) io.print(line);
}
