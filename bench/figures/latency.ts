/**
 * Figure `latency`: how long a request takes when nobody is in a hurry: 200 small GETs per second over one connection.
 */
import type { Figure } from '../figure.js';
import { runSteady, type SteadyLoad } from '../load/h2load.js';
import { SMALL_PATH } from '../origin.js';
import { percentile } from '../spread.js';
import { enterSubjects, NOT_THE_BASELINES } from './subject-load.js';

const REQUESTS_PER_SECOND = 200;

const load = (port: number, seconds: number): SteadyLoad => ({
  ...{ port, seconds },
  path: SMALL_PATH,
  connections: 1,
  requestsPerSecond: REQUESTS_PER_SECOND,
});

export const latency: Figure = {
  name: 'latency',
  title: `Latency of a small GET at ${REQUESTS_PER_SECOND} requests/s over one connection (h2load)`,
  measures: [
    { name: 'p50', title: 'p50 ms', digits: 2, beside: 'difference' },
    { name: 'p99', title: 'p99 ms', digits: 2, beside: 'difference' },
  ],
  targets: [
    { measure: 'p50', is: 'at most', value: 0.4, over: 'limit' },
    { measure: 'p99', is: 'at most', value: 2, over: 'limit' },
  ],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'files',
      not: NOT_THE_BASELINES,
      warmUp: (scene, { port }) => runSteady(scene, load(port, 1)),
      measure: async (scene, { port }) => {
        const took = await runSteady(scene, load(port, stage.size.seconds));
        return { values: { p50: percentile(took, 0.5), p99: percentile(took, 0.99) } };
      },
    }),
};
