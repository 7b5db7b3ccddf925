/**
 * Device report: decides how clients are told to scripts, in `/api/v1/devices`.
 */
import type { Device } from '../sessions/devices.js';

/** Times are ISO 8601. */
export interface DeviceEntry {
  /** Name of the token that it proved. */
  readonly tokenName: string;
  /** What it calls this installation; '' for one that does not say. */
  readonly clientId: string;
  /** What it calls itself, with its version. */
  readonly agent: string;
  /** Where it last came from. */
  readonly address: string;
  readonly state: 'connected' | 'away';
  /** Null while it is away. */
  readonly sessionId: string | null;
  /** Sessions that it began since the relay started. */
  readonly sessions: number;
  readonly firstSeenAt: string;
  readonly lastSeenAt: string;
}

export function deviceEntry(device: Device): DeviceEntry {
  const { owner, agent, address, sessionId, sessions, firstSeenAtMs, lastSeenAtMs } = device;
  return {
    tokenName: owner.tokenName,
    clientId: owner.clientId,
    agent,
    address,
    state: sessionId === undefined ? 'away' : 'connected',
    sessionId: sessionId ?? null,
    sessions,
    firstSeenAt: new Date(firstSeenAtMs).toISOString(),
    lastSeenAt: new Date(lastSeenAtMs).toISOString(),
  };
}
