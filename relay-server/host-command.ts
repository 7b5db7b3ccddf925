/**
 * `relay host list | forget`: what the operator sees and undoes of what the relay remembers of a name.
 *
 * Of those whose TLS ended at home it never ends TLS again by itself (sessions/protected-hosts.ts), and those that a client
 * has served it misses (sessions/served-tunnels.ts); `forget` ends both. Works beside a running relay. Owns nothing.
 */
import type { Command } from 'commander';
import { asUsage, type CommandIo } from '../shared/command/command-io.js';
import { tableLines } from '../shared/command/terminal-text.js';
import { asTunnelError, TunnelError } from '../shared/errors.js';
import { normalisePattern } from '../shared/hostname.js';
import { askRelay } from './ask-relay.js';
import { configForVerb } from './config-for-verb.js';
import { type DoorOption, TCP_HELP } from './find-relay.js';
import { CONFIG_HELP } from './find-relay-config.js';
import { recordVerb } from './ops/audit/audit-verb.js';
import type { RelayConfig } from './relay-config.js';
import { type ProtectedHost, ProtectedHosts } from './sessions/protected-hosts.js';
import { forgetServedTunnel } from './sessions/served-tunnels.js';
import { TokenStore } from './sessions/token-store.js';

/** How the relay writes a raw TCP tunnel. */
const PORT = /^:\d{1,5}$/;
const ASK_MS = 5_000;
const HEAD = ['NAME', 'TLS ENDS', 'CLAIMED BY'];

export interface HostForgetOptions extends DoorOption {
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
    .description('no longer miss this tunnel (a hostname, or :PORT) while it is down; let the relay end its TLS again')
    .option('--tcp', TCP_HELP)
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

/** @throws {TunnelError} USAGE_INVALID when there is nothing to forget of this name; CONFIG_INVALID. */
export async function runHostForget(
  text: string,
  options: HostForgetOptions,
  io: Pick<CommandIo, 'note'>,
): Promise<void> {
  const name = PORT.test(text) ? text : asUsage(() => normalisePattern(text, 'name'));
  const config = configForVerb(options.config, ['state_dir', 'listen.admin', 'audit_log'], io);
  const wasProtected = ProtectedHosts.open(config.stateDir).forget(name);
  const problem = await missNoLonger(config, name, options);
  if (problem !== undefined && !wasProtected) throw problem;
  if (wasProtected) io.note(`The relay ends TLS of ${name} again once a client claims it with tls: relay.`);
  if (problem === undefined) io.note(`The relay no longer misses a client of ${name}.`);
  await recordVerb(config.auditLog, 'host-forgotten', { hostname: name });
}

/** Why the relay did not miss it; undefined when it did, and does no longer. */
async function missNoLonger(config: RelayConfig, name: string, options: DoorOption): Promise<TunnelError | undefined> {
  const path = `/api/v1/tunnels/${encodeURIComponent(name)}/forget`;
  try {
    const answer = await askRelay(config, options, { method: 'POST', path, timeoutMs: ASK_MS });
    if (answer !== undefined || forgetServedTunnel(config.stateDir, name)) return undefined;
  } catch (error) {
    return asTunnelError(error);
  }
  return new TunnelError('USAGE_INVALID', `Cannot forget ${name}: it is not in the list. See: relay host list`);
}

function endOf(tls: ProtectedHost['tls']): string {
  return tls === 'end-to-end' ? 'at the client' : 'at the origin';
}
