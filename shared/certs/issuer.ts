/**
 * Issuer: decides what a program needs of something that issues certificates, and what that needs to prove a hostname.
 *
 * An issuer (AcmeIssuer, IssuerChain) makes one certificate per call and keeps nothing but its account: when to ask, where
 * to keep the answer and how often to try again belong to others. Owns nothing.
 */
import type { Secret } from '../secret.js';

/** Something that issues certificates. */
export interface Issuer {
  /** The CA in a form that suits folder names and logs, e.g. `acme-v02.api.letsencrypt.org-directory`. */
  readonly name: string;
  /**
   * One certificate for all hostnames of the request.
   * @throws {IssueFailure} with the cure, and with `retryInMs` when the CA said when to come back.
   */
  issue(request: IssueRequest): Promise<IssuedCertificate>;
  /**
   * When the CA wants this certificate replaced (RFC 9773); undefined when it does not say or does not know it.
   * @throws {IssueFailure} when the CA cannot be asked.
   */
  renewalWindow(chainPem: string, signal?: AbortSignal): Promise<RenewalWindow | undefined>;
}

/** What an order waits for: the CA, or its DNS record to be where the CA will look. */
export type IssueStep = 'ca' | 'dns';

export interface IssueRequest {
  /** Hostnames and `*.` wildcards in stored form; at least one. */
  readonly hostnames: readonly string[];
  /** The certificate's private key, PKCS#8 PEM. */
  readonly keyPem: Secret;
  /** Chain PEM of the certificate that this one replaces (RFC 9773 §5). */
  readonly replaces?: string;
  /** What is waited for changes. */
  readonly onStep?: ((step: IssueStep) => void) | undefined;
  /** Ends the attempt; what was presented is cleaned up. */
  readonly signal: AbortSignal;
}

export interface IssuedCertificate {
  /** The certificate, then its intermediates. */
  readonly chainPem: string;
  /** Name of the issuer that made it. */
  readonly issuer: string;
}

/** RFC 9773 §4.2; milliseconds since 1970. */
export interface RenewalWindow {
  readonly startMs: number;
  readonly endMs: number;
  /** When to ask again, in milliseconds from now. */
  readonly askAgainInMs: number;
  /** A page of the CA that says why. */
  readonly explanationUrl?: string;
}

export type ChallengeType = 'tls-alpn-01' | 'http-01' | 'dns-01';

/** One way to prove that a hostname is ours. */
export interface ChallengeSolver {
  readonly type: ChallengeType;
  /** Whether this hostname (or `*.` wildcard) can be proven this way here. */
  supports(hostname: string): boolean;
  /** Resolves once the CA may look. Bounds its own time. */
  present(challenge: Challenge): Promise<void>;
  /** Takes back what `present` did; also called when that failed half-way. */
  cleanup(challenge: Challenge): Promise<void>;
}

export interface Challenge {
  /** What is proven, in stored form; the parent for a wildcard. */
  readonly hostname: string;
  readonly token: string;
  /** RFC 8555 §8.1. */
  readonly keyAuthorization: string;
  /** Where DNS-01 wants its TXT record, e.g. `_acme-challenge.example.com`. */
  readonly dnsName: string;
  /** What that record says. */
  readonly dnsValue: string;
}
