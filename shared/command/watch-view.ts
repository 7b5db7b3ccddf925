/**
 * WatchView: what `--watch` of a status verb means: the view again and again until the program is ended. A terminal shows
 * the newest one alone; a file or pipe gets them one after the other.
 *
 * Whatever is watched may be gone for a while, that is when people watch: a failure is shown in place of the view.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { asTunnelError } from '../errors.js';
import { printable } from '../printable.js';
import type { CommandIo } from './command-io.js';

/** Between two looks. Rates are taken over this time. */
const LOOK_MS = 2_000;
const CLEAR = '\x1b[H\x1b[J';

/** What a verb that can be watched was told. */
export interface WatchOptions {
  /** Print JSON instead of text; with `watch` one object per line. */
  readonly json?: boolean;
  /** Show it again and again, with rates. */
  readonly watch?: boolean;
  /** How often, in milliseconds; every two seconds when left out. */
  readonly watchEveryMs?: number;
  /** Ends the watching. */
  readonly signal?: AbortSignal;
}

/** Shows what `look` returns until the signal aborts. A CONFIG_INVALID ends it: that does not pass by itself. */
export async function watchView(
  look: () => Promise<string>,
  io: Pick<CommandIo, 'print'>,
  { json, watchEveryMs = LOOK_MS, signal }: WatchOptions,
): Promise<void> {
  const clear = json !== true && process.stdout.isTTY === true ? CLEAR : '';
  while (signal?.aborted !== true) {
    io.print(clear + (await look().catch(failureText)));
    await sleep(watchEveryMs, undefined, { signal }).catch(() => {});
  }
}

function failureText(error: unknown): string {
  const { code, message } = asTunnelError(error);
  if (code === 'CONFIG_INVALID') throw error;
  return printable(message);
}
