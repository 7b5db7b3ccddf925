/**
 * Figure `download`: megabytes per second and CPU seconds per GiB, for one large download over one connection.
 *
 * It shows the cost of a byte: copies, ciphers, the size of writes. That is what a film, a backup or an image is made of.
 */
import type { Figure } from '../figure.js';
import { download } from '../load/curl.js';
import { BULK_PATH } from '../origin.js';
import { countCpu, enterSubjects } from './subject-load.js';
import { GIB, MEGABYTE, TRANSFER_MEASURES, TRANSFER_TARGETS } from './transfers.js';

export const bulkDownload: Figure = {
  name: 'download',
  title: 'Download of 1 GiB (512 MiB in a quick run) over one TLS connection (curl)',
  measures: TRANSFER_MEASURES,
  targets: TRANSFER_TARGETS,
  enter: (stage) => {
    const { bulkBytes } = stage.size;
    return enterSubjects(stage, {
      place: 'files',
      warmUp: (scene, { port }) => download(scene, port, BULK_PATH, bulkBytes),
      measure: async (scene, subject) => {
        const work = () => download(scene, subject.port, BULK_PATH, bulkBytes);
        const { done: seconds, cpu, parts } = await countCpu(subject, work, () => bulkBytes / GIB);
        return { values: { rate: bulkBytes / MEGABYTE / seconds, cpu }, parts };
      },
    });
  },
};
