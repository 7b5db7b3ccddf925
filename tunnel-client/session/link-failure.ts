/**
 * LinkFailure: decides what a person reads when no link to the relay opens: what was seen, in words, and the one cure that
 * fits it. What is not known here keeps the words of the system. Pure; owns nothing.
 */
import { type Address, formatAddress } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';

/** Where the link was to go. */
export interface LinkTarget {
  /** The relay's name, as its certificate must have it. */
  readonly name: string;
  /** Where TCP goes: the name, or `relay_address`. */
  readonly address: Address;
  /** Who signed the certificate that was shown; undefined when none was seen. */
  readonly issuer: string | undefined;
}

type Words = (target: LinkTarget) => string;

const OTHER_NAME: Words = ({ name }) =>
  `the certificate shown there is not for ${name}. Is relay_url right, and does the name lead to the relay?`;
const UNTRUSTED: Words = ({ issuer }) =>
  `the relay's certificate is signed by nobody this machine trusts${issuer === undefined ? '' : ` (${issuer})`}. Name its root under relay_ca_file, or run tunnel doctor.`;
const SILENT: Words = ({ address: { host, port } }) =>
  `${host} does not answer on port ${port}. Is the VPS up, and does its firewall let TCP ${port} in?`;
const NO_WAY: Words = ({ address: { host } }) => `this machine has no way to ${host}. Check its internet connection.`;

/** By the code of Node.js or OpenSSL. */
const BY_CODE: ReadonlyMap<string, Words> = new Map<string, Words>([
  ['UNABLE_TO_GET_ISSUER_CERT', UNTRUSTED],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', UNTRUSTED],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', UNTRUSTED],
  ['SELF_SIGNED_CERT_IN_CHAIN', UNTRUSTED],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', UNTRUSTED],
  ['CERT_SIGNATURE_FAILURE', UNTRUSTED],
  ['CERT_UNTRUSTED', UNTRUSTED],
  ['CERT_HAS_EXPIRED', () => "the relay's certificate has expired. On the VPS, see why: relay cert list"],
  ['CERT_NOT_YET_VALID', () => "the relay's certificate is not valid yet. Set the clock of this machine right."],
  ['ERR_TLS_CERT_ALTNAME_INVALID', OTHER_NAME],
  ['HOSTNAME_MISMATCH', OTHER_NAME],
  [
    'ECONNREFUSED',
    ({ address: { host, port } }) =>
      `nothing listens on port ${port} of ${host}. Is the port in relay_url right, and is the relay running?`,
  ],
  ['ENOTFOUND', ({ address: { host } }) => `${host} has no address. Is relay_url right, and is there a DNS record?`],
  [
    'EAI_AGAIN',
    ({ address: { host } }) =>
      `the address of ${host} cannot be looked up. Check the internet connection of this machine.`,
  ],
  ['ETIMEDOUT', SILENT],
  ['EHOSTUNREACH', NO_WAY],
  ['ENETUNREACH', NO_WAY],
]);

/** What has no code of its own. */
const BY_TEXT: readonly (readonly [pattern: RegExp, words: Words])[] = [
  [
    /unrecognized[ _]name/i,
    ({ name }) =>
      `the relay answers, but has no certificate for ${name} yet, or does not know that name. On the VPS: relay cert list`,
  ],
  [
    /wrong[ _]version[ _]number/i,
    ({ address }) => `${formatAddress(address)} speaks no TLS. Is the port in relay_url right?`,
  ],
  [/^no answer in \d+ ms$/, SILENT],
];
/** OpenSSL's errors: `80DC…:error:0A000458:SSL routines:ssl3_read_bytes:REASON:file:line:…`. */
const OPENSSL = /:error:[0-9A-F]+:[^:]*:[^:]*:([^:\n]+)/;

/** The failure in words, with the same code and cause. */
export function linkFailure(error: TunnelError, target: LinkTarget): TunnelError {
  const cause = error.cause;
  if (error.code !== 'LINK_LOST' || !(cause instanceof Error)) return error;
  const words = wordsOf(cause);
  const state = words === undefined ? OPENSSL.exec(cause.message)?.[1] : words(target);
  if (state === undefined) return error;
  return new TunnelError('LINK_LOST', `Cannot open link to ${formatAddress(target.address)}: ${state}`, { cause });
}

function wordsOf(cause: Error): Words | undefined {
  const code = 'code' in cause ? String(cause.code) : '';
  return BY_CODE.get(code) ?? BY_TEXT.find(([pattern]) => pattern.test(`${code} ${cause.message}`.trim()))?.[1];
}
