/**
 * Figure `allocations`: bytes of JavaScript heap that each program takes for one small GET, and how often it collects
 * them. Buffers outside the heap are not counted. What is allocated must be collected, in pauses that p99 shows.
 */
import type { Cast, Figure, Measurement } from '../figure.js';
import { HEAP_TRACE_FLAGS, HeapTrace } from '../heap-trace.js';
import { runWrk, type WrkCount } from '../load/wrk.js';
import { SMALL_PATH } from '../origin.js';
import { prepare } from '../place.js';
import type { Stage } from '../stage.js';
import { startSallyport } from '../subjects/sallyport.js';

const CONNECTIONS = 32;
const PER = 1_000;

export const allocations: Figure = {
  name: 'allocations',
  title: `JavaScript heap for a small GET over TLS, ${CONNECTIONS} keep-alive connections (wrk, --trace-gc)`,
  measures: [
    { name: 'bytes', title: 'heap bytes/request', digits: 0 },
    { name: 'collections', title: `collections/${PER} requests`, digits: 2 },
  ],
  targets: [],
  partsOf: 'bytes',
  enter,
};

async function enter(stage: Stage): Promise<Cast> {
  const kind = stage.kinds().find(({ name }) => name === 'sallyport');
  if (kind === undefined) return { contestants: [], absent: [{ name: 'sallyport', reason: 'not chosen' }] };
  const scene = stage.scene('allocations');
  await prepare(scene, 'files');
  const { subject, relay, client } = await startSallyport(scene, { name: kind.name, nodeFlags: HEAP_TRACE_FLAGS });
  const traces = { relay: new HeapTrace(), client: new HeapTrace() };
  relay.onLine((line) => traces.relay.read(line));
  client.onLine((line) => traces.client.read(line));
  const load = { port: subject.port, seconds: stage.size.seconds, path: SMALL_PATH, connections: CONNECTIONS };
  const work = () => runWrk(scene, load);
  const measure = () => count(work, traces);
  return { contestants: [{ name: subject.name, what: subject.what, warmUp: work, measure }], absent: [] };
}

async function count(work: () => Promise<WrkCount>, traces: Readonly<Record<string, HeapTrace>>): Promise<Measurement> {
  for (const trace of Object.values(traces)) trace.restart();
  const { requests } = await work();
  const parts = Object.fromEntries(
    Object.entries(traces).map(([name, trace]) => [name, trace.allocatedBytes / requests]),
  );
  const bytes = Object.values(parts).reduce((sum, part) => sum + part, 0);
  const collections = Object.values(traces).reduce((sum, trace) => sum + trace.collections, 0);
  return { values: { bytes, collections: (collections * PER) / requests }, parts };
}
