/**
 * ServiceNotify: tells systemd how the service stands (sd_notify(3)). Node has no datagram unix sockets, so the message
 * goes through systemd's own `systemd-notify`; where NOTIFY_SOCKET is not set, nothing happens.
 */
import { spawn } from 'node:child_process';

/** Sends assignments such as `READY=1`. Never fails: a service manager that cannot be told must not end the service. */
export function notifyService(...assignments: string[]): void {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...assignments], { stdio: 'ignore' });
  child.on('error', () => {});
  child.unref();
}
