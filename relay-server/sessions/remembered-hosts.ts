/**
 * RememberedHosts: which hostnames were claimed under a wildcard grant (those that a grant names exactly need no memory).
 *
 * Their visitors meet a waiting tunnel and not a TLS alert after the relay restarts, and their certificates are renewed
 * while nobody claims them. Each is also a certificate that its token made somebody issue, so it decides how many a token
 * may have: when it has enough, one that is not in use and was not claimed for a week makes room, and otherwise none.
 *
 * Owns: `<stateDir>/hosts.json`, replaced as a whole. Owned by: Claims. Losing the file loses no more than comfort, so one
 * that cannot be read counts as empty.
 */
import { join } from 'node:path';
import { TunnelError } from '../../shared/errors.js';
import { writeFileAtomic } from '../../shared/files/atomic-file.js';
import { readTextFile } from '../../shared/files/bounded-file.js';
import { hostnameOf } from '../../shared/hostname.js';

const FILE = 'hosts.json';
/** As many as there may be routes; the oldest make room. */
const MAX_HOSTS = 10_000;
const DAY_MS = 86_400_000;
/** The week in which CAs count certificates. */
const KEPT_MS = 7 * DAY_MS;
/** How exact the time of the last claim must be on disk. */
const STAMP_MS = DAY_MS;

interface RememberedHost {
  readonly tokenId: string;
  /** When it was claimed last; milliseconds since 1970. */
  readonly claimedAtMs: number;
}

export interface RoomOptions {
  /** Hostnames that a token may have. */
  readonly max: number;
  /** Whether a client serves this hostname, or is expected back. */
  readonly isInUse: (host: string) => boolean;
}

export class RememberedHosts {
  readonly #file: string;
  readonly #now: () => number;
  /** By hostname, oldest entry first. */
  readonly #hosts: Map<string, RememberedHost>;

  /** @param now milliseconds since 1970; the system's clock when left out. */
  constructor(stateDir: string, now: () => number = Date.now) {
    this.#file = join(stateDir, FILE);
    this.#now = now;
    this.#hosts = new Map(readHosts(this.#file));
  }

  has(host: string): boolean {
    return this.#hosts.has(host);
  }

  /** Hostnames that this token claimed. */
  of(tokenId: string): string[] {
    return [...this.#hosts].filter(([, owner]) => owner.tokenId === tokenId).map(([host]) => host);
  }

  /** Lets this token have this hostname, too. @throws {TunnelError} LIMIT_EXCEEDED when it has too many. */
  makeRoom(host: string, tokenId: string, { max, isInUse }: RoomOptions): void {
    const names = this.of(tokenId);
    if (names.includes(host) || names.length < max) return;
    const keptFromMs = this.#now() - KEPT_MS;
    const old = names.find((name) => (this.#hosts.get(name)?.claimedAtMs ?? 0) < keptFromMs && !isInUse(name));
    if (old === undefined) {
      const state = `its token has ${names.length} hostnames under wildcard grants`;
      const cure = 'Use names again, or ask the relay’s operator for a grant of exactly this one';
      throw new TunnelError('LIMIT_EXCEEDED', `Cannot claim ${host}: ${state}. ${cure} (limits.hostnames_per_token).`);
    }
    this.#hosts.delete(old);
  }

  /** Notes a claim; writes the file when it is news. */
  remember(host: string, tokenId: string): void {
    const known = this.#hosts.get(host);
    const claimedAtMs = this.#now();
    if (known?.tokenId === tokenId && Math.abs(claimedAtMs - known.claimedAtMs) < STAMP_MS) return;
    this.#hosts.delete(host);
    this.#hosts.set(host, { tokenId, claimedAtMs });
    for (const oldest of this.#hosts.keys()) {
      if (this.#hosts.size <= MAX_HOSTS) break;
      this.#hosts.delete(oldest);
    }
    writeFileAtomic(this.#file, `${JSON.stringify(Object.fromEntries(this.#hosts), null, 2)}\n`);
  }
}

function readHosts(file: string): [string, RememberedHost][] {
  try {
    const document: unknown = JSON.parse(readTextFile(file).text);
    return Object.entries(document as Record<string, unknown>).flatMap(([host, value]) => {
      const entry = readHost(value);
      return entry !== undefined && isHost(host) ? [[host, entry] as [string, RememberedHost]] : [];
    });
  } catch {
    return [];
  }
}

/** Version 0.1 wrote the token's id alone. */
function readHost(value: unknown): RememberedHost | undefined {
  if (typeof value === 'string') return { tokenId: value, claimedAtMs: 0 };
  const { tokenId, claimedAtMs } = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  return typeof tokenId === 'string' && Number.isFinite(claimedAtMs)
    ? { tokenId, claimedAtMs: Number(claimedAtMs) }
    : undefined;
}

function isHost(text: string): boolean {
  const name = text.startsWith('*.') ? text.slice(2) : text;
  return hostnameOf(name) === name;
}
