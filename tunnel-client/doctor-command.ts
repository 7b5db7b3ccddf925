/**
 * `tunnel doctor`: checks everything between the configuration and the apps, and says for each failure what to do.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { type Check, exitOfReport, type Finding, resultLines, runChecks, summaryLine } from '../shared/doctor/check.js';
import { runtimeFinding } from '../shared/doctor/runtime-finding.js';
import { printable } from '../shared/printable.js';
import { checkConfig, checkPermissions } from './doctor/local-checks.js';
import { checkForwarding, checkOrigin } from './doctor/origin-checks.js';
import { Patient } from './doctor/patient.js';
import {
  checkClock,
  checkDns,
  checkGrants,
  checkPort,
  checkProxy,
  checkTls,
  checkToken,
  checkVersion,
  checkWebSocket,
} from './doctor/relay-checks.js';
import { userTunnelConfig } from './find-tunnel-config.js';

export interface DoctorOptions {
  readonly config?: string;
  /** Print the report as one object. */
  readonly json?: boolean;
  /** Where the status sockets are; by default the folder of this user. */
  readonly statusFolder?: string;
}

type TunnelCheck = (patient: Patient, signal: AbortSignal) => Promise<Finding> | Finding;

/** In this order: a later one builds on what an earlier one found. */
const CHECKS: readonly (readonly [name: string, run: TunnelCheck])[] = [
  ['runtime', () => runtimeFinding(process.versions.node)],
  ['config', checkConfig],
  ['permissions', checkPermissions],
  ['proxy', checkProxy],
  ['dns', checkDns],
  ['port', checkPort],
  ['tls', checkTls],
  ['clock', checkClock],
  ['websocket', checkWebSocket],
  ['token', checkToken],
  ['version', checkVersion],
  ['grants', checkGrants],
];

/** Adds the verb to `tunnel`. */
export function addDoctorCommand(program: Command, io: CommandIo): void {
  program
    .command('doctor')
    .description('check configuration, network, relay, token and apps; say what to do about each failure')
    .option('--config <file>', 'tunnel.yaml; ~/.config/sallyport/tunnel.yaml when left out')
    .option('--json', 'print one object')
    .action(async (options: DoctorOptions) => {
      process.exitCode = await runDoctor(options, io);
    });
}

/** Prints what each check found, and returns the exit code: 0, or 76, 77, 78 or 69 by the first failure. */
export async function runDoctor(options: DoctorOptions, io: Pick<CommandIo, 'print'>): Promise<number> {
  const patient = new Patient(options.config ?? userTunnelConfig(), options.statusFolder);
  try {
    const report = await runChecks(checksOf(patient), (result) => {
      if (!options.json) for (const line of resultLines(result)) io.print(line);
    });
    io.print(options.json ? printable(JSON.stringify(report)) : summaryLine(report));
    return exitOfReport(report);
  } finally {
    patient.close();
  }
}

/** Which apps there are is known once the configuration was read: so one by one. */
function* checksOf(patient: Patient): Generator<Check> {
  for (const [name, run] of CHECKS) yield { name, run: (signal) => run(patient, signal) };
  for (const tunnel of patient.config?.tunnels ?? []) {
    yield { name: `app ${tunnel.name}`, run: () => checkOrigin(tunnel) };
    yield { name: `proxied ${tunnel.name}`, run: (signal) => checkForwarding(tunnel, signal) };
  }
}
