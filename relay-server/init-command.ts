/**
 * `relay init`: decides what a new relay starts with: a commented relay.yaml, a private state folder, the token `home`, and
 * the line to type at home; and whether its certificates are public ones or those of a CA of its own. Nothing that exists is replaced, and a run that was cut short can be
 * repeated, except that an existing relay.yaml is never touched. Owns nothing.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Command } from 'commander';
import { asUsage, type CommandIo } from '../shared/command/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { createFileExclusive, makePrivateFolder } from '../shared/files/atomic-file.js';
import { normaliseHostname } from '../shared/hostname.js';
import { quoted } from '../shared/printable.js';
import { configFlag } from './find-relay-config.js';
import { recordVerb } from './ops/audit/audit-verb.js';
import { parseRelayConfig } from './relay-config.js';
import { makeGrants } from './sessions/grants.js';
import { TokenStore } from './sessions/token-store.js';
import { exampleUp, joinCommandFor, joinFactsOf } from './token-command.js';

const CONFIG_NAME = 'relay.yaml';
const STATE_NAME = 'state';
/** Where the service looks for it. */
const SERVICE_CONFIG = '/var/lib/sallyport/relay.yaml';
const FIRST_TOKEN = 'home';

export interface InitOptions {
  /** The relay's own hostname. */
  readonly domain: string;
  /** Public certificates, and where their CA writes to. */
  readonly email?: string;
  /** Public certificates also without an e-mail address. */
  readonly acme?: boolean;
  /** Folder of relay.yaml and of the state folder; the current one when left out. */
  readonly dir?: string;
}

/** Adds the verb to `relay`. */
export function addInitCommand(program: Command, io: CommandIo): void {
  program
    .command('init')
    .description('write relay.yaml, make a state folder and a first token, and print the line to type at home')
    .requiredOption('--domain <domain>', "the relay's own hostname, e.g. example.com")
    .option('--email <email>', "public certificates from Let's Encrypt, which writes here when something is wrong")
    .option('--acme', 'public certificates without an e-mail address')
    .option('--dir <folder>', 'where relay.yaml and state/ go; the current folder when left out')
    .action((options: InitOptions) => runInit(options, io));
}

/**
 * Makes a new relay and prints, on stdout, the command to type at home alone.
 * @throws {TunnelError} USAGE_INVALID for a wrong flag or an existing relay.yaml, CONFIG_INVALID when the disk refuses.
 */
export async function runInit(options: InitOptions, io: CommandIo): Promise<void> {
  const domain = asUsage(() => normaliseHostname(options.domain, '--domain'));
  const file = path.resolve(options.dir ?? '.', CONFIG_NAME);
  if (fs.existsSync(file)) throw alreadyThere(file);
  const email = options.email === undefined ? undefined : checkEmail(options.email);
  const isPublic = options.acme === true || email !== undefined;
  const text = configText(domain, isPublic, email);
  const config = parseRelayConfig(text, file);
  makePrivateFolder(config.stateDir);
  const relay = await joinFactsOf(config);
  if (!createFileExclusive(file, text)) throw alreadyThere(file);
  const grants = makeGrants([`*.${domain}`], []);
  const token = TokenStore.open(config.stateDir).create(FIRST_TOKEN, grants);
  io.note(`Made ${shown(file)}, ${shown(config.stateDir)} and the token ${FIRST_TOKEN}, which may serve *.${domain}.`);
  io.note('');
  io.note(
    `1. Point the DNS names ${domain} and *.${domain} at this machine${isPublic ? ', and open ports 443 and 80' : ''}.`,
  );
  for (const line of startLines(file)) io.note(line);
  if (isPublic)
    io.note(
      `   It gets its certificates from Let's Encrypt and renews them; see them with: relay cert list${configFlag(file, shown(file))}`,
    );
  io.note('3. At home, type this; it is shown only once:');
  io.print(joinCommandFor(relay, token.text));
  io.note(`4. Then, there, for example: ${exampleUp(grants)}`);
  await recordVerb(config.auditLog, 'token-created', {
    tokenName: FIRST_TOKEN,
    tokenId: token.record.id,
    grants: `*.${domain}`,
  });
}

/** The units let the relay write to one folder alone. */
function startLines(file: string): string[] {
  const serve = `relay serve --config ${shown(file)}`;
  if (file === SERVICE_CONFIG)
    return ['2. Start the relay here: sudo relay service install', `   Or in the foreground: ${serve}`];
  return [
    `2. Start the relay here: ${serve}`,
    '   As a service (sudo relay service install) it needs: relay init --dir /var/lib/sallyport',
  ];
}

function configText(domain: string, isPublic: boolean, email: string | undefined): string {
  const lines = [
    '# A Sallyport relay. Every option stands in config/relay.example.yaml. After a change: relay check',
    '',
    "# The relay's own hostname. Its DNS name, and *. before it, lead to this machine.",
    `domain: ${domain}`,
    '',
    'listen:',
    '  https: ":443" # visitors and clients',
    '  http: ":80" # sends visitors to https, and proves hostnames to the CA',
    '  admin: "127.0.0.1:9180" # relay status; keep it on loopback',
    '',
    '# Tokens and certificates, from the folder of this file. Back it up, and let nobody else read it.',
    `state_dir: ${STATE_NAME}`,
    '',
    ...(isPublic
      ? publicTls(email)
      : ['tls:', '  mode: local-ca # certificates of a CA of our own; `files` takes yours']),
    '',
  ];
  return lines.join('\n');
}

function publicTls(email: string | undefined): string[] {
  return [
    'tls:',
    '  mode: acme # public certificates, got and renewed by themselves; `files` takes yours',
    '',
    'acme:',
    "  directory_url: production # Let's Encrypt; `staging` while you try things out",
    email === undefined ? '  # email: me@example.com # where the CA may write to' : `  email: ${JSON.stringify(email)}`,
  ];
}

function checkEmail(email: string): string {
  if (/^[^\s@"\\]+@[^\s@"\\]+$/.test(email)) return email;
  throw new TunnelError('USAGE_INVALID', `--email must be an e-mail address, got ${quoted(email)}`);
}

function alreadyThere(file: string): TunnelError {
  const cure = `Make a token for the relay that is there: relay token create NAME --host HOST, or use another --dir`;
  return new TunnelError('USAGE_INVALID', `Cannot write ${file}: it exists already. ${cure}`);
}

/** The path as one would type it here. */
function shown(place: string): string {
  const relative = path.relative(process.cwd(), place);
  return relative.startsWith('..') ? place : relative;
}
