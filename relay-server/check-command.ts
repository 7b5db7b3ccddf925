/**
 * `relay check`: says what is wrong with the configuration, without starting anything.
 */
import type { Command } from 'commander';
import { checkAcme } from '../shared/certs/acme-check.js';
import { CertificateFiles } from '../shared/certs/certificate-files.js';
import type { CommandIo } from '../shared/command-io.js';
import { findRelayConfig } from './find-relay-config.js';
import { readRelayConfig } from './relay-config.js';
import { TokenStore } from './sessions/token-store.js';

export interface CheckOptions {
  readonly config?: string;
}

/** Adds the verb to `relay`. */
export function addCheckCommand(program: Command, io: CommandIo): void {
  program
    .command('check')
    .description('say what is wrong with relay.yaml, the tokens and the certificate files')
    .option('--config <file>', 'relay.yaml')
    .action((options: CheckOptions) => runCheck(options, io));
}

/** Prints one line when all is well. @throws {TunnelError} CONFIG_INVALID with everything that is wrong. */
export function runCheck(options: CheckOptions, io: CommandIo): void {
  const file = findRelayConfig(options.config);
  const config = readRelayConfig(file);
  const tokens = TokenStore.open(config.stateDir).list();
  if (config.tls.mode === 'acme') checkAcme(config.acme);
  if (config.tls.mode === 'files') CertificateFiles.open(config.tls.certificates).close();
  io.print(`${file}: ok (${config.domain}, tls ${config.tls.mode}, ${tokens.length} tokens)`);
}
