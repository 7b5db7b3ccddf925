/** A snapshot of a relay for tests of the faces that show it. */
import type { AdminSubject } from '../../relay-server/ops/admin-listener.js';
import type { RelayStatus } from '../../relay-server/ops/relay-status.js';

export function relayStatus(changes: Partial<RelayStatus> = {}): RelayStatus {
  return {
    version: '0.1.0',
    domain: 'example.com',
    startedAtMs: 1_800_000_000_000,
    uptimeMs: 192_000,
    state: 'running',
    listeners: [{ name: 'https', address: '0.0.0.0:443' }],
    connections: { now: 3, total: 40 },
    streams: { now: 2, total: 38 },
    refusals: { ROUTE_NOT_FOUND: 12 },
    sessions: [
      {
        id: 's1',
        tokenName: 'laptop',
        clientAddress: '203.0.113.9',
        links: [
          { rttMs: 12.34, streams: 2 },
          { rttMs: undefined, streams: 0 },
        ],
        openForMs: 61_000,
      },
    ],
    tunnels: [
      {
        name: 'home',
        public: 'https://home.example.com',
        sessionId: 's1',
        tokenName: 'laptop',
        state: 'online',
        tls: 'relay',
        openStreams: 2,
        totalStreams: 38,
        requests: 100,
        bytesIn: 2_048,
        bytesOut: 3_145_728,
      },
    ],
    certificates: [{ name: 'example.com', state: 'valid', notAfterMs: 1_800_000_000_000 + 64 * 86_400_000 }],
    ...changes,
  };
}

/** A relay for the admin listener, that only shows. */
export function adminSubject(changes: Partial<AdminSubject> = {}): AdminSubject {
  return {
    status: () => relayStatus(),
    metrics: () => 'sallyport_ready 1\n',
    ready: () => true,
    tokens: () => [],
    devices: () => [],
    certificates: () => relayStatus().certificates,
    renewCertificate: async () => {},
    forgetTunnel: () => {},
    reloadCertificates: () => {},
    ...changes,
  };
}
