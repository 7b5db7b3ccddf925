/**
 * Devices: the clients that this relay has met since it started, connected or not: which token, from where, which version,
 * when last. A client is what calls itself by one client id with one token. The longest absent make room.
 *
 * Owned by: Sessions.
 */
import type { Session, SessionOwner } from './session.js';

export interface Device {
  readonly owner: SessionOwner;
  /** What it calls itself, such as `sallyport/0.1.0`. */
  readonly agent: string;
  /** Where it last came from. */
  readonly address: string;
  /** Milliseconds since 1970. */
  readonly firstSeenAtMs: number;
  /** Now, while it is connected. */
  readonly lastSeenAtMs: number;
  /** Undefined while it is away. */
  readonly sessionId: string | undefined;
  /** Sessions that it began. */
  readonly sessions: number;
}

/** What it needs of a session. */
type DeviceSession = Pick<Session, 'id' | 'owner' | 'clientAddress'>;

const MAX_DEVICES = 2_000;

export class Devices {
  /** The one whose session is newest comes last. */
  readonly #devices = new Map<string, Device>();

  /** A session began. */
  came({ id, owner, clientAddress }: DeviceSession, agent: string): void {
    const key = keyOf(owner);
    const nowMs = Date.now();
    const known = this.#devices.get(key);
    this.#devices.delete(key);
    this.#devices.set(key, {
      owner,
      agent,
      address: clientAddress,
      firstSeenAtMs: known?.firstSeenAtMs ?? nowMs,
      lastSeenAtMs: nowMs,
      sessionId: id,
      sessions: (known?.sessions ?? 0) + 1,
    });
    this.#makeRoom();
  }

  /** A session ended; the client may have a newer one already. */
  left({ id, owner }: DeviceSession): void {
    const key = keyOf(owner);
    const device = this.#devices.get(key);
    if (device?.sessionId === id) this.#devices.set(key, { ...device, sessionId: undefined, lastSeenAtMs: Date.now() });
  }

  all(nowMs = Date.now()): Device[] {
    return [...this.#devices.values()].map((device) =>
      device.sessionId === undefined ? device : { ...device, lastSeenAtMs: nowMs },
    );
  }

  #makeRoom(): void {
    for (const [key, { sessionId }] of this.#devices) {
      if (this.#devices.size <= MAX_DEVICES) return;
      if (sessionId === undefined) this.#devices.delete(key);
    }
  }
}

function keyOf({ tokenId, clientId }: SessionOwner): string {
  return `${tokenId} ${clientId}`;
}
