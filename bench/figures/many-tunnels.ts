/**
 * Figure `tunnels`: does a request cost more when there are more tunnels? Relays with 1, 10, 100 and 1,000 tunnels take
 * turns under the same load, spread over their tunnels.
 *
 * One wrk asks for one hostname, so eight of them run beside each other, each with four connections. They ask the tunnels
 * of one client, so that nothing but the number of tunnels differs. Beside them stands the same load on the tunnels of 20
 * clients: spread over forty links, less of it fits into one batch.
 */
import { numberedHost } from '../certificate.js';
import { type Contestant, CPU_PER_REQUEST, type Figure } from '../figure.js';
import { runWrk, type WrkCount } from '../load/wrk.js';
import { SMALL_PATH } from '../origin.js';
import type { Scene } from '../scene.js';
import type { Stage } from '../stage.js';
import { startSallyportCrowd } from '../subjects/sallyport-crowd.js';
import { residentOf } from '../subjects/subject.js';
import type { Target } from '../target.js';
import { connectionsFor, hostsOf, MIB } from './crowd-load.js';
import { countCpu } from './subject-load.js';

const LOADS = 8;
const CONNECTIONS_PER_LOAD = 4;
const MANY_CLIENTS = 20;

/** A session takes at most 500 messages in a burst, and each claim is one. */
const MAX_PER_CLIENT = 400;
const MICROSECONDS = 1_000_000;
const ONE = nameOf(1);

/** Flat within a tenth. */
const targets = [10, 100, 1_000].map((count): Target => {
  return { measure: 'cpu', is: 'at most', value: 1.1, of: ONE, subject: nameOf(count) };
});

export const manyTunnels: Figure = {
  name: 'tunnels',
  title: `Small GET with more and more tunnels (wrk, ${LOADS} hostnames at a time)`,
  measures: [
    CPU_PER_REQUEST,
    { name: 'rate', title: 'requests/s', digits: 0, beside: 'ratio' },
    { name: 'relay', title: 'MiB relay', digits: 0 },
    { name: 'home', title: 'MiB all clients', digits: 0 },
  ],
  targets,
  enter: async (stage) => {
    await stage.clear();
    const scene = stage.scene('tunnels');
    const contestants: Contestant[] = [];
    const { tunnelCounts } = stage.size;
    const most = Math.max(...tunnelCounts);
    for (const count of tunnelCounts) {
      const name = nameOf(count);
      contestants.push(await startTunnels(stage, scene, { name, count, perClient: MAX_PER_CLIENT, asked: 1 }));
    }
    const spread = { name: `${nameOf(most)} of ${MANY_CLIENTS} clients`, count: most, asked: MANY_CLIENTS };
    contestants.push(await startTunnels(stage, scene, { ...spread, perClient: Math.ceil(most / MANY_CLIENTS) }));
    return { contestants, absent: [] };
  },
};

function nameOf(tunnels: number): string {
  return tunnels === 1 ? '1 tunnel' : `${tunnels.toLocaleString('en')} tunnels`;
}

interface Tunnels {
  readonly name: string;
  readonly count: number;
  readonly perClient: number;
  /** Clients whose tunnels are asked. */
  readonly asked: number;
}

async function startTunnels(stage: Stage, scene: Scene, tunnels: Tunnels): Promise<Contestant> {
  const { name, count, perClient, asked } = tunnels;
  const clients = Math.ceil(count / perClient);
  const crowd = await startSallyportCrowd(scene, `tunnels-${count}-${clients}`, connectionsFor(0, clients));
  await crowd.join(clients, hostsOf(count));
  const hosts = Math.min(count, Math.ceil(count / clients) * asked);
  const work = () => requestAll(scene, crowd.port, hosts, stage.size.seconds);
  const measure = async () => {
    const { done, cpu, parts } = await countCpu(crowd, work, sumRequests, MICROSECONDS);
    const rate = done.reduce((sum, { requests, seconds }) => sum + requests / seconds, 0);
    const memory = { relay: residentOf(crowd, 'public') / MIB, home: residentOf(crowd, 'home') / MIB };
    return { values: { cpu, rate, ...memory }, parts };
  };
  return { name, what: `${clients} clients`, warmUp: work, measure };
}

/** The same load whatever the number of tunnels, on hostnames that lie evenly among the first `hosts`. */
function requestAll(scene: Scene, port: number, hosts: number, seconds: number): Promise<WrkCount[]> {
  const loads = Array.from({ length: LOADS }, (_, index) => {
    const host = numberedHost(Math.floor((index * hosts) / LOADS));
    return runWrk(scene, { port, host, path: SMALL_PATH, connections: CONNECTIONS_PER_LOAD, seconds });
  });
  return Promise.all(loads);
}

function sumRequests(counts: readonly WrkCount[]): number {
  return counts.reduce((sum, { requests }) => sum + requests, 0);
}
