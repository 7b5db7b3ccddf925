/**
 * Figure `tunnels`: does a request cost more when there are more tunnels? Relays with 1, 10, 100 and 1,000 tunnels take
 * turns under the same load, spread over their tunnels.
 *
 * One wrk asks for one hostname, so eight of them run beside each other, each with four connections.
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
const TUNNELS_PER_CLIENT = 50;
const MICROSECONDS = 1_000_000;
const ONE = nameOf(1);

/** Flat within a tenth. */
const targets = [10, 100, 1_000].map((count): Target => {
  return { measure: 'cpu', is: 'at most', value: 1.1, of: ONE, subject: nameOf(count) };
});

export const manyTunnels: Figure = {
  name: 'tunnels',
  title: `Small GET with more and more tunnels, up to ${TUNNELS_PER_CLIENT} per client (wrk, ${LOADS} hostnames at a time)`,
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
    for (const count of stage.size.tunnelCounts) contestants.push(await startTunnels(stage, scene, count));
    return { contestants, absent: [] };
  },
};

function nameOf(tunnels: number): string {
  return tunnels === 1 ? '1 tunnel' : `${tunnels.toLocaleString('en')} tunnels`;
}

async function startTunnels(stage: Stage, scene: Scene, count: number): Promise<Contestant> {
  const clients = Math.ceil(count / TUNNELS_PER_CLIENT);
  const crowd = await startSallyportCrowd(scene, `tunnels-${count}`, connectionsFor(0, clients));
  await crowd.join(clients, hostsOf(count));
  const work = (seconds: number) => requestAll(scene, crowd.port, count, seconds);
  const measure = async () => {
    const { done, cpu, parts } = await countCpu(crowd, () => work(stage.size.seconds), sumRequests, MICROSECONDS);
    const rate = done.reduce((sum, { requests, seconds }) => sum + requests / seconds, 0);
    const memory = { relay: residentOf(crowd, 'public') / MIB, home: residentOf(crowd, 'home') / MIB };
    return { values: { cpu, rate, ...memory }, parts };
  };
  return { name: nameOf(count), what: `${clients} clients`, warmUp: () => work(stage.size.seconds), measure };
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
