/**
 * The link of the baseline: the limits that Sallyport's own programs use, so that only the relay's HTTP part differs.
 */
import { DEFAULT_HEARTBEAT } from '../../shared/heartbeat.js';
import type { LiveLinkOptions } from '../../shared/live-link.js';
import { WindowBudget } from '../../shared/mux/window-budget.js';

const MIB = 1024 * 1024;

/** A lost link ends the process: the bench is over then. */
export function linkOptions(role: 'relay' | 'client'): LiveLinkOptions {
  return {
    role,
    heartbeat: DEFAULT_HEARTBEAT,
    maxStreams: 1_024,
    maxWindowBytes: 16 * MIB,
    windowBudget: new WindowBudget(16 * MIB),
    onMessage: () => {},
    onClose: () => process.exit(),
  };
}
