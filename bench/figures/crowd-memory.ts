/**
 * Figure `crowd`: what the public side holds resident with 10,000 idle visitors and 500 clients. The relay lives through
 * all rounds: visitors come, idle and go.
 */
import type { Contestant, Figure } from '../figure.js';
import { bringVisitors } from '../load/visitors.js';
import { steadyBytes } from '../memory.js';
import { SMALL_PATH } from '../origin.js';
import type { Stage } from '../stage.js';
import type { CrowdKind } from '../subjects/crowd.js';
import { residentOf } from '../subjects/subject.js';
import { connectionsFor, enterCrowds, hostsOf, MIB } from './crowd-load.js';

export const crowdMemory: Figure = {
  name: 'crowd',
  title: 'Memory of the public side (RSS) with 10,000 idle visitors and 500 clients (a tenth of them in a quick run)',
  measures: [
    { name: 'resident', title: 'MiB', digits: 0 },
    { name: 'seconds', title: 's until all visitors had come', digits: 1 },
  ],
  targets: [{ measure: 'resident', is: 'at most', value: 450 }],
  enter: (stage) => {
    const { crowdClients: clients, crowdVisitors } = stage.size;
    const connections = connectionsFor(crowdVisitors, clients);
    return enterCrowds(stage, { clients, connections }, (kind) => join(stage, kind, connections));
  },
};

async function join(stage: Stage, kind: CrowdKind, connections: number): Promise<Contestant> {
  const { crowdClients, crowdVisitors } = stage.size;
  const scene = stage.scene(`crowd-${kind.name}`);
  const crowd = await kind.start(scene, connections);
  const hosts = hostsOf(crowdClients);
  const visit = { port: crowd.port, count: crowdVisitors, manner: 'idle', path: SMALL_PATH, hosts } as const;
  const measure = async () => {
    const beganAtMs = performance.now();
    const visitors = await bringVisitors(scene, visit);
    const seconds = (performance.now() - beganAtMs) / 1_000;
    const bytes = await steadyBytes(() => residentOf(crowd, 'public'));
    await visitors.end();
    return { values: { resident: bytes / MIB, seconds } };
  };
  return { name: kind.name, what: kind.what, warmUp: () => crowd.join(crowdClients, hosts), measure };
}
