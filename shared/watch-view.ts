/**
 * WatchView: what `--watch` of a status verb means: the view again and again until the program is ended. A terminal shows
 * the newest one alone; a file or pipe gets them one after the other.
 *
 * Whatever is watched may be gone for a while, that is when people watch: a failure is shown in place of the view.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CommandIo } from './command-io.js';
import { asTunnelError } from './errors.js';
import { printable } from './printable.js';

/** Between two looks. Rates are taken over this time. */
const LOOK_MS = 2_000;
const CLEAR = '\x1b[H\x1b[J';

export interface WatchViewOptions {
  readonly io: Pick<CommandIo, 'print'>;
  /** Whether what is printed is seen on a terminal; by default whether stdout is one. */
  readonly isScreen?: boolean;
  readonly everyMs?: number;
  /** Ends the watching. */
  readonly signal?: AbortSignal | undefined;
}

/** Shows what `look` returns until the signal aborts. A CONFIG_INVALID ends it: that does not pass by itself. */
export async function watchView(look: () => Promise<string>, options: WatchViewOptions): Promise<void> {
  const { io, isScreen = process.stdout.isTTY === true, everyMs = LOOK_MS, signal } = options;
  while (signal?.aborted !== true) {
    const text = await look().catch(failureText);
    io.print(isScreen ? `${CLEAR}${text}` : text);
    await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}

function failureText(error: unknown): string {
  const { code, message } = asTunnelError(error);
  if (code === 'CONFIG_INVALID') throw error;
  return printable(message);
}
