/**
 * Figure 2: megabytes per second and CPU seconds per GiB, for one large download over one connection.
 *
 * It shows the cost of a byte: copies, ciphers, the size of writes. That is what a film, a backup or an image is made of.
 */
import { runCurl } from './curl.js';
import type { Figure } from './figure.js';
import { BULK_PATH } from './origin.js';
import { cpuOf, cpuPer } from './subjects/subject.js';

const GIB = 1024 ** 3;
const MEGABYTE = 1_000_000;

/** @param bytes of the download */
export function bulkDownload(bytes: number): Figure {
  return {
    name: 'bulk',
    title: `Download of ${bytes / 1024 ** 2} MiB over one TLS connection (curl)`,
    rateUnit: 'MB/s',
    rateDigits: 0,
    cpuUnit: 'CPU s/GiB',
    cpuDigits: 2,
    warmUp: (world, { port }) => runCurl(world, { port, path: BULK_PATH, bytes }),
    measure: async (world, subject) => {
      const before = cpuOf(subject);
      const seconds = await runCurl(world, { port: subject.port, path: BULK_PATH, bytes });
      return { rate: bytes / MEGABYTE / seconds, cpu: cpuPer(before, cpuOf(subject), bytes / GIB) };
    },
  };
}
