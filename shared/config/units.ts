/**
 * Units: decides how durations and sizes are written in config files, flags and messages.
 *
 * One whole number and one unit: `500ms`, `10s`, `1m`, `1h`, `90d`; `512B`, `16KiB`, `1MiB`, `1GiB`. A number without a
 * unit is refused, because nobody can know whether `10` meant seconds. Pure functions; own nothing.
 */
import { TunnelError } from '../errors.js';
import { quoted } from '../printable.js';

const DURATIONS: ReadonlyMap<string, number> = new Map([
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
]);

const SIZES: ReadonlyMap<string, number> = new Map([
  ['GiB', 1 << 30],
  ['MiB', 1 << 20],
  ['KiB', 1 << 10],
  ['B', 1],
]);

const NUMBER_AND_UNIT = /^(\d{1,16})([A-Za-z]{1,3})$/;

/**
 * A duration such as `10s`, in milliseconds.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID when it is not a whole number with one of the units ms, s, m, h, d.
 */
export function parseDuration(text: string, name = 'duration'): number {
  return parseQuantity(text, DURATIONS) ?? refuse(name, 'a duration such as 500ms, 10s, 5m, 1h or 90d', text);
}

/** The shortest exact text of `ms` (a whole number, not negative): `10s`, `90d`, `1500ms`. */
export function formatDuration(ms: number): string {
  return formatQuantity(ms, DURATIONS, 's');
}

/**
 * A size such as `16KiB`, in bytes.
 * @param name What the text is, for the message: a config key or a flag.
 * @throws {TunnelError} CONFIG_INVALID when it is not a whole number with one of the units B, KiB, MiB, GiB.
 */
export function parseBytes(text: string, name = 'size'): number {
  return parseQuantity(text, SIZES) ?? refuse(name, 'a size such as 512B, 16KiB or 1MiB', text);
}

/** The shortest exact text of `bytes` (a whole number, not negative): `16KiB`, `1000B`. */
export function formatBytes(bytes: number): string {
  return formatQuantity(bytes, SIZES, 'B');
}

function parseQuantity(text: string, units: ReadonlyMap<string, number>): number | undefined {
  const [, digits, unit = ''] = NUMBER_AND_UNIT.exec(text) ?? [];
  const factor = units.get(unit);
  if (factor === undefined) return undefined;
  const quantity = Number(digits) * factor;
  return Number.isSafeInteger(quantity) ? quantity : undefined;
}

/** The first unit, largest first, that divides without a rest; `zeroUnit` for 0, which every unit divides. */
function formatQuantity(quantity: number, units: ReadonlyMap<string, number>, zeroUnit: string): string {
  if (quantity === 0) return `0${zeroUnit}`;
  for (const [unit, factor] of units) if (quantity % factor === 0) return `${quantity / factor}${unit}`;
  throw new RangeError(`Cannot write ${quantity} with a unit: it is not a whole number`);
}

function refuse(name: string, expected: string, text: string): never {
  throw new TunnelError('CONFIG_INVALID', `${name} must be ${expected}, got ${quoted(text)}`);
}
