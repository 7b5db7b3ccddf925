/**
 * NetworkFindings: what both doctors say about addresses, ports, certificates and clocks that `reach` has seen: the facts
 * in, a finding with its cure out. Pure but for `addressesOf`, which asks the system's resolver.
 */
import { lookup } from 'node:dns/promises';
import { type Address, formatAddress } from '../address.js';
import { counted, roundedSpan } from '../command/terminal-text.js';
import { type Finding, fail, orAborted, pass, skip } from './check.js';
import type { Reached, SeenCertificate } from './reach.js';

export interface Resolved {
  readonly addresses: readonly string[];
  /** The resolver's word for why there are none. */
  readonly failure?: string;
}

const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;
/** The field Date has whole seconds, and the answer was under way: less than this is no skew. */
const SKEW_PASS_MS = 60 * SECOND_MS;
const DAYS_TO_WARN = 14;
/** What a machine without a way to IPv6 (or IPv4) says. */
const NO_SUCH_NETWORK = /^E(?:NETUNREACH|HOSTUNREACH|ADDRNOTAVAIL|AFNOSUPPORT)$/;

/** Addresses of a name, A and AAAA, as the system's resolver gives them to every program. */
export async function addressesOf(name: string, signal: AbortSignal): Promise<Resolved> {
  try {
    const found = await orAborted(signal, () => lookup(name, { all: true, verbatim: true }));
    return { addresses: [...new Set(found.map(({ address }) => address))] };
  } catch (error) {
    signal.throwIfAborted();
    return { addresses: [], failure: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}

/** `A 192.0.2.1, AAAA 2001:db8::1` */
export function recordsText(addresses: readonly string[]): string {
  return addresses.map((address) => `${address.includes(':') ? 'AAAA' : 'A'} ${address}`).join(', ');
}

export function dnsFailure(name: string, failure: string): Finding {
  const cure =
    failure === 'ENOTFOUND'
      ? `Make an A record (and AAAA, if the VPS has IPv6) for ${name} that points at the VPS.`
      : 'The resolver of this machine does not answer: look at /etc/resolv.conf and the network.';
  return fail('LINK_LOST', `${name} has no address: ${failure}`, cure);
}

/** Whether TCP connections open at every address. A family that this machine cannot reach at all proves nothing. */
export function portFinding(all: readonly Reached[]): Finding {
  const dead = all.filter((one) => one.tcpMs === undefined);
  const open = all.filter((one) => one.tcpMs !== undefined);
  const wrong = dead.filter((one) => !(open.length > 0 && NO_SUCH_NETWORK.test(one.failure ?? '')));
  const facts = all.map((one) => `${formatAddress(one.address)} ${factOf(one)}`).join(', ');
  const [first] = wrong;
  if (first === undefined) return pass(facts);
  return fail('LINK_LOST', facts, portCure(first.address, first.failure ?? '', open.length > 0));
}

function factOf({ tcpMs, failure }: Reached): string {
  return tcpMs === undefined ? (failure ?? 'closed') : `open in ${Math.round(tcpMs)} ms`;
}

function portCure({ host, port }: Address, failure: string, othersOpen: boolean): string {
  if (othersOpen && host.includes(':')) {
    return `The AAAA record leads nowhere: remove it, or let the relay listen on IPv6 (listen.https ":${port}") and open the firewall.`;
  }
  if (failure === 'ECONNREFUSED')
    return `Nothing listens there: start the relay, and check listen.https and port ${port}.`;
  if (NO_SUCH_NETWORK.test(failure)) return 'This machine has no way there: check its network.';
  return `Open TCP port ${port} in the firewall of the VPS (and of its provider), and check that the address is the VPS.`;
}

/** Whether visitors of `name` will trust what was shown. */
export function certificateFinding(
  name: string,
  { tlsMs, certificate, failure }: Reached,
  nowMs: number,
  rootCure = CLIENT_ROOT,
): Finding {
  if (certificate === undefined || tlsMs === undefined) {
    return fail('LINK_LOST', `no TLS with ${name}: ${failure}`, tlsCure(failure ?? '', name));
  }
  const { problem, issuer, notAfterMs } = certificate;
  if (problem !== undefined) {
    return fail(
      'LINK_LOST',
      `the certificate for ${name} (from ${issuer}) is not accepted: ${problem}`,
      trustCure(problem, name, rootCure),
    );
  }
  const days = Math.floor((notAfterMs - nowMs) / DAY_MS);
  const found = `trusted, from ${issuer}, ${counted(days, 'day')} left, handshake in ${Math.round(tlsMs)} ms`;
  return days >= DAYS_TO_WARN ? pass(found) : pass(found, 'Renewal should have happened. On the VPS: relay cert list');
}

/** How a client, and how a relay, is told of the root of a private CA. */
const CLIENT_ROOT = 'With tls.mode local-ca name its CA under relay_ca_file (`tunnel join` does)';
export const RELAY_ROOT = 'Is it a private CA? Name its root: --ca-file ROOT.pem';

/** The cure for a handshake that ended before a certificate was seen. */
export function tlsCure(failure: string, name: string): string {
  if (/unrecognized_name|ALERT_UNRECOGNIZED/i.test(failure)) {
    const state = `No client has claimed ${name}, no token may serve it, or its certificate is not there yet`;
    return `${state}. On the VPS: relay why https://${name}/`;
  }
  if (/WRONG_VERSION|PACKET_LENGTH|UNKNOWN_PROTOCOL/i.test(failure)) {
    return 'What listens there does not speak TLS: check the port.';
  }
  if (/internal_error|ALERT_INTERNAL/i.test(failure)) return 'The client that ends its TLS is away: start it.';
  return 'Something between here and the relay ends the connection: a firewall, or a proxy that inspects TLS.';
}

/**
 * The cure for a certificate that is not accepted, by OpenSSL's word.
 * @param rootCure how to name the root of a private CA to who is asking.
 */
export function trustCure(problem: string, name: string, rootCure = CLIENT_ROOT): string {
  if (problem === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `Another server answers for ${name}, or its certificate lacks the name: compare the DNS record with the VPS.`;
  }
  if (problem === 'CERT_HAS_EXPIRED')
    return 'Renew the certificate. Why that did not happen by itself, on the VPS: relay cert list';
  if (problem === 'CERT_NOT_YET_VALID') return 'The clock of this machine is behind: see the check "clock".';
  return `Nobody whom this machine trusts has signed it. ${rootCure}; a proxy that inspects TLS shows its own: leave the relay out of the inspection.`;
}

/** How far the two clocks are apart. Proofs and certificates only mean something at the right time. */
export function clockFinding(clock: Reached['clock'], whose: string): Finding {
  if (clock === undefined) return skip(`${whose} did not tell its time`);
  const skewMs = clock.oursMs - clock.theirsMs;
  const apart = roundedSpan(Math.abs(skewMs));
  if (Math.abs(skewMs) <= SKEW_PASS_MS) return pass(`within ${roundedSpan(SKEW_PASS_MS)} of that of ${whose}`);
  const found = `this machine is ${apart} ${skewMs > 0 ? 'ahead of' : 'behind'} ${whose}`;
  return fail('CONFIG_INVALID', found, 'Switch on time synchronisation on both: sudo timedatectl set-ntp true');
}

/** Whether two addresses showed the same certificate, that is, are the same server. */
export function isSameServer(one: SeenCertificate | undefined, other: SeenCertificate | undefined): boolean {
  return one !== undefined && one.fingerprint === other?.fingerprint;
}
