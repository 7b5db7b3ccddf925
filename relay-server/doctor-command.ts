/**
 * `relay doctor`: checks everything between the relay's configuration and its visitors, and says for each failure what
 * to do.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { type Check, exitOfReport, type Finding, resultLines, runChecks, summaryLine } from '../shared/doctor/check.js';
import { runtimeFinding } from '../shared/doctor/runtime-finding.js';
import { printable } from '../shared/printable.js';
import { type DoorOption, findRelay, TCP_HELP } from './find-relay.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import {
  checkAdminToken,
  checkAlerts,
  checkCertificates,
  checkClients,
  checkClock,
  checkConfig,
  checkPermissions,
  checkRunning,
  checkTokens,
} from './ops/doctor/local-checks.js';
import {
  checkDns,
  checkHostnames,
  checkIdentity,
  checkPlainPort,
  checkPort,
  checkTls,
  checkWebSocket,
} from './ops/doctor/public-checks.js';
import { RelayPatient } from './ops/doctor/relay-patient.js';
import type { RelayStatus } from './ops/relay-status.js';
import type { RelayConfig } from './relay-config.js';
import { fetchRelayStatus } from './status-command.js';
import { ownRoots } from './why-command.js';

export interface DoctorOptions extends DoorOption {
  readonly config?: string;
  /** PEM file of a private CA that visitors trust. */
  readonly caFile?: string;
  /** Print the report as one object. */
  readonly json?: boolean;
  /** Asks the running relay. */
  readonly fetchStatus?: (config: RelayConfig) => Promise<RelayStatus>;
}

type RelayCheck = (patient: RelayPatient, signal: AbortSignal) => Promise<Finding> | Finding;

/** In this order: a later one builds on what an earlier one found. */
const CHECKS: readonly (readonly [name: string, run: RelayCheck])[] = [
  ['runtime', () => runtimeFinding(process.versions.node)],
  ['config', checkConfig],
  ['permissions', checkPermissions],
  ['tokens', checkTokens],
  ['clock', checkClock],
  ['relay', checkRunning],
  ['admin token', checkAdminToken],
  ['certificates', checkCertificates],
  ['dns', checkDns],
  ['hostnames', checkHostnames],
  ['port', checkPort],
  ['plain port', checkPlainPort],
  ['identity', checkIdentity],
  ['tls', checkTls],
  ['websocket', checkWebSocket],
  ['clients', checkClients],
  ['alerts', checkAlerts],
];

/** Adds the verb to `relay`. */
export function addDoctorCommand(program: Command, io: CommandIo): void {
  program
    .command('doctor')
    .description('check configuration, tokens, certificates, DNS, ports and clients; say what to do about each failure')
    .option('--config <file>', CONFIG_HELP)
    .option('--ca-file <file>', 'PEM file of a private CA that visitors trust')
    .option('--json', 'print one object')
    .option('--tcp', TCP_HELP)
    .action(async (options: DoctorOptions) => {
      process.exitCode = await runDoctor(options, io);
    });
}

/** Prints what each check found, and returns the exit code: 0, or 76, 77, 78 or 69 by the first failure. */
export async function runDoctor(options: DoctorOptions, io: Pick<CommandIo, 'print'>): Promise<number> {
  const ask = async (config: RelayConfig) => fetchRelayStatus(await findRelay(config, options));
  const patient = new RelayPatient(findRelayConfig(options.config), options.fetchStatus ?? ask);
  const checks = CHECKS.map(([name, run]): Check => ({ name, run: (signal) => run(patient, signal) }));
  const report = await runChecks(withRoots(checks, patient, options.caFile), (result) => {
    if (!options.json) for (const line of resultLines(result)) io.print(line);
  });
  io.print(options.json ? printable(JSON.stringify(report)) : summaryLine(report));
  return exitOfReport(report);
}

/** From the first check after the configuration on, the CAs that the relay knows of are trusted as its clients do. */
function* withRoots(checks: readonly Check[], patient: RelayPatient, caFile: string | undefined): Generator<Check> {
  for (const check of checks) {
    if (patient.config !== undefined && patient.roots.length === 0) patient.roots = ownRoots(patient.config, caFile);
    yield check;
  }
}
