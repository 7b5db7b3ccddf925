/**
 * AuditVerb: decides what a verb leaves in the audit log: what it did, and which person did it. It is on disk before the
 * verb ends, beside a running relay or without one. Owns nothing. Used by: the verbs that change something.
 */
import type { LogFields } from '../../../shared/log.js';
import { ownUser } from '../own-user.js';
import { appendAudit } from './audit-append.js';
import type { AuditConfig } from './audit-config.js';
import type { AuditEvent } from './audit-log.js';

/**
 * Takes note of what a verb has done.
 * @throws {TunnelError} CONFIG_INVALID when it cannot be written; what was done stays done.
 */
export async function recordVerb(config: AuditConfig, event: AuditEvent, fields: LogFields): Promise<void> {
  if (!config.enabled) return;
  await appendAudit(config, [{ timeMs: Date.now(), event, fields: { by: personOf(process.env), ...fields } }]);
}

/** With sudo, whom to ask is not root. */
function personOf(env: NodeJS.ProcessEnv): string {
  const { SUDO_USER: behind } = env;
  const user = ownUser();
  return behind === undefined || behind === user ? user : `${behind} as ${user}`;
}
