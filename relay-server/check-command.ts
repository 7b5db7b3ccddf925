/**
 * `relay check`: says what is wrong with the configuration, without starting anything.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { refuseUnusable } from '../shared/certs/acme-check.js';
import { CertificateFiles } from '../shared/certs/certificate-files.js';
import type { CommandIo } from '../shared/command/command-io.js';
import { counted } from '../shared/command/terminal-text.js';
import { readConfig } from '../shared/config-file.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { adminTokenFile, adminTokenProblem, isOpenAdmin, strayAdminToken } from './ops/admin-token.js';
import { logPlaceNotes } from './ops/log-places.js';
import { type RelayConfig, readRelay } from './relay-config.js';
import { TokenStore } from './sessions/token-store.js';

export interface CheckOptions {
  readonly config?: string;
}

/** Adds the verb to `relay`. */
export function addCheckCommand(program: Command, io: CommandIo): void {
  program
    .command('check')
    .description('say what is wrong with relay.yaml, the tokens and the certificate files')
    .option('--config <file>', CONFIG_HELP)
    .action((options: CheckOptions) => runCheck(options, io));
}

/** Prints one line when all is well. @throws {TunnelError} CONFIG_INVALID with everything that is wrong. */
export function runCheck(options: CheckOptions, io: CommandIo): void {
  const file = findRelayConfig(options.config);
  const notes: string[] = [];
  const config = readConfig(file, (root) => {
    const read = readRelay(root, refuseUnusable);
    notes.push(...notesOn(read, root.has('acme')));
    return read;
  });
  notes.push(...adminTokenNotes(file, config), ...logPlaceNotes(config));
  const tokens = TokenStore.read(config.stateDir);
  if (!existsSync(config.stateDir))
    notes.push(`${config.stateDir} does not exist yet; the relay makes it when it starts`);
  else if (tokens.length === 0) notes.push('no client can log in yet: relay token create NAME --host HOST');
  if (config.tls.mode === 'files') CertificateFiles.open(config.tls.certificates).close();
  for (const note of notes) io.note(`Warning: ${note}.`);
  io.print(`${file}: ok (${config.domain}, tls ${config.tls.mode}, ${counted(tokens.length, 'token')})`);
}

function adminTokenNotes(file: string, { stateDir, listen }: RelayConfig): string[] {
  const notes: string[] = [];
  const problem = adminTokenProblem(stateDir);
  if (problem !== undefined) notes.push(`${problem.found}. ${problem.cure}`);
  if (listen.admin !== undefined && isOpenAdmin(listen.admin, stateDir)) {
    notes.push('everybody who reaches listen.admin may ask it. Do: relay admin-token create, or listen on 127.0.0.1');
  }
  const stray = strayAdminToken(file, stateDir);
  if (stray !== undefined) notes.push(`${stray} counts for nothing: move it to ${adminTokenFile(stateDir)}`);
  return notes;
}

/** What is right, and yet hardly what was meant. */
function notesOn({ tls, listen, acme }: RelayConfig, hasAcme: boolean): string[] {
  if (tls.mode !== 'acme') {
    return hasAcme
      ? [`the section acme is ignored in tls.mode ${tls.mode}. Write tls: { mode: acme }, or remove it`]
      : [];
  }
  const isAskedHere = listen.https.port === 443 || listen.http?.port === 80 || acme.challenges.includes('dns-01');
  if (isAskedHere) return [];
  const state = `the relay listens on ${[listen.https, listen.http].flatMap((one) => one?.port ?? []).join(' and ')}`;
  return [`CAs ask ports 443 and 80, and ${state}. Forward one of them here, or set up acme.dns`];
}
