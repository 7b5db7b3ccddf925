/**
 * FollowTcp: the end of the way to a raw TCP tunnel, behind the connection. The relay marks no such visitor, so it goes by
 * what the programs that run here know of the tunnel, and by what the connection does: a first byte, silence, or its end.
 *
 *   … connect → session → dial → app
 *
 * Owns nothing: the socket is `follow`'s.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { reasonOf, timed } from '../doctor/reach.js';
import type { Hop } from './way.js';

/** What is known of the tunnel behind an address. */
export interface KnownTunnel {
  readonly isOnline: boolean;
  /** Such as `the client of token home is connected`. */
  readonly found: string;
}

/** For an app that speaks first; many wait for their visitor. */
const FIRST_BYTE_MS = 3_000;
const DIAL_CURE = 'Is the app running? At home: tunnel status has the newest failure.';

/** Rejects only when `signal` aborts. @param socket `reset` when it was accepted and reset before anybody could look */
export async function tcpHops(
  socket: Socket | 'reset',
  known: KnownTunnel | undefined,
  signal: AbortSignal,
): Promise<Hop[]> {
  const session = sessionHop(known);
  if (session.state === 'FAIL') return [session];
  return [session, ...(await behind(socket, signal))];
}

function sessionHop(known: KnownTunnel | undefined): Hop {
  if (known === undefined) return { hop: 'session', state: 'SKIP', found: 'nobody here knows this tunnel' };
  const { isOnline, found } = known;
  return isOnline
    ? { hop: 'session', state: 'PASS', found }
    : { hop: 'session', state: 'FAIL', found, cure: 'At home: tunnel status, tunnel doctor' };
}

async function behind(socket: Socket | 'reset', signal: AbortSignal): Promise<Hop[]> {
  const { value, ms } = await timed(signal, (limit) => firstWord(socket, limit), FIRST_BYTE_MS);
  signal.throwIfAborted();
  if (value.startsWith('ended'))
    return [{ hop: 'dial', state: 'FAIL', ms, found: `the connection ${value}`, cure: DIAL_CURE }];
  const dial: Hop = { hop: 'dial', state: 'PASS', found: 'the connection stays open' };
  return [dial, { hop: 'app', state: 'PASS', ms, found: value }];
}

async function firstWord(socket: Socket | 'reset', signal: AbortSignal): Promise<string> {
  if (socket === 'reset') return 'ended: ECONNRESET';
  const data = once(socket, 'data', { signal }).then(() => 'the app spoke first');
  const end = once(socket, 'close', { signal }).then(
    () => 'ended without a byte',
    (error: unknown) => (signal.aborted ? 'the app waits for its visitor to speak' : `ended: ${reasonOf(error)}`),
  );
  return Promise.race([data.catch(() => end), end]);
}
