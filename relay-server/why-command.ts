/**
 * `relay why URL`: follows one live request to a public URL of this relay, hop by hop, and names the hop that failed.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { parseDialAddress } from '../shared/address.js';
import { asUsage, type CommandIo } from '../shared/command-io.js';
import { readCertificates } from '../shared/config-kinds.js';
import { publicAnd } from '../shared/doctor/reach.js';
import { TunnelError } from '../shared/errors.js';
import { printable } from '../shared/printable.js';
import { follow, parseWhyUrl } from '../shared/why/follow.js';
import { exitOfWay, wayLines } from '../shared/why/way.js';
import { announceAt } from './admin-watch.js';
import { localCaFile } from './certs/local-authority.js';
import { findRelayConfig } from './find-relay-config.js';
import { adminAuthorization } from './ops/admin-token.js';
import { readRelayConfig } from './relay-config.js';
import { addressOfAdmin } from './status-command.js';

export interface WhyOptions {
  readonly config?: string;
  /** `host:port` to connect to instead of where DNS leads. */
  readonly address?: string;
  readonly json?: boolean;
}

const WHY_MS = 90_000;

/** Adds the verb to `relay`. */
export function addWhyCommand(program: Command, io: CommandIo): void {
  program
    .command('why')
    .argument('<url>', 'a public URL of this relay, such as https://app.example.com/path')
    .description('follow one live request hop by hop and say where it ends, and why')
    .option('--config <file>', 'relay.yaml')
    .option('--address <host:port>', 'connect here instead of where DNS leads')
    .option('--json', 'print one object')
    .action(async (url: string, options: WhyOptions) => {
      process.exitCode = await runWhy(url, options, io);
    });
}

/**
 * Prints the way of the request and returns the exit code: 0 when the app answered, else 69.
 * @throws {TunnelError} USAGE_INVALID for a URL that is none, CONFIG_INVALID for a wrong configuration.
 */
export async function runWhy(text: string, options: WhyOptions, io: Pick<CommandIo, 'print'>): Promise<number> {
  const url = asUsage(() => parseWhyUrl(text));
  const { address } = options;
  const given = address === undefined ? undefined : asUsage(() => parseDialAddress(address, '--address'));
  const { listen, stateDir } = readRelayConfig(findRelayConfig(options.config));
  const signal = AbortSignal.timeout(WHY_MS);
  const { admin } = listen;
  const way = await follow({
    url,
    address: given,
    trusted: publicAnd(localCaOf(stateDir)),
    announce: admin === undefined ? cannotAsk : announceAt(addressOfAdmin(admin), signal, adminAuthorization(stateDir)),
    signal,
  });
  if (options.json) io.print(printable(JSON.stringify(way)));
  else for (const line of wayLines(way)) io.print(line);
  return exitOfWay(way);
}

/** The relay's own CA, where it has one: people who use it trust it. */
export function localCaOf(stateDir: string): string | undefined {
  const file = localCaFile(stateDir);
  return existsSync(file) ? readCertificates(file, 'local CA') : undefined;
}

function cannotAsk(): Promise<never> {
  return Promise.reject(new TunnelError('CONFIG_INVALID', 'the relay has no admin listener: set listen.admin'));
}
