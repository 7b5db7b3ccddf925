/**
 * PeerPrograms: where the programs of the peers are found: named by an environment variable, or on PATH.
 */
import { TunnelError } from '../../shared/errors.js';
import { isExecutable, pathOf } from '../tools.js';

const VARIABLES = { frps: 'FRPS', frpc: 'FRPC', rathole: 'RATHOLE' } as const;

export type PeerProgram = keyof typeof VARIABLES;

/** Its path; undefined when it is nowhere. */
export function findPeer(name: PeerProgram, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const named = env[VARIABLES[name]];
  if (named === undefined || named === '') return pathOf(name);
  return isExecutable(named) ? named : undefined;
}

/** Its path. Throws CONFIG_INVALID when it is nowhere. */
export function requirePeer(name: PeerProgram): string {
  const path = findPeer(name);
  if (path === undefined) throw new TunnelError('CONFIG_INVALID', `Cannot start ${name}: ${missingPeers([name])}`);
  return path;
}

/** One line that names those that are nowhere; undefined when all are there. */
export function missingPeers(names: readonly PeerProgram[], env: NodeJS.ProcessEnv = process.env): string | undefined {
  const missing = names.filter((name) => findPeer(name, env) === undefined);
  if (missing.length === 0) return undefined;
  const variables = missing.map((name) => VARIABLES[name]).join(', ');
  return `${missing.join(' and ')} not found; put it on PATH, or name it by ${variables}`;
}
