/**
 * Machine: where and with what a report was made, without which no figure means anything.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { VERSION } from '../shared/version.js';
import { findPeer } from './subjects/peer-programs.js';
import type { Tools } from './tools.js';

/** Facts by name, in the order of the report. */
export type MachineFacts = Readonly<Record<string, string>>;

const GIB = 1024 ** 3;

/** Asks the system and the tools. Call it before the load begins: it tells how busy the machine was already. */
export async function machineFacts(tools: Tools): Promise<MachineFacts> {
  const processors = cpus();
  return {
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    sallyport: VERSION,
    machine: `${processors.length} × ${processors[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / GIB)} GiB`,
    'load before': (loadavg()[0] ?? 0).toFixed(1),
    kernel: `Linux ${release()} (TCP ${congestionControl()})`,
    node: `${process.version} (OpenSSL ${process.versions.openssl})`,
    nginx: await version(tools.nginx, ['-v']),
    frp: await version(findPeer('frps'), ['--version']),
    rathole: await version(findPeer('rathole'), ['--version'], /Build Version:\s+(\S+)/),
    wrk: await version(tools.wrk, ['-v']),
    h2load: await version(tools.h2load, ['--version']),
    curl: await version(tools.curl, ['--version']),
    openssl: await version(tools.openssl, ['version']),
  };
}

function congestionControl(): string {
  return readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'latin1').trim();
}

/** The first words that look like a version, from either output: nginx and wrk write theirs to stderr, and wrk fails. */
async function version(path: string | undefined, args: readonly string[], form = /(\d+\.[\w.+-]+)/): Promise<string> {
  if (path === undefined) return 'none';
  const run = promisify(execFile);
  const output = await run(path, args, { timeout: 5_000 }).catch(
    (error: { stdout?: string; stderr?: string }) => error,
  );
  return form.exec(`${output.stdout ?? ''} ${output.stderr ?? ''}`)?.[1] ?? 'unknown';
}
