/**
 * Certificate check: decides what `tunnel check` finds out about end-to-end tunnels without asking anybody: whether their
 * files fit, what is in the store, and which DNS records protect their names. Changes nothing on disk; owns nothing.
 */
import { existsSync } from 'node:fs';
import * as path from 'node:path';
import { AccountStore, caNameOf } from '../../shared/certs/account-store.js';
import { checkAcme } from '../../shared/certs/acme-check.js';
import type { AccountIdentity } from '../../shared/certs/acme-issuer.js';
import { caaRecords } from '../../shared/certs/caa-advice.js';
import { type PairFiles, readCertificatePair } from '../../shared/certs/certificate-pair.js';
import { CertificateStore, IMPORTED_CA } from '../../shared/certs/certificate-store.js';
import { hostnameMatches } from '../../shared/hostname.js';
import type { TunnelConfig, TunnelSpec } from '../tunnel-config.js';
import { CAA_ADVICE, CAA_UNNAMED } from './certificate-text.js';
import { uncovered } from './home-certificates.js';

/**
 * Lines for people; none when no tunnel ends TLS here.
 * @throws {TunnelError} CONFIG_INVALID when files cannot be used or cover another name.
 */
export function checkCertificates(config: TunnelConfig): string[] {
  const ended = config.tunnels.filter(({ tls }) => tls === 'end-to-end');
  const lines = ended.flatMap((spec) =>
    spec.certificate === undefined ? linesOfStore(spec, config) : linesOfFiles(spec, spec.certificate),
  );
  checkAcme(config.acme);
  return lines;
}

function linesOfFiles(spec: TunnelSpec, certificate: PairFiles): string[] {
  const { hostnames, expiresAtMs } = readCertificatePair(certificate);
  if (!hostnames.some((name) => hostnameMatches(name, spec.host ?? ''))) throw uncovered(spec, hostnames);
  const life = expiresAtMs > Date.now() ? 'until' : 'which no visitor accepts: it expired on';
  return [`${spec.name}: ends TLS here with ${certificate.certFile}, ${life} ${dayOf(expiresAtMs)}`];
}

function linesOfStore({ name, host = '' }: TunnelSpec, { acme, stateDir }: TunnelConfig): string[] {
  const hasStore = existsSync(path.join(stateDir, 'certificates'));
  const cas = [...acme.authorities.map((authority) => caNameOf(authority.directoryUrl)), IMPORTED_CA];
  const stored = hasStore ? CertificateStore.open(stateDir).newest(host, Date.now(), cas) : undefined;
  const [{ directoryUrl }] = acme.authorities;
  const state =
    stored === undefined
      ? `gets a certificate from ${new URL(directoryUrl).host} once it is up`
      : `has a certificate until ${dayOf(stored.notAfterMs)}, from ${stored.ca}`;
  const accounts = new AccountStore(path.join(stateDir, 'accounts'));
  const identities = acme.authorities.flatMap((authority): AccountIdentity[] => {
    const { url, caaIdentities } = accounts.registration(authority.directoryUrl);
    return url === undefined ? [] : [{ accountUrl: url, caaIdentities }];
  });
  const records = caaRecords(host, identities);
  return [
    `${name}: ends TLS here, ${state}; kept in ${stateDir}`,
    ...(records.length === 0 ? [] : [`${name}: ${CAA_ADVICE}`, ...records.map((record) => `  ${record}`)]),
    ...(records.length === 0 && identities.length > 0 ? [`${name}: ${CAA_UNNAMED}`] : []),
  ];
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
