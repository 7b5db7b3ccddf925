/**
 * Log options: what both programs read under `log` in their config files.
 */
import type { Fields } from './config-fields.js';

export interface LogConfig {
  /** The least important level that is written. */
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** `auto`: text on a terminal, else JSON. */
  readonly format: 'auto' | 'json' | 'text';
}

/** Reads the section `log`. */
export function readLogConfig(fields: Fields): LogConfig {
  return {
    level: fields.choice('level', ['debug', 'info', 'warn', 'error'], { default: 'info' }),
    format: fields.choice('format', ['auto', 'json', 'text'], { default: 'auto' }),
  };
}
