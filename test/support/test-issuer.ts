/** An issuer in this process, for what no real CA shows on demand: renewal windows, waits, a clock of its own. */
import { makeCaCertificate, makeKey, makeServerCertificate } from '../../relay-server/certs/local-issuer.js';
import type { IssuedCertificate, IssueRequest, Issuer, RenewalWindow } from '../../shared/certs/issuer.js';

const DAY_MS = 86_400_000;

export class TestIssuer implements Issuer {
  readonly name = 'test-ca';
  /** Milliseconds since 1970. */
  nowMs = Date.now();
  lifeDays = 90;
  /** Thrown by the next orders, until it is taken away. */
  failure: Error | undefined;
  /** What the CA says about renewal. */
  window: RenewalWindow | undefined;
  /** Names of all orders. */
  readonly orders: string[] = [];
  questions = 0;
  readonly #ca: Promise<{ keyPem: string; certPem: string }>;

  constructor() {
    this.#ca = this.#makeCa();
  }

  readonly now = (): number => this.nowMs;

  passDays(days: number): void {
    this.nowMs += days * DAY_MS;
  }

  async issue({ hostnames, keyPem, signal }: IssueRequest): Promise<IssuedCertificate> {
    const [hostname = ''] = hostnames;
    this.orders.push(hostname);
    signal.throwIfAborted();
    if (this.failure) throw this.failure;
    const ca = await this.#ca;
    const validity = { fromMs: this.nowMs, toMs: this.nowMs + this.lifeDays * DAY_MS };
    return { chainPem: await makeServerCertificate(ca, hostname, keyPem.reveal(), validity), issuer: this.name };
  }

  async renewalWindow(): Promise<RenewalWindow | undefined> {
    this.questions += 1;
    return this.window;
  }

  async #makeCa() {
    const keyPem = await makeKey();
    const validity = { fromMs: this.nowMs - DAY_MS, toMs: this.nowMs + 3_650 * DAY_MS };
    return { keyPem, certPem: await makeCaCertificate(keyPem, validity) };
  }
}
