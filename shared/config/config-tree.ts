/**
 * Config tree: what is left of a YAML file for readers: sections, lists and scalars, each with its line. Aliases, tags
 * and deep nesting are refused before a tree exists (config-file.ts). Pure; owns nothing.
 */
import { quoted } from '../printable.js';

export interface ConfigScalar {
  readonly kind: 'scalar';
  /** Line in the file, from 1; so are all lines here. */
  readonly line: number;
  readonly value: string | number | boolean | null;
  /** As written, without quotes. */
  readonly text: string;
}

export interface ConfigSection {
  readonly kind: 'section';
  readonly line: number;
  readonly entries: readonly ConfigEntry[];
}

export interface ConfigList {
  readonly kind: 'list';
  readonly line: number;
  readonly items: readonly ConfigNode[];
}

export type ConfigNode = ConfigSection | ConfigList | ConfigScalar;

export interface ConfigEntry {
  readonly key: string;
  /** Line of the key. */
  readonly line: number;
  readonly node: ConfigNode;
}

/** A section without keys. */
export function emptySection(line: number): ConfigSection {
  return { kind: 'section', line, entries: [] };
}

/** Whether a key has no value, as when all lines below it are commented out. */
export function isEmpty(node: ConfigNode): boolean {
  return node.kind === 'scalar' && node.value === null;
}

/** What stands there, for a message. */
export function inWords(node: ConfigNode): string {
  if (node.kind !== 'scalar') return `a ${node.kind}`;
  if (node.value === null) return 'nothing';
  const written = quoted(node.text);
  return typeof node.value === 'string' ? written : written.slice(1, -1);
}
