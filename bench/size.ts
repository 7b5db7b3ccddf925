/**
 * Size: how much work a run does. `QUICK` gives a first impression and feeds the regression guard in under two minutes.
 */
import { TunnelError } from '../shared/errors.js';

const MIB = 1024 ** 2;
const MAX_ROUNDS = 100;

export interface BenchSize {
  readonly quick: boolean;
  readonly rounds: number;
  /** Of load per measurement, whole. */
  readonly seconds: number;
  readonly bulkBytes: number;
  /** The crowds of the memory and reconnect figures. */
  readonly crowdVisitors: number;
  readonly crowdClients: number;
  /** Of the figure about many tunnels, ascending. */
  readonly tunnelCounts: readonly number[];
}

export const FULL: BenchSize = {
  quick: false,
  rounds: 5,
  seconds: 4,
  bulkBytes: 1024 * MIB,
  crowdVisitors: 10_000,
  crowdClients: 500,
  tunnelCounts: [1, 10, 100, 1_000],
};

export const QUICK: BenchSize = {
  quick: true,
  rounds: 5,
  seconds: 2,
  bulkBytes: 512 * MIB,
  crowdVisitors: 1_000,
  crowdClients: 50,
  tunnelCounts: [1, 100],
};

/** The size of a run. Throws USAGE_INVALID when `rounds` is not a whole number from 1 to 100. */
export function sizeOf(quick: boolean, rounds: string | undefined): BenchSize {
  const size = quick ? QUICK : FULL;
  if (rounds === undefined) return size;
  const number = Number(rounds);
  if (!Number.isInteger(number) || number < 1 || number > MAX_ROUNDS) {
    throw new TunnelError('USAGE_INVALID', `--rounds must be a whole number from 1 to ${MAX_ROUNDS}, got ${rounds}`);
  }
  return { ...size, rounds: number };
}
