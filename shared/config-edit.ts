/**
 * Config edit: decides how a program changes single top-level keys of a YAML file that a person wrote: all other keys,
 * their order and every comment stay. The second door of `yaml`, beside config-file.ts, which reads. Pure; owns nothing.
 */
import { type Document, isMap, isScalar, type Pair, parseDocument, visit, YAMLMap } from 'yaml';
import { TunnelError } from './errors.js';

/** A new value for each key; undefined removes the key. New keys stand behind the change before them. */
export type ConfigChanges = Readonly<Record<string, string | undefined>>;

/**
 * The text with these keys changed.
 * @param path names the file in messages.
 * @throws {TunnelError} CONFIG_INVALID when the text is not YAML with keys at its top, without repeating any of it.
 */
export function editConfigText(text: string, path: string, changes: ConfigChanges): string {
  const document = parse(text);
  const root = rootOf(document);
  if (!root) {
    const cure = 'Correct it (`tunnel check` names the line), or move it away.';
    throw new TunnelError('CONFIG_INVALID', `Cannot change ${path}: it is not a config file. ${cure}`);
  }
  let next = 0;
  for (const [key, value] of Object.entries(changes)) {
    const index = root.items.findIndex((pair) => isKey(pair, key));
    if (value === undefined) root.delete(key);
    else if (index < 0) root.items.splice(next, 0, document.createPair(key, value));
    else root.set(key, value);
    if (value !== undefined) next = (index < 0 ? next : index) + 1;
  }
  return document.toString({ lineWidth: 0 });
}

/** The text of a top-level key; undefined when the file has no such text. */
export function readConfigText(text: string, key: string): string | undefined {
  const value = rootOf(parse(text))?.get(key);
  return typeof value === 'string' ? value : undefined;
}

function parse(text: string): Document {
  return parseDocument(text, { schema: 'core', version: '1.2', merge: false });
}

/** The keys at the top; an empty document gets some. Undefined when it is anything else, or has a key that is no word. */
function rootOf(document: Document): YAMLMap | undefined {
  if (document.errors.length > 0 || hasAlias(document)) return undefined;
  document.contents ??= new YAMLMap(document.schema);
  const { contents } = document;
  return isMap(contents) && contents.items.every((pair) => isScalar(pair.key)) ? contents : undefined;
}

/** An alias may name an anchor that an edit takes away; config files have none anyway (config-tree.ts). */
function hasAlias(document: Document): boolean {
  let found = false;
  visit(document, {
    Alias: () => {
      found = true;
      return visit.BREAK;
    },
  });
  return found;
}

function isKey(pair: Pair, key: string): boolean {
  return isScalar(pair.key) && pair.key.value === key;
}
