/**
 * Figures: everything that the bench measures, in the order of its runs: those that share surroundings beside each other.
 */
import { TunnelError } from '../../shared/errors.js';
import type { Figure } from '../figure.js';
import { allocations } from './allocations.js';
import { crowdMemory } from './crowd-memory.js';
import { distances } from './distance.js';
import { bulkDownload } from './download.js';
import { http2Requests } from './http2.js';
import { idleMemory } from './idle-memory.js';
import { latency } from './latency.js';
import { lightSwitch } from './light-switch.js';
import { manyTunnels } from './many-tunnels.js';
import { newVisitors } from './new-visitors.js';
import { parallelDownloads } from './parallel-downloads.js';
import { reconnect } from './reconnect.js';
import { smallRequests } from './small-requests.js';
import { stalledLink } from './stalled-link.js';
import { stalledVisitors } from './stalled-visitors.js';
import { bulkUpload } from './upload.js';
import { webSocketEcho } from './web-socket.js';

const ALL: readonly Figure[] = [
  smallRequests,
  allocations,
  bulkDownload,
  newVisitors,
  bulkUpload,
  parallelDownloads,
  latency,
  lightSwitch,
  http2Requests,
  webSocketEcho,
  ...distances,
  stalledLink,
  idleMemory,
  crowdMemory,
  stalledVisitors,
  reconnect,
  manyTunnels,
];

/** What the regression guard looks at. */
const QUICK: readonly Figure[] = [smallRequests, bulkDownload, bulkUpload];

export const FIGURE_NAMES: readonly string[] = ALL.map(({ name }) => name);

/** The figures of a run, in order. Throws USAGE_INVALID for a name that none has. */
export function chooseFigures(names: string | undefined, quick: boolean): readonly Figure[] {
  if (names === undefined) return quick ? QUICK : ALL;
  const wanted = names.split(',');
  const unknown = wanted.find((name) => !FIGURE_NAMES.includes(name));
  if (unknown !== undefined) {
    throw new TunnelError('USAGE_INVALID', `--only has ${unknown}; known are ${FIGURE_NAMES.join(', ')}`);
  }
  return ALL.filter(({ name }) => wanted.includes(name));
}
