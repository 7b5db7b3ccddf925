/**
 * Courier: brings alerts to one channel, one after another, and tries again when that can help. A channel that is down
 * for long costs a bounded queue: the oldest alerts make room, and the next one says how many were lost.
 *
 *   idle → sending → waiting → sending … → idle        any → closed
 *
 * Owns: one timer, and the delivery under way. Owned by: Alerts.
 */
import type { Log } from '../../../shared/log.js';
import type { Alert } from './alert.js';
import { type Channel, DeliveryError } from './channel.js';

export interface CourierOptions {
  readonly channel: Channel;
  readonly log: Log;
  /** Waits before another attempt, in milliseconds; after the last one the alert is given up. */
  readonly retryMs?: readonly number[];
}

/** How a channel fares. */
export interface ChannelHealth {
  readonly name: Channel['name'];
  readonly isFailing: boolean;
}

const MAX_QUEUE = 64;
const RETRY_MS = [2_000, 10_000, 60_000, 300_000, 1_800_000] as const;

export class Courier {
  readonly #channel: Channel;
  readonly #log: Log;
  readonly #retryMs: readonly number[];
  readonly #queue: Alert[] = [];
  readonly #stop = new AbortController();
  #lost = 0;
  #isFailing = false;
  #isBusy = false;

  constructor({ channel, log, retryMs = RETRY_MS }: CourierOptions) {
    this.#channel = channel;
    this.#log = log;
    this.#retryMs = retryMs;
  }

  /** The channel, and whether its newest delivery failed. */
  get health(): ChannelHealth {
    return { name: this.#channel.name, isFailing: this.#isFailing };
  }

  /** Delivers it after those that wait already. */
  send(alert: Alert): void {
    if (this.#stop.signal.aborted) return;
    this.#queue.push(alert);
    if (this.#queue.length > MAX_QUEUE) {
      this.#queue.shift();
      this.#lost += 1;
    }
    if (!this.#isBusy) void this.#work();
  }

  /** Gives up what waits. Safe in any state, any number of times. */
  close(): void {
    this.#stop.abort();
    this.#queue.length = 0;
  }

  async #work(): Promise<void> {
    this.#isBusy = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      await this.#deliver(this.#withLosses(next));
    }
    this.#isBusy = false;
  }

  async #deliver(alert: Alert): Promise<void> {
    const { event } = alert;
    for (let attempt = 0; !this.#stop.signal.aborted; attempt += 1) {
      const failure = await this.#attempt(alert);
      this.#isFailing = failure !== undefined;
      if (failure === undefined) return;
      const waitMs = failure.mayRetry ? this.#retryMs[attempt] : undefined;
      const facts = { channel: this.#channel.name, event, reason: failure.message };
      if (waitMs === undefined) {
        if (!this.#stop.signal.aborted) this.#log.error(facts, 'alert given up');
        return;
      }
      this.#log.warn({ ...facts, ms: waitMs }, 'alert not delivered, will try again');
      await sleep(waitMs, this.#stop.signal);
    }
  }

  async #attempt(alert: Alert): Promise<DeliveryError | undefined> {
    try {
      await this.#channel.send(alert, this.#stop.signal);
      return undefined;
    } catch (error) {
      return error instanceof DeliveryError ? error : new DeliveryError('failed', true);
    }
  }

  #withLosses(alert: Alert): Alert {
    if (this.#lost === 0) return alert;
    const text = `${alert.text} (${this.#lost} earlier alerts were lost: the channel did not take them.)`;
    this.#lost = 0;
    return { ...alert, text };
  }
}

/** Resolves after `ms`, or at once when the signal aborts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
