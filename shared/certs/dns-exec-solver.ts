/**
 * DnsExecSolver: decides how a program of the operator's puts DNS-01 records into a zone:
 *
 *     COMMAND add _acme-challenge.example.com VALUE
 *     COMMAND remove _acme-challenge.example.com VALUE
 *
 * Started directly, never by a shell: names and values are arguments. Exit code 0 means done; anything on stderr goes into
 * the failure. One value at a time stands at a name, from its `add` to the end of its `remove`: a name and its wildcard are
 * proven at the same one, and many a program removes all that is there. Owns: the process while it runs. Owned by: the one
 * who makes AcmeIssuers.
 */
import { execFile } from 'node:child_process';
import { printable, shortened } from '../printable.js';
import { IssueFailure } from './issue-failure.js';
import type { Challenge, ChallengeSolver } from './issuer.js';
import { NameTurns } from './name-turns.js';
import { type PropagationOptions, waitForTxt } from './txt-propagation.js';

const TIMEOUT_MS = 60_000;
const MAX_OUTPUT = 65_536;

export interface DnsExecOptions {
  /** The program; found in PATH when it has no slash. */
  readonly command: string;
  /** Arguments before ours. */
  readonly args?: readonly string[];
  /** For each run; 60 s when left out. */
  readonly timeoutMs?: number;
  readonly propagation?: PropagationOptions;
}

export class DnsExecSolver implements ChallengeSolver {
  readonly type = 'dns-01';
  readonly #options: DnsExecOptions;
  readonly #turns = new NameTurns();
  /** What ends the turns of challenges that had theirs. */
  readonly #ends = new WeakMap<Challenge, () => void>();
  /** Challenges that were given up while they waited for their turn. */
  readonly #givenUp = new WeakSet<Challenge>();

  constructor(options: DnsExecOptions) {
    this.#options = options;
  }

  /** Everything, wildcards too. */
  supports(): boolean {
    return true;
  }

  async present(challenge: Challenge): Promise<void> {
    const { dnsName, dnsValue } = challenge;
    const end = await this.#turns.begin(dnsName);
    if (this.#givenUp.has(challenge)) return end();
    this.#ends.set(challenge, end);
    await this.#run('add', dnsName, dnsValue);
    await waitForTxt(dnsName, dnsValue, this.#options.propagation);
  }

  async cleanup(challenge: Challenge): Promise<void> {
    const end = this.#ends.get(challenge);
    if (end === undefined) {
      this.#givenUp.add(challenge);
      return;
    }
    try {
      await this.#run('remove', challenge.dnsName, challenge.dnsValue);
    } finally {
      end();
    }
  }

  #run(verb: 'add' | 'remove', name: string, value: string): Promise<void> {
    const { command, args = [], timeoutMs = TIMEOUT_MS } = this.#options;
    const limits = { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: MAX_OUTPUT } as const;
    return new Promise((resolve, reject) => {
      const child = execFile(command, [...args, verb, name, value], limits, (error, _stdout, stderr) => {
        if (error === null) resolve();
        else reject(failure(command, error, stderr, timeoutMs));
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end();
    });
  }
}

function stateOf({ code, killed }: Error & { code?: unknown; killed?: boolean }, timeoutMs: number): string {
  if (code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return `it wrote more than ${MAX_OUTPUT} bytes`;
  return killed ? `it took longer than ${timeoutMs} ms` : `it ended with ${String(code)}`;
}

function failure(
  command: string,
  cause: Error & { code?: unknown; killed?: boolean },
  stderr: string,
  timeoutMs: number,
): IssueFailure {
  const state = stateOf(cause, timeoutMs);
  const said = stderr.trim() === '' ? '' : `: ${printable(shortened(stderr.trim(), 400))}`;
  return new IssueFailure('solver', `${command}: ${state}${said}. Run it by hand.`, { cause });
}
