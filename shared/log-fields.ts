/**
 * Log fields: decides what of a value may stand in a log record, whoever logged it.
 *
 * Secrets, and anything under a key that names a credential, become `[secret]`; errors become code and message; texts,
 * lists and depth are bounded, so that no visitor can make a record long. The result is plain data that JSON can hold.
 * Pure; owns nothing. Used by: log.ts.
 */
import { shortened } from './printable.js';
import { Secret } from './secret.js';

/** Facts of a log record by name. */
export type LogFields = Readonly<Record<string, unknown>>;

const MAX_TEXT = 512;
const MAX_STACK = 4_096;
const MAX_ITEMS = 32;
const MAX_DEPTH = 3;
const SECRET = '[secret]';
/** The second net, for credentials that nobody wrapped in a Secret: request heads above all. */
const CREDENTIAL_KEY = /^(?:token|secret|password|passphrase|seed|(?:proxy-)?authorization|(?:set-)?cookie)$/i;
/** The record's own keys; a field of that name would contradict them. */
const TAKEN: ReadonlySet<string> = new Set(['level', 'time', 'msg']);

/** What of `fields` is logged; `withStacks` adds the stack of every error. Never throws. */
export function loggable(fields: LogFields, withStacks: boolean): Record<string, unknown> {
  try {
    const entries = Object.entries(record(fields, 0, withStacks));
    return Object.fromEntries(entries.map(([key, value]) => [TAKEN.has(key) ? `${key}_` : key, value]));
  } catch {
    return { fields: '[unreadable]' };
  }
}

function record(fields: object, depth: number, withStacks: boolean): Record<string, unknown> {
  const entries = Object.entries(fields).slice(0, MAX_ITEMS);
  const plain = entries.map(([key, value]): [string, unknown] => {
    return [shortened(key, MAX_TEXT), CREDENTIAL_KEY.test(key) ? SECRET : plainValue(value, depth, withStacks)];
  });
  return Object.fromEntries(plain);
}

function plainValue(value: unknown, depth: number, withStacks: boolean): unknown {
  switch (typeof value) {
    case 'string':
      return shortened(value, MAX_TEXT);
    case 'boolean':
    case 'undefined':
      return value;
    case 'object':
      return value === null ? null : plainObject(value, depth, withStacks);
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    default:
      return shortened(String(value), MAX_TEXT);
  }
}

function plainObject(value: object, depth: number, withStacks: boolean): unknown {
  if (value instanceof Secret) return SECRET;
  if (value instanceof Error) return plainError(value, depth, withStacks);
  if (value instanceof URL) return shortened(value.href, MAX_TEXT);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_DEPTH) return Array.isArray(value) ? '[list]' : '[object]';
  if (!Array.isArray(value)) return record(value, depth + 1, withStacks);
  const items: unknown[] = value.slice(0, MAX_ITEMS);
  return items.map((item) => plainValue(item, depth + 1, withStacks));
}

/** An error without a code is a mistake of ours, and nobody finds one without its stack; other errors are expected. */
function plainError(error: Error, depth: number, withStacks: boolean, isExpected = false): Record<string, unknown> {
  const { message, cause, stack } = error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const hasStack = stack !== undefined && (withStacks || (code === undefined && !isExpected));
  const plain: Record<string, unknown> = code === undefined ? { name: error.name } : { code };
  plain.message = shortened(message, MAX_TEXT);
  if (cause !== undefined && depth < MAX_DEPTH) {
    const isCauseExpected = code !== undefined && code !== 'INTERNAL';
    const isError = cause instanceof Error;
    plain.cause = isError
      ? plainError(cause, depth + 1, withStacks, isCauseExpected)
      : plainValue(cause, depth + 1, false);
  }
  if (hasStack) plain.stack = shortened(stack, MAX_STACK);
  return plain;
}
