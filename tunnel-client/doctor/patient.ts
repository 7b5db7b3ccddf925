/**
 * Patient: what the checks of one `tunnel doctor` have found out so far. A check reads what it needs, and skips when an
 * earlier one did not find it.
 *
 * Owns: the errand's link. Owned by: the verb `tunnel doctor`.
 */
import { type Finding, skip } from '../../shared/doctor/check.js';
import type { Reached } from '../../shared/doctor/reach.js';
import type { TunnelError } from '../../shared/errors.js';
import type { LinkProxy } from '../proxy/link-proxy.js';
import type { TunnelConfig } from '../tunnel-config.js';
import type { Errand } from './errand.js';

export class Patient {
  readonly configFile: string;
  /** Where the status sockets of running clients are; the user's folder when left out. */
  readonly statusFolder: string | undefined;
  config: TunnelConfig | undefined;
  proxy: LinkProxy | undefined;
  /** Where the relay's name leads, or `relay_address`. */
  addresses: readonly string[] = [];
  /** One per address; the first that showed a certificate speaks for the relay. */
  reached: readonly Reached[] = [];
  errand: Errand | undefined;
  /** Why there is no errand. */
  refusal: TunnelError | undefined;

  constructor(configFile: string, statusFolder?: string) {
    this.configFile = configFile;
    this.statusFolder = statusFolder;
  }

  /** The way to the relay that came farthest. */
  get best(): Reached | undefined {
    return this.reached.find(({ certificate }) => certificate !== undefined) ?? this.reached[0];
  }

  close(): void {
    this.errand?.close();
  }
}

/** What a check says that has nothing to look at. */
export function skipWithout(what: string): Finding {
  return skip(`needs ${what}, see above`);
}
