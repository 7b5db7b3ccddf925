/**
 * Parts of the Forwarded field (RFC 7239), for whoever ends a visitor's TLS: the relay's edge, or the client at home.
 * Pure functions.
 */

/** §6: a node; an IPv6 address stands in brackets and quotes. */
export function forwardedNode(address: string): string {
  return address.includes(':') ? `"[${address}]"` : address;
}

/** §4: a host; a value with a colon is no token and stands in quotes. */
export function forwardedHost(authority: string): string {
  return authority.includes(':') ? `"${authority}"` : authority;
}
