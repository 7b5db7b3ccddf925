/**
 * Log: decides what a log record is and where it goes. The only door of `pino`.
 *
 * Messages are constant, facts go into fields. JSON, one record a line, unless a person watches: then text. Records are
 * written before the call returns, so a process that exits or dies loses none.
 *
 * Owns: its destination. Owned by: `main` of each program; children live as long as their parent.
 */
import { isatty } from 'node:tty';
import { type Logger, pino } from 'pino';
import type { LogConfig } from './config/log-config.js';
import { type LogFields, loggable } from './log-fields.js';
import { logLine } from './log-text.js';
import { printable } from './printable.js';

export type { LogFields } from './log-fields.js';

/** What every room gets instead of a whole logger. `message` is constant text; facts go into `fields`. */
export interface Log {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A log whose every record has these fields too. */
  child(fields: LogFields): Log;
}

/** The log of a whole program: its level may change while it runs, also that of its children. */
export interface ProgramLog extends Log {
  setLevel(level: LogConfig['level']): void;
}

/** Something that takes whole lines, each with its line end. */
export interface LogDestination {
  write(line: string): void;
  /** Whether a person watches; false when left out. */
  readonly isTTY?: boolean | undefined;
}

export interface LogOptions extends LogConfig {
  /** The relay logs to stdout (the default), the client to stderr, because its stdout is its answer. */
  readonly destination?: 'stdout' | 'stderr' | LogDestination;
  /** Where NO_COLOR and TERM are looked up; the process environment when left out. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

const RANKS = { debug: 0, info: 1, warn: 2, error: 3 } as const;
const DESCRIPTORS = { stdout: 1, stderr: 2 } as const;

/** A log with its destination open. */
export function createLog(options: LogOptions): ProgramLog {
  const destination = open(options.destination ?? 'stdout');
  const render = rendererFor(destination, options);
  const logger = pino(
    {
      // pino's children keep the level that they were born with; ours is looked up for each record.
      level: 'debug',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      // pino would take any field named `err` apart once more.
      serializers: { err: (value: unknown) => value },
    },
    { write: (line: string) => destination.write(`${render(line.trimEnd())}\n`) },
  );
  const threshold = { level: options.level };
  return {
    ...logOf(logger, threshold),
    setLevel: (level) => {
      threshold.level = level;
    },
  };
}

/** Takes everything and writes nothing. */
export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLog,
};

/** pino formats the fields of records, but not those of children: so both are made loggable here. */
function logOf(logger: Logger, threshold: { readonly level: LogConfig['level'] }): Log {
  const withStacks = () => threshold.level === 'debug';
  const writer = (level: LogConfig['level']) => (fields: LogFields, message: string) => {
    if (RANKS[level] >= RANKS[threshold.level]) logger[level](loggable(fields, withStacks()), message);
  };
  return {
    debug: writer('debug'),
    info: writer('info'),
    warn: writer('warn'),
    error: writer('error'),
    child: (fields) => logOf(logger.child(loggable(fields, withStacks())), threshold),
  };
}

/** What makes a line of a record, which comes as JSON. */
function rendererFor({ isTTY = false }: LogDestination, { format, env }: LogOptions): (json: string) => string {
  if (format === 'json' || (format === 'auto' && !isTTY)) return printable;
  const hasColours = isTTY && allowsColours(env ?? process.env);
  return (json) => logLine(JSON.parse(json), hasColours);
}

/** https://no-color.org */
function allowsColours(env: Readonly<Record<string, string | undefined>>): boolean {
  return (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb';
}

function open(destination: 'stdout' | 'stderr' | LogDestination): LogDestination {
  if (typeof destination !== 'string') return destination;
  const fd = DESCRIPTORS[destination];
  const stream = pino.destination({ fd, sync: true });
  return { write: (line) => void stream.write(line), isTTY: isatty(fd) };
}
