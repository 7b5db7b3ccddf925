/**
 * Figure `visitors`: new visitors per second: each connects, makes a whole TLS handshake (wrk never resumes a session), asks
 * once and leaves.
 */
import type { Figure } from '../figure.js';
import { runWrk, type WrkOptions } from '../load/wrk.js';
import { SMALL_PATH } from '../origin.js';
import { countCpu, enterSubjects } from './subject-load.js';

const CONNECTIONS = 32;
const MICROSECONDS = 1_000_000;

const load = (port: number, seconds: number): WrkOptions => ({
  ...{ port, seconds },
  path: SMALL_PATH,
  connections: CONNECTIONS,
  newConnections: true,
});

export const newVisitors: Figure = {
  name: 'visitors',
  title: `New visitors: a TLS handshake and one GET each, ${CONNECTIONS} at a time (wrk)`,
  measures: [
    { name: 'rate', title: 'visitors/s', digits: 0, beside: 'ratio' },
    { name: 'cpu', title: 'CPU µs/visitor', digits: 0, beside: 'ratio' },
  ],
  targets: [{ measure: 'rate', is: 'at least', value: 0.6, of: 'limit' }],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'files',
      warmUp: (scene, { port }) => runWrk(scene, load(port, 1)),
      measure: async (scene, subject) => {
        const work = () => runWrk(scene, load(subject.port, stage.size.seconds));
        const { done, cpu, parts } = await countCpu(subject, work, ({ requests }) => requests, MICROSECONDS);
        return { values: { rate: done.requests / done.seconds, cpu }, parts };
      },
    }),
};
