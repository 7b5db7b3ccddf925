/**
 * FindRelay: decides by which door a verb of `relay` asks the relay that runs with a configuration.
 *
 * The first is the control socket: only the relay's own user and root can open it, or put another one in its place. Where
 * none answers, the admin listener is asked, but never with the admin token: whoever takes its port while the relay is away
 * would have it. So with a token there is no second door, unless the operator asks for it (`--tcp`).
 */
import { once } from 'node:events';
import type { RequestOptions } from 'node:http';
import { connect } from 'node:net';
import { type Address, formatAddress } from '../shared/address.js';
import { TunnelError } from '../shared/errors.js';
import { printable } from '../shared/printable.js';
import { adminAuthorization, hasAdminToken } from './ops/admin-token.js';
import { controlPath, NOT_RUNNING, NOT_YOURS } from './ops/control-socket.js';
import type { RelayConfig } from './relay-config.js';

/** Where to ask. */
export interface RelayDoor {
  readonly target: Pick<RequestOptions, 'socketPath' | 'host' | 'port' | 'headers'>;
  /** For messages. */
  readonly shown: string;
}

export interface DoorOption {
  /** Ask at `listen.admin` and send the admin token there. */
  readonly tcp?: boolean;
}

export const TCP_HELP = 'ask at listen.admin, and send it the admin token, instead of the control socket';

/** Listening on every address includes loopback, and only there can we be sure whom we ask. */
const LOOPBACKS: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/**
 * The door of the relay that runs with this configuration; whether one does, the question itself will tell.
 * @throws {TunnelError} CONFIG_INVALID with `tcp` when there is no admin listener, or its token cannot be read.
 */
export async function findRelay(
  { listen, stateDir }: Pick<RelayConfig, 'listen' | 'stateDir'>,
  { tcp = false }: DoorOption = {},
): Promise<RelayDoor> {
  const { admin } = listen;
  if (tcp && admin === undefined) {
    throw new TunnelError('CONFIG_INVALID', 'Cannot ask the relay: it has no admin listener. Set listen.admin.');
  }
  const socketPath = controlPath(stateDir);
  if (admin === undefined || (!tcp && (hasAdminToken(stateDir) || (await isOpen(socketPath))))) {
    return { target: { socketPath }, shown: socketPath };
  }
  return doorAt(admin, tcp ? adminAuthorization(stateDir) : {});
}

/** The admin listener of a relay on this machine that listens at `admin`. */
export function doorAt({ host, port }: Address, headers: Readonly<Record<string, string>> = {}): RelayDoor {
  const address = { host: LOOPBACKS.get(host) ?? host, port };
  return { target: { ...address, headers }, shown: formatAddress(address) };
}

/** LINK_LOST, saying why no relay answered there. */
export function failureAt({ shown }: RelayDoor, cause: unknown): TunnelError {
  return new TunnelError('LINK_LOST', `Cannot ask the relay at ${shown}: ${reasonOf(cause)}`, { cause });
}

/** Whether `cause` says that nobody is behind the door. */
export function isNobodyThere(cause: unknown): boolean {
  const { code } = cause as NodeJS.ErrnoException;
  return code === 'ECONNREFUSED' || code === 'ENOENT';
}

async function isOpen(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function reasonOf(cause: unknown): string {
  const { code, name, message } = cause as NodeJS.ErrnoException;
  if (isNobodyThere(cause)) return NOT_RUNNING;
  if (code === 'EACCES') return NOT_YOURS;
  if (name === 'TimeoutError') return 'it does not answer. Look at its log.';
  return `${printable(message)}. Check listen.admin and what listens there.`;
}
