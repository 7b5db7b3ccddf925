/**
 * SubjectKinds: everybody who can be measured, in the order of the report.
 */
import { TunnelError } from '../../shared/errors.js';
import { frpHttps, nginxFrp } from './frp.js';
import { httpProxy } from './http-proxy.js';
import { limit } from './limit.js';
import { nodeLimit } from './node-limit.js';
import { nginxRathole } from './rathole.js';
import { otherSallyport, sallyport, sallyportWorkers } from './sallyport.js';
import type { SubjectKind } from './subject.js';

const ALL: readonly SubjectKind[] = [limit, sallyport, nginxFrp, nginxRathole, frpHttps, httpProxy, nodeLimit];

/** Who takes part only when asked for by name. */
const BY_NAME: readonly SubjectKind[] = [sallyportWorkers];

/** What the regression guard needs, and every machine has. */
const QUICK = [limit.name, sallyport.name, nodeLimit.name];

export const SUBJECT_NAMES: readonly string[] = [...ALL, ...BY_NAME].map(({ name }) => name);

export interface SubjectChoice {
  /** Comma-separated, the reference first; all, or those of a quick run, when left out. */
  readonly names: string | undefined;
  readonly quick: boolean;
  /** Another build of Sallyport (a dist folder) as one more. */
  readonly compare: string | undefined;
}

/** The subjects of a run. Throws USAGE_INVALID for a name that nobody has. */
export function chooseSubjects({ names, quick, compare }: SubjectChoice): SubjectKind[] {
  const wanted = names?.split(',') ?? (quick ? QUICK : ALL.map(({ name }) => name));
  const chosen = wanted.map((name) => {
    const kind = [...ALL, ...BY_NAME].find((known) => known.name === name);
    if (kind !== undefined) return kind;
    throw new TunnelError('USAGE_INVALID', `--subjects has ${name}; known are ${SUBJECT_NAMES.join(', ')}`);
  });
  return compare === undefined ? chosen : [...chosen, otherSallyport(compare)];
}
