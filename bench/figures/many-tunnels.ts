/**
 * Figure `tunnels`: does a request cost more when there are more tunnels? Relays with 1, 10, 100 and 1,000 tunnels take
 * turns under the same load, spread over their tunnels.
 *
 * One wrk asks for one hostname, so eight of them run beside each other, each with four connections. All tunnels are one
 * client's, so that nothing else differs; beside them stand as many of 20 clients: there the same load is spread over
 * forty links, and less of it fits into one batch.
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
    for (const count of tunnelCounts) contestants.push(await startTunnels(stage, scene, count, 1));
    contestants.push(await startTunnels(stage, scene, Math.max(...tunnelCounts), MANY_CLIENTS));
    return { contestants, absent: [] };
  },
};

function nameOf(tunnels: number): string {
  return tunnels === 1 ? '1 tunnel' : `${tunnels.toLocaleString('en')} tunnels`;
}

async function startTunnels(stage: Stage, scene: Scene, count: number, clients: number): Promise<Contestant> {
  const crowd = await startSallyportCrowd(scene, `tunnels-${count}-${clients}`, connectionsFor(0, clients));
  await crowd.join(clients, hostsOf(count));
  const work = (seconds: number) => requestAll(scene, crowd.port, count, seconds);
  const measure = async () => {
    const { done, cpu, parts } = await countCpu(crowd, () => work(stage.size.seconds), sumRequests, MICROSECONDS);
    const rate = done.reduce((sum, { requests, seconds }) => sum + requests / seconds, 0);
    const memory = { relay: residentOf(crowd, 'public') / MIB, home: residentOf(crowd, 'home') / MIB };
    return { values: { cpu, rate, ...memory }, parts };
  };
  const name = clients === 1 ? nameOf(count) : `${nameOf(count)} of ${clients} clients`;
  return { name, what: 'relay and clients', warmUp: () => work(stage.size.seconds), measure };
}

/** The same load for every count, on hostnames that lie evenly among them. */
function requestAll(scene: Scene, port: number, tunnels: number, seconds: number): Promise<WrkCount[]> {
  const loads = Array.from({ length: LOADS }, (_, index) => {
    const host = numberedHost(Math.floor((index * tunnels) / LOADS));
    return runWrk(scene, { port, host, path: SMALL_PATH, connections: CONNECTIONS_PER_LOAD, seconds });
  });
  return Promise.all(loads);
}

function sumRequests(counts: readonly WrkCount[]): number {
  return counts.reduce((sum, { requests }) => sum + requests, 0);
}
