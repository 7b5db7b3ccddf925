/**
 * `relay host list | forget`: what the operator sees and undoes of hostnames whose TLS ends at home.
 *
 * The relay never ends TLS for them again by itself (sessions/protected-hosts.ts); `forget` lets the next claim with
 * tls: relay do so. Works beside a running relay. Owns nothing.
 */
import type { Command } from 'commander';
import { asUsage, type CommandIo } from '../shared/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { normalisePattern } from '../shared/hostname.js';
import { tableLines } from '../shared/terminal-text.js';
import { configForVerb } from './config-for-verb.js';
import { CONFIG_HELP } from './find-relay-config.js';
import { recordVerb } from './ops/audit/audit-verb.js';
import { type ProtectedHost, ProtectedHosts } from './sessions/protected-hosts.js';
import { TokenStore } from './sessions/token-store.js';

const HEAD = ['NAME', 'TLS ENDS', 'CLAIMED BY'];

export interface HostForgetOptions {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
}

export interface HostListOptions extends HostForgetOptions {
  readonly json?: boolean;
}

/** Adds the verbs to `relay`. */
export function addHostCommands(program: Command, io: CommandIo): void {
  const host = program.command('host').description('list and release hostnames whose TLS the relay never ends');
  host
    .command('list')
    .description('show hostnames that were claimed with tls: end-to-end or passthrough')
    .option('--json', 'print one array')
    .option('--config <file>', CONFIG_HELP)
    .action((options: HostListOptions) => runHostList(options, io));
  host
    .command('forget <name>')
    .description('let the relay end TLS of this hostname again, once a client claims it so')
    .option('--config <file>', CONFIG_HELP)
    .action((name: string, options: HostForgetOptions) => runHostForget(name, options, io));
}

/** @throws {TunnelError} CONFIG_INVALID. */
export function runHostList(options: HostListOptions, io: Pick<CommandIo, 'print' | 'note'>): void {
  const { stateDir } = configForVerb(options.config, ['state_dir'], io);
  const hosts = ProtectedHosts.open(stateDir).all();
  const tokens = new Map(TokenStore.read(stateDir).map(({ id, name }) => [id, name]));
  const shown = hosts.map(({ host, tls, tokenId }: ProtectedHost) => ({ name: host, tls, token: tokens.get(tokenId) }));
  if (options.json) io.print(JSON.stringify(shown, undefined, 2));
  else if (shown.length === 0) io.note('There is none: no client has claimed a hostname with tls: end-to-end.');
  else {
    const rows = shown.map(({ name, tls, token = 'a revoked token' }) => [name, endOf(tls), token]);
    for (const line of tableLines([HEAD, ...rows])) io.print(line);
  }
}

/** @throws {TunnelError} USAGE_INVALID when the name is not in the list; CONFIG_INVALID. */
export async function runHostForget(
  text: string,
  options: HostForgetOptions,
  io: Pick<CommandIo, 'note'>,
): Promise<void> {
  const name = asUsage(() => normalisePattern(text, 'name'));
  const { stateDir, auditLog } = configForVerb(options.config, ['state_dir', 'audit_log'], io);
  if (!ProtectedHosts.open(stateDir).forget(name)) {
    throw new TunnelError('USAGE_INVALID', `Cannot forget ${name}: it is not in the list. See: relay host list`);
  }
  io.note(`The relay ends TLS of ${name} again once a client claims it with tls: relay.`);
  await recordVerb(auditLog, 'host-forgotten', { hostname: name });
}

function endOf(tls: ProtectedHost['tls']): string {
  return tls === 'end-to-end' ? 'at the client' : 'at the origin';
}
