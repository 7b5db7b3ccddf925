/**
 * RelayChecks: what `tunnel doctor` looks at on the way to the relay and at the relay itself: proxy, DNS, port, TLS,
 * clock, WebSocket, token, version, grants. Where a proxy makes the connections, it resolves the name, too.
 */
import type { Socket } from 'node:net';
import { counted } from '../../shared/command/terminal-text.js';
import { type Finding, fail, pass, skip } from '../../shared/doctor/check.js';
import {
  addressesOf,
  certificateFinding,
  clockFinding,
  dnsFailure,
  portFinding,
  recordsText,
} from '../../shared/doctor/network-findings.js';
import { publicAnd, reach } from '../../shared/doctor/reach.js';
import { asTunnelError, type TunnelError } from '../../shared/errors.js';
import type { Probed } from '../../shared/messages.js';
import { AGENT } from '../../shared/version.js';
import { stateAndCure } from '../cures.js';
import { readAllStatuses } from '../ops/status-socket.js';
import { connectThrough } from '../proxy/connect-through.js';
import { type LinkProxy, linkProxy, proxyText, relayAddressOf, whyNoProxy } from '../proxy/link-proxy.js';
import type { TunnelConfig } from '../tunnel-config.js';
import { Errand } from './errand.js';
import { type Patient, skipWithout } from './patient.js';

const MAX_ADDRESSES = 8;
/** Shorter than what `reach` gives a step, so that it is the proxy's silence that is told. */
const PROXY_MS = 7_000;
const LOOK_AT_LOG = 'Look at the log of the relay.';
/** What the relay's `ws` door says when something other than a relay answers. */
const NO_UPGRADE = /Unexpected server response: (\d{3})|socket hang up|Sec-WebSocket|subprotocol|Parse Error/;

export function checkProxy(patient: Patient): Finding {
  const { config } = patient;
  if (config === undefined) return skipWithout('a configuration');
  patient.proxy = linkProxy(config);
  if (patient.proxy === undefined) return skip(`the link goes straight to the relay: ${whyNoProxy(config)}`);
  const login = patient.proxy.login === undefined ? 'without a login' : 'with a login';
  return pass(`${proxyText(patient.proxy)} ${login}, from ${patient.proxy.from}`);
}

export async function checkDns(patient: Patient, signal: AbortSignal): Promise<Finding> {
  const { config, proxy } = patient;
  if (config === undefined) return skipWithout('a configuration');
  const { host } = relayAddressOf(config);
  if (proxy !== undefined || config.relayAddress !== undefined) patient.addresses = [host];
  if (proxy !== undefined) return skip('the proxy resolves the name');
  if (config.relayAddress !== undefined) return skip(`relay_address says ${host}`);
  const { addresses, failure } = await addressesOf(host, signal);
  if (failure !== undefined) return dnsFailure(host, failure);
  patient.addresses = addresses.slice(0, MAX_ADDRESSES);
  return pass(`${host}: ${recordsText(addresses)}`);
}

export async function checkPort(patient: Patient, signal: AbortSignal): Promise<Finding> {
  const { config, proxy, addresses } = patient;
  if (config === undefined || addresses.length === 0) return skipWithout('an address');
  if (config.relayUrl.protocol !== 'https:') return skip('the relay is on this machine, without TLS');
  const { port } = relayAddressOf(config);
  const options = {
    serverName: config.relayUrl.hostname,
    trusted: config.relayCa === undefined ? publicAnd(undefined) : [config.relayCa],
    signal,
    ...(proxy === undefined ? {} : { connect: through(proxy, config) }),
  };
  patient.reached = await Promise.all(addresses.map((host) => reach({ host, port }, options)));
  const [first] = patient.reached;
  if (proxy === undefined || first === undefined) return portFinding(patient.reached);
  if (first.tcpMs !== undefined) return pass(`the proxy connected in ${Math.round(first.tcpMs)} ms`);
  const { state, cure = `Mend the proxy, or correct ${proxy.from}.` } = stateAndCure('LINK_LOST', first.failure ?? '');
  return fail('LINK_LOST', state, cure);
}

/** Failures of the proxy are told in its own words, which hold the cure. */
function through(proxy: LinkProxy, config: TunnelConfig): (_: unknown, signal: AbortSignal) => Promise<Socket> {
  const timeoutMs = Math.min(config.dialMs, PROXY_MS);
  return (_, signal) => connectThrough({ proxy, target: relayAddressOf(config), timeoutMs, signal });
}

export function checkTls(patient: Patient): Finding {
  const { config, best } = patient;
  if (config === undefined || best?.tcpMs === undefined) return skipWithout('an open port');
  return certificateFinding(config.relayUrl.hostname, best, Date.now());
}

export function checkClock(patient: Patient): Finding {
  if (patient.best?.certificate === undefined) return skipWithout('an answer of the relay');
  return clockFinding(patient.best.clock, 'the relay');
}

/** Opens the link and proves the token; what came of the proof is for the next check. */
export async function checkWebSocket(patient: Patient, signal: AbortSignal): Promise<Finding> {
  const { config } = patient;
  if (config === undefined) return skipWithout('a configuration');
  const { best } = patient;
  const isShown = best?.certificate !== undefined && best.certificate.problem === undefined;
  if (best?.tcpMs !== undefined && !isShown) return skipWithout('a certificate');
  let isOpen = false;
  try {
    const onConnected = () => {
      isOpen = true;
    };
    patient.errand = await Errand.open({ config, signal, onConnected });
  } catch (error) {
    patient.refusal = asTunnelError(error);
    if (!isOpen) return upgradeFailure(patient.refusal, patient.proxy !== undefined);
  }
  return pass('a WebSocket opens all the way to the relay');
}

function upgradeFailure({ code, message }: TunnelError, hasProxy: boolean): Finding {
  const cure = NO_UPGRADE.test(message)
    ? 'What answers there passes no WebSocket: is it the relay? A proxy or CDN in front of it must pass Upgrade on.'
    : `Mend what the checks above found${hasProxy ? ', or the proxy' : ''}.`;
  return fail(code, message, cure);
}

export function checkToken({ errand, refusal }: Patient): Finding {
  if (errand !== undefined) return pass('the relay accepts the token');
  if (refusal === undefined || refusal.code === 'LINK_LOST') return skipWithout('a WebSocket');
  const { state, cure = LOOK_AT_LOG } = stateAndCure(refusal.code, refusal.message);
  return fail(refusal.code, state, cure);
}

export function checkVersion({ errand }: Patient): Finding {
  if (errand === undefined) return skipWithout('an accepted token');
  const { agent } = errand.welcome;
  if (agent === AGENT) return pass(`both are ${AGENT}`);
  return pass(`the relay is ${agent}, this is ${AGENT}`, 'Install the same version on both when you next update.');
}

/** Asks the relay about each tunnel, without claiming any. */
export async function checkGrants({ config, errand, statusFolder }: Patient): Promise<Finding> {
  if (config === undefined || errand === undefined) return skipWithout('an accepted token');
  if (config.tunnels.length === 0) return skip('no tunnel is configured');
  const served = await servedHere(statusFolder);
  const denied: Probed[] = [];
  for (const tunnel of config.tunnels) {
    const probed = await errand.probe(tunnel);
    const isOurs = probed.code?.endsWith('_TAKEN') === true && served.has(tunnel.name);
    if (probed.code !== undefined && !isOurs) denied.push(probed);
  }
  const [first] = denied;
  if (first === undefined) return pass(`${counted(config.tunnels.length, 'tunnel')} may be served by this token`);
  const told = denied.map(({ name, code = 'NOT_GRANTED', message = '' }) => ({
    name,
    code,
    ...stateAndCure(code, message),
  }));
  const found = told.map(({ name, code, state }) => `${name}: ${code} ${state}`).join('\n');
  const cures = new Set(told.map(({ cure = LOOK_AT_LOG }) => cure));
  return fail(first.code ?? 'NOT_GRANTED', found, [...cures].join('\n'));
}

/** Names of the tunnels that clients of this user have online. */
async function servedHere(folder: string | undefined): Promise<ReadonlySet<string>> {
  const statuses = await readAllStatuses(folder === undefined ? {} : { folder });
  const online = statuses.flatMap(({ tunnels }) => tunnels).filter(({ state }) => state === 'online');
  return new Set(online.map(({ name }) => name));
}
