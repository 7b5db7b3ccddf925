/**
 * Figure `upload`: megabytes per second and CPU seconds per GiB, for one large upload over one connection: photos on their
 * way home.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Figure } from '../figure.js';
import { upload } from '../load/curl.js';
import { countCpu, enterSubjects } from './subject-load.js';
import { GIB, MEGABYTE, TRANSFER_MEASURES, TRANSFER_TARGETS } from './transfers.js';

export const bulkUpload: Figure = {
  name: 'upload',
  title: 'Upload of 1 GiB (512 MiB in a quick run) over one TLS connection (curl)',
  measures: TRANSFER_MEASURES,
  targets: TRANSFER_TARGETS,
  enter: (stage) => {
    const { bulkBytes } = stage.size;
    // Sparse: it takes no disk.
    const file = join(stage.world.folder, 'upload.bin');
    writeFileSync(file, '');
    truncateSync(file, bulkBytes);
    return enterSubjects(stage, {
      place: 'upload',
      warmUp: (scene, { port }) => upload(scene, port, file, bulkBytes),
      measure: async (scene, subject) => {
        const work = () => upload(scene, subject.port, file, bulkBytes);
        const { done: seconds, cpu, parts } = await countCpu(subject, work, () => bulkBytes / GIB);
        return { values: { rate: bulkBytes / MEGABYTE / seconds, cpu }, parts };
      },
    });
  },
};
