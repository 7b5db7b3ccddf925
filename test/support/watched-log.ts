/** A log that a test can wait for. */
import { createLog, type Log } from '../../shared/log.js';

export interface WatchedLog {
  readonly log: Log;
  /** Everything it was told, one line of JSON each. */
  readonly lines: readonly string[];
  /** The next line that contains `text`. */
  said(text: string): Promise<string>;
}

export function watchedLog(): WatchedLog {
  const lines: string[] = [];
  const waiting = new Set<(line: string) => void>();
  const write = (line: string): void => {
    lines.push(line);
    for (const look of [...waiting]) look(line);
  };
  const said = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const look = (line: string): void => {
        if (!line.includes(text)) return;
        waiting.delete(look);
        resolve(line);
      };
      waiting.add(look);
    });
  return { log: createLog({ level: 'debug', format: 'json', destination: { write } }), lines, said };
}
