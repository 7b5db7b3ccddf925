/**
 * ClientId: which installation this is, so that the relay lets it replace its own older session after a crash.
 *
 * It must be the same after every restart and differ between two clients that are meant to run side by side. So it is
 * derived, not stored: from the machine, and from what is run (a config file, or the address of a one-off tunnel).
 */
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { readTextFile } from '../../shared/files/bounded-file.js';
import type { TunnelConfig } from '../tunnel-config.js';

/** 22 characters that name this client to relays, and tell them nothing about the machine. */
export function clientIdOf(config: TunnelConfig, oneOff: boolean): string {
  if (config.clientId !== undefined) return config.clientId;
  const addresses = config.tunnels.map((tunnel) => tunnel.host ?? `:${tunnel.tcpPort}`).sort();
  const what = oneOff || config.path === undefined ? addresses.join(' ') : config.path;
  const digest = createHash('sha256').update(`sallyport client id\0${machineId()}\0${what}`).digest();
  return digest.subarray(0, 16).toString('base64url');
}

/** machine-id(5) where there is one, else the hostname. */
function machineId(): string {
  for (const file of ['/etc/machine-id', '/var/lib/dbus/machine-id']) {
    try {
      const id = readTextFile(file).text.trim();
      if (id !== '') return id;
    } catch {
      // Containers and other systems have none.
    }
  }
  return hostname();
}
