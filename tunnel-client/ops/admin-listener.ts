/**
 * AdminListener: answers programs that watch a running client: is it alive, is it ready, what does it measure. Off unless
 * tunnel.yaml names an address; people ask with `tunnel status`, which needs none. Who gets an answer is AdminServer's to
 * decide.
 *
 * Owned by: the verb `tunnel up`.
 */
import type { Address } from '../../shared/address.js';
import {
  AdminServer,
  type Answer,
  jsonAnswer,
  type Readiness,
  readinessAnswer,
  textAnswer,
} from '../../shared/admin-server.js';
import { EXPOSITION_TYPE } from '../../shared/metrics/exposition.js';
import type { ClientStatus } from './client-status.js';

/** What the listener needs of the client. */
export interface AdminSubject {
  status(): ClientStatus;
  /** In Prometheus's text format. */
  metrics(): string;
}

/**
 * Listens at `address`.
 * @throws {TunnelError} CONFIG_INVALID when the address cannot be taken.
 */
export function listenForAdmin(address: Address, subject: AdminSubject): Promise<AdminServer> {
  return AdminServer.listen(address, { option: 'admin', answer: (path) => answer(path, subject) });
}

function answer(path: string, subject: AdminSubject): Answer {
  if (path === '/healthz') return textAnswer(200, 'ok');
  if (path === '/readyz') return readinessAnswer(readiness(subject.status()), 'operator');
  if (path === '/metrics') return { status: 200, contentType: EXPOSITION_TYPE, body: subject.metrics() };
  if (path === '/api/v1/status') return jsonAnswer(subject.status());
  return textAnswer(404, 'Cannot find that. Ask for /healthz, /readyz, /metrics or /api/v1/status.');
}

function readiness({ state, tunnels, lastError }: ClientStatus): Readiness {
  if (state !== 'serving') {
    return { check: state, reason: lastError === undefined ? state : `${state}, ${lastError.code}` };
  }
  const missing = tunnels.filter((tunnel) => tunnel.state !== 'online').map(({ name }) => name);
  return missing.length === 0 ? true : { check: 'tunnels', reason: `not online: ${missing.join(', ')}` };
}
