/**
 * ConfigForVerb: decides what a mistake in relay.yaml means to a verb that needs a few options of it: who must end a token
 * now has no time for a typo elsewhere. Verbs that start or change a relay read the file strictly (relay-config.ts).
 */
import type { CommandIo } from '../shared/command/command-io.js';
import { readConfigInPart } from '../shared/config-file.js';
import { findRelayConfig } from './find-relay-config.js';
import { type RelayConfig, readRelay } from './relay-config.js';

/** Options and sections by the names that they have in relay.yaml. */
export type Need = 'state_dir' | 'audit_log' | 'listen.admin' | 'tls';

/**
 * The configuration, in which only the options `needs` count; each mistake elsewhere becomes a warning.
 * @param given the value of `--config`.
 * @throws {TunnelError} CONFIG_INVALID when the file says nothing sure about one of them.
 */
export function configForVerb(
  given: string | undefined,
  needs: readonly Need[],
  io: Pick<CommandIo, 'note'>,
): RelayConfig {
  const { value, mistakes } = readConfigInPart(findRelayConfig(given), readRelay, {
    needs,
    // Without it, an unknown key may be what was meant to be this one.
    written: ['state_dir'],
  });
  for (const mistake of mistakes) io.note(`Warning: ${mistake}`);
  return value;
}
