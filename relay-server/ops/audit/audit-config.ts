/**
 * AuditConfig: decides the options of section `audit_log` in relay.yaml.
 */
import * as path from 'node:path';
import type { Fields } from '../../../shared/config/config-fields.js';

export interface AuditConfig {
  readonly enabled: boolean;
  /** Absolute folder of the chain's files. */
  readonly folder: string;
  /** A file that has grown to this gets a successor. */
  readonly maxFileBytes: number;
  /** Files kept; the oldest go first. */
  readonly maxFiles: number;
  /** Whether the relay also logs its own records, for journald. */
  readonly toLog: boolean;
}

const KIB = 1 << 10;
const MIB = 1 << 20;

/** Asks for every option. */
export function readAuditLog(fields: Fields, stateDir: string): AuditConfig {
  return {
    enabled: fields.boolean('enabled', { default: true }),
    folder: fields.path('folder', { default: undefined }) ?? path.join(stateDir, 'audit'),
    maxFileBytes: fields.bytes('max_size', { min: 64 * KIB, max: 1_024 * MIB, default: 10 * MIB }),
    maxFiles: fields.integer('max_files', { min: 2, max: 1_000, default: 10 }),
    toLog: fields.boolean('to_log', { default: false }),
  };
}
