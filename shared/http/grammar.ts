/**
 * Grammar: which characters may stand where in an HTTP/1.1 message (RFC 9110 §5, RFC 9112 §2–3, RFC 3986).
 *
 * One table of 256 entries, one bit per class, so that a scan costs one load and one test per character. Everything that
 * reads or writes HTTP asks here; nobody else keeps a character list.
 */

/** RFC 9110 §5.6.2 `tchar`: methods, field names, options. */
export const TOKEN = 1;
/** A `tchar` other than letters, digits and `-`: some origins take such a character for `-` in a field name. */
export const ODD_TOKEN = 2;
/** RFC 9110 §5.5: visible characters, space, tab and bytes from 0x80. */
export const FIELD_VALUE = 4;
/** May stand in the path of a target; `%` is checked apart. */
export const PATH = 8;
/** May stand in the query of a target. */
export const QUERY = 16;
/** May stand in a registered name as host: letters, digits, `-`, `.`, `_`. */
export const HOST_NAME = 32;
/** May stand in a chunk extension: visible ASCII, space, tab. */
export const CHUNK_EXTENSION = 64;
export const DIGIT = 128;

const ALPHANUMERIC = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const ODD_TOKENS = "!#$%&'*+.^_`|~";
/** RFC 3986 `pchar` without `pct-encoded`, and the slash. */
const PATH_CHARACTERS = `${ALPHANUMERIC}-._~!$&'()*+,;=:@/`;
/** Outside RFC 3986, but browsers send them as they are (WHATWG URL): refusing them would break `?filter[name]=x`. */
const PATH_TOLERATED = '[]|^';
const QUERY_TOLERATED = '[]|^{}\\`%';

const classes = new Uint8Array(256);

function mark(characters: string, bit: number): void {
  for (const character of characters) {
    const code = character.charCodeAt(0);
    classes[code] = classOf(code) | bit;
  }
}

function markRange(from: number, to: number, bit: number): void {
  for (let code = from; code <= to; code += 1) classes[code] = classOf(code) | bit;
}

mark(`${ALPHANUMERIC}-${ODD_TOKENS}`, TOKEN);
mark(ODD_TOKENS, ODD_TOKEN);
mark('\t', FIELD_VALUE | CHUNK_EXTENSION);
markRange(0x20, 0x7e, FIELD_VALUE | CHUNK_EXTENSION);
markRange(0x80, 0xff, FIELD_VALUE);
mark(PATH_CHARACTERS + PATH_TOLERATED, PATH);
mark(`${PATH_CHARACTERS}?${QUERY_TOLERATED}`, QUERY);
mark(`${ALPHANUMERIC}-._`, HOST_NAME);
mark('0123456789', DIGIT);

const TAB = 0x09;
const SPACE = 0x20;
const PERCENT = 0x25;
const QUESTION_MARK = 0x3f;

/** The classes of a character, as bits; 0 for anything that is no byte (NaN behind the end of a text too). */
export function classOf(code: number): number {
  return classes[code] ?? 0;
}

/** The index of the first character from `at` that is not of `bit`; the length when all are. */
export function skipClass(text: string, at: number, bit: number): number {
  let index = at;
  while (index < text.length && (classOf(text.charCodeAt(index)) & bit) !== 0) index += 1;
  return index;
}

/** RFC 9110 §5.6.2: one or more `tchar`. */
export function isToken(text: string): boolean {
  return text !== '' && skipClass(text, 0, TOKEN) === text.length;
}

/** RFC 9110 §5.5: no control characters, no space at either end. The empty value is one. */
export function isFieldValue(text: string): boolean {
  if (skipClass(text, 0, FIELD_VALUE) !== text.length) return false;
  return !isBlank(text.charCodeAt(0)) && !isBlank(text.charCodeAt(text.length - 1));
}

/** Space or tab, the OWS of RFC 9110 §5.6.3. */
export function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

/** `text` between `start` and `end` without the spaces and tabs around it. (`trim()` would take 0xA0 as well.) */
export function sliceTrimmed(text: string, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isBlank(text.charCodeAt(from))) from += 1;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1;
  return text.slice(from, to);
}

/** The members of a comma-separated list (RFC 9110 §5.6.1), lower-cased, empty ones left out. */
export function listMembers(value: string): string[] {
  const members: string[] = [];
  for (const member of value.toLowerCase().split(',')) {
    const trimmed = sliceTrimmed(member, 0, member.length);
    if (trimmed !== '') members.push(trimmed);
  }
  return members;
}

/** Where the origin-form target (RFC 9112 §3.2.1) that begins at `at` ends: the first character that cannot belong to it. */
export function skipOriginForm(text: string, at: number): number {
  let index = skipClass(text, at, PATH);
  while (text.charCodeAt(index) === PERCENT && isHexPair(text, index + 1)) index = skipClass(text, index + 3, PATH);
  return text.charCodeAt(index) === QUESTION_MARK ? skipClass(text, index + 1, QUERY) : index;
}

/** The value of a hexadecimal digit, -1 for any other character. */
export function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** The number that 1*DIGIT stands for (RFC 9110 §8.6); undefined for anything else and above 2^53-1. */
export function parseDigits(text: string): number | undefined {
  if (text === '' || text.length > 16 || skipClass(text, 0, DIGIT) !== text.length) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

function isHexPair(text: string, at: number): boolean {
  return hexDigit(text.charCodeAt(at)) >= 0 && hexDigit(text.charCodeAt(at + 1)) >= 0;
}
