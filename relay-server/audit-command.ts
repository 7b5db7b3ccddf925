/**
 * `relay audit verify | show`: what the operator asks the audit log. It is read from its files, beside a running relay or
 * without one. Owns nothing.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { printable } from '../shared/printable.js';
import { configForVerb } from './config-for-verb.js';
import type { ChainEnd } from './ops/audit/audit-chain.js';
import type { AuditConfig } from './ops/audit/audit-config.js';
import { auditRecords } from './ops/audit/audit-read.js';
import { type AuditVerdict, verifyAudit } from './ops/audit/audit-verify.js';

export interface AuditVerifyOptions {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
  readonly json?: boolean;
  /** `SEQ:HASH` of a record that must be there. */
  readonly contains?: string;
}

export interface AuditShowOptions {
  readonly config?: string;
  readonly json?: boolean;
  /** How many of the newest records. */
  readonly last?: string;
}

const DEFAULT_LAST = 20;
const MAX_LAST = 100_000;
const PLACE = /^(\d{1,15}):([0-9a-f]{64})$/;

/** Adds the verbs to `relay`. */
export function addAuditCommands(program: Command, io: CommandIo): void {
  const audit = program.command('audit').description('see and check the log of logins, refusals and changes');
  audit
    .command('verify')
    .description('check that no record was changed, removed or inserted; names the first line that does not fit')
    .option('--contains <seq:hash>', 'a record seen earlier that must still be there')
    .option('--json', 'print one object')
    .option('--config <file>', 'relay.yaml')
    .action((options: AuditVerifyOptions) => runAuditVerify(options, io));
  audit
    .command('show')
    .description('print the newest records, oldest first')
    .option('--last <count>', `how many; ${DEFAULT_LAST} when left out`)
    .option('--json', 'print the lines as they are in the file')
    .option('--config <file>', 'relay.yaml')
    .action((options: AuditShowOptions) => runAuditShow(options, io));
}

/** @throws {TunnelError} AUDIT_BROKEN with the first line that does not fit; USAGE_INVALID, CONFIG_INVALID. */
export async function runAuditVerify(
  options: AuditVerifyOptions,
  io: Pick<CommandIo, 'print' | 'note'>,
): Promise<void> {
  const expected = options.contains === undefined ? undefined : placeIn(options.contains);
  const { auditLog } = configForVerb(options.config, ['state_dir', 'audit_log'], io);
  mustBeThere(auditLog);
  const verdict = await reading(auditLog.folder, () => verifyAudit(auditLog.folder, expected));
  const problem = problemOf(verdict, expected);
  if (options.json) io.print(printable(JSON.stringify({ ok: problem === undefined, ...verdict })));
  else if (problem === undefined) for (const line of summaryOf(verdict)) io.print(printable(line));
  if (problem !== undefined) throw new TunnelError('AUDIT_BROKEN', problem);
}

/** @throws {TunnelError} USAGE_INVALID, CONFIG_INVALID. */
export async function runAuditShow(options: AuditShowOptions, io: Pick<CommandIo, 'print' | 'note'>): Promise<void> {
  const last = options.last === undefined ? DEFAULT_LAST : countIn(options.last);
  const { auditLog } = configForVerb(options.config, ['state_dir', 'audit_log'], io);
  const records = await reading(auditLog.folder, () => auditRecords(auditLog.folder, last));
  if (records.length === 0) io.note('There is no record yet.');
  for (const { line, facts } of records) io.print(printable(options.json ? line : inWords(facts)));
}

/** Nothing is no proof that all is well. */
function mustBeThere({ enabled, folder }: AuditConfig): void {
  if (existsSync(folder)) return;
  const state = enabled ? `there is no folder ${folder}, or it is hidden from you` : 'audit_log.enabled is false';
  const cure = enabled ? ' Look at audit_log.folder; the relay makes it when it starts.' : '';
  throw new TunnelError('CONFIG_INVALID', `Cannot verify the audit log: ${state}.${cure}`);
}

async function reading<Result>(folder: string, read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    const state = error instanceof Error ? error.message : String(error);
    throw new TunnelError('CONFIG_INVALID', `Cannot read audit log in ${folder}: ${state}.`, { cause: error });
  }
}

function problemOf(
  { broken, end, containsExpected }: AuditVerdict,
  expected: ChainEnd | undefined,
): string | undefined {
  if (broken !== undefined) {
    const before = `The ${end.seq === 0 ? 'records before it: none' : `records up to ${end.seq} before it are whole`}`;
    return `Audit log is broken at ${broken.file}:${broken.line}: ${broken.reason}. ${before}.`;
  }
  if (containsExpected !== false) return undefined;
  return `Audit log has been cut or written anew: it has no record ${expected?.seq} with that hash.`;
}

function summaryOf({ records, firstSeq, end, tornBytes }: AuditVerdict): string[] {
  if (records === 0) return ['The audit log is empty.'];
  const lines = [`The audit log is whole: ${records} records, ${firstSeq} to ${end.seq}.`];
  if (firstSeq > 1)
    lines.push(`Records before ${firstSeq} were in files that have been removed (audit_log.max_files).`);
  if (tornBytes > 0) lines.push(`The last line is unfinished (${tornBytes} bytes): its writer ended in the middle.`);
  lines.push(`Newest: ${end.seq}:${end.hash}`);
  return lines;
}

function inWords({ time, event, seq: _seq, prev: _prev, hash: _hash, ...facts }: Record<string, unknown>): string {
  const texts = Object.entries(facts).map(([key, value]) => `${key}=${wordOf(value)}`);
  return [time, event, ...texts].join(' ');
}

function wordOf(value: unknown): string {
  return typeof value === 'string' && /^[^\s"'=]+$/.test(value) ? value : JSON.stringify(value);
}

function placeIn(text: string): ChainEnd {
  const [, seq, hash] = PLACE.exec(text) ?? [];
  if (seq !== undefined && hash !== undefined) return { seq: Number(seq), hash };
  throw new TunnelError('USAGE_INVALID', '--contains must be a number, a colon and 64 hex digits, as verify prints it');
}

function countIn(text: string): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 1 && count <= MAX_LAST) return count;
  throw new TunnelError('USAGE_INVALID', `--last must be a number from 1 to ${MAX_LAST}`);
}
