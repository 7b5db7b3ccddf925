/** A mocked DNS (pebble-challtestsrv) and the exec hook of an operator who uses it. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { accepting, freePort } from '../../bench/free-port.js';
import { DnsExecSolver } from '../../shared/certs/dns-exec-solver.js';
import { requireTool } from './require-tool.js';
import { temporaryFolder } from './temporary-folder.js';
import { ToolProcess } from './tool-process.js';

export interface TestDns {
  /** `host:port` */
  readonly server: string;
  /** An executable: `hook add|remove NAME VALUE`. */
  readonly hook: string;
  readonly solver: DnsExecSolver;
}

/** Starts it; undefined when it is missing and the test is skipped. */
export async function startTestDns(t: TestContext): Promise<TestDns | undefined> {
  const challtestsrv = requireTool(t, 'pebble-challtestsrv', 'pebble');
  if (challtestsrv === undefined) return undefined;
  const [dnsPort, managementPort] = [await freePort(), await freePort()];
  const server = `127.0.0.1:${dnsPort}`;
  const args = ['-dns01', server, '-management', `127.0.0.1:${managementPort}`, '-defaultIPv6', ''];
  const process_ = new ToolProcess(t, challtestsrv, [...args, '-http01', '', '-https01', '', '-tlsalpn01', '']);
  await process_.line('Starting management server');
  // The same number for TCP and UDP.
  await Promise.all([accepting(managementPort), accepting(dnsPort)]);
  const hook = writeHook(temporaryFolder(t), `http://127.0.0.1:${managementPort}`);
  const propagation = { servers: [server], timeoutMs: 5_000, lookMs: 20 };
  return { server, hook, solver: new DnsExecSolver({ command: hook, propagation }) };
}

/** What an operator would write. challtestsrv removes all values of a name at once, as many a real one does. */
function writeHook(folder: string, management: string): string {
  const hook = join(folder, 'hook');
  const code = `#!${process.execPath}
    const [verb, name, value] = process.argv.slice(2);
    const body = JSON.stringify({ host: name + '.', ...(verb === 'add' ? { value } : {}) });
    fetch('${management}/' + (verb === 'add' ? 'set-txt' : 'clear-txt'), { method: 'POST', body })
      .then((answer) => { process.exitCode = answer.ok ? 0 : 1; });
  `;
  writeFileSync(hook, code);
  chmodSync(hook, 0o755);
  return hook;
}
