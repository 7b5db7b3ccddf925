/**
 * ServicePlan: decides what installing a program of ours as a service means on each kind of machine: which files, then
 * which commands. Pure functions, so that `--dry-run` shows exactly what would be done.
 */
import { type Address, formatAddress } from '../address.js';
import { TunnelError } from '../errors.js';

export type InitSystem = 'systemd' | 'openrc' | 'launchd';

export interface ServiceListen {
  readonly https: Address;
  readonly http: Address | undefined;
  /** Where it must be able to write. */
  readonly stateDir: string;
}

export interface ServiceSpec {
  readonly program: 'relay' | 'tunnel';
  readonly manager: InitSystem;
  /** Which of several clients on one machine; only with systemd. */
  readonly instance: string | undefined;
  /** Absolute path of the config file; the usual one when left out. */
  readonly config: string | undefined;
  /** Where the relay listens, by its config file; the usual ports when left out. */
  readonly listen?: ServiceListen | undefined;
  /** How the program is started: `/usr/bin/env relay`, or the absolute paths of node and its script. */
  readonly command: string;
}

export interface PlannedFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

export interface ServicePlan {
  /** Before anything is written or removed. */
  readonly first: readonly (readonly string[])[];
  readonly write: readonly PlannedFile[];
  readonly remove: readonly string[];
  readonly afterwards: readonly (readonly string[])[];
}

/** Reads a file that comes with the program, by its path in the folder `systemd/`. */
export type ReadTemplate = (name: string) => string;

/** What ProtectHome and PrivateTmp hide. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)\//;
const INSTALL_IT = 'Install it: copy the executable to /usr/local/bin, or do npm install -g ./sallyport-VERSION.tgz';
const UNIT_FOLDER = '/etc/systemd/system';
const INSTANCE = /^[a-z0-9][a-z0-9-]{0,31}$/;

/** What `service install` does. @throws {TunnelError} USAGE_INVALID for an instance that cannot be. */
export function planInstall(spec: ServiceSpec, read: ReadTemplate): ServicePlan {
  const write = filesOf(spec).map(({ template, path, mode }) => ({
    path,
    mode,
    text: adapted(withPort(read(template), template, spec), spec),
  }));
  const unit = mainUnit(spec);
  if (spec.instance !== undefined && spec.config !== undefined) {
    const cure = `Put it into /var/lib/sallyport-tunnel-${spec.instance}.`;
    throw new TunnelError('USAGE_INVALID', `Cannot use --config with --instance: instances share one unit. ${cure}`);
  }
  const afterwards: Record<InitSystem, string[][]> = {
    systemd: [
      ['systemctl', 'daemon-reload'],
      ['systemctl', 'enable', '--now', unit],
    ],
    openrc: [
      ['rc-update', 'add', unit, 'default'],
      ['rc-service', unit, 'start'],
    ],
    launchd: [['launchctl', 'bootstrap', 'system', write[0]?.path ?? '']],
  };
  return { first: [], write, remove: [], afterwards: afterwards[spec.manager] };
}

/** What `service uninstall` does. What the program has stored stays. */
export function planUninstall(spec: ServiceSpec): ServicePlan {
  const unit = mainUnit(spec);
  const files = filesOf(spec);
  const first: Record<InitSystem, string[][]> = {
    systemd: [['systemctl', 'disable', '--now', ...unitsOf(spec)]],
    openrc: [
      ['rc-service', unit, 'stop'],
      ['rc-update', 'del', unit, 'default'],
    ],
    launchd: [['launchctl', 'bootout', `system/${unit}`]],
  };
  // Other instances live by the same file.
  const remove = spec.instance === undefined ? files.map(({ path }) => path) : [];
  const afterwards = spec.manager === 'systemd' ? [['systemctl', 'daemon-reload']] : [];
  return { first: first[spec.manager], write: [], remove, afterwards };
}

/** What `service status` asks, in order. */
export function statusCommands(spec: ServiceSpec): readonly (readonly string[])[] {
  if (spec.manager === 'openrc') return [['rc-service', mainUnit(spec), 'status']];
  if (spec.manager === 'launchd') return [['launchctl', 'print', `system/${mainUnit(spec)}`]];
  const fields = '--property=Id,ActiveState,UnitFileState,StatusText';
  return unitsOf(spec).map((unit) => ['systemctl', 'show', fields, unit]);
}

/** A plan as lines of shell, for `--dry-run`. */
export function planLines({ first, write, remove, afterwards }: ServicePlan): string[] {
  const commands = (list: ServicePlan['first']) => list.map((command) => command.join(' '));
  const files = write.flatMap(({ path, mode, text }) => [`# ${path} (mode ${mode.toString(8)}):`, text.trimEnd(), '']);
  return [...commands(first), ...files, ...remove.map((path) => `rm ${path}`), ...commands(afterwards)];
}

interface ServiceFile {
  readonly template: string;
  readonly path: string;
  readonly mode: number;
}

function filesOf(spec: ServiceSpec): ServiceFile[] {
  const { program, manager, instance } = spec;
  if (manager === 'openrc') {
    return [{ template: `openrc/sallyport-${program}`, path: `/etc/init.d/sallyport-${program}`, mode: 0o755 }];
  }
  if (manager === 'launchd') {
    const name = `sallyport.${program}.plist`;
    return [{ template: `launchd/${name}`, path: `/Library/LaunchDaemons/${name}`, mode: 0o644 }];
  }
  const service = instance === undefined ? `sallyport-${program}.service` : `sallyport-${program}@.service`;
  return [service, ...socketsOf(program)].map((name) => ({
    template: name,
    path: `${UNIT_FOLDER}/${name}`,
    mode: 0o644,
  }));
}

function socketsOf(program: ServiceSpec['program']): string[] {
  return program === 'relay' ? ['sallyport-relay.socket', 'sallyport-relay-http.socket'] : [];
}

function unitsOf(spec: ServiceSpec): string[] {
  return [mainUnit(spec), ...socketsOf(spec.program)];
}

function mainUnit({ program, manager, instance }: ServiceSpec): string {
  if (instance !== undefined && (manager !== 'systemd' || program !== 'tunnel' || !INSTANCE.test(instance))) {
    const rule = 'tunnel, systemd, and a name of a-z, 0-9 and -';
    throw new TunnelError('USAGE_INVALID', `Cannot install instance ${instance}: that needs ${rule}.`);
  }
  if (manager === 'launchd') return `sallyport.${program}`;
  if (manager === 'openrc') return `sallyport-${program}`;
  return instance === undefined ? `sallyport-${program}.service` : `sallyport-${program}@${instance}.service`;
}

/**
 * Why the service could not work: files that its unit keeps from it. Empty when nothing is known to be in the way.
 * The units of systemd hide /home, /root and /tmp, and let the program write to its state folder alone.
 */
export function hindrancesOf({ program, manager, config, command, listen }: ServiceSpec): string[] {
  if (manager !== 'systemd') return [];
  const found = [];
  const home = program === 'relay' ? '/var/lib/sallyport' : '/var/lib/sallyport-tunnel';
  const hidden = command.split(' ').find((word) => HIDDEN.test(word));
  if (hidden !== undefined) found.push(`the service cannot see the program ${hidden}. ${INSTALL_IT}`);
  if (config !== undefined && HIDDEN.test(config)) found.push(`the service cannot see ${config}. Move it to ${home}`);
  if (listen !== undefined && !`${listen.stateDir}/`.startsWith(`${home}/`))
    found.push(`the service cannot write to ${listen.stateDir} (state_dir). Move it to ${home}`);
  return found;
}

/** The socket unit for the port that relay.yaml names; one that is off keeps the usual one, and the relay leaves it unused. */
function withPort(text: string, template: string, { listen }: ServiceSpec): string {
  const address = template.endsWith('-http.socket') ? listen?.http : listen?.https;
  if (!template.endsWith('.socket') || address === undefined) return text;
  const isEverywhere = ['0.0.0.0', '::'].includes(address.host);
  return text.replace(/^ListenStream=.*$/m, `ListenStream=${isEverywhere ? address.port : formatAddress(address)}`);
}

/** The file as it must be here: another config, another way to start the program. */
function adapted(text: string, { program, config, command }: ServiceSpec): string {
  const usual = program === 'relay' ? '/var/lib/sallyport/relay.yaml' : '/var/lib/sallyport-tunnel/tunnel.yaml';
  const moved = config === undefined ? text : text.replace(/^(?!#).*$/gm, (line) => line.replaceAll(usual, config));
  return moved.replaceAll(`/usr/bin/env ${program} `, `${command} `);
}
