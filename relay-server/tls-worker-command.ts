/**
 * `relay tls-worker`: what `relay serve` starts when relay.yaml says `workers`. Nobody types it.
 */
import type { Command } from 'commander';
import { TunnelError } from '../shared/errors.js';
import { TlsWorker } from './workers/tls-worker.js';

/** The name of the verb. */
export const TLS_WORKER_VERB = 'tls-worker';

/** Adds the verb to `relay`, without a line in its help. */
export function addTlsWorkerCommand(program: Command): void {
  program.command(TLS_WORKER_VERB, { hidden: true }).action(async () => {
    if (process.send === undefined) {
      throw new TunnelError('USAGE_INVALID', 'Cannot run alone: relay serve starts it. Set workers in relay.yaml.');
    }
    new TlsWorker();
    // It ends with its parent.
    await new Promise(() => {});
  });
}
