/**
 * Figure `idle`: what the public side holds resident: with nothing to do, and for each client and each TLS visitor that
 * came, was served once, and idles. Every round starts a new relay, because one that was busy keeps some of its memory.
 */
import type { Figure, Measurement } from '../figure.js';
import { bringVisitors } from '../load/visitors.js';
import { steadyBytes } from '../memory.js';
import { SMALL_PATH } from '../origin.js';
import type { Scene } from '../scene.js';
import type { Stage } from '../stage.js';
import type { CrowdKind } from '../subjects/crowd.js';
import { residentOf } from '../subjects/subject.js';
import { connectionsFor, enterCrowds, hostsOf, KIB, MIB } from './crowd-load.js';

const CLIENTS = 200;
const VISITORS = 1_000;
const CONNECTIONS = connectionsFor(VISITORS, CLIENTS);

export const idleMemory: Figure = {
  name: 'idle',
  title: `Memory of the public side (RSS): idle, then ${CLIENTS} clients, then ${VISITORS} idle visitors`,
  measures: [
    { name: 'relay', title: 'MiB idle', digits: 1 },
    { name: 'client', title: 'KiB/client', digits: 1 },
    { name: 'visitor', title: 'KiB/visitor', digits: 1 },
  ],
  targets: [
    { measure: 'relay', is: 'at most', value: 75 },
    { measure: 'visitor', is: 'at most', value: 32 },
    { measure: 'client', is: 'at most', value: 80 },
  ],
  enter: (stage) =>
    enterCrowds(stage, { clients: CLIENTS, connections: CONNECTIONS }, (kind) => {
      return { name: kind.name, what: kind.what, measure: () => measureFresh(stage, kind) };
    }),
};

async function measureFresh(stage: Stage, kind: CrowdKind): Promise<Measurement> {
  const scene = stage.scene(`idle-${kind.name}`);
  try {
    return await fill(scene, kind);
  } finally {
    await scene.close();
  }
}

async function fill(scene: Scene, kind: CrowdKind): Promise<Measurement> {
  const crowd = await kind.start(scene, CONNECTIONS);
  const resident = () => steadyBytes(() => residentOf(crowd, 'public'));
  const idle = await resident();
  const hosts = hostsOf(CLIENTS);
  await crowd.join(CLIENTS, hosts);
  const joined = await resident();
  await bringVisitors(scene, { port: crowd.port, count: VISITORS, manner: 'idle', path: SMALL_PATH, hosts });
  const visited = await resident();
  const client = (joined - idle) / KIB / CLIENTS;
  return { values: { relay: idle / MIB, client, visitor: (visited - joined) / KIB / VISITORS } };
}
