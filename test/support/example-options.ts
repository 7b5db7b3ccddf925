/**
 * The options that an example config file shows, read without a YAML parser: line by line, as a person reads them.
 *
 * `#key:` (no space) is an option that is commented out; `# Text` is prose. Indentation alone says what belongs where.
 */

export interface ExampleOption {
  /** `limits.head_timeout`, `tunnels[].origin`. */
  readonly path: string;
  /** Behind the colon; empty for the start of a section or list. */
  readonly value: string;
  /** Whether it is commented out. */
  readonly isOff: boolean;
  /** Whether prose stands in the line above. */
  readonly isExplained: boolean;
}

interface Level {
  readonly indent: number;
  readonly path: string;
}

const OPTION = /^( *)(#?)(- )?([a-z][a-z0-9_]*):(?: (.*))?$/;

/** Every option of the file, sections and lists included, in order. @throws for a line that is no option and no prose. */
export function exampleOptions(text: string): ExampleOption[] {
  const options: ExampleOption[] = [];
  const levels: Level[] = [];
  let above = '';
  for (const line of text.split('\n')) {
    const [, spaces = '', mark, dash, key, value = ''] = OPTION.exec(line) ?? [];
    if (key !== undefined) {
      const path = place(levels, spaces.length, dash !== undefined, key);
      options.push({ path, value, isOff: mark === '#', isExplained: /^ *# /.test(above) });
    } else if (!/^ *(?:# .*|#)?$/.test(line)) {
      throw new Error(`Cannot read line ${JSON.stringify(line)}: it is no option and no prose`);
    }
    above = line;
  }
  return options;
}

/** The path of a key at this indentation, which becomes the innermost level. */
function place(levels: Level[], indent: number, startsItem: boolean, key: string): string {
  while ((levels.at(-1)?.indent ?? -1) >= indent) levels.pop();
  if (startsItem) levels.push({ indent, path: `${levels.at(-1)?.path}[]` });
  const parent = levels.at(-1);
  const path = parent === undefined ? key : `${parent.path}.${key}`;
  levels.push({ indent: startsItem ? indent + '- '.length : indent, path });
  return path;
}

/** The text with every option switched on. */
export function switchedOn(text: string): string {
  return text.replace(/^( *)#(?=[a-z-])/gm, '$1');
}
