/**
 * Alert: what an operator is told, as one value that every channel can say in its own way. Nothing in it is a secret.
 */
import type { TunnelOptions } from './tunnel-health.js';

export type AlertEvent =
  | 'tunnel-down'
  | 'tunnel-up'
  | 'tunnel-flapping'
  | 'certificate-trouble'
  | 'certificate-well'
  | 'client-address'
  | 'test';

export interface Alert {
  readonly event: AlertEvent;
  /** The relay's own name. */
  readonly relay: string;
  /** What it is about: a public URL, the name of a certificate, the name of a token. */
  readonly subject: string;
  /** One line. */
  readonly title: string;
  /** What happened, in a sentence or two. */
  readonly text: string;
  /** What to do; '' when there is nothing to do. */
  readonly cure: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
}

/** What the section `alerts` of relay.yaml decides beside the channels. */
export interface AlertRules extends TunnelOptions {
  /** A certificate with less life than this is trouble. */
  readonly certificateWithinMs: number;
  /** Whether clients at new addresses are told of. */
  readonly clientAddresses: boolean;
}

/** Something that has begun to be worth telling, before it is known where and when. */
export interface News extends Omit<Alert, 'relay' | 'atMs'> {
  /** Whose share of the budget it spends: a token's name, the relay's own name, or '' when nobody knows. */
  readonly share: string;
}

/** Good news and tests need nobody out of bed. */
export function isUrgent(event: AlertEvent): boolean {
  return event === 'tunnel-down' || event === 'tunnel-flapping' || event === 'certificate-trouble';
}
