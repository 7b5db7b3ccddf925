/**
 * ServedTunnels: which tunnels a client has served, so that one whose client does not come back is missed also after the
 * relay restarts. A tunnel is down when it was served and has no client now; it stays so until its client is back, its
 * token is revoked, the operator says `relay host forget`, or MISSED_MS have passed (tunnel.ts).
 *
 * Owns: `<stateDir>/served-tunnels.json`, replaced as a whole, and one timer. Owned by: Relay. Losing the file loses no
 * more than comfort, so one that cannot be read counts as empty.
 */
import { join } from 'node:path';
import { asTunnelError } from '../../shared/errors.js';
import { writeFileAtomic } from '../../shared/files/atomic-file.js';
import { readTextFile } from '../../shared/files/bounded-file.js';
import type { Log } from '../../shared/log.js';
import type { Service, Tunnel } from './tunnel.js';

const FILE = 'served-tunnels.json';
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** As many as there may be routes. */
const MAX_TUNNELS = 10_000;
/** However often clients come and go. */
const SAVE_MS = 1_000;
/** How exact the times of tunnels are after a crash. */
const STAMP_MS = 3_600_000;

export interface ServedTunnelsOptions {
  readonly stateDir: string;
  readonly log: Log;
  /** Every tunnel that the relay knows. */
  readonly tunnels: () => Iterable<Tunnel>;
}

export class ServedTunnels {
  readonly #options: ServedTunnelsOptions;
  readonly #timer: NodeJS.Timeout;
  #isChanged = false;
  #savedAtMs = performance.now();

  constructor(options: ServedTunnelsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#onTick(), SAVE_MS);
  }

  /** A tunnel got or lost its client, or was forgotten: it is on disk within SAVE_MS. */
  changed(): void {
    this.#isChanged = true;
  }

  /** Writes all, and never again: a successor may write from now on. Safe any number of times. */
  close(): void {
    clearInterval(this.#timer);
    if (this.#isChanged) this.#save();
    this.#isChanged = false;
  }

  #onTick(): void {
    if (this.#isChanged || performance.now() - this.#savedAtMs > STAMP_MS) this.#save();
  }

  #save(): void {
    const { stateDir, log, tunnels } = this.#options;
    this.#isChanged = false;
    this.#savedAtMs = performance.now();
    try {
      writeServedTunnels(stateDir, servedOf(tunnels()));
    } catch (error) {
      log.warn({ reason: asTunnelError(error).message }, 'a restart will not know which tunnels were served');
    }
  }
}

function* servedOf(tunnels: Iterable<Tunnel>): Generator<readonly [string, Service]> {
  for (const { address, service } of tunnels) if (service !== undefined) yield [address, service];
}

/** By address, as the last relay of this state folder left them. */
export function readServedTunnels(stateDir: string): ReadonlyMap<string, Service> {
  try {
    const document: unknown = JSON.parse(readTextFile(join(stateDir, FILE), MAX_FILE_BYTES).text);
    const entries = Object.entries(Object(document)).filter((entry): entry is [string, Service] => isService(entry[1]));
    return new Map(entries.slice(0, MAX_TUNNELS));
  } catch {
    return new Map();
  }
}

/** Without a relay that runs: what it will miss no longer when it starts. False when it would not have. */
export function forgetServedTunnel(stateDir: string, address: string): boolean {
  const served = new Map(readServedTunnels(stateDir));
  if (!served.delete(address)) return false;
  writeServedTunnels(stateDir, served);
  return true;
}

function writeServedTunnels(stateDir: string, served: Iterable<readonly [string, Service]>): void {
  writeFileAtomic(join(stateDir, FILE), `${JSON.stringify(Object.fromEntries(served), null, 2)}\n`);
}

function isService(value: unknown): value is Service {
  const { name, tokenName, seenAtMs } = Object(value) as Partial<Record<keyof Service, unknown>>;
  return typeof name === 'string' && typeof tokenName === 'string' && Number.isFinite(seenAtMs);
}
