/**
 * `relay serve`: runs the relay in the foreground until a signal ends it.
 */
import type { Command } from 'commander';
import { http2Warning } from '../shared/http2/http2-mode.js';
import { createLog } from '../shared/log.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import { readRelayConfig } from './relay-config.js';
import { Serving } from './serving.js';

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

/** Returns when the relay has stopped. Rejects with CONFIG_INVALID. */
export async function runServe(options: ServeOptions): Promise<void> {
  const path = findRelayConfig(options.config);
  const config = readRelayConfig(path);
  const log = createLog({ ...config.log, destination: 'stdout' });
  const warning = http2Warning(config.http2);
  if (warning !== undefined) log.warn({ http2: config.http2 }, warning);
  const serving = await Serving.start(path, config, log);
  try {
    await serving.ended;
  } finally {
    serving.close();
  }
}
