/**
 * Figure `switch`: does a light switch work while films play? A small GET's p99 while four downloads take all the tunnel
 * can carry, beside the same without them.
 *
 * Load, subject and origin share the machine's cores, so even the limit is slower under the downloads: that much is the
 * machine's.
 */
import type { Figure } from '../figure.js';
import { downloadFor } from '../load/curl.js';
import { runSteady, type SteadyLoad } from '../load/h2load.js';
import { ENDLESS_PATH, SMALL_PATH } from '../origin.js';
import type { Scene } from '../scene.js';
import { percentile } from '../spread.js';
import { enterSubjects, NOT_THE_BASELINES } from './subject-load.js';
import { MEGABYTE } from './transfers.js';

const DOWNLOADS = 4;
const REQUESTS_PER_SECOND = 200;
const CONNECTIONS = 8;
/** Until the downloads are at full speed, and how much longer than the requests they go on. */
const LEAD_SECONDS = 1;

const load = (port: number, seconds: number): SteadyLoad => ({
  ...{ port, seconds },
  path: SMALL_PATH,
  connections: CONNECTIONS,
  requestsPerSecond: REQUESTS_PER_SECOND,
});

export const lightSwitch: Figure = {
  name: 'switch',
  title: `Small GET at ${REQUESTS_PER_SECOND}/s while ${DOWNLOADS} downloads saturate the tunnel (h2load, curl)`,
  measures: [
    { name: 'slowdown', title: '× unloaded p99', digits: 1 },
    { name: 'loaded', title: 'p99 ms under load', digits: 2 },
    { name: 'loadedMedian', title: 'p50 ms under load', digits: 2 },
    { name: 'unloaded', title: 'p99 ms unloaded', digits: 2 },
    { name: 'rate', title: 'MB/s of the downloads', digits: 0 },
  ],
  targets: [{ measure: 'slowdown', is: 'at most', value: 5 }],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'files',
      not: NOT_THE_BASELINES,
      warmUp: (scene, { port }) => runSteady(scene, load(port, 1)),
      measure: async (scene, { port }) => {
        const { seconds } = stage.size;
        const unloaded = percentile(await runSteady(scene, load(port, seconds)), 0.99);
        const { took, rate } = await underLoad(scene, port, seconds);
        const loaded = percentile(took, 0.99);
        const loadedMedian = percentile(took, 0.5);
        return { values: { slowdown: loaded / unloaded, loaded, loadedMedian, unloaded, rate } };
      },
    }),
};

async function underLoad(scene: Scene, port: number, seconds: number): Promise<{ took: number[]; rate: number }> {
  const playSeconds = seconds + 2 * LEAD_SECONDS;
  const films = Array.from({ length: DOWNLOADS }, () => downloadFor(scene, port, ENDLESS_PATH, playSeconds));
  const switched = async () => {
    await new Promise((resolve) => setTimeout(resolve, LEAD_SECONDS * 1_000));
    return runSteady(scene, load(port, seconds));
  };
  const [took, ...transfers] = await Promise.all([switched(), ...films]);
  const rates = transfers.map((transfer) => transfer.downloadedBytes / MEGABYTE / transfer.seconds);
  return { took, rate: rates.reduce((sum, each) => sum + each, 0) };
}
