/**
 * RelayPatient: what the checks of one `relay doctor` have found out so far. Owned by: the verb `relay doctor`.
 */
import { type Finding, skip } from '../../../shared/doctor/check.js';
import type { Reached } from '../../../shared/doctor/reach.js';
import type { RelayConfig } from '../../relay-config.js';
import type { RelayStatus } from '../relay-status.js';

export class RelayPatient {
  readonly configFile: string;
  /** Asks the running relay. */
  readonly fetchStatus: (config: RelayConfig) => Promise<RelayStatus>;
  config: RelayConfig | undefined;
  /** PEM texts of the private CAs that the relay knows of. */
  roots: readonly (string | undefined)[] = [];
  /** Of the running relay. */
  status: RelayStatus | undefined;
  /** Where the relay's name leads. */
  addresses: readonly string[] = [];
  /** One per address. */
  reached: readonly Reached[] = [];

  constructor(configFile: string, fetchStatus: (config: RelayConfig) => Promise<RelayStatus>) {
    this.configFile = configFile;
    this.fetchStatus = fetchStatus;
  }

  /** The public address that came farthest. */
  get best(): Reached | undefined {
    return this.reached.find(({ certificate }) => certificate !== undefined) ?? this.reached[0];
  }
}

/** What a check says that has nothing to look at. */
export function skipWithout(what: string): Finding {
  return skip(`needs ${what}, see above`);
}
