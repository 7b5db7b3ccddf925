/**
 * Channel: one way to tell an operator: webhook, ntfy or mail. A channel says one alert once; when to try again is the
 * Courier's. What a failure says never holds an address with a token in it.
 */
import type { Alert } from './alert.js';

export interface Channel {
  readonly name: 'webhook' | 'ntfy' | 'mail';
  /** Rejects with a DeliveryError, or with `signal`'s reason. */
  send(alert: Alert, signal: AbortSignal): Promise<void>;
}

/** Why an alert was not delivered. */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  /** Whether trying again can help. */
  readonly mayRetry: boolean;

  constructor(message: string, mayRetry: boolean) {
    super(message);
    this.mayRetry = mayRetry;
  }
}
