/** Snapshots of a client for tests of the faces that show them. */
import type { ClientStatus, TunnelStatus } from '../../tunnel-client/ops/client-status.js';

/** A client that serves `home`, with whatever a test changes. */
export function clientStatus(changes: Partial<ClientStatus> = {}): ClientStatus {
  return {
    state: 'serving',
    relay: 'example.com',
    version: '0.1.0',
    pid: 4_242,
    uptimeMs: 192_000,
    sessionId: 's1',
    links: [
      { rttMs: 12.3, streams: 3, openForMs: 192_000 },
      { rttMs: undefined, streams: 0, openForMs: 100 },
    ],
    tunnels: [tunnelStatus()],
    retryInMs: undefined,
    config: { waiting: [] },
    reconnects: 0,
    lastError: undefined,
    ...changes,
  };
}

export function tunnelStatus(changes: Partial<TunnelStatus> = {}): TunnelStatus {
  return {
    name: 'home',
    url: 'https://home.example.com',
    origin: 'http://127.0.0.1:8123',
    state: 'online',
    openStreams: 1,
    totalStreams: 20,
    bytesIn: 0,
    bytesOut: 0,
    failures: 0,
    lastError: undefined,
    tls: 'relay',
    certificate: undefined,
    ...changes,
  };
}
