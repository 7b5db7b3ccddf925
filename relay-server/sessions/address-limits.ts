/**
 * AddressLimits: how much one address may have at a time, and how often it may fail. An IPv6 visitor owns a /64 at
 * least, so that is what counts as one address there.
 *
 * Owned by: whoever counts (the edge for connections, Sessions for links and failed proofs).
 */
import { isIPv6 } from 'node:net';

/** Addresses remembered at a time; the oldest make room. */
const MAX_ADDRESSES = 65_536;

/** Things that an address holds: connections, links. */
export class HeldPerAddress {
  readonly #limit: () => number;
  readonly #held = new Map<string, number>();

  /** `limit` is asked each time: it may change while the relay runs. */
  constructor(limit: () => number) {
    this.#limit = limit;
  }

  /** True when the address may have one more, and has it then. */
  take(address: string): boolean {
    const key = limitKey(address);
    const held = this.#held.get(key) ?? 0;
    if (held >= this.#limit()) return false;
    this.#held.set(key, held + 1);
    return true;
  }

  /** Gives one back that `take` granted. */
  giveBack(address: string): void {
    const key = limitKey(address);
    const held = this.#held.get(key) ?? 0;
    if (held <= 1) this.#held.delete(key);
    else this.#held.set(key, held - 1);
  }
}

/** Failures per minute, counted in fixed minutes. */
export class FailuresPerMinute {
  readonly #limit: () => number;
  readonly #failures = new Map<string, { minute: number; count: number }>();

  /** `limit` is asked each time: it may change while the relay runs. */
  constructor(limit: () => number) {
    this.#limit = limit;
  }

  /** True when the address has failed too often in this minute. */
  exceeded(address: string): boolean {
    const entry = this.#failures.get(limitKey(address));
    return entry !== undefined && entry.minute === currentMinute() && entry.count >= this.#limit();
  }

  count(address: string): void {
    const key = limitKey(address);
    const minute = currentMinute();
    const entry = this.#failures.get(key);
    if (entry?.minute === minute) {
      entry.count += 1;
      return;
    }
    this.#failures.delete(key);
    this.#failures.set(key, { minute, count: 1 });
    if (this.#failures.size > MAX_ADDRESSES) this.#forgetOldest();
  }

  #forgetOldest(): void {
    for (const key of this.#failures.keys()) {
      this.#failures.delete(key);
      return;
    }
  }
}

function currentMinute(): number {
  return Math.floor(performance.now() / 60_000);
}

/** IPv4 whole, IPv6 by its /64. */
export function limitKey(address: string): string {
  // The regular expression behind isIPv6 is a long one, and most addresses need none.
  if (!address.includes(':') || !isIPv6(address)) return address;
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice(7);
  return expandedPrefix(address);
}

/** The first four groups of an IPv6 address, without zeros left out. */
function expandedPrefix(address: string): string {
  const [head = '', tail] = address.split('::', 2);
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after];
  return groups.slice(0, 4).join(':');
}
