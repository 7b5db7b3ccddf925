/**
 * ServiceWatchdog: tells systemd that the service still does its work (WatchdogSec in systemd.service(5)). Each sign of
 * life follows a probe that succeeded, so a program whose event loop stands still gives none, and neither does one that
 * runs and serves nobody. systemd then ends and restarts it.
 *
 * Owns: one timer. Owned by: the verbs that run until they are stopped.
 */
import type { Log } from '../log.js';
import { notifyService } from './service-notify.js';

/** Signs of life per interval that systemd allows: one probe may fail without a restart. */
const SIGNS_PER_INTERVAL = 3;

export interface ServiceWatchdogOptions {
  /** Resolves when the service does its work; rejects with what is wrong. It has its own deadline. */
  readonly probe: () => Promise<void>;
  readonly log: Log;
  readonly env?: NodeJS.ProcessEnv;
}

export class ServiceWatchdog {
  readonly #options: ServiceWatchdogOptions;
  #timer: NodeJS.Timeout | undefined;
  #isProbing = false;

  /** Begins, if systemd asks for it (WATCHDOG_USEC). */
  constructor(options: ServiceWatchdogOptions) {
    this.#options = options;
    this.start();
  }

  /** Begins anew after `stop`. */
  start(): void {
    clearInterval(this.#timer);
    const { env = process.env } = this.#options;
    const ms = watchdogMs(env, process.pid);
    if (ms !== undefined) this.#timer = setInterval(() => void this.#look(), ms / SIGNS_PER_INTERVAL).unref();
  }

  /** No more signs of life. Safe any number of times. */
  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#isProbing) return;
    this.#isProbing = true;
    try {
      await this.#options.probe();
      await notifyService('WATCHDOG=1');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.warn({ event: 'watchdog', reason }, 'the service does not do its work');
    } finally {
      this.#isProbing = false;
    }
  }
}

/** Within which time systemd wants a sign of life from the process `pid`; undefined when it wants none. */
export function watchdogMs(env: NodeJS.ProcessEnv, pid: number): number | undefined {
  const microseconds = Number(env.WATCHDOG_USEC ?? '');
  if (!Number.isSafeInteger(microseconds) || microseconds <= 0) return undefined;
  if (env.WATCHDOG_PID !== undefined && env.WATCHDOG_PID !== String(pid)) return undefined;
  return microseconds / 1_000;
}
