/**
 * Figures `distance-20`, `distance-80`, `distance-200`: one download while that many milliseconds lie between the relay and
 * home, and the line carries 500 Mbit/s: do the windows of the mux grow to what the line can hold, and how soon? The limit
 * is nginx reaching the origin over the same line: direct TCP.
 */
import type { Figure } from '../figure.js';
import { downloadFor } from '../load/curl.js';
import { ENDLESS_PATH } from '../origin.js';
import { enterSubjects, NOT_THE_BASELINES } from './subject-load.js';
import { MEGABYTE } from './transfers.js';

/** A good home line. */
const MEGABYTES_PER_SECOND = 62.5;

const WARM_UP_SECONDS = 1;

/** Beyond this the seconds in which windows grow outweigh the others: the line has no slow start, which real TCP has too. */
const FAR_MS = 80;

/** To a relay in one's own country, on another continent, and at the other end of the world. */
export const distances: readonly Figure[] = [20, 80, 200].map(distance);

function distance(roundTripMs: number): Figure {
  return {
    name: `distance-${roundTripMs}`,
    title: `One download, from its first byte, over ${roundTripMs} ms round trip and ${MEGABYTES_PER_SECOND} MB/s (curl)`,
    measures: [{ name: 'rate', title: 'MB/s', digits: 1, beside: 'ratio' }],
    targets: roundTripMs > FAR_MS ? [] : [{ measure: 'rate', is: 'at least', value: 0.85, of: 'limit' }],
    enter: (stage) =>
      enterSubjects(stage, {
        place: { roundTripMs, megabytesPerSecond: MEGABYTES_PER_SECOND },
        not: NOT_THE_BASELINES,
        warmUp: (scene, { port }) => downloadFor(scene, port, ENDLESS_PATH, WARM_UP_SECONDS),
        measure: async (scene, { port }) => {
          const { downloadedBytes, seconds } = await downloadFor(scene, port, ENDLESS_PATH, stage.size.seconds);
          return { values: { rate: downloadedBytes / MEGABYTE / seconds } };
        },
      }),
  };
}
