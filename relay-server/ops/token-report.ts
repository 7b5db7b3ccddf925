/**
 * Token report: decides how tokens are told to scripts: `relay token list --json` and `/api/v1/tokens` say the same. Never
 * anything with which somebody could log in.
 */

import { isExpired, type TokenRecord } from '../sessions/token-record.js';
import type { Service } from '../sessions/tunnel.js';

/** Times are ISO 8601. */
export interface TokenEntry {
  readonly name: string;
  readonly id: string;
  readonly hosts: readonly string[];
  /** Ports and ranges, `2222` or `2200-2299`. */
  readonly tcpPorts: readonly string[];
  readonly createdAt: string;
  /** Null for a token without an end. */
  readonly expiresAt: string | null;
  readonly expired: boolean;
  /** When a client of it was last seen serving a tunnel; null when none was within a week. */
  readonly lastUsedAt: string | null;
}

/** When each token was last used, milliseconds since 1970, by its name: what its tunnels tell. */
export function lastUses(services: Iterable<Service | undefined>): ReadonlyMap<string, number> {
  const uses = new Map<string, number>();
  for (const service of services) {
    if (service === undefined) continue;
    uses.set(service.tokenName, Math.max(uses.get(service.tokenName) ?? 0, service.seenAtMs));
  }
  return uses;
}

/** @param lastUsedMs as `lastUses` has it. */
export function tokenEntry(record: TokenRecord, lastUsedMs: number | undefined): TokenEntry {
  return {
    name: record.name,
    id: record.id,
    hosts: record.grants.hosts,
    tcpPorts: record.grants.tcpPorts,
    createdAt: new Date(record.createdAtMs).toISOString(),
    expiresAt: record.expiresAtMs === undefined ? null : new Date(record.expiresAtMs).toISOString(),
    expired: isExpired(record),
    lastUsedAt: lastUsedMs === undefined ? null : new Date(lastUsedMs).toISOString(),
  };
}
