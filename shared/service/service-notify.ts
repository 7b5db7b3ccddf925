/**
 * ServiceNotify: tells systemd how the service stands (sd_notify(3)). Node has no datagram unix sockets, so each message
 * goes through systemd's own `systemd-notify`; where NOTIFY_SOCKET is not set, nothing happens.
 *
 * Messages arrive in the order in which they were given: a READY that overtook its RELOADING would leave the service
 * reloading for ever. One that a busy service manager did not take in time is sent again: it looks up whose message it is
 * when it gets to it, and forgets what comes from a process that has ended meanwhile.
 * Owns: one child process at a time. Used by: the verbs that run until they are stopped.
 */
import { spawn } from 'node:child_process';
import { printable } from '../printable.js';

/** systemd-notify waits for the service manager for 5 s; one that hangs must not hold back the next message for ever. */
const CHILD_MS = 6_000;

/** One that failed sooner did not wait for anybody: nobody is there to be told. */
const LATE_MS = 4_000;

/** How often a message is sent. */
const MAX_TIMES = 5;

let newest: Promise<boolean> = Promise.resolve(true);

/** Whether a service manager listens. */
export function hasServiceManager(env: NodeJS.ProcessEnv = process.env): boolean {
  return (env.NOTIFY_SOCKET ?? '') !== '';
}

/**
 * Sends assignments such as `READY=1`; resolves with whether they were taken, which systemd-notify waits for. Never rejects:
 * a service manager that cannot be told must not end the service.
 */
export function notifyService(...assignments: string[]): Promise<boolean> {
  if (!hasServiceManager()) return newest;
  newest = newest.then(() => sendUntilTaken([`--pid=${process.pid}`, ...assignments]));
  return newest;
}

/** The service accepts work. This process is its main one from now on. `status` is one line for `systemctl status`. */
export function notifyReady(status: string): Promise<boolean> {
  return notifyService('READY=1', statusLine(status));
}

/** What `systemctl status` shows; one line. */
export function notifyStatus(status: string): Promise<boolean> {
  return notifyService(statusLine(status));
}

/** Configuration is being read again; `notifyReady` ends that. */
export function notifyReloading(): Promise<boolean> {
  return notifyService('RELOADING=1', `MONOTONIC_USEC=${monotonicMicroseconds()}`, statusLine('Reloading'));
}

/** No new work is taken any more. */
export function notifyStopping(status: string): Promise<boolean> {
  return notifyService('STOPPING=1', statusLine(status));
}

/** Of CLOCK_MONOTONIC: Type=notify-reload compares it with its own (systemd.service(5)). */
function monotonicMicroseconds(): bigint {
  return process.hrtime.bigint() / 1_000n;
}

function statusLine(status: string): string {
  return `STATUS=${printable(status)}`;
}

async function sendUntilTaken(args: readonly string[]): Promise<boolean> {
  for (let times = 1; ; times += 1) {
    const beganAtMs = performance.now();
    const isTaken = await send(args);
    if (isTaken || times === MAX_TIMES || performance.now() - beganAtMs < LATE_MS) return isTaken;
  }
}

function send(args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('systemd-notify', args, { stdio: 'ignore', timeout: CHILD_MS });
    child.unref();
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}
