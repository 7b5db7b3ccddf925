/**
 * `relay serve`: runs the relay in the foreground until a signal ends it.
 */
import type { Command } from 'commander';
import { http2Warning } from '../shared/http2/patched-runtime.js';
import { createLog } from '../shared/log.js';
import { notifyService } from '../shared/service-notify.js';
import { onStopSignal } from '../shared/stop-signal.js';
import { findRelayConfig } from './find-relay-config.js';
import { Relay } from './relay.js';
import { readRelayConfig } from './relay-config.js';

export interface ServeOptions {
  readonly config?: string;
}

/** Adds the verb to `relay`. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description(
      'run the relay in the foreground; SIGTERM drains, a second one ends at once, SIGHUP reloads certificates',
    )
    .option('--config <file>', 'relay.yaml')
    .action((options: ServeOptions) => runServe(options));
}

/** Returns when the relay has stopped. Rejects with CONFIG_INVALID. */
export async function runServe(options: ServeOptions): Promise<void> {
  const config = readRelayConfig(findRelayConfig(options.config));
  const log = createLog({ ...config.log, destination: 'stdout' });
  const warning = http2Warning(config.http2);
  if (warning !== undefined) log.warn({ http2: config.http2 }, warning);
  const relay = await Relay.start(config, log);
  const addresses = Object.fromEntries(relay.listeners.map(({ name, address }) => [name, address]));
  log.info({ event: 'listening', domain: config.domain, ...addresses }, 'relay listening');
  notifyService('READY=1');
  const onReload = () => relay.reload();
  process.on('SIGHUP', onReload);
  await stopped(relay);
  process.off('SIGHUP', onReload);
}

function stopped(relay: Relay): Promise<void> {
  return new Promise((resolve, reject) => {
    const stopListening = onStopSignal({
      drain: () => {
        notifyService('STOPPING=1');
        finish(relay.drain());
      },
      end: () => finish(relay.close()),
    });
    const finish = (ending: Promise<void>) => {
      ending.finally(stopListening).then(resolve, reject);
    };
  });
}
