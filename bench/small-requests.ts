/**
 * Figure 1: requests per second and CPU time per request, for a small GET over 32 TLS connections that stay open.
 *
 * It shows the fixed cost of a request: heads, frames, system calls. That is what a page with a hundred small files, an
 * API or a home automation's app is made of.
 */
import type { Figure } from './figure.js';
import { SMALL_PATH } from './origin.js';
import { cpuOf, cpuPer } from './subjects/subject.js';
import { runWrk } from './wrk.js';

const CONNECTIONS = 32;
const WARM_UP_SECONDS = 3;
const MICROS_PER_SECOND = 1_000_000;

/** @param seconds of load per measurement, whole */
export function smallRequests(seconds: number): Figure {
  return {
    name: 'small',
    title: `Small GET over TLS, ${CONNECTIONS} keep-alive connections, ${seconds} s per round (wrk)`,
    rateUnit: 'requests/s',
    rateDigits: 0,
    cpuUnit: 'CPU µs/request',
    cpuDigits: 1,
    warmUp: (world, { port }) =>
      runWrk(world, { port, path: SMALL_PATH, connections: CONNECTIONS, seconds: WARM_UP_SECONDS }),
    measure: async (world, subject) => {
      const before = cpuOf(subject);
      const options = { port: subject.port, path: SMALL_PATH, connections: CONNECTIONS, seconds };
      const { requests, seconds: took } = await runWrk(world, options);
      return { rate: requests / took, cpu: cpuPer(before, cpuOf(subject), requests, MICROS_PER_SECOND) };
    },
  };
}
