/**
 * ConfigText: decides how people are told that a client does not run what its tunnel.yaml says. Pure.
 */
import { printable } from '../shared/printable.js';
import type { ClientStatus } from './ops/client-status.js';

/** A line for each difference. A client of an older version tells none. */
export function configLines({ config }: Partial<Pick<ClientStatus, 'config'>>): string[] {
  const { problem, waiting = [] } = config ?? {};
  return [
    ...(problem === undefined ? [] : [`tunnel.yaml was not taken over: ${printable(problem.message)}`]),
    ...(waiting.length === 0
      ? []
      : [`These options of tunnel.yaml count after a restart: ${printable(waiting.join(', '))}`]),
  ];
}
