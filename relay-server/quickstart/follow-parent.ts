/**
 * FollowParent: loaded before `relay` and `tunnel` when the quickstart runs them (`node --import`). Their standard input
 * is a pipe that only the quickstart holds: when it closes, the quickstart is gone, however it died, and the program ends
 * as after a signal. Nobody is left behind on the ports.
 *
 * Owns: nothing but listeners; it never keeps the program from ending by itself.
 */

process.stdin.on('error', () => {});
process.stdin.on('close', () => process.kill(process.pid, 'SIGTERM'));
process.stdin.resume();
process.stdin.unref();
