/**
 * CAA advice: decides which DNS records keep everybody but us from getting a certificate for a name (RFC 8659, RFC 8657).
 *
 * The relay cannot write them, and without them whoever controls the relay could prove the name to any CA. Pure; owns
 * nothing.
 */
import type { AccountIdentity } from './acme-issuer.js';

/** RFC 8659 §4.2: what an issuer's name and a parameter may hold. The CA's own words: somebody pastes them into a zone. */
const CA_NAME = /^[A-Za-z0-9.-]{1,253}$/;
const ACCOUNT_URL = /^https:\/\/[!#-:<-~]{1,2000}$/;

/**
 * The records as they stand in a zone file; none for CAs that look at no CAA records.
 * @param hostname or `*.` wildcard: then the record stands at its parent, and holds for all names below it.
 */
export function caaRecords(hostname: string, identities: readonly AccountIdentity[]): readonly string[] {
  const isWildcard = hostname.startsWith('*.');
  const place = `${isWildcard ? hostname.slice(2) : hostname}.`;
  const sayable = identities.filter(({ accountUrl }) => ACCOUNT_URL.test(accountUrl));
  const allowed = sayable.flatMap(({ accountUrl, caaIdentities }) => {
    const names = caaIdentities.filter((ca) => CA_NAME.test(ca));
    return names.map((ca) => `${place} CAA 0 issue "${ca}; accounturi=${accountUrl}"`);
  });
  if (allowed.length === 0) return [];
  // Without issuewild, issue counts for wildcards too.
  return isWildcard ? allowed : [...allowed, `${place} CAA 0 issuewild ";"`];
}
