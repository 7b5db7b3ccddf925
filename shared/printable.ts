/**
 * Printable text: decides how text that others wrote (visitors, config files, peers) may stand on a terminal or in a log.
 *
 * Control characters (C0, DEL, C1), line and paragraph separators, every invisible format character (bidi controls,
 * zero-width characters, tags) and lone surrogates become `\uXXXX`. What is left is one line that cannot move a cursor,
 * change its own order or hide a part of itself. Pure functions; owns nothing.
 */

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const SHOWN_CHARACTERS = 80;

/** `text` with every unprintable character escaped. Inside a JSON string the escapes are JSON's own. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escaped);
}

/** `text` cut to `maxLength` UTF-16 units, with `…` in place of what was cut; never cuts a character in half. */
export function shortened(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  const last = text.charCodeAt(maxLength - 2);
  const isHighSurrogate = last >= 0xd800 && last <= 0xdbff;
  return `${text.slice(0, maxLength - (isHighSurrogate ? 2 : 1))}…`;
}

/** `text` in double quotes for a message: shortened, and escaped so that it can be told from its surroundings. */
export function quoted(text: string): string {
  return printable(JSON.stringify(shortened(text, SHOWN_CHARACTERS)));
}

function escaped(character: string): string {
  const json = JSON.stringify(character).slice(1, -1);
  if (json !== character) return json;
  let text = '';
  for (let i = 0; i < character.length; i += 1) text += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return text;
}
