/**
 * Figure `reconnect`: how long 500 clients need to serve again when their relay restarts, and what that costs the relay.
 * Counted from the moment when the new relay listens: how long it was away is not the clients' doing.
 */
import type { Contestant, Figure } from '../figure.js';
import type { Stage } from '../stage.js';
import type { CrowdKind } from '../subjects/crowd.js';
import { connectionsFor, enterCrowds, hostsOf } from './crowd-load.js';

export const reconnect: Figure = {
  name: 'reconnect',
  title: '500 clients (50 in a quick run) after a restart of the relay',
  measures: [
    { name: 'seconds', title: 's until all serve', digits: 2 },
    { name: 'share', title: 'relay CPU, share of that time', digits: 2 },
    { name: 'cpu', title: 'CPU ms/client', digits: 2 },
  ],
  targets: [
    { measure: 'seconds', is: 'at most', value: 5 },
    { measure: 'share', is: 'at most', value: 0.6 },
  ],
  enter: (stage) => {
    const { crowdClients: clients } = stage.size;
    const connections = connectionsFor(0, clients);
    return enterCrowds(stage, { clients, connections }, (kind) => join(stage, kind, connections));
  },
};

async function join(stage: Stage, kind: CrowdKind, connections: number): Promise<Contestant> {
  const { crowdClients } = stage.size;
  const scene = stage.scene(`reconnect-${kind.name}`);
  const crowd = await kind.start(scene, connections);
  const measure = async () => {
    const { seconds, cpuSeconds } = await crowd.restart();
    return { values: { seconds, share: cpuSeconds / seconds, cpu: (cpuSeconds * 1_000) / crowdClients } };
  };
  return { name: kind.name, what: kind.what, warmUp: () => crowd.join(crowdClients, hostsOf(crowdClients)), measure };
}
