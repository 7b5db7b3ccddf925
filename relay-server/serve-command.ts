/**
 * `relay serve`: runs the relay in the foreground until a signal ends it.
 */
import type { Command } from 'commander';
import { asTunnelError } from '../shared/errors.js';
import { http2Warning } from '../shared/http2/http2-mode.js';
import { createLog } from '../shared/log.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { readOwnConfig } from './own-config.js';
import { Serving } from './serving.js';
import { tellFailure } from './successor.js';

export interface ServeOptions {
  readonly config?: string;
}

/** Adds the verb to `relay`. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description(
      'run the relay in the foreground; SIGTERM drains, a second one ends at once, SIGHUP reloads relay.yaml',
    )
    .option('--config <file>', CONFIG_HELP)
    .action((options: ServeOptions) => runServe(options));
}

/** Returns when the relay has stopped. Rejects with CONFIG_INVALID, which a predecessor hears of, too. */
export async function runServe(options: ServeOptions): Promise<void> {
  const serving = await startServing(options).catch(async (error: unknown) => {
    await tellFailure(asTunnelError(error));
    throw error;
  });
  try {
    await serving.ended;
  } finally {
    serving.close();
  }
}

async function startServing(options: ServeOptions): Promise<Serving> {
  const path = findRelayConfig(options.config);
  const config = readOwnConfig(path);
  const log = createLog({ ...config.log, destination: 'stdout' });
  const warning = http2Warning(config.http2);
  if (warning !== undefined) log.warn({ http2: config.http2 }, warning);
  return Serving.start(path, config, log);
}
