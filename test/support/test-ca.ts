/** A certificate authority of the test's own, which signs any hostname. */
import { makeCaCertificate, makeKey, makeServerCertificate } from '../../relay-server/certs/local-issuer.js';

export interface IssuedCertificate {
  readonly key: string;
  readonly cert: string;
}

const DAY_MS = 86_400_000;

export class TestCa {
  readonly certPem: string;
  readonly #keyPem: string;

  static async make(): Promise<TestCa> {
    const keyPem = await makeKey();
    return new TestCa(keyPem, await makeCaCertificate(keyPem, validFor(30)));
  }

  /** @param keyPem,certPem of an authority that exists, such as a relay's local CA. */
  constructor(keyPem: string, certPem: string) {
    this.#keyPem = keyPem;
    this.certPem = certPem;
  }

  /** A key and a certificate for this hostname or `*.` wildcard. */
  async issue(hostname: string, days = 20): Promise<IssuedCertificate> {
    const key = await makeKey();
    const ca = { certPem: this.certPem, keyPem: this.#keyPem };
    return { key, cert: await makeServerCertificate(ca, hostname, key, validFor(days)) };
  }
}

function validFor(days: number): { fromMs: number; toMs: number } {
  return { fromMs: Date.now() - DAY_MS, toMs: Date.now() + days * DAY_MS };
}
