/**
 * `relay admin-token create`: makes the secret that the admin listener asks for from then on. It is in a file alone: neither
 * this verb nor the way it shows to use the token puts it where others could see it. Owns nothing.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { doorAt } from './find-relay.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { createAdminToken } from './ops/admin-token.js';
import { recordVerb } from './ops/audit/audit-verb.js';
import { readRelayConfig } from './relay-config.js';

export interface AdminTokenOptions {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
  /** Whether a token that is there ends. */
  readonly force?: boolean;
}

/** Adds the verb to `relay`. */
export function addAdminTokenCommands(program: Command, io: CommandIo): void {
  const adminToken = program.command('admin-token').description('make the secret that the admin listener asks for');
  adminToken
    .command('create')
    .description('make a token in the state folder; the running relay asks for it at once')
    .option('--force', 'end the token that is there')
    .option('--config <file>', CONFIG_HELP)
    .action((options: AdminTokenOptions) => runAdminTokenCreate(options, io));
}

/**
 * Prints the path of the token's file.
 * @throws {TunnelError} USAGE_INVALID when there is one already; CONFIG_INVALID.
 */
export async function runAdminTokenCreate(
  options: AdminTokenOptions,
  io: Pick<CommandIo, 'print' | 'note'>,
): Promise<void> {
  const { stateDir, listen, auditLog } = readRelayConfig(findRelayConfig(options.config));
  if (!existsSync(stateDir)) {
    const cure = 'Start the relay once, or correct state_dir.';
    throw new TunnelError('CONFIG_INVALID', `Cannot make an admin token: ${stateDir} does not exist. ${cure}`);
  }
  const file = createAdminToken(stateDir, options.force === true);
  io.print(file);
  if (listen.admin === undefined) io.note('There is no admin listener to ask for it: listen.admin is off.');
  else {
    io.note('The admin listener asks for it at once. Read it from the file, so that no list of processes shows it:');
    io.note(`  (printf 'Authorization: Bearer '; cat ${file}) |`);
    io.note(`    curl -H @- http://${doorAt(listen.admin).shown}/api/v1/status`);
  }
  await recordVerb(auditLog, 'admin-token-created', {});
}
