/**
 * Figure `parallel`: 32 downloads at once, by 32 programs, all cut at the same moment: how much they get together, and
 * whether each gets its share.
 */
import type { Figure } from '../figure.js';
import { type CurlTransfer, downloadFor } from '../load/curl.js';
import { ENDLESS_PATH } from '../origin.js';
import type { Scene } from '../scene.js';
import { countCpu, enterSubjects, NOT_THE_BASELINES } from './subject-load.js';
import { GIB, MEGABYTE, TRANSFER_MEASURES } from './transfers.js';

const DOWNLOADS = 32;
const WARM_UP_SECONDS = 1;

export const parallelDownloads: Figure = {
  name: 'parallel',
  title: `${DOWNLOADS} downloads at once (curl)`,
  measures: [...TRANSFER_MEASURES, { name: 'fairness', title: 'slowest/fastest', digits: 2 }],
  targets: [
    { measure: 'rate', is: 'at least', value: 0.9, of: 'limit' },
    { measure: 'fairness', is: 'at least', value: 0.7 },
  ],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'files',
      not: NOT_THE_BASELINES,
      warmUp: (scene, { port }) => downloadFor(scene, port, ENDLESS_PATH, WARM_UP_SECONDS),
      measure: async (scene, subject) => {
        const work = () => downloadAll(scene, subject.port, stage.size.seconds);
        const { done, cpu, parts } = await countCpu(subject, work, (transfers) => totalBytes(transfers) / GIB);
        const rates = done.map(({ downloadedBytes, seconds }) => downloadedBytes / MEGABYTE / seconds);
        const rate = rates.reduce((sum, each) => sum + each, 0);
        return { values: { rate, cpu, fairness: Math.min(...rates) / Math.max(...rates) }, parts };
      },
    }),
};

function downloadAll(scene: Scene, port: number, seconds: number): Promise<CurlTransfer[]> {
  return Promise.all(Array.from({ length: DOWNLOADS }, () => downloadFor(scene, port, ENDLESS_PATH, seconds)));
}

function totalBytes(transfers: readonly CurlTransfer[]): number {
  return transfers.reduce((sum, { downloadedBytes }) => sum + downloadedBytes, 0);
}
