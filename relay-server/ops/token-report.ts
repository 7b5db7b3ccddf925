/**
 * Token report: decides how tokens are told to scripts: `relay token list --json` and `/api/v1/tokens` say the same. Never
 * anything with which somebody could log in.
 */
import { isExpired, type TokenRecord } from '../sessions/token-record.js';

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
}

export function tokenEntry(record: TokenRecord): TokenEntry {
  return {
    name: record.name,
    id: record.id,
    hosts: record.grants.hosts,
    tcpPorts: record.grants.tcpPorts,
    createdAt: new Date(record.createdAtMs).toISOString(),
    expiresAt: record.expiresAtMs === undefined ? null : new Date(record.expiresAtMs).toISOString(),
    expired: isExpired(record),
  };
}
