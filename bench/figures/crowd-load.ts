/**
 * CrowdLoad: a figure's load on crowds, which makes each of them a contestant: ours, and frp's when it takes part.
 */
import { numberedHost } from '../certificate.js';
import type { Absent, Cast, Contestant } from '../figure.js';
import { missingOpenFiles } from '../open-files.js';
import type { Stage } from '../stage.js';
import type { CrowdKind } from '../subjects/crowd.js';
import { frpCrowd } from '../subjects/frp-crowd.js';
import { sallyportCrowd } from '../subjects/sallyport-crowd.js';

const CROWDS: readonly CrowdKind[] = [sallyportCrowd, frpCrowd];

export const MIB = 1024 ** 2;
export const KIB = 1024;

/** What one program of a crowd must be able to hold: an nginx has two ends of every visitor. */
export function connectionsFor(visitors: number, clients: number): number {
  return visitors + 4 * clients + 1_024;
}

/** One hostname for each client. */
export function hostsOf(clients: number): string[] {
  return Array.from({ length: clients }, (_, index) => numberedHost(index));
}

/** The crowds of the stage, of this many clients and connections, as contestants. */
export async function enterCrowds(
  stage: Stage,
  size: { readonly clients: number; readonly connections: number },
  contestantOf: (kind: CrowdKind) => Contestant | Promise<Contestant>,
): Promise<Cast> {
  await stage.clear();
  const chosen = CROWDS.filter((crowd) => stage.kinds().some(({ name }) => name === crowd.name));
  const contestants: Contestant[] = [];
  const absent: Absent[] = [];
  for (const kind of chosen) {
    const reason = missingOpenFiles(size.connections) ?? kind.missing(size.clients);
    if (reason === undefined) contestants.push(await contestantOf(kind));
    else absent.push({ name: kind.name, reason });
  }
  return { contestants, absent };
}
