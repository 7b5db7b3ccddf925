/**
 * RememberedHosts: which hostnames were claimed under a wildcard grant, so that their visitors meet a waiting tunnel and
 * not a TLS alert after the relay restarts. (Hostnames that a grant names exactly need no memory.)
 *
 * Owns: `<stateDir>/hosts.json`, replaced as a whole. Owned by: Relay. Losing the file loses no more than that comfort,
 * so one that cannot be read counts as empty.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../shared/atomic-file.js';
import { hostnameOf } from '../../shared/hostname.js';

const FILE = 'hosts.json';
/** As many as there may be routes; the oldest make room. */
const MAX_HOSTS = 10_000;

export class RememberedHosts {
  readonly #file: string;
  /** Token id by hostname, oldest claim first. */
  readonly #hosts: Map<string, string>;

  constructor(stateDir: string) {
    this.#file = join(stateDir, FILE);
    this.#hosts = new Map(readHosts(this.#file));
  }

  /** Hostnames that this token claimed. */
  of(tokenId: string): string[] {
    return [...this.#hosts].filter(([, owner]) => owner === tokenId).map(([host]) => host);
  }

  /** Notes a claim; writes the file when it is news. */
  remember(host: string, tokenId: string): void {
    if (this.#hosts.get(host) === tokenId) return;
    this.#hosts.delete(host);
    this.#hosts.set(host, tokenId);
    for (const oldest of this.#hosts.keys()) {
      if (this.#hosts.size <= MAX_HOSTS) break;
      this.#hosts.delete(oldest);
    }
    writeFileAtomic(this.#file, `${JSON.stringify(Object.fromEntries(this.#hosts), null, 2)}\n`);
  }
}

function readHosts(file: string): [string, string][] {
  try {
    const document: unknown = JSON.parse(readFileSync(file, 'utf8'));
    const entries = Object.entries(document as Record<string, unknown>);
    return entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string' && isHost(entry[0]));
  } catch {
    return [];
  }
}

function isHost(text: string): boolean {
  const name = text.startsWith('*.') ? text.slice(2) : text;
  return hostnameOf(name) === name;
}
