/**
 * `relay why URL`: follows one live request to a public URL of this relay, hop by hop, and names the hop that failed.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { parseDialAddress } from '../shared/address.js';
import { asUsage, type CommandIo } from '../shared/command/command-io.js';
import { roundedSpan } from '../shared/command/terminal-text.js';
import { readCertificates } from '../shared/config/config-kinds.js';
import { RELAY_ROOT } from '../shared/doctor/network-findings.js';
import { publicAnd } from '../shared/doctor/reach.js';
import { printable } from '../shared/printable.js';
import { type Explained, follow, parseWhyUrl } from '../shared/why/follow.js';
import type { KnownTunnel } from '../shared/why/follow-tcp.js';
import { exitOfWay, wayLines } from '../shared/why/way.js';
import { announceAt } from './admin-watch.js';
import { localCaFile } from './certs/local-authority.js';
import { type DoorOption, findRelay, TCP_HELP } from './find-relay.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import type { RelayStatus } from './ops/relay-status.js';
import { type RelayConfig, readRelayConfig } from './relay-config.js';
import { mayClaimHost } from './sessions/grants.js';
import { isExpired, type TokenRecord } from './sessions/token-record.js';
import { TokenStore } from './sessions/token-store.js';
import { fetchRelayStatus } from './status-command.js';

export interface WhyOptions extends DoorOption {
  readonly config?: string;
  /** `host:port` to connect to instead of where DNS leads. */
  readonly address?: string;
  /** PEM file of a private CA that visitors trust. */
  readonly caFile?: string;
  readonly json?: boolean;
}

const WHY_MS = 90_000;

/** Adds the verb to `relay`. */
export function addWhyCommand(program: Command, io: CommandIo): void {
  program
    .command('why')
    .argument('<url>', 'a public URL of this relay, such as https://app.example.com/path or tcp://example.com:2222')
    .description('follow one live request hop by hop and say where it ends, and why')
    .option('--config <file>', CONFIG_HELP)
    .option('--address <host:port>', 'connect here instead of where DNS leads')
    .option('--ca-file <file>', 'PEM file of a private CA that visitors trust')
    .option('--json', 'print one object')
    .option('--tcp', TCP_HELP)
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
  const config = readRelayConfig(findRelayConfig(options.config));
  const signal = AbortSignal.timeout(WHY_MS);
  const door = await findRelay(config, options);
  const way = await follow({
    url,
    address: given,
    trusted: publicAnd(...ownRoots(config, options.caFile)),
    announce: announceAt(door, signal),
    rootCure: RELAY_ROOT,
    explain: async (name) => explain(name, await fetchRelayStatus(door), TokenStore.open(config.stateDir).list()),
    tunnelOf: async (asked) => tunnelOf(asked, await fetchRelayStatus(door)),
    signal,
  });
  if (options.json) io.print(printable(JSON.stringify(way)));
  else for (const line of wayLines(way)) io.print(line);
  return exitOfWay(way);
}

/** What the relay knows of a name without TLS. */
function explain(
  name: string,
  { certificates, tunnels }: RelayStatus,
  tokens: readonly TokenRecord[],
): Explained | undefined {
  const granting = tokens.filter((token) => !isExpired(token) && mayClaimHost(token.grants, name));
  if (granting.length === 0) {
    const cure = `See relay token list. To grant it: relay token create NAME --host ${name}`;
    return { hop: 'route', found: `no token may serve ${name}`, cure };
  }
  const known = certificates.find((certificate) => certificate.name === name);
  const isClaimed = tunnels.some(({ public: url }) => new URL(url).hostname === name);
  if (known === undefined && !isClaimed) {
    const names = granting.map((token) => token.name).join(', ');
    const cure = `At home: start or look at the client of token ${names} (tunnel status). On the VPS: relay token list`;
    return { hop: 'route', found: `no client has claimed ${name}`, cure };
  }
  if (known === undefined || known.notAfterMs !== undefined) return undefined;
  const { lastError } = known;
  const reason = lastError === undefined ? 'it is being ordered' : lastError.replace(/\.$/, '');
  const found = `${isClaimed ? 'a client claims it' : 'it is granted'}, but it has no certificate: ${reason}`;
  return { found, cure: 'On the VPS: relay cert list' };
}

/** What the relay knows of a raw TCP tunnel. */
function tunnelOf({ host }: URL, { tunnels }: RelayStatus): KnownTunnel {
  const tunnel = tunnels.find(({ public: url }) => url === `tcp://${host}`);
  if (tunnel === undefined) return { isOnline: false, found: `no client has claimed tcp://${host}` };
  const { state, tokenName, downForMs = 0 } = tunnel;
  const isOnline = state === 'online';
  const found = isOnline ? 'is connected' : `has been away for ${roundedSpan(downForMs)}`;
  return { isOnline, found: `the client of token ${tokenName} ${found}` };
}

/** PEM texts of the private CAs that this relay knows of: its own, that of its ACME service, and the one that is named. */
export function ownRoots({ stateDir, tls, acme }: RelayConfig, caFile: string | undefined): (string | undefined)[] {
  const files = [caFile, ...(tls.mode === 'acme' ? acme.authorities.map((authority) => authority.caFile) : [])];
  const named = files.map((file) => (file === undefined ? undefined : readCertificates(file, '--ca-file')));
  return [localCaOf(stateDir), ...named];
}

/** The relay's own CA, where it has one: people who use it trust it. */
export function localCaOf(stateDir: string): string | undefined {
  const file = localCaFile(stateDir);
  return existsSync(file) ? readCertificates(file, 'local CA') : undefined;
}
