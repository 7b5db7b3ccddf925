/**
 * Transfers: what the figures about bytes have in common: their units, measures and targets.
 */
import type { Measure } from '../figure.js';
import type { Target } from '../target.js';

export const GIB = 1024 ** 3;
export const MEGABYTE = 1_000_000;

export const TRANSFER_MEASURES: readonly Measure[] = [
  { name: 'rate', title: 'MB/s', digits: 0, beside: 'ratio' },
  { name: 'cpu', title: 'CPU s/GiB', digits: 2, beside: 'ratio' },
];

export const TRANSFER_TARGETS: readonly Target[] = [
  { measure: 'rate', is: 'at least', value: 0.9, of: 'limit' },
  { measure: 'rate', is: 'at least', value: 1.2, of: 'nginx+frp' },
  { measure: 'cpu', is: 'at most', value: 3.5 },
];
