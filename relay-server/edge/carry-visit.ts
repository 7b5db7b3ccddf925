/**
 * CarryVisit: what raw TCP ports and passed TLS have in common: a visitor's bytes go to the tunnel as they came, and when
 * it is over somebody wants to know how it went. Owns nothing: the socket and the stream are the splice's.
 */
import type { Socket } from 'node:net';
import type { ConnectionRecord } from '../../shared/access-log/access-line.js';
import type { Deadlines } from '../../shared/deadlines.js';
import { asTunnelError, type ErrorCode } from '../../shared/errors.js';
import { newRequestId } from '../../shared/request-id.js';
import { Splice } from '../../shared/splice.js';
import type { Tunnel, Visit } from '../sessions/tunnel.js';
import type { Visitor } from './visitors.js';

/** Told once for each connection; `visitor` is who made it. */
export type OnCarried = (record: ConnectionRecord, visitor: Visitor, tunnel: Tunnel) => void;

export interface CarryOptions {
  readonly kind: ConnectionRecord['kind'];
  readonly deadlines: Deadlines;
  readonly idleMs: number;
  /** What is known of the connection beside its addresses. */
  readonly said: Pick<Visit, 'authority' | 'alpn' | 'tlsEnds'>;
  readonly carried: OnCarried;
  /** It ended in an error of the table after it had begun. */
  readonly refused: (code: ErrorCode) => void;
}

/** Joins the visitor to its tunnel. Rejects when the tunnel takes none; `carried` is told then as well. */
export async function carryVisit(
  socket: Socket,
  visitor: Visitor,
  tunnel: Tunnel,
  options: CarryOptions,
): Promise<void> {
  const { kind, deadlines, idleMs, carried, refused } = options;
  const visit = visitOf(visitor, options.said);
  const beganAtMs = performance.now();
  const traffic = { toSocketBytes: 0, fromSocketBytes: 0 };
  const end = (code: ErrorCode | undefined): void => {
    const bytes = { bytesIn: traffic.fromSocketBytes, bytesOut: traffic.toSocketBytes };
    carried({ kind, requestId: visit.id, code, ms: performance.now() - beganAtMs, ...bytes }, visitor, tunnel);
  };
  const onClose = (error: { readonly code: ErrorCode } | undefined): void => {
    if (error !== undefined && error.code !== 'STREAM_RESET') refused(error.code);
    end(error?.code);
  };
  try {
    const stream = await tunnel.openStream(visit, (giveUp) => socket.once('close', giveUp));
    new Splice(socket, stream, { deadlines, idleMs, traffic, onClose });
  } catch (error) {
    end(asTunnelError(error).code);
    throw error;
  }
}

function visitOf({ address, port, publicAddress, publicPort }: Visitor, said: CarryOptions['said']): Visit {
  const addresses = { visitorAddress: address, visitorPort: port, publicAddress, publicPort };
  return { ...addresses, ...said, tlsVersion: '', id: newRequestId() };
}
