/**
 * PublicChecks: what `relay doctor` looks at from outside, as far as that is possible on the relay's own machine: where
 * DNS leads, whether this relay is what answers there, its TLS, and whether links get through whatever stands in front.
 */
import { randomBytes } from 'node:crypto';
import { connect as connectTls } from 'node:tls';
import { type Address, formatAddress, parseDialAddress } from '../../../shared/address.js';
import { counted } from '../../../shared/command/terminal-text.js';
import { type Finding, fail, pass, skip } from '../../../shared/doctor/check.js';
import {
  addressesOf,
  certificateFinding,
  dnsFailure,
  isSameServer,
  portFinding,
  RELAY_ROOT,
  recordsText,
} from '../../../shared/doctor/network-findings.js';
import { connectTcp, publicAnd, reach, reasonOf } from '../../../shared/doctor/reach.js';
import { asTunnelError } from '../../../shared/errors.js';
import { dialLink } from '../../../shared/link.js';
import { AGENT } from '../../../shared/version.js';
import type { RelayConfig } from '../../relay-config.js';
import { isExpired } from '../../sessions/token-record.js';
import { TokenStore } from '../../sessions/token-store.js';
import { type RelayPatient, skipWithout } from './relay-patient.js';

const MAX_ADDRESSES = 8;
/** Grants that are looked up; a token may have many. */
const MAX_NAMES = 20;
const LINK_MS = 8_000;
const HAIRPIN = 'Some networks let no machine reach its own public address: try the same from elsewhere.';
const LOOPBACKS: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

export async function checkDns(patient: RelayPatient, signal: AbortSignal): Promise<Finding> {
  const { config } = patient;
  if (config === undefined) return skipWithout('a configuration');
  const { addresses, failure } = await addressesOf(config.domain, signal);
  if (failure !== undefined) return dnsFailure(config.domain, failure);
  patient.addresses = addresses.slice(0, MAX_ADDRESSES);
  return pass(`${config.domain}: ${recordsText(addresses)}`);
}

/** Names that tokens may claim: visitors need them to lead here, too. */
export async function checkHostnames({ config, addresses }: RelayPatient, signal: AbortSignal): Promise<Finding> {
  if (config === undefined || addresses.length === 0) return skipWithout('an address of the relay');
  const tokens = TokenStore.read(config.stateDir).filter((token) => !isExpired(token));
  const names = [...new Set(tokens.flatMap(({ grants }) => grants.hosts))].slice(0, MAX_NAMES);
  const astray: string[] = [];
  for (const name of names) {
    // Any name below a wildcard will do; nobody has this one.
    const asked = name.replace(/^\*/, `doctor-${randomBytes(4).toString('hex')}`);
    const found = await addressesOf(asked, signal);
    const leadsHere = found.addresses.some((address) => addresses.includes(address));
    if (!leadsHere) astray.push(`${name}: ${found.failure ?? recordsText(found.addresses)}`);
  }
  if (names.length === 0) return skip('no token grants a hostname');
  if (astray.length === 0)
    return pass(`${counted(names.length, 'granted name')} ${names.length === 1 ? 'leads' : 'lead'} to the relay`);
  const cure = `Point their records at ${addresses.join(' and ')}, or make one for *.${config.domain}.`;
  return fail('LINK_LOST', astray.join('\n'), cure);
}

export async function checkPort(patient: RelayPatient, signal: AbortSignal): Promise<Finding> {
  const { config, addresses } = patient;
  if (config === undefined || addresses.length === 0) return skipWithout('an address of the relay');
  const port = config.publicPort || ownAddress(patient)?.port || 0;
  const options = { serverName: config.domain, trusted: publicAnd(...patient.roots), signal };
  patient.reached = await Promise.all(addresses.map((host) => reach({ host, port }, options)));
  const finding = portFinding(patient.reached);
  return finding.state === 'FAIL' ? { ...finding, cure: `${finding.cure}\n${HAIRPIN}` } : finding;
}

export async function checkPlainPort({ config, addresses }: RelayPatient, signal: AbortSignal): Promise<Finding> {
  if (config === undefined || addresses.length === 0) return skipWithout('an address of the relay');
  const port = config.listen.http?.port ?? 0;
  if (port === 0) return skip('listen.http is off, or on a port of the system’s choice');
  const [host = ''] = addresses;
  try {
    (await connectTcp({ host, port }, AbortSignal.any([signal, AbortSignal.timeout(LINK_MS)]))).destroy();
    return pass(`${formatAddress({ host, port })} is open`);
  } catch (error) {
    const cure = `Open TCP port ${port} in the firewall: it redirects visitors, and certificates may need it.\n${HAIRPIN}`;
    return fail('LINK_LOST', `${formatAddress({ host, port })} ${reasonOf(error)}`, cure);
  }
}

/** Compares what answers at the public addresses with what answers on this machine. */
export async function checkIdentity(patient: RelayPatient, signal: AbortSignal): Promise<Finding> {
  const { config, status, best } = patient;
  const own = ownAddress(patient);
  if (config === undefined || status === undefined || own === undefined) return skipWithout('a running relay');
  if (best?.certificate === undefined) return skipWithout('TLS at a public address');
  const options = { serverName: config.domain, trusted: publicAnd(...patient.roots), signal };
  const { certificate } = await reach(own, options);
  const strange = patient.reached.filter(
    (one) => one.certificate !== undefined && !isSameServer(one.certificate, certificate),
  );
  if (strange.length === 0) return pass('this relay answers at its public address');
  const places = strange.map(({ address }) => formatAddress(address)).join(', ');
  const cure = `Correct the A and AAAA records of ${config.domain}; if a proxy of yours ends TLS there, all is well.`;
  return fail('HOST_MISDIRECTED', `${places} shows another certificate than this relay`, cure);
}

export function checkTls({ config, status, best }: RelayPatient): Finding {
  if (config === undefined || best?.tcpMs === undefined) return skipWithout('an open port');
  const own = status?.certificates.find(({ name }) => name === config.domain);
  if (own !== undefined && own.notAfterMs === undefined) return skipWithout('a certificate');
  return certificateFinding(config.domain, best, Date.now(), RELAY_ROOT);
}

/** A link without a token: the relay's challenge is proof enough. */
export async function checkWebSocket(patient: RelayPatient, signal: AbortSignal): Promise<Finding> {
  const { config, best } = patient;
  if (config === undefined || best?.tlsMs === undefined) return skipWithout('TLS at a public address');
  try {
    await openLink(config, best.address, signal);
    return pass('a WebSocket opens all the way to the relay');
  } catch (error) {
    const cure = 'A proxy in front of the relay must pass Upgrade on, on the path /.sallyport/link.';
    return fail('LINK_LOST', asTunnelError(error).message, cure);
  }
}

async function openLink({ domain }: RelayConfig, address: Address, signal: AbortSignal): Promise<void> {
  const link = await dialLink({
    url: new URL(`https://${domain}:${address.port}`),
    // Nothing secret is sent, and the certificate has a check of its own.
    connect: () =>
      connectTls({ ...address, servername: domain, ALPNProtocols: ['http/1.1'], rejectUnauthorized: false }),
    timeoutMs: LINK_MS,
    agent: AGENT,
    signal,
  });
  link.close('LINK_LOST', 'The check is done');
}

/** Where this machine reaches the relay itself. */
function ownAddress({ config, status }: RelayPatient): Address | undefined {
  const told = status?.listeners.find(({ name }) => name === 'https')?.address;
  const address = told === undefined ? config?.listen.https : parseDialAddress(told);
  return address && { ...address, host: LOOPBACKS.get(address.host) ?? address.host };
}
