/**
 * ConnectionOptions: what a `Connection` field asks for, and which fields end at this hop because of it
 * (RFC 9110 §7.6.1).
 */
import { listMembers } from './grammar.js';

export interface ConnectionOptions {
  readonly close: boolean;
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
  /** Lower-case names of the fields that end at this hop. */
  readonly named: readonly string[];
}

const NO_NAMES: readonly string[] = [];
const NOTHING_ASKED: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, named: NO_NAMES };
const KEEP_ALIVE: ConnectionOptions = { ...NOTHING_ASKED, keepAlive: true };
const CLOSE: ConnectionOptions = { ...NOTHING_ASKED, close: true };
const UPGRADE: ConnectionOptions = { ...NOTHING_ASKED, upgrade: true };

/** Reads the joined values of all Connection fields. The three usual ones cost no list. */
export function parseConnection(value: string | undefined): ConnectionOptions {
  switch (value) {
    case undefined:
      return NOTHING_ASKED;
    case 'keep-alive':
    case 'Keep-Alive':
      return KEEP_ALIVE;
    case 'close':
      return CLOSE;
    case 'Upgrade':
    case 'upgrade':
      return UPGRADE;
    default:
      return readOptions(listMembers(value));
  }
}

function readOptions(members: readonly string[]): ConnectionOptions {
  return {
    close: members.includes('close'),
    keepAlive: members.includes('keep-alive'),
    upgrade: members.includes('upgrade'),
    named: members,
  };
}

/** Whether the connection lives on after the message: HTTP/1.1 unless told otherwise, HTTP/1.0 only when asked. */
export function isPersistent(version: 10 | 11, options: ConnectionOptions): boolean {
  return !options.close && (version === 11 || options.keepAlive);
}

/**
 * Removes the fields that Connection named. Framing, Host and our own fields are not among `names` any more at that point
 * and are written anew, so `Connection: Content-Length, X-Forwarded-For` removes nothing that matters.
 */
export function removeNamed(names: string[], values: string[], options: ConnectionOptions): void {
  if (options.named.length === 0) return;
  const named = new Set(options.named);
  let kept = 0;
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? '';
    if (named.has(name.toLowerCase())) continue;
    names[kept] = name;
    values[kept] = values[index] ?? '';
    kept += 1;
  }
  names.length = kept;
  values.length = kept;
}
