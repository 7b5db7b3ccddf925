/**
 * `relay alert test`: sends one alert through every configured channel, and says which took it.
 */
import type { Command } from 'commander';
import type { CommandIo } from '../shared/command/command-io.js';
import { TunnelError } from '../shared/errors.js';
import { CONFIG_HELP, findRelayConfig } from './find-relay-config.js';
import type { Alert } from './ops/alerts/alert.js';
import { channelsOf } from './ops/alerts/alert-config.js';
import type { Channel } from './ops/alerts/channel.js';
import { readRelayConfig } from './relay-config.js';

export interface AlertTestOptions {
  readonly config?: string;
}

const EXIT_FAILED = 69;
const TEST_MS = 45_000;

/** Adds the verb to `relay`. */
export function addAlertCommands(program: Command, io: CommandIo): void {
  program
    .command('alert')
    .description('alerts about tunnels, certificates and clients')
    .command('test')
    .description('send a test alert through every channel under alerts: in relay.yaml')
    .option('--config <file>', CONFIG_HELP)
    .action(async (options: AlertTestOptions) => {
      process.exitCode = await runAlertTest(options, io);
    });
}

/**
 * Prints a line per channel and returns the exit code: 0, or 69 when one did not take the alert.
 * @throws {TunnelError} CONFIG_INVALID when no channel is configured.
 */
export async function runAlertTest(options: AlertTestOptions, io: Pick<CommandIo, 'print'>): Promise<number> {
  const config = readRelayConfig(findRelayConfig(options.config));
  const channels = channelsOf(config.alerts);
  if (channels.length === 0) {
    const cure = 'Set webhook_url, ntfy_url or mail_to under alerts:';
    throw new TunnelError('CONFIG_INVALID', `Cannot send a test alert: no channel is configured. ${cure}`);
  }
  const alert: Alert = {
    event: 'test',
    relay: config.domain,
    subject: config.domain,
    title: `Test of the alerts of ${config.domain}`,
    text: 'If you read this, alerts arrive.',
    cure: '',
    atMs: Date.now(),
  };
  const failures = await Promise.all(channels.map((channel) => failureOf(channel, alert)));
  for (const [at, { name }] of channels.entries()) io.print(`${name}: ${failures[at] ?? 'sent'}`);
  return failures.every((failure) => failure === undefined) ? 0 : EXIT_FAILED;
}

async function failureOf(channel: Channel, alert: Alert): Promise<string | undefined> {
  try {
    await channel.send(alert, AbortSignal.timeout(TEST_MS));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : 'failed';
  }
}
