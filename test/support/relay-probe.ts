/** Questions to a relay that runs as a process: its status over the admin listener, and its memory. */
import { readFileSync } from 'node:fs';
import { doorAt } from '../../relay-server/find-relay.js';
import type { RelayStatus } from '../../relay-server/ops/relay-status.js';
import { fetchRelayStatus } from '../../relay-server/status-command.js';
import { until } from './within.js';

/** The status of the relay with this admin port. */
export function statusOf(admin: number): Promise<RelayStatus> {
  return fetchRelayStatus(doorAt({ host: '127.0.0.1', port: admin }));
}

/** Resolves with the first status that fulfils `condition`; rejects with the newest one after `ms`. */
export async function statusUntil(
  admin: number,
  condition: (status: RelayStatus) => boolean,
  ms?: number,
): Promise<RelayStatus> {
  let newest: RelayStatus | undefined;
  try {
    return await until(
      'relay status',
      async () => {
        newest = await statusOf(admin);
        return condition(newest) ? newest : undefined;
      },
      ms,
    );
  } catch (error) {
    throw new Error(`Relay not in the expected state: ${JSON.stringify(newest)}`, { cause: error });
  }
}

/** No session, no stream, no visitor. */
export function isIdle(status: RelayStatus): boolean {
  return status.streams.now === 0 && status.sessions.every((session) => session.links.every((link) => !link.streams));
}

/** Resident memory of a process in MiB (proc(5)); undefined where the system has no /proc. */
export function residentMiB(pid: number): number | undefined {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kib === undefined ? undefined : Number(kib) / 1024;
  } catch {
    return undefined;
  }
}
