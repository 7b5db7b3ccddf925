/**
 * Figure `stalled`: by how much all programs of a subject grow when 200 visitors ask for a film and stop reading it. What
 * grows is what nobody can take away again: every window and every buffer, full. Every round starts new programs.
 */
import { VISITOR_HOST } from '../certificate.js';
import type { Figure, Measurement } from '../figure.js';
import { bringVisitors } from '../load/visitors.js';
import { runWrk } from '../load/wrk.js';
import { steadyBytes } from '../memory.js';
import { ENDLESS_PATH, SMALL_PATH } from '../origin.js';
import type { Scene } from '../scene.js';
import type { Stage } from '../stage.js';
import { residentOf, type Subject, type SubjectKind } from '../subjects/subject.js';
import { MIB } from './crowd-load.js';
import { NOT_THE_BASELINES } from './subject-load.js';

const VISITORS = 200;

/** Programs at work hold more than programs just started: that much is no growth. */
const WARM_UP = { path: SMALL_PATH, connections: VISITORS, seconds: 1 };

export const stalledVisitors: Figure = {
  name: 'stalled',
  title: `Growth of all programs when ${VISITORS} visitors stop reading a download (RSS)`,
  measures: [{ name: 'growth', title: 'MiB', digits: 0 }],
  partsOf: 'growth',
  targets: [{ measure: 'growth', is: 'at most', value: 80 }],
  enter: async (stage) => {
    await stage.clear();
    const kinds = stage.kinds(['limit', ...NOT_THE_BASELINES]);
    const present = kinds.filter((kind) => kind.missing() === undefined);
    return {
      contestants: present.map((kind) => {
        return { name: kind.name, what: 'all its programs', measure: () => measureFresh(stage, kind) };
      }),
      absent: kinds.flatMap((kind) => {
        const reason = kind.missing();
        return reason === undefined ? [] : [{ name: kind.name, reason }];
      }),
    };
  },
};

async function measureFresh(stage: Stage, kind: SubjectKind): Promise<Measurement> {
  const scene = stage.scene(`stalled-${kind.name}`);
  try {
    return await stall(scene, await kind.start(scene));
  } finally {
    await scene.close();
  }
}

async function stall(scene: Scene, subject: Subject): Promise<Measurement> {
  const { port } = subject;
  await runWrk(scene, { ...WARM_UP, port });
  await steadyBytes(() => residentOf(subject));
  const before = residentByPart(subject);
  const hosts = [VISITOR_HOST];
  await bringVisitors(scene, { port, count: VISITORS, manner: 'stalled', path: ENDLESS_PATH, hosts });
  await steadyBytes(() => residentOf(subject));
  const after = residentByPart(subject);
  const grown = [...after].map(([part, bytes]) => [part, (bytes - (before.get(part) ?? 0)) / MIB] as const);
  const growth = grown.reduce((sum, [, each]) => sum + each, 0);
  return { values: { growth }, parts: Object.fromEntries(grown) };
}

function residentByPart({ parts }: Subject): Map<string, number> {
  return new Map(parts.map((part) => [part.name, residentOf({ parts: [part] })]));
}
