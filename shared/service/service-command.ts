/**
 * `relay service` and `tunnel service`: install, uninstall and show the program as a service of this machine.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { CommandIo } from '../command/command-io.js';
import { tableLines } from '../command/terminal-text.js';
import { TunnelError } from '../errors.js';
import { readPackageFile } from '../files/package-file.js';
import { printable } from '../printable.js';
import {
  hindrancesOf,
  type InitSystem,
  planInstall,
  planLines,
  planUninstall,
  type ServiceListen,
  type ServicePlan,
  type ServiceSpec,
  statusCommands,
} from './service-plan.js';

export interface ServiceOptions {
  readonly config?: string;
  readonly instance?: string;
  readonly manager?: string;
  readonly dryRun?: boolean;
}

/** What a service manager looks through when a unit names a program without its path. */
const SERVICE_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(delimiter);
const MANAGERS: readonly InitSystem[] = ['systemd', 'openrc', 'launchd'];
const COMMAND_MS = 120_000;

/** What a config file says that units must know; undefined where they need not. @throws {TunnelError} CONFIG_INVALID. */
export type ReadListen = (config: string) => ServiceListen;

/** Adds the verbs to `program`, which is `relay` or `tunnel`. */
export function addServiceCommands(program: Command, io: CommandIo, readListen?: ReadListen): void {
  const name = program.name() === 'relay' ? 'relay' : 'tunnel';
  const service = program.command('service').description('run this program as a service of this machine');
  const verbs = [
    ['install', 'write its files, start it, and start it with the machine', runInstall],
    ['uninstall', 'stop it and remove its files; what it has stored stays', runUninstall],
    ['status', 'show whether it runs', runStatus],
  ] as const;
  for (const [verb, description, run] of verbs) {
    const command = service.command(verb).description(description);
    command.option('--manager <name>', `${MANAGERS.join(', ')}; the one of this machine when left out`);
    if (name === 'tunnel') command.option('--instance <name>', 'one of several clients, with systemd');
    if (verb === 'install') command.option('--config <file>', 'its config file, if it is not the usual one');
    if (verb !== 'status') command.option('--dry-run', 'only print what would be done');
    command.action((options: ServiceOptions) =>
      run(specOf(name, options, verb === 'install' ? readListen : undefined), options, io),
    );
  }
}

function runInstall(spec: ServiceSpec, { dryRun }: ServiceOptions, io: CommandIo): void {
  const plan = planInstall(spec, readTemplate);
  const config = spec.config ?? usualConfig(spec);
  const hindrances = hindrancesOf(spec);
  if (dryRun) {
    printPlan(plan, io);
    if (!fs.existsSync(config)) io.note(`Warning: ${config} is missing.`);
    for (const hindrance of hindrances) io.note(`Warning: ${hindrance}.`);
    return;
  }
  if (!fs.existsSync(config)) {
    const cure =
      spec.program === 'relay' ? 'relay init --domain … --dir /var/lib/sallyport' : `tunnel join … --config ${config}`;
    throw new TunnelError('CONFIG_INVALID', `Cannot install the service: ${config} is missing. Make it: ${cure}`);
  }
  if (hindrances.length > 0)
    throw new TunnelError('CONFIG_INVALID', `Cannot install the service: ${hindrances.join('; ')}.`);
  perform(plan);
  io.print(`Installed and started. Ask for its state: ${spec.program} service status`);
}

function runUninstall(spec: ServiceSpec, { dryRun }: ServiceOptions, io: CommandIo): void {
  const plan = planUninstall(spec);
  if (dryRun) {
    printPlan(plan, io);
    return;
  }
  perform(plan);
  io.print(`Stopped and removed. What it stored is still there, ${usualConfig(spec)} for one.`);
}

function runStatus(spec: ServiceSpec, _options: ServiceOptions, io: CommandIo): void {
  const answers = statusCommands(spec).map(([command = '', ...args]) => {
    const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: COMMAND_MS });
    return `${stdout ?? ''}${stderr ?? ''}`;
  });
  if (spec.manager !== 'systemd') {
    io.print(printableLines(answers.join('')));
    return;
  }
  const rows = answers.map((answer) => {
    const field = (name: string) => printable(new RegExp(`^${name}=(.*)$`, 'm').exec(answer)?.[1] || '–');
    return [field('Id'), field('ActiveState'), field('UnitFileState'), field('StatusText')];
  });
  for (const line of tableLines([['UNIT', 'STATE', 'AT BOOT', 'SAYS'], ...rows])) io.print(line);
}

function specOf(program: ServiceSpec['program'], options: ServiceOptions, readListen?: ReadListen): ServiceSpec {
  const config = options.config === undefined ? undefined : resolve(options.config);
  const { instance } = options;
  const manager = managerOf(options.manager);
  const file = config ?? usualConfig({ program, instance });
  const listen = fs.existsSync(file) ? readListen?.(file) : undefined;
  return { program, manager, instance, config, listen, command: commandOf(program) };
}

function managerOf(given: string | undefined): InitSystem {
  const named = MANAGERS.find((name) => name === given);
  if (named !== undefined) return named;
  if (given !== undefined) throw new TunnelError('USAGE_INVALID', `--manager must be one of ${MANAGERS.join(', ')}`);
  if (fs.existsSync('/run/systemd/system')) return 'systemd';
  if (fs.existsSync('/sbin/openrc-run')) return 'openrc';
  if (process.platform === 'darwin') return 'launchd';
  const state = 'this machine runs none of systemd, OpenRC and launchd';
  throw new TunnelError(
    'USAGE_INVALID',
    `Cannot find a service manager: ${state}. Name one: --manager systemd --dry-run`,
  );
}

/** By name where the service manager finds it, so that an update may move it; else exactly what runs now. */
function commandOf(program: string): string {
  const isFound = SERVICE_PATH.split(delimiter).some((folder) => fs.existsSync(join(folder, program)));
  if (isFound) return `/usr/bin/env ${program}`;
  const [interpreter = process.execPath, script = ''] = process.argv;
  return script === '' || script === interpreter ? interpreter : `${interpreter} ${script}`;
}

function usualConfig({ program, instance }: Pick<ServiceSpec, 'program' | 'instance'>): string {
  if (program === 'relay') return '/var/lib/sallyport/relay.yaml';
  return instance === undefined
    ? '/var/lib/sallyport-tunnel/tunnel.yaml'
    : `/var/lib/sallyport-tunnel-${instance}/tunnel.yaml`;
}

function readTemplate(name: string): string {
  const path = `systemd/${name}`;
  try {
    return readPackageFile(path);
  } catch (cause) {
    throw new TunnelError('CONFIG_INVALID', `Cannot find ${path}: install the whole package, or write it yourself.`, {
      cause,
    });
  }
}

function printPlan(plan: ServicePlan, io: CommandIo): void {
  for (const line of planLines(plan)) io.print(line);
}

function printableLines(text: string): string {
  return text.trimEnd().split('\n').map(printable).join('\n');
}

function perform({ first, write, remove, afterwards }: ServicePlan): void {
  for (const command of first) runCommand(command);
  for (const { path, text, mode } of write) asRoot(path, () => fs.writeFileSync(path, text, { mode }));
  for (const path of remove) asRoot(path, () => fs.rmSync(path, { force: true }));
  for (const command of afterwards) runCommand(command);
}

function asRoot(path: string, act: () => void): void {
  try {
    act();
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    throw new TunnelError('CONFIG_INVALID', `Cannot change ${path}: ${code}. Be root: sudo …`, { cause });
  }
}

function runCommand([command = '', ...args]: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], timeout: COMMAND_MS });
  if (status === 0) return;
  const state = error?.message ?? `exit ${status}`;
  throw new TunnelError('CONFIG_INVALID', `Cannot go on: "${[command, ...args].join(' ')}" failed (${state}).`);
}
