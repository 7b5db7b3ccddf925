/**
 * `tunnel join`: decides what a client keeps of a join line, and where.
 *
 *     tunnel.yaml   0600   relay_url, token_file, relay_ca_file, and the person's tunnels
 *     token         0600   the token alone
 *     ca.pem        0600   the relay's local CA, when it has one
 *
 * They lie side by side, in the user's config folder or where `--config FILE` says; beside a config of another name,
 * `work.yaml`, they are `work.token` and `work.ca.pem`. Joining again replaces what the line brings and leaves the rest of
 * the file as it is; only when the line names another relay, the CA and address of the one before go. The config file is written last, because it is what makes the others count. Owns nothing.
 */
import { X509Certificate } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { type JoinLine, parseJoinLine } from '../shared/command/join-line.js';
import { type ConfigChanges, editConfigText, readConfigText } from '../shared/config/config-edit.js';
import { TunnelError } from '../shared/errors.js';
import { makePrivateFolder, writeFileAtomic } from '../shared/files/atomic-file.js';
import { readTextFile } from '../shared/files/bounded-file.js';
import { Secret } from '../shared/secret.js';
import { userTunnelConfig } from './find-tunnel-config.js';
import { nextStep } from './join-hints.js';
import { readTunnelConfig } from './tunnel-config.js';

const MAX_CONFIG_BYTES = 1 << 20;
const DEFAULT_NAME = 'tunnel';

export interface JoinOptions {
  /** Path of tunnel.yaml; the user's own when left out. */
  readonly config?: string;
}

interface JoinFiles {
  readonly config: string;
  readonly token: string;
  readonly ca: string;
}

/** Adds the verb to `tunnel`. */
export function addJoinCommand(program: Command, io: CommandIo): void {
  program
    .command('join')
    .argument('[join-line]', 'what the relay printed, in single quotes; - reads it from standard input')
    .description('store the relay and the token that a join line names')
    .option('--config <file>', 'tunnel.yaml to write; ~/.config/sallyport/tunnel.yaml when left out')
    .action((line: string | undefined, options: JoinOptions) => runJoin(line, options, io));
}

/**
 * Stores a join line: the argument, standard input for `-`, or what the person types or pastes unseen.
 * @throws {TunnelError} USAGE_INVALID or TOKEN_REJECTED for the line, CONFIG_INVALID when the disk refuses the files.
 */
export async function runJoin(line: string | undefined, options: JoinOptions, io: CommandIo): Promise<void> {
  const join = parseJoinLine(await obtainLine(line, io));
  const files = filesOf(options.config ?? userTunnelConfig());
  const before = fs.existsSync(files.config) ? readTextFile(files.config, MAX_CONFIG_BYTES).text : undefined;
  const text =
    before === undefined
      ? newConfig(join, files)
      : editConfigText(before, files.config, changesOf(join, files, before));
  writeFiles(join, files, text);
  tell(join, files, before, options, io);
}

async function obtainLine(line: string | undefined, io: CommandIo): Promise<Secret> {
  if (line !== undefined && line !== '-') return new Secret(line);
  if (io.isTerminal) return io.askSecret('Join line (not shown): ');
  if (line === '-') return io.readInput();
  throw new TunnelError(
    'USAGE_INVALID',
    "Cannot join: no join line is given. Do: tunnel join 'JOIN-LINE', or tunnel join - < FILE",
  );
}

function filesOf(config: string): JoinFiles {
  const folder = path.dirname(config);
  const name = path.basename(config, path.extname(config));
  const prefix = name === DEFAULT_NAME ? '' : `${name}.`;
  return { config, token: path.join(folder, `${prefix}token`), ca: path.join(folder, `${prefix}ca.pem`) };
}

/** What the line brings, and nothing of an earlier relay; what a person wrote about this same relay stays. */
function changesOf(join: JoinLine, files: JoinFiles, before: string): ConfigChanges {
  const dropped = isRelayOf(before, join) ? {} : { relay_address: undefined, relay_ca_file: undefined };
  return {
    relay_url: join.relayUrl,
    ...dropped,
    ...(join.address === undefined ? {} : { relay_address: join.address }),
    ...(join.ca === undefined ? {} : { relay_ca_file: path.basename(files.ca) }),
    token: undefined,
    token_file: path.basename(files.token),
  };
}

/** Whether the file leads to the relay of the line: the same host and port, however they are written. */
function isRelayOf(config: string, join: JoinLine): boolean {
  const old = readConfigText(config, 'relay_url');
  return old !== undefined && URL.canParse(old) && new URL(old).origin === new URL(join.relayUrl).origin;
}

function newConfig(join: JoinLine, files: JoinFiles): string {
  const head = '# Written by `tunnel join`, and yours to change. Every option stands in config/tunnel.example.yaml.\n';
  const example = [
    '',
    '# What this machine serves. Remove a # or two, then: tunnel up',
    'tunnels:',
    `  # - { name: app, host: ${exampleHost(join)}, origin: "http://127.0.0.1:3000" }`,
    '',
  ];
  return head + editConfigText('', files.config, changesOf(join, files, '')) + example.join('\n');
}

function writeFiles(join: JoinLine, files: JoinFiles, text: string): void {
  makePrivateFolder(path.dirname(files.config));
  if (join.ca) writeFileAtomic(files.ca, new X509Certificate(join.ca).toString());
  writeFileAtomic(files.token, `${join.token.reveal()}\n`);
  writeFileAtomic(files.config, text);
}

function tell(join: JoinLine, files: JoinFiles, before: string | undefined, options: JoinOptions, io: CommandIo): void {
  const config = options.config === undefined ? '' : ` --config ${options.config}`;
  for (const line of leftBehind(join, before ?? '')) io.note(line);
  const check = `Check it: tunnel doctor${config}`;
  io.note(`Stored the address and the token of ${join.relayUrl} in ${path.dirname(files.config)}. ${check}`);
  if (before !== undefined) io.note(`The rest of ${path.basename(files.config)} stays as it was.`);
  const next = nextStep({
    config: options.config,
    isAgain: before !== undefined,
    tunnels: tunnelsIn(files.config),
    exampleHost: exampleHost(join),
  });
  for (const line of next.notes) io.note(line);
  io.print(next.command);
}

/** How many tunnels the file lists; what is wrong with it is for `tunnel check` to say. */
function tunnelsIn(config: string): number | undefined {
  try {
    return readTunnelConfig(config).tunnels.length;
  } catch {
    return undefined;
  }
}

/** What another relay loses in this file. */
function leftBehind(join: JoinLine, before: string): string[] {
  const old = readConfigText(before, 'relay_url');
  if (old === undefined || isRelayOf(before, join)) return [];
  const own = { relay_ca_file: join.ca, relay_address: join.address };
  const dropped = Object.entries(own).flatMap(([key, brought]) => {
    const value = readConfigText(before, key);
    return value === undefined || brought !== undefined ? [] : [`${key} ${value}`];
  });
  const removed = dropped.length === 0 ? '' : ` Removed its ${dropped.join(' and its ')} from the file.`;
  return [`Left the relay ${old}.${removed}`];
}

function exampleHost(join: JoinLine): string {
  return `app.${new URL(join.relayUrl).hostname}`;
}
