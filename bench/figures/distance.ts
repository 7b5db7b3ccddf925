/**
 * Figure `distance`: one download while 80 ms lie between the relay and home, and the line carries 500 Mbit/s: do the
 * windows of the mux grow to what the line can hold? The limit is nginx reaching the origin over the same line: direct TCP.
 */
import type { Figure } from '../figure.js';
import { downloadFor } from '../load/curl.js';
import { ENDLESS_PATH } from '../origin.js';
import { LINE } from '../place.js';
import { enterSubjects, NOT_THE_BASELINES } from './subject-load.js';
import { MEGABYTE } from './transfers.js';

const WARM_UP_SECONDS = 1;

export const distance: Figure = {
  name: 'distance',
  title: `One download, from its first byte, over ${LINE.roundTripMs} ms round trip and ${LINE.megabytesPerSecond} MB/s (curl)`,
  measures: [{ name: 'rate', title: 'MB/s', digits: 1, beside: 'ratio' }],
  targets: [{ measure: 'rate', is: 'at least', value: 0.85, of: 'limit' }],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'distance',
      not: NOT_THE_BASELINES,
      warmUp: (scene, { port }) => downloadFor(scene, port, ENDLESS_PATH, WARM_UP_SECONDS),
      measure: async (scene, { port }) => {
        const { downloadedBytes, seconds } = await downloadFor(scene, port, ENDLESS_PATH, stage.size.seconds);
        return { values: { rate: downloadedBytes / MEGABYTE / seconds } };
      },
    }),
};
