/**
 * Figure `small`: requests per second and CPU time per request, for a small GET over 32 TLS connections that stay open.
 *
 * It shows the fixed cost of a request: heads, frames, system calls. That is what a page with a hundred small files, an
 * API or a home automation's app is made of.
 */
import { CPU_PER_REQUEST, type Figure } from '../figure.js';
import { runWrk, type WrkOptions } from '../load/wrk.js';
import { SMALL_PATH } from '../origin.js';
import { countCpu, enterSubjects } from './subject-load.js';

const CONNECTIONS = 32;
const MICROSECONDS = 1_000_000;

const load = (port: number, seconds: number): WrkOptions => ({
  ...{ port, seconds },
  path: SMALL_PATH,
  connections: CONNECTIONS,
});

export const smallRequests: Figure = {
  name: 'small',
  title: `Small GET over TLS, ${CONNECTIONS} keep-alive connections (wrk)`,
  measures: [{ name: 'rate', title: 'requests/s', digits: 0, beside: 'ratio' }, CPU_PER_REQUEST],
  targets: [
    { measure: 'rate', is: 'at least', value: 0.8, of: 'limit' },
    { measure: 'rate', is: 'at least', value: 2, of: 'nginx+frp' },
    { measure: 'rate', is: 'at least', value: 1, of: 'nginx+rathole' },
    { measure: 'cpu', is: 'at most', value: 40 },
    { measure: 'cpu', is: 'at most', value: 1, of: 'nginx+frp' },
    { measure: 'cpu', is: 'at most', value: 1, of: 'nginx+rathole' },
  ],
  enter: (stage) =>
    enterSubjects(stage, {
      place: 'files',
      warmUp: (scene, { port }) => runWrk(scene, load(port, stage.size.seconds)),
      measure: async (scene, subject) => {
        const work = () => runWrk(scene, load(subject.port, stage.size.seconds));
        const { done, cpu, parts } = await countCpu(subject, work, ({ requests }) => requests, MICROSECONDS);
        return { values: { rate: done.requests / done.seconds, cpu }, parts };
      },
    }),
};
