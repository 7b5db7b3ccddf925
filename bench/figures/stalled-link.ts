/**
 * Figure `stalled-link`: one of the two links of a session stands still, and nobody is told, as when a router forgets one
 * connection. Of four downloads those on that link wait for it; do the others, and new visitors, notice?
 *
 * Only ours is asked: the peers have one link for everybody.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Contestant, Figure } from '../figure.js';
import { downloadFor, isAnswered } from '../load/curl.js';
import { ENDLESS_PATH, SMALL_PATH } from '../origin.js';
import { type Line, startLine } from '../place.js';
import type { Program } from '../programs.js';
import type { Scene } from '../scene.js';
import type { Stage } from '../stage.js';
import type { SubjectKind } from '../subjects/subject.js';
import { MEGABYTE } from './transfers.js';

const LINE: Line = { roundTripMs: 20, megabytesPerSecond: 12.5 };
const DOWNLOADS = 4;
const VISITOR_EVERY_MS = 50;

/** A visitor who waits longer than this has noticed. */
const PATIENCE_SECONDS = 1;

/** Until the downloads are at full speed; until all links are there. */
const LEAD_SECONDS = 1;
const WARM_UP_SECONDS = 2;

/** Subjects with more than one link. */
const NAMES: readonly string[] = ['sallyport', 'other'];

export const stalledLink: Figure = {
  name: 'stalled-link',
  title: `New visitors, 20 a second, beside ${DOWNLOADS} downloads, while one of two links stands still (curl)`,
  measures: [
    { name: 'answered', title: `answered within ${PATIENCE_SECONDS} s`, digits: 2 },
    { name: 'slowest', title: 'MB/s of the slowest download', digits: 1 },
    { name: 'rate', title: 'MB/s of all', digits: 1 },
  ],
  targets: [{ measure: 'answered', is: 'at least', value: 0.9 }],
  enter: async (stage) => {
    const kinds = stage.kinds().filter(({ name }) => NAMES.includes(name));
    return { contestants: await Promise.all(kinds.map((kind) => enter(stage, kind))), absent: [] };
  },
};

async function enter(stage: Stage, kind: SubjectKind): Promise<Contestant> {
  const scene = stage.scene(`stalled-link-${kind.name}`);
  let line: Program | undefined;
  scene.reach = async (port) => {
    const listening = await startLine(scene, LINE, port);
    line = listening.program;
    return listening.port;
  };
  const { name, what, port } = await kind.start(scene);
  const toggle = () => line !== undefined && process.kill(line.pid, 'SIGUSR2');
  const { seconds } = stage.size;
  const warmUp = () => downloadFor(scene, port, ENDLESS_PATH, WARM_UP_SECONDS);
  const measure = async () => {
    const films = Array.from({ length: DOWNLOADS }, () =>
      downloadFor(scene, port, ENDLESS_PATH, LEAD_SECONDS + seconds),
    );
    await delay(LEAD_SECONDS * 1_000);
    toggle();
    const answered = await comeAndAsk(scene, port, seconds).finally(toggle);
    const rates = (await Promise.all(films)).map((film) => film.downloadedBytes / MEGABYTE / film.seconds);
    const rate = rates.reduce((sum, each) => sum + each, 0);
    return { values: { answered, slowest: Math.min(...rates), rate } };
  };
  return { name, what, warmUp, measure };
}

/** New visitors, one after another. Resolves with the share of them that was answered in time. */
async function comeAndAsk(scene: Scene, port: number, seconds: number): Promise<number> {
  const visits: Promise<boolean>[] = [];
  for (let cameMs = 0; cameMs < seconds * 1_000; cameMs += VISITOR_EVERY_MS) {
    visits.push(isAnswered(scene, port, SMALL_PATH, PATIENCE_SECONDS));
    await delay(VISITOR_EVERY_MS);
  }
  const answers = await Promise.all(visits);
  return answers.filter(Boolean).length / answers.length;
}
