/** A certificate for `localhost` and the CA that signed it, made once per test process. */
import { makeCaCertificate, makeKey, makeServerCertificate } from '../../relay-server/certs/local-issuer.js';

export interface TestCertificate {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

const DAY_MS = 86_400_000;
let made: Promise<TestCertificate> | undefined;

export function testCertificate(): Promise<TestCertificate> {
  made ??= make();
  return made;
}

async function make(): Promise<TestCertificate> {
  const validity = { fromMs: Date.now() - DAY_MS, toMs: Date.now() + DAY_MS };
  const [caKey, key] = await Promise.all([makeKey(), makeKey()]);
  const ca = await makeCaCertificate(caKey, validity);
  const cert = await makeServerCertificate({ certPem: ca, keyPem: caKey }, 'localhost', key, validity);
  return { key, cert, ca };
}
