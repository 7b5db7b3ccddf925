/**
 * Routes: which tunnel a hostname or a public port leads to. A hostname once known stays known after its client left,
 * so that its visitors get a page and not a TLS alert; at most MAX_ROUTES are, and offline ones make room for new ones.
 *
 * Owns: the tunnels. Owned by: Relay.
 */
import { TunnelError } from '../../shared/errors.js';
import { Tunnel, type TunnelOptions } from './tunnel.js';

const MAX_ROUTES = 10_000;

export class Routes {
  readonly #options: TunnelOptions;
  readonly #tunnels = new Map<string, Tunnel>();

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  /** Every tunnel, known hostnames without a client included. */
  get tunnels(): IterableIterator<Tunnel> {
    return this.#tunnels.values();
  }

  /**
   * The tunnel of a hostname (normalised): its own, else that of the wildcard above it. Where TLS of the wildcard does not
   * end at the relay, that of a name below it must not either, so then the wildcard comes first.
   */
  find(hostname: string): Tunnel | undefined {
    const own = this.#tunnels.get(hostname);
    const above = this.#tunnels.get(wildcardAbove(hostname));
    if (own === undefined || (own.tls === 'relay' && above !== undefined && above.tls !== 'relay')) return above;
    return own;
  }

  /** The tunnel of exactly this address. */
  get(address: string): Tunnel | undefined {
    return this.#tunnels.get(address);
  }

  /** A name below this wildcard that is in use, with TLS that ends at the relay. */
  relayTlsBelow(wildcard: string): string | undefined {
    if (!wildcard.startsWith('*.')) return undefined;
    for (const { address, state, tls } of this.#tunnels.values()) {
      if (state !== 'offline' && tls === 'relay' && wildcardAbove(address) === wildcard) return address;
    }
    return undefined;
  }

  findPort(port: number): Tunnel | undefined {
    return this.#tunnels.get(portAddress(port));
  }

  /** True when the address is known, online or not. */
  knows(address: string): boolean {
    return this.#tunnels.has(address);
  }

  /** The tunnel of this address, made when it is new. Throws LIMIT_EXCEEDED. */
  know(address: string): Tunnel {
    const known = this.#tunnels.get(address);
    if (known !== undefined) return known;
    if (this.#tunnels.size >= MAX_ROUTES) this.#forgetOldestOffline();
    const tunnel = new Tunnel(address, this.#options);
    this.#tunnels.set(address, tunnel);
    return tunnel;
  }

  /** Forgets an address that nobody misses; its tunnel must be offline. */
  forget(address: string): void {
    const tunnel = this.#tunnels.get(address);
    if (tunnel?.state === 'offline' && tunnel.downForMs === undefined) this.#tunnels.delete(address);
  }

  /** Ends every hold. */
  close(): void {
    for (const tunnel of this.#tunnels.values()) tunnel.release();
    this.#tunnels.clear();
  }

  #forgetOldestOffline(): void {
    for (const [address, tunnel] of this.#tunnels) {
      // One whose TLS ends at home is what keeps the wildcard above it from ending that TLS here.
      if (tunnel.state !== 'offline' || tunnel.tls !== 'relay') continue;
      this.#tunnels.delete(address);
      return;
    }
    throw new TunnelError('LIMIT_EXCEEDED', `Cannot claim: the relay serves ${MAX_ROUTES} tunnels already`);
  }
}

/** How a public port is written as an address. */
export function portAddress(port: number): string {
  return `:${port}`;
}

/** `*.example.com` above `home.example.com`. */
export function wildcardAbove(hostname: string): string {
  return `*${hostname.slice(hostname.indexOf('.'))}`;
}
