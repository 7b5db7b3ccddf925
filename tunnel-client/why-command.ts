/**
 * `tunnel why URL`: follows one live request to a public URL of this client, hop by hop, and names the hop that failed.
 */
import type { Command } from 'commander';
import { parseDialAddress } from '../shared/address.js';
import { asUsage, type CommandIo } from '../shared/command-io.js';
import { publicAnd } from '../shared/doctor/reach.js';
import { printable } from '../shared/printable.js';
import { type Announce, follow, parseWhyUrl } from '../shared/why/follow.js';
import { exitOfWay, wayLines } from '../shared/why/way.js';
import { Errand } from './doctor/errand.js';
import { userTunnelConfig } from './find-tunnel-config.js';
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
      signal,
    });
    if (options.json) io.print(printable(JSON.stringify(way)));
    else for (const line of wayLines(way)) io.print(line);
    return exitOfWay(way);
  } finally {
    for (const errand of errands) errand.close();
  }
}

/** The token's owner may ask the relay; whoever cannot still sees the ends of the way. */
function announceBy(config: TunnelConfig, signal: AbortSignal, errands: Errand[]): Announce {
  return async (id, host) => {
    const errand = await Errand.open({ config, signal });
    errands.push(errand);
    return errand.watch(id, host);
  };
}
