/**
 * `relay token create | list | revoke | rotate`: decides what the operator types and reads about tokens.
 *
 * The verbs change files in the state folder; a running relay notices within a second. The join line, which holds the
 * secret, is printed once by create and rotate, on stdout, and nowhere else. Owns nothing.
 */
import { X509Certificate } from 'node:crypto';
import type { Command } from 'commander';
import { formatAddress } from '../shared/address.js';
import { asUsage, type CommandIo } from '../shared/command/command-io.js';
import { formatJoinLine, type JoinLine } from '../shared/command/join-line.js';
import { tableLines } from '../shared/command/terminal-text.js';
import { parseDuration } from '../shared/config/units.js';
import { TunnelError } from '../shared/errors.js';
import type { LogFields } from '../shared/log-fields.js';
import type { Secret } from '../shared/secret.js';
import { openAuthority } from './certs/local-authority.js';
import { configForVerb } from './config-for-verb.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { recordVerb } from './ops/audit/audit-verb.js';
import { lastUses, tokenEntry } from './ops/token-report.js';
import { type RelayConfig, readRelayConfig } from './relay-config.js';
import { makeGrants } from './sessions/grants.js';
import { readServedTunnels } from './sessions/served-tunnels.js';
import { isExpired, type TokenRecord } from './sessions/token-record.js';
import { type IssuedToken, TokenStore } from './sessions/token-store.js';

const HEAD = ['NAME', 'CREATED', 'LAST USED', 'ENDS', 'MAY SERVE'];

export interface ConfigOption {
  /** Path of relay.yaml; the default place when left out. */
  readonly config?: string;
}

export interface TokenCreateOptions extends ConfigOption {
  readonly host?: readonly string[];
  readonly tcpPort?: readonly string[];
  /** A duration such as `90d`. */
  readonly expires?: string;
  readonly json?: boolean;
}

export interface TokenListOptions extends ConfigOption {
  readonly json?: boolean;
}

export interface TokenRotateOptions extends ConfigOption {
  readonly expires?: string;
  readonly json?: boolean;
}

/** What a join line says about its relay. */
export type JoinFacts = Pick<JoinLine, 'relayUrl' | 'ca'>;

/** Adds the verbs to `relay`. */
export function addTokenCommands(program: Command, io: CommandIo): void {
  const token = program.command('token').description('make, list and end the tokens of clients');
  token
    .command('create <name>')
    .description('make a token and print the line to type at home')
    .option('--host <host>', 'hostname or *.wildcard it may serve; repeat for more', append)
    .option(
      '--tcp-port <port>',
      'public TCP port or range it may serve, e.g. 2222 or 2200-2299; repeat for more',
      append,
    )
    .option('--expires <duration>', 'end after this time, e.g. 90d')
    .option('--json', 'print one object with name, token and join')
    .option('--config <file>', CONFIG_HELP)
    .action((name: string, options: TokenCreateOptions) => runTokenCreate(name, options, io));
  token
    .command('list')
    .description('show all tokens and what they may serve')
    .option('--json', 'print one array')
    .option('--config <file>', CONFIG_HELP)
    .action((options: TokenListOptions) => runTokenList(options, io));
  token
    .command('revoke <name>')
    .description('end a token and its sessions')
    .option('--config <file>', CONFIG_HELP)
    .action((name: string, options: ConfigOption) => runTokenRevoke(name, options, io));
  token
    .command('rotate <name>')
    .description('give a token a new secret; the old one ends')
    .option('--expires <duration>', 'a new end, e.g. 90d; the old one stays without')
    .option('--json', 'print one object with name, token and join')
    .option('--config <file>', CONFIG_HELP)
    .action((name: string, options: TokenRotateOptions) => runTokenRotate(name, options, io));
}

/** @throws {TunnelError} USAGE_INVALID, CONFIG_INVALID. */
export async function runTokenCreate(name: string, options: TokenCreateOptions, io: CommandIo): Promise<void> {
  const grants = asUsage(() => makeGrants(options.host ?? [], options.tcpPort ?? []));
  if (grants.hosts.length + grants.tcpPorts.length === 0) {
    const cure = 'Add --host app.example.com or --tcp-port 2222';
    throw new TunnelError('USAGE_INVALID', `Cannot create token ${name}: it could serve nothing. ${cure}`);
  }
  const expiresAtMs = endOf(options.expires);
  const config = readRelayConfig(findRelayConfig(options.config));
  const relay = await joinFactsOf(config);
  const issued = TokenStore.open(config.stateDir).create(name, grants, expiresAtMs);
  // First the secret, which is shown only once, whatever the audit log's disk says.
  printIssued(issued, relay, options, io);
  await recordVerb(config.auditLog, 'token-created', factsOf(issued.record));
}

/** @throws {TunnelError} CONFIG_INVALID. */
export function runTokenList(options: TokenListOptions, io: CommandIo): void {
  const { stateDir } = configForVerb(options.config, ['state_dir'], io);
  const records = TokenStore.read(stateDir);
  // What the relay wrote: it may run or not.
  const uses = lastUses(readServedTunnels(stateDir).values());
  const each = <Shown>(show: (record: TokenRecord, lastUsedMs: number | undefined) => Shown) =>
    records.map((record) => show(record, uses.get(record.name)));
  if (options.json) io.print(JSON.stringify(each(tokenEntry), undefined, 2));
  else if (records.length === 0) io.note('There is no token yet. Make one: relay token create NAME --host HOST');
  else for (const line of tableLines([HEAD, ...each(rowOf)])) io.print(line);
}

/** @throws {TunnelError} USAGE_INVALID, CONFIG_INVALID. */
export async function runTokenRevoke(name: string, options: ConfigOption, io: CommandIo): Promise<void> {
  const config = configForVerb(options.config, ['state_dir', 'audit_log'], io);
  TokenStore.open(config.stateDir).revoke(name);
  io.note(`Revoked token ${name}. A running relay ends its sessions within a second.`);
  await recordVerb(config.auditLog, 'token-revoked', { tokenName: name });
}

/** @throws {TunnelError} USAGE_INVALID, CONFIG_INVALID. */
export async function runTokenRotate(name: string, options: TokenRotateOptions, io: CommandIo): Promise<void> {
  const expiresAtMs = endOf(options.expires);
  const config = readRelayConfig(findRelayConfig(options.config));
  const relay = await joinFactsOf(config);
  const issued = TokenStore.open(config.stateDir).rotate(name, expiresAtMs);
  if (!options.json) io.note(`The old secret of token ${name} has ended, and a running relay ends its sessions.`);
  printIssued(issued, relay, options, io);
  if (!options.json)
    io.note('A service at home stays stopped until then. Start it again: sudo systemctl restart sallyport-tunnel');
  await recordVerb(config.auditLog, 'token-rotated', factsOf(issued.record));
}

/**
 * What clients of this relay must know. In mode local-ca this makes the CA if there is none yet, and it comes before any
 * change of a token: a join line that cannot be printed is a secret lost.
 * @throws {TunnelError} CONFIG_INVALID when the local CA cannot be used.
 */
export async function joinFactsOf(
  config: Pick<RelayConfig, 'domain' | 'publicPort' | 'stateDir' | 'tls'>,
): Promise<JoinFacts> {
  const { domain, publicPort, stateDir, tls } = config;
  const relayUrl = `https://${publicPort === 443 ? domain : formatAddress({ host: domain, port: publicPort })}`;
  if (tls.mode !== 'local-ca') return { relayUrl, ca: undefined };
  const { certPem } = await openAuthority(stateDir, Date.now());
  return { relayUrl, ca: new X509Certificate(certPem).raw };
}

/** The command to type at home; single quotes keep `&` and `#` from the shell. It holds the token. */
export function joinCommandFor(relay: JoinFacts, token: Secret): string {
  return `tunnel join '${formatJoinLine({ ...relay, token, address: undefined }).reveal()}'`;
}

function printIssued(issued: IssuedToken, relay: JoinFacts, options: { json?: boolean }, io: CommandIo): void {
  const { name } = issued.record;
  if (options.json) {
    const join = formatJoinLine({ ...relay, token: issued.text, address: undefined });
    io.print(JSON.stringify({ name, token: issued.text.reveal(), join: join.reveal() }));
    return;
  }
  io.note(`Token ${name} may serve ${grantsOf(issued.record)}. At home, type this; it is shown only once:`);
  io.print(joinCommandFor(relay, issued.text));
  io.note(`There, it may for example: ${exampleUp(issued.record.grants)}`);
}

/** A `tunnel up` that these grants allow: `*.example.com` as app.example.com. */
export function exampleUp({ hosts: [host], tcpPorts: [ports = ''] }: TokenRecord['grants']): string {
  if (host !== undefined) return `tunnel up 3000 --host ${host.replace(/^\*/, 'app')}`;
  return `tunnel up tcp://127.0.0.1:22 --tcp-port ${ports.split('-')[0]}`;
}

/** What the audit log says of a token. */
function factsOf(record: TokenRecord): LogFields {
  const expires = record.expiresAtMs === undefined ? 'never' : new Date(record.expiresAtMs).toISOString();
  return { tokenName: record.name, tokenId: record.id, grants: grantsOf(record), expires };
}

function endOf(expires: string | undefined): number | undefined {
  return expires === undefined ? undefined : Date.now() + asUsage(() => parseDuration(expires, '--expires'));
}

function append(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

function grantsOf({ grants }: TokenRecord): string {
  return [...grants.hosts, ...grants.tcpPorts.map((range) => `tcp:${range}`)].join(' ');
}

function endInWords(record: TokenRecord): string {
  if (record.expiresAtMs === undefined) return 'never';
  return `${dayOf(record.expiresAtMs)}${isExpired(record) ? ' (over)' : ''}`;
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function rowOf(record: TokenRecord, lastUsedMs: number | undefined): string[] {
  const used = lastUsedMs === undefined ? 'not this week' : dayOf(lastUsedMs);
  return [record.name, dayOf(record.createdAtMs), used, endInWords(record), grantsOf(record)];
}
