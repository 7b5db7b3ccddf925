/**
 * Alerts: tells the operator what happens while nobody looks. Every LOOK_MS it looks at the relay's status, and what is
 * news goes to every configured channel. Without a channel it does not exist.
 *
 * Owns: one timer, the watch, the budget, one courier per channel. Owned by: Relay.
 */
import { asTunnelError } from '../../../shared/errors.js';
import type { Log } from '../../../shared/log.js';
import type { RelayStatus } from '../relay-status.js';
import { AlertBudget } from './alert-budget.js';
import { type AlertConfig, channelsOf } from './alert-config.js';
import { AlertMemory } from './alert-memory.js';
import { AlertWatch } from './alert-watch.js';
import { type ChannelHealth, Courier } from './courier.js';

export interface AlertsOptions {
  /** The relay's own name. */
  readonly relay: string;
  readonly stateDir: string;
  readonly log: Log;
  readonly status: () => RelayStatus;
}

const LOOK_MS = 2_000;

export class Alerts {
  readonly #options: AlertsOptions;
  readonly #memory: AlertMemory;
  readonly #watch: AlertWatch;
  readonly #budget = new AlertBudget();
  readonly #couriers: readonly Courier[];
  readonly #timer: NodeJS.Timeout;

  private constructor(config: AlertConfig, couriers: readonly Courier[], options: AlertsOptions) {
    this.#options = options;
    this.#couriers = couriers;
    this.#memory = new AlertMemory(options.stateDir);
    this.#watch = new AlertWatch(config.rules, this.#memory, performance.now());
    // Short delays are looked at as often as they need.
    const { downAfterMs } = config.rules;
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_MS, Math.max(50, downAfterMs / 2)));
  }

  /** Begins to watch; undefined when no channel is configured. */
  static open(config: AlertConfig, options: AlertsOptions): Alerts | undefined {
    const { log } = options;
    const couriers = channelsOf(config).map((channel) => new Courier({ channel, log }));
    return couriers.length === 0 ? undefined : new Alerts(config, couriers, options);
  }

  /** How each channel fares. */
  get channels(): readonly ChannelHealth[] {
    return this.#couriers.map(({ health }) => health);
  }

  /** Gives up what was not delivered. Safe any number of times. */
  close(): void {
    clearInterval(this.#timer);
    for (const courier of this.#couriers) courier.close();
  }

  #look(): void {
    const { relay, log, status } = this.#options;
    try {
      const now = status();
      if (now.state !== 'running') return;
      for (const news of this.#watch.look(now, performance.now(), Date.now())) {
        log.info({ event: news.event, subject: news.subject }, 'alert');
        const told = this.#budget.admit(news, performance.now());
        if (told === undefined) continue;
        const { share: _share, ...alert } = told;
        for (const courier of this.#couriers) courier.send({ ...alert, relay, atMs: Date.now() });
      }
      this.#memory.save();
    } catch (error) {
      log.error({ err: asTunnelError(error) }, 'cannot look for alerts');
    }
  }
}
