/**
 * FieldLines: splits the field lines of a head or of trailers into names and values (RFC 9112 §5).
 *
 * This is the hot loop of the product: each character of a head is looked at once, through the class table, and each name
 * and each value is cut out once. Ordinary fields are collected in order; special ones (framing, hop-by-hop, our own) go
 * to the handler that a `FieldTable` has for them. The table turns ordinary names away by their length and first letter,
 * so that almost none of them is lower-cased or hashed.
 */
import type { ErrorCode } from '../errors.js';
import { classOf, FIELD_VALUE, isBlank, ODD_TOKEN, skipClass, sliceTrimmed, TOKEN } from './grammar.js';
import { excerpt, hexByte, refusal } from './refusal.js';

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;

/** Names of this length and longer share one entry of the first-letter table. */
const LONG_NAME = 31;
const LETTER_BITS = 31;

/** A lower-case field name (or the beginning of some) and what to do with it. */
export type FieldEntry<T> = readonly [name: string, value: T];

/** What to do with special fields, by name in any letter case. */
export class FieldTable<T> {
  readonly #byName = new Map<string, T>();
  readonly #byPrefix: FieldEntry<T> | undefined;
  /** Bit n of entry L: a special name of L characters begins with the nth letter. */
  readonly #firstLetters = new Uint32Array(LONG_NAME + 1);

  /**
   * @param entries lower-case names and what to do with them
   * @param byPrefix what to do with all other names that begin like this
   */
  constructor(entries: readonly FieldEntry<T>[], byPrefix?: FieldEntry<T>) {
    for (const [name, value] of entries) {
      this.#byName.set(name, value);
      this.#expect(name, name.length);
    }
    this.#byPrefix = byPrefix;
    if (byPrefix === undefined) return;
    for (let length = byPrefix[0].length; length <= LONG_NAME; length += 1) this.#expect(byPrefix[0], length);
  }

  /** The entry of a field name; undefined for an ordinary field. */
  get(name: string): T | undefined {
    const letters = this.#firstLetters[Math.min(name.length, LONG_NAME)] ?? 0;
    if (((letters >>> (name.charCodeAt(0) & LETTER_BITS)) & 1) === 0) return undefined;
    return this.#find(name.toLowerCase());
  }

  /**
   * True when `name` is a special name with `_`, `.` or another odd character where that has `-`. CGI-like origins see no
   * difference, so such a name would pass for ours.
   */
  hasAlias(name: string): boolean {
    return this.#find(name.toLowerCase().replace(/[^a-z0-9]/g, '-')) !== undefined;
  }

  #find(lowerCaseName: string): T | undefined {
    const found = this.#byName.get(lowerCaseName);
    if (found !== undefined || this.#byPrefix === undefined) return found;
    const [prefix, value] = this.#byPrefix;
    return lowerCaseName.startsWith(prefix) ? value : undefined;
  }

  #expect(name: string, length: number): void {
    const entry = Math.min(length, LONG_NAME);
    this.#firstLetters[entry] = (this.#firstLetters[entry] ?? 0) | (1 << (name.charCodeAt(0) & LETTER_BITS));
  }
}

/** Takes the value of a special field, into what its kind of message remembers of them. */
export type FieldHandler<Seen> = (seen: Seen, value: string) => void;

/** How the field lines of one kind of message are read. */
export interface FieldRules<Seen> {
  /** Of the errors: whose fault a bad line is. */
  readonly code: ErrorCode;
  readonly special: FieldTable<FieldHandler<Seen>>;
  /** Repair folded lines and a space before the colon (a must for responses, RFC 9112 §5.1–5.2) instead of refusing them. */
  readonly repairs: boolean;
  /** Drop fields whose names are aliases of special ones. */
  readonly dropsAliases: boolean;
}

/** Fields in order: the value of each name stands at the same index. */
export interface FieldPairs {
  readonly names: readonly string[];
  readonly values: readonly string[];
}

/** Field lines in order, names as received, values without the space around them. */
export class FieldLines<Seen> {
  readonly names: string[] = [];
  readonly values: string[] = [];
  readonly #text: string;
  readonly #rules: FieldRules<Seen>;
  #at: number;
  #lines = 0;

  /** @param start index of the first field line in `text`, whose last line has no CR LF */
  constructor(text: string, start: number, rules: FieldRules<Seen>) {
    this.#text = text;
    this.#at = start;
    this.#rules = rules;
  }

  /** Reads all lines; special fields go to their handlers with `seen`. Throws TunnelError, 431 over `maxLines`. */
  read(seen: Seen, maxLines: number): void {
    const { special } = this.#rules;
    while (this.#at < this.#text.length) {
      this.#lines += 1;
      if (this.#lines > maxLines) throw refusal(this.#rules.code, `more than ${maxLines} field lines`, 431);
      const start = this.#at;
      const isOdd = this.#skipName();
      const name = this.#text.slice(start, this.#at);
      this.#skipColon(name);
      const value = this.#readValue(name);
      const handler = special.get(name);
      if (handler !== undefined) handler(seen, value);
      else if (!isOdd || !this.#rules.dropsAliases || !special.hasAlias(name)) this.#keep(name, value);
    }
  }

  #keep(name: string, value: string): void {
    this.names.push(name);
    this.values.push(value);
  }

  /** Moves behind the name; true when it has odd characters. */
  #skipName(): boolean {
    const text = this.#text;
    let at = this.#at;
    let seen = 0;
    while (at < text.length) {
      const bits = classOf(text.charCodeAt(at));
      if ((bits & TOKEN) === 0) break;
      seen |= bits;
      at += 1;
    }
    if (at === this.#at) throw this.#bad('does not begin with a field name');
    this.#at = at;
    return (seen & ODD_TOKEN) !== 0;
  }

  #skipColon(name: string): void {
    if (this.#rules.repairs) while (isBlank(this.#text.charCodeAt(this.#at))) this.#at += 1;
    const found = this.#text.charCodeAt(this.#at);
    if (found !== COLON) throw this.#bad(`has ${hexByte(found)} where the name ${excerpt(name)} needs a colon`);
    this.#at += 1;
  }

  #readValue(name: string): string {
    let value = this.#readLineRest(name);
    while (isBlank(this.#text.charCodeAt(this.#at))) {
      if (!this.#rules.repairs) throw this.#bad('goes on in the next line (RFC 9112 §5.2)');
      const rest = this.#readLineRest(name);
      value = value === '' || rest === '' ? value + rest : `${value} ${rest}`;
    }
    return value;
  }

  /** The rest of the line without space around it; moves to the next line. */
  #readLineRest(name: string): string {
    const text = this.#text;
    const start = this.#at;
    const end = skipClass(text, start, FIELD_VALUE);
    if (end < text.length) {
      if (text.charCodeAt(end) !== CR || text.charCodeAt(end + 1) !== LF) {
        throw this.#bad(`has ${hexByte(text.charCodeAt(end))} in the value of ${excerpt(name)}`);
      }
      if (end + 2 === text.length) throw this.#bad('is followed by an empty line');
    }
    this.#at = end + 2;
    return sliceTrimmed(text, start, end);
  }

  #bad(what: string): Error {
    return refusal(this.#rules.code, `field line ${this.#lines} ${what}`);
  }
}

/** Several field lines of one name mean one list (RFC 9110 §5.3). */
export function joinValues(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
}

/** Field lines ready to be written. */
export function writeFieldLines(names: readonly string[], values: readonly string[]): string {
  let lines = '';
  for (let index = 0; index < names.length; index += 1) lines += `${names[index]}: ${values[index]}\r\n`;
  return lines;
}
