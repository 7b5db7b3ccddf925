/**
 * ACME check: decides what can be found wrong with the section `acme` without asking a CA: files that cannot be used, a
 * program that is not there. Reads; owns nothing. Used by: Relay, HomeEdge, the verbs `check`.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Fields } from '../config/config-fields.js';
import { readCertificates } from '../config/config-kinds.js';
import { asTunnelError, TunnelError } from '../errors.js';
import { quoted } from '../printable.js';
import type { AcmeConfig } from './acme-config.js';

/** @throws {TunnelError} CONFIG_INVALID with the first thing that is wrong. */
export function checkAcme({ authorities, dns }: AcmeConfig): void {
  for (const { caFile } of authorities) if (caFile !== undefined) readCertificates(caFile, 'acme.ca_file');
  if (dns?.kind !== 'program' || isProgram(dns.command)) return;
  const cure = 'Write its absolute path, and make it executable';
  throw new TunnelError('CONFIG_INVALID', `acme.dns.command ${quoted(dns.command)} cannot be run. ${cure}`);
}

/** The same for the file that says so: each problem with its line. */
export function refuseUnusable(fields: Fields, { authorities, dns }: AcmeConfig): void {
  for (const [index, { caFile }] of authorities.entries()) {
    const problem = caFile === undefined ? undefined : problemOf(() => readCertificates(caFile, 'it'));
    if (problem !== undefined) fields.refuse(index === 0 ? 'ca_file' : 'fallbacks', `cannot be used: ${problem}`);
  }
  if (dns?.kind !== 'program' || isProgram(dns.command)) return;
  const cure = 'Write its absolute path, and make it executable';
  fields.refuse('dns', `has the command ${quoted(dns.command)}, which cannot be run. ${cure}`);
}

function problemOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return asTunnelError(error).message;
  }
}

/** As the system will look for it: in PATH when it has no slash. */
function isProgram(command: string): boolean {
  const folders = command.includes('/') ? [''] : (process.env.PATH ?? '').split(delimiter);
  return folders.some((folder) => isExecutable(folder === '' ? command : join(folder, command)));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
