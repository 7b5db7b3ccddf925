/** A terminal for verbs under test: keeps what they say, answers what they ask. */
import type { CommandIo } from '../../shared/command/command-io.js';
import { Secret } from '../../shared/secret.js';

export interface RecordingIo extends CommandIo {
  /** Lines on stdout. */
  readonly printed: string[];
  /** Lines on stderr. */
  readonly noted: string[];
}

/** Without `typed` it is no terminal; `piped` is what standard input says. */
export function recordingIo(answers: { typed?: string; piped?: string } = {}): RecordingIo {
  const printed: string[] = [];
  const noted: string[] = [];
  return {
    printed,
    noted,
    print: (line) => void printed.push(line),
    note: (line) => void noted.push(line),
    isTerminal: answers.typed !== undefined,
    readInput: async () => new Secret(answers.piped ?? ''),
    askSecret: async () => new Secret(answers.typed ?? ''),
  };
}
