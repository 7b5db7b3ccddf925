/**
 * Terminal text: decides how wide text is on a terminal, how it is cut to fit, and how figures are rounded for people.
 *
 * Width is counted in columns per grapheme cluster: two for East Asian wide characters and emoji, none for marks alone.
 * Input is expected to be `printable`. Pure functions; owns nothing.
 */

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });
/** Unicode East Asian Width W and F (UAX #11), in the ranges that wcwidth implementations agree on. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{17000}-\u{18aff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]/u;
const EMOJI = /^\p{Emoji_Presentation}|\ufe0f/u;
const INVISIBLE = /^[\p{M}\p{Cf}\p{Cc}]/u;
const PLAIN_ASCII = /^[\x20-\x7e]*$/;

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** How many columns `text` takes on a terminal. */
export function displayWidth(text: string): number {
  if (PLAIN_ASCII.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(text)) width += graphemeWidth(segment);
  return width;
}

/** `text` when it fits into `columns`, else its beginning and `…`, together at most `columns` wide. */
export function fitted(text: string, columns: number): string {
  if (columns <= 0) return '';
  if (displayWidth(text) <= columns) return text;
  let width = 0;
  let kept = '';
  for (const { segment } of graphemes.segment(text)) {
    width += graphemeWidth(segment);
    if (width > columns - 1) break;
    kept += segment;
  }
  return `${kept}…`;
}

/** `text` followed by spaces up to `columns`; longer text stays as it is. */
export function padded(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - displayWidth(text)));
}

/** Rows as lines with aligned columns, two spaces between them and none at the end. */
export function tableLines(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, displayWidth(cell));
  }
  return rows.map((row) => {
    const cells = row.map((cell, at) => padded(cell, widths[at] ?? 0));
    return cells.join('  ').trimEnd();
  });
}

/** Bytes with one unit and at most one decimal: `0 B`, `1.5 KiB`, `12 MiB`. */
export function roundedBytes(bytes: number): string {
  let amount = Math.max(0, bytes);
  let power = 0;
  while (amount >= 1_023.5 && power < BYTE_UNITS.length - 1) {
    amount /= 1_024;
    power += 1;
  }
  const figure = power === 0 || amount >= 9.95 ? Math.round(amount) : amount.toFixed(1);
  return `${figure} ${BYTE_UNITS[power]}`;
}

/** A span of time in its two largest units: `0s`, `42s`, `3m 12s`, `2h 5m`, `3d 4h`. */
export function roundedSpan(ms: number): string {
  const span = Math.max(0, ms);
  if (span < MINUTE_MS) return `${Math.floor(span / SECOND_MS)}s`;
  if (span < HOUR_MS) return `${Math.floor(span / MINUTE_MS)}m ${Math.floor((span % MINUTE_MS) / SECOND_MS)}s`;
  if (span < DAY_MS) return `${Math.floor(span / HOUR_MS)}h ${Math.floor((span % HOUR_MS) / MINUTE_MS)}m`;
  return `${Math.floor(span / DAY_MS)}d ${Math.floor((span % DAY_MS) / HOUR_MS)}h`;
}

/** A number with its noun: `1 visitor`, `3 visitors`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function graphemeWidth(grapheme: string): number {
  if (INVISIBLE.test(grapheme)) return 0;
  return EMOJI.test(grapheme) || WIDE.test(grapheme) ? 2 : 1;
}
