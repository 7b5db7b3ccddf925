/**
 * OwnUser: decides how the user that this process runs as is called in messages and records. Owns nothing.
 */
import { userInfo } from 'node:os';

/** A container may run as a user that has no name. */
export function ownUser(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.geteuid?.() ?? 'unknown'}`;
  }
}
