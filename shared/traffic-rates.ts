/**
 * TrafficRates: decides the bytes per second of each tunnel, from the totals of successive snapshots.
 *
 * A rate is taken over at least one second, so that a screen that draws five times a second shows calm figures.
 * Owns: the newest two measurements of each tunnel. Owned by: LiveScreen, and by the verbs that watch.
 */
import { roundedBytes } from './command/terminal-text.js';

/** What a tunnel has carried so far. */
export interface TrafficTotals {
  readonly name: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Bytes per second from visitors to the origin, and back. */
export interface Rate {
  readonly in: number;
  readonly out: number;
}

interface Measurement {
  readonly atMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly rate: Rate;
}

const INTERVAL_MS = 1_000;
const NO_TRAFFIC: Rate = { in: 0, out: 0 };

export class TrafficRates {
  #measurements = new Map<string, Measurement>();

  /** Takes a snapshot at `nowMs` and forgets the tunnels that are not in it. */
  measure(tunnels: readonly TrafficTotals[], nowMs: number): void {
    const older = this.#measurements;
    this.#measurements = new Map(tunnels.map((tunnel) => [tunnel.name, nextMeasurement(older, tunnel, nowMs)]));
  }

  /** The newest rate of a tunnel; zero until two snapshots of it are a second apart. */
  of(name: string): Rate {
    return this.#measurements.get(name)?.rate ?? NO_TRAFFIC;
  }
}

function nextMeasurement(older: ReadonlyMap<string, Measurement>, tunnel: TrafficTotals, nowMs: number): Measurement {
  const { name, bytesIn, bytesOut } = tunnel;
  const last = older.get(name);
  const elapsedMs = nowMs - (last?.atMs ?? nowMs);
  // Totals that shrink belong to a tunnel that was claimed anew, a clock that goes back to a machine that slept.
  if (last === undefined || elapsedMs < 0 || bytesIn < last.bytesIn || bytesOut < last.bytesOut) {
    return { atMs: nowMs, bytesIn, bytesOut, rate: NO_TRAFFIC };
  }
  if (elapsedMs < INTERVAL_MS) return last;
  const perSecond = 1_000 / elapsedMs;
  const rate = { in: (bytesIn - last.bytesIn) * perSecond, out: (bytesOut - last.bytesOut) * perSecond };
  return { atMs: nowMs, bytesIn, bytesOut, rate };
}

/** A rate as two cells of a table. */
export function rateCells(rate: Rate): [inbound: string, outbound: string] {
  return [roundedBytes(rate.in), roundedBytes(rate.out)];
}
