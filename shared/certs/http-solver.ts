/**
 * HttpSolver: decides what a CA's HTTP-01 request gets (RFC 8555 §8.3). The listener on port 80 asks `answer` before it
 * redirects or routes; there is one only while a challenge runs. Owns: the answers, in memory. Owned by: the relay or the
 * client, beside its listener on port 80.
 */
import type { Challenge, ChallengeSolver } from './issuer.js';

const FOLDER = '/.well-known/acme-challenge/';

export class HttpSolver implements ChallengeSolver {
  readonly type = 'http-01';
  readonly #answers = new Map<string, string>();

  /** Everything but wildcards (RFC 8555 §7.1.3). */
  supports(hostname: string): boolean {
    return !hostname.startsWith('*');
  }

  async present({ hostname, token, keyAuthorization }: Challenge): Promise<void> {
    this.#answers.set(`${hostname} ${token}`, keyAuthorization);
  }

  async cleanup({ hostname, token }: Challenge): Promise<void> {
    this.#answers.delete(`${hostname} ${token}`);
  }

  /**
   * The body of a 200 `application/octet-stream` answer; undefined: not a challenge of ours.
   * @param hostname in stored form, without a port.
   * @param path of the request target.
   */
  answer(hostname: string, path: string): string | undefined {
    if (!path.startsWith(FOLDER)) return undefined;
    return this.#answers.get(`${hostname} ${path.slice(FOLDER.length)}`);
  }
}
