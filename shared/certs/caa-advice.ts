/**
 * CAA advice: decides which DNS records keep everybody but us from getting a certificate for a name (RFC 8659, RFC 8657).
 *
 * The relay cannot write them, and without them whoever controls the relay could prove the name to any CA. Pure; owns
 * nothing.
 */
import type { AccountIdentity } from './acme-issuer.js';

/**
 * The records as they stand in a zone file; none for CAs that look at no CAA records.
 * @param hostname or `*.` wildcard: then the record stands at its parent, and holds for all names below it.
 */
export function caaRecords(hostname: string, identities: readonly AccountIdentity[]): readonly string[] {
  const isWildcard = hostname.startsWith('*.');
  const place = `${isWildcard ? hostname.slice(2) : hostname}.`;
  const allowed = identities.flatMap(({ accountUrl, caaIdentities }) =>
    caaIdentities.map((ca) => `${place} CAA 0 issue "${ca}; accounturi=${accountUrl}"`),
  );
  if (allowed.length === 0) return [];
  // Without issuewild, issue counts for wildcards too.
  return isWildcard ? allowed : [...allowed, `${place} CAA 0 issuewild ";"`];
}
