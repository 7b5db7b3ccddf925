/**
 * `tunnel why URL`: follows one live request to a public URL of this client, hop by hop, and names the hop that failed.
 */
import type { Command } from 'commander';
import { parseDialAddress } from '../shared/address.js';
import { asUsage, type CommandIo } from '../shared/command/command-io.js';
import { publicAnd } from '../shared/doctor/reach.js';
import { printable } from '../shared/printable.js';
import { type Announce, type Explained, follow, parseWhyUrl } from '../shared/why/follow.js';
import type { KnownTunnel } from '../shared/why/follow-tcp.js';
import { exitOfWay, wayLines } from '../shared/why/way.js';
import { Errand } from './doctor/errand.js';
import { userTunnelConfig } from './find-tunnel-config.js';
import { certificateText, isUsable } from './home/certificate-text.js';
import type { ClientStatus } from './ops/client-status.js';
import { readAllStatuses } from './ops/status-socket.js';
import { readTunnelConfig, type TunnelConfig } from './tunnel-config.js';

export interface WhyOptions {
  readonly config?: string;
  /** `host:port` to connect to instead of where DNS leads. */
  readonly address?: string;
  readonly json?: boolean;
}

const WHY_MS = 90_000;

/** Adds the verb to `tunnel`. */
export function addWhyCommand(program: Command, io: CommandIo): void {
  program
    .command('why')
    .argument('<url>', 'a public URL of this client, such as https://app.example.com/path')
    .description('follow one live request hop by hop and say where it ends, and why')
    .option('--config <file>', 'tunnel.yaml; ~/.config/sallyport/tunnel.yaml when left out')
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
  const config = readTunnelConfig(options.config ?? userTunnelConfig());
  const signal = AbortSignal.timeout(WHY_MS);
  const errands: Errand[] = [];
  try {
    const way = await follow({
      url,
      address: given ?? config.relayAddress,
      trusted: publicAnd(config.relayCa),
      announce: announceBy(config, signal, errands),
      explain: async (name) => explain(name, await readAllStatuses()),
      tunnelOf: async (asked) => tunnelOf(asked, await readAllStatuses()),
      signal,
    });
    if (options.json) io.print(printable(JSON.stringify(way)));
    else for (const line of wayLines(way)) io.print(line);
    return exitOfWay(way);
  } finally {
    for (const errand of errands) errand.close();
  }
}

/** What the running clients of this user know of a name without TLS. */
function explain(name: string, clients: readonly ClientStatus[]): Explained | undefined {
  const tunnels = clients.flatMap((client) => client.tunnels);
  const tunnel = tunnels.find(
    ({ url }) => url === name || url.startsWith(`https://${name}:`) || url === `https://${name}`,
  );
  const { certificate, lastError } = tunnel ?? {};
  if (certificate !== undefined && !isUsable(certificate, Date.now())) {
    const found = `the client has no certificate for ${name} yet: ${certificateText(certificate, Date.now())}`;
    return { found, cure: 'See tunnel status.' };
  }
  if (tunnel?.state !== 'denied' || lastError?.code !== 'CERTIFICATE_FAILED') return undefined;
  const found = `a client claims it, but it has no certificate: ${lastError.message}`;
  return { found, cure: 'On the VPS: relay cert list' };
}

/** What the running clients of this user know of a raw TCP tunnel. */
function tunnelOf({ host }: URL, clients: readonly ClientStatus[]): KnownTunnel | undefined {
  const tunnel = clients.flatMap(({ tunnels }) => tunnels).find(({ url }) => url === `tcp://${host}`);
  return (
    tunnel && { isOnline: tunnel.state === 'online', found: `tunnel ${tunnel.name} of this client is ${tunnel.state}` }
  );
}

/** The token's owner may ask the relay; whoever cannot still sees the ends of the way. */
function announceBy(config: TunnelConfig, signal: AbortSignal, errands: Errand[]): Announce {
  return async (id, host) => {
    const errand = await Errand.open({ config, signal });
    errands.push(errand);
    return errand.watch(id, host);
  };
}
