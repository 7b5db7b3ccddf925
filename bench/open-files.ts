/**
 * OpenFiles: whether this machine lets one program hold as many connections as a figure needs. Node and Go raise their own
 * soft limit to the hard one, and nginx is told to; the hard limit is the administrator's.
 */
import { readFileSync } from 'node:fs';

/** Files of a program beside its connections. */
const SPARE = 256;

/** Why a program cannot hold so many connections here; undefined when it can. */
export function missingOpenFiles(connections: number): string | undefined {
  const hard = parseHardLimit(readFileSync('/proc/self/limits', 'latin1'));
  const needed = connections + SPARE;
  if (needed <= hard) return undefined;
  return `needs ${needed} open files per program, the hard limit is ${hard}; raise it: ulimit -n ${needed}`;
}

/** The hard limit of open files in the text of /proc/PID/limits. */
export function parseHardLimit(text: string): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(text)?.[1];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard ?? 0);
}
