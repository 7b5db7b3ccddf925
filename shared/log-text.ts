/**
 * Log text: decides how a log record looks to a person: one line, time, level, message, then `key=value`.
 *
 * Whatever a visitor put into a field, the line stays one line and cannot drive the terminal (printable.ts).
 * Pure; owns nothing. Used by: log.ts.
 */
import { printable } from './printable.js';

const LEVEL_COLUMNS = 5;
const RESET = '\u001b[0m';
const DIM = '\u001b[2m';
const LEVEL_COLOURS: ReadonlyMap<unknown, string> = new Map([
  ['debug', DIM],
  ['info', '\u001b[32m'],
  ['warn', '\u001b[33m'],
  ['error', '\u001b[31m'],
]);
/** Texts that need no quotes to be told from what follows. */
const BARE = /^[^\s"'=\\]+$/;

/** The record's line, without a line end. */
export function logLine(record: Readonly<Record<string, unknown>>, hasColours: boolean): string {
  const { time, level, msg, pid: _, ...fields } = record;
  const paint = (text: string, colour: string) => (hasColours ? `${colour}${text}${RESET}` : text);
  const head = [
    paint(printable(String(time)), DIM),
    paint(printable(String(level)).toUpperCase().padEnd(LEVEL_COLUMNS), LEVEL_COLOURS.get(level) ?? ''),
    printable(String(msg ?? '')),
  ];
  const facts = flat(fields, '').map(([key, value]) => `${paint(`${printable(key)}=`, DIM)}${shown(value)}`);
  return [...head, ...facts].join(' ');
}

/** Nested records as dotted keys: `error.code`. */
function flat(fields: object, prefix: string): [string, unknown][] {
  return Object.entries(fields).flatMap(([key, value]): [string, unknown][] => {
    const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isRecord ? flat(value, `${prefix}${key}.`) : [[`${prefix}${key}`, value]];
  });
}

function shown(value: unknown): string {
  if (typeof value === 'string') return BARE.test(value) ? printable(value) : printable(JSON.stringify(value));
  return printable(JSON.stringify(value) ?? '');
}
