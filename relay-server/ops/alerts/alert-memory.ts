/**
 * AlertMemory: what alerts must remember over a restart of the relay: which tunnels were up or down, and from which
 * addresses each token's clients came. A file that cannot be read or written costs comfort, never the relay: then a
 * restart merely forgets.
 *
 * Of IPv6 the network counts (/64): hosts change the rest of their address by themselves.
 * Owns: `alerts.json` in the state folder. Owned by: AlertWatch.
 */
import { join } from 'node:path';
import { writeFileAtomic } from '../../../shared/files/atomic-file.js';
import { readTextFile } from '../../../shared/files/bounded-file.js';
import { plainAddress } from '../../../shared/ip-address.js';

export type RememberedTunnel = 'up' | 'down';

const FILE = 'alerts.json';
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const MAX_TUNNELS = 1_000;
const MAX_TOKENS = 1_000;
const ADDRESSES_PER_TOKEN = 16;

export class AlertMemory {
  readonly #path: string;
  readonly #tunnels: Map<string, RememberedTunnel>;
  readonly #addresses: Map<string, readonly string[]>;
  #isChanged = false;

  constructor(stateDir: string) {
    this.#path = join(stateDir, FILE);
    const { tunnels, addresses } = readMemory(this.#path);
    this.#tunnels = new Map(
      Object.entries(tunnels).filter((entry): entry is [string, RememberedTunnel] => isState(entry[1])),
    );
    this.#addresses = new Map(
      Object.entries(addresses).filter((entry): entry is [string, string[]] => isTexts(entry[1])),
    );
  }

  get tunnels(): ReadonlyMap<string, RememberedTunnel> {
    return this.#tunnels;
  }

  rememberTunnel(url: string, state: RememberedTunnel): void {
    if (this.#tunnels.get(url) === state) return;
    this.#tunnels.set(url, state);
    keepNewest(this.#tunnels, MAX_TUNNELS);
    this.#isChanged = true;
  }

  forgetTunnel(url: string): void {
    if (this.#tunnels.delete(url)) this.#isChanged = true;
  }

  /** Notes where a client of the token is; true when the token has been seen before, and never there. */
  isNewAddress(tokenName: string, address: string): boolean {
    const place = placeOf(address);
    const known = this.#addresses.get(tokenName) ?? [];
    if (known.at(-1) === place) return false;
    const others = known.filter((other) => other !== place);
    this.#addresses.delete(tokenName);
    this.#addresses.set(tokenName, [...others, place].slice(-ADDRESSES_PER_TOKEN));
    keepNewest(this.#addresses, MAX_TOKENS);
    this.#isChanged = true;
    return known.length > 0 && others.length === known.length;
  }

  /** Writes what changed since the last call. @throws {TunnelError} CONFIG_INVALID when the disk refuses. */
  save(): void {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    const document = { tunnels: Object.fromEntries(this.#tunnels), addresses: Object.fromEntries(this.#addresses) };
    writeFileAtomic(this.#path, `${JSON.stringify(document)}\n`);
  }
}

function readMemory(path: string): { tunnels: object; addresses: object } {
  try {
    const { tunnels, addresses } = JSON.parse(readTextFile(path, MAX_FILE_BYTES, 'alert memory').text);
    return { tunnels: Object(tunnels), addresses: Object(addresses) };
  } catch {
    return { tunnels: {}, addresses: {} };
  }
}

function keepNewest(map: Map<string, unknown>, most: number): void {
  for (const oldest of map.keys()) {
    if (map.size <= most) return;
    map.delete(oldest);
  }
}

function placeOf(address: string): string {
  const plain = plainAddress(address) ?? address;
  if (!plain.includes(':')) return plain;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  const rest = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array(Math.max(0, 8 - groups.length - rest.length)).fill('0');
  return `${[...groups, ...zeros, ...rest].slice(0, 4).join(':')}::/64`;
}

function isState(value: unknown): value is RememberedTunnel {
  return value === 'up' || value === 'down';
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');
}
