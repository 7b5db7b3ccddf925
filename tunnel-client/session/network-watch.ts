/**
 * NetworkWatch: notices that this machine's addresses changed (another Wi-Fi, a new lease, a cable), so that dead links
 * are found at once and not at the next heartbeat.
 *
 * Owns: one timer. Owned by: Client.
 */
import { networkInterfaces } from 'node:os';

const INTERVAL_MS = 2_000;

export class NetworkWatch {
  readonly #timer: NodeJS.Timeout;
  #addresses = currentAddresses();

  constructor(onChange: () => void) {
    this.#timer = setInterval(() => {
      const addresses = currentAddresses();
      if (addresses === this.#addresses) return;
      this.#addresses = addresses;
      onChange();
    }, INTERVAL_MS);
  }

  /** Safe any number of times. */
  stop(): void {
    clearInterval(this.#timer);
  }
}

function currentAddresses(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all
    .filter((address) => !address.internal)
    .map((address) => address.cidr ?? address.address)
    .sort()
    .join(' ');
}
