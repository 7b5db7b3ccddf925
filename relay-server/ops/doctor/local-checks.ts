/**
 * LocalChecks: what `relay doctor` looks at on the relay's own machine: configuration, state folder, tokens, clock, the
 * running relay with its certificates and clients, alerts.
 */
import { existsSync, statSync } from 'node:fs';
import type { CertificateStatus } from '../../../shared/certs/certificates.js';
import { counted, roundedSpan } from '../../../shared/command/terminal-text.js';
import { type Finding, fail, pass, skip } from '../../../shared/doctor/check.js';
import { asTunnelError } from '../../../shared/errors.js';
import { checkPrivate } from '../../../shared/files/atomic-file.js';
import { VERSION } from '../../../shared/version.js';
import { isNobodyThere } from '../../find-relay.js';
import { readRelayConfig } from '../../relay-config.js';
import { isExpired } from '../../sessions/token-record.js';
import { TokenStore } from '../../sessions/token-store.js';
import { adminTokenProblem, hasAdminToken, strayAdminToken } from '../admin-token.js';
import { channelsOf } from '../alerts/alert-config.js';
import { type RelayPatient, skipWithout } from './relay-patient.js';

const START = 'Start it: systemctl start sallyport-relay, or relay serve';
/** Written by systemd-timesyncd once it has set the clock. */
const SYNCHRONIZED = '/run/systemd/timesync/synchronized';

const DOWN_CURE =
  'At home: tunnel status, tunnel doctor. One that is gone for good: relay host forget NAME, or relay token revoke NAME.';

export function checkConfig(patient: RelayPatient): Finding {
  try {
    const config = readRelayConfig(patient.configFile);
    patient.config = config;
    return pass(`${patient.configFile}: ${config.domain}, tls ${config.tls.mode}`);
  } catch (error) {
    const { code, message } = asTunnelError(error);
    const cure = existsSync(patient.configFile)
      ? 'Correct these lines of the file.'
      : 'Do: relay init --domain example.com';
    return fail(code, message, cure);
  }
}

export function checkPermissions({ config }: RelayPatient): Finding {
  if (config === undefined) return skipWithout('a configuration');
  const { stateDir } = config;
  const state = statSync(stateDir, { throwIfNoEntry: false });
  if (state === undefined)
    return fail('CONFIG_INVALID', `${stateDir} does not exist`, 'Do: relay init, or correct state_dir.');
  try {
    checkPrivate(stateDir, state.mode);
  } catch {
    return fail('CONFIG_INVALID', `other users may look into ${stateDir}`, `Do: chmod go= ${stateDir}`);
  }
  return pass(`${stateDir} is private`);
}

export function checkTokens({ config }: RelayPatient): Finding {
  if (config === undefined || !existsSync(config.stateDir)) return skipWithout('a state folder');
  const tokens = TokenStore.read(config.stateDir);
  const valid = tokens.filter((token) => !isExpired(token));
  if (valid.length === 0) {
    const found = tokens.length === 0 ? 'there is none' : 'all have expired';
    return fail('TOKEN_REJECTED', found, `Do: relay token create NAME --host '*.${config.domain}'`);
  }
  const expired = tokens.filter((token) => isExpired(token)).map(({ name }) => name);
  if (expired.length === 0) return pass(`${counted(valid.length, 'token')}, none expired`);
  return pass(
    `${counted(valid.length, 'token')}, and expired: ${expired.join(', ')}`,
    'Renew one: relay token rotate NAME',
  );
}

export function checkClock(): Finding {
  if (existsSync(SYNCHRONIZED)) return pass('set by systemd-timesyncd');
  return skip('cannot be told from here; tunnel doctor compares the two clocks');
}

export async function checkRunning(patient: RelayPatient): Promise<Finding> {
  const { config } = patient;
  if (config === undefined) return skipWithout('a configuration');
  try {
    patient.status = await patient.fetchStatus(config);
  } catch (error) {
    const { code, message, cause } = asTunnelError(error);
    if (code !== 'LINK_LOST' || isNobodyThere(cause)) return fail('LINK_LOST', message, START);
    return fail('LINK_LOST', message, 'See what its log says: journalctl -u sallyport-relay');
  }
  const { version, state, uptimeMs } = patient.status;
  const found = `version ${version}, ${state}, up ${roundedSpan(uptimeMs)}`;
  return version === VERSION ? pass(found) : pass(found, `Version ${VERSION} is installed: restart the relay.`);
}

/** The admin listener's own question; `relay` itself asks the control socket. */
export function checkAdminToken({ config, configFile }: RelayPatient): Finding {
  if (config === undefined) return skipWithout('a configuration');
  const { stateDir, listen } = config;
  const problem = adminTokenProblem(stateDir);
  if (problem !== undefined) return fail('CONFIG_INVALID', problem.found, problem.cure);
  const stray = strayAdminToken(configFile, stateDir);
  if (stray !== undefined) {
    const cure = `Do: relay admin-token create, and remove ${stray}`;
    return fail('CONFIG_INVALID', `${stray} counts for nothing: it must be in ${stateDir}`, cure);
  }
  if (listen.admin === undefined) return skip('listen.admin is off');
  return hasAdminToken(stateDir)
    ? pass('the admin listener asks for it')
    : skip('there is none: relay admin-token create');
}

export function checkCertificates({ config, status }: RelayPatient): Finding {
  if (config === undefined || status === undefined) return skipWithout('a running relay');
  const troubled = status.certificates.filter(
    (certificate) => troubleOf(certificate, config.alerts.rules) !== undefined,
  );
  if (troubled.length === 0) return pass(`${counted(status.certificates.length, 'certificate')}, none in trouble`);
  const found = troubled.map((certificate) => `${certificate.name}: ${troubleOf(certificate, config.alerts.rules)}`);
  return fail(
    'CERTIFICATE_FAILED',
    found.join('\n'),
    'See `relay cert list`; docs/certificates.md has the usual causes.',
  );
}

function troubleOf(
  { notAfterMs, lastError }: CertificateStatus,
  { certificateWithinMs }: { readonly certificateWithinMs: number },
): string | undefined {
  const leftMs = notAfterMs === undefined ? undefined : notAfterMs - Date.now();
  if (leftMs !== undefined && leftMs <= 0) return `has expired${lastError === undefined ? '' : `: ${lastError}`}`;
  if (lastError !== undefined) return lastError;
  return leftMs !== undefined && leftMs < certificateWithinMs ? `ends in ${roundedSpan(leftMs)}` : undefined;
}

export function checkClients({ status }: RelayPatient): Finding {
  if (status === undefined) return skipWithout('a running relay');
  const down = status.tunnels.filter(({ state }) => state !== 'online');
  const online = status.tunnels.length - down.length;
  if (down.length > 0) {
    const found = down.map(
      ({ public: url, downForMs = 0, tokenName }) =>
        `${url}: no client for ${roundedSpan(downForMs)}, token ${tokenName}`,
    );
    return fail('TUNNEL_OFFLINE', found.join('\n'), DOWN_CURE);
  }
  if (status.sessions.length === 0) return skip('no client is connected');
  return pass(`${counted(status.sessions.length, 'session')}, ${counted(online, 'tunnel')} online`);
}

export function checkAlerts({ config }: RelayPatient): Finding {
  if (config === undefined) return skipWithout('a configuration');
  const channels = channelsOf(config.alerts).map(({ name }) => name);
  if (channels.length === 0) return skip('no channel is configured under alerts');
  return pass(`${channels.join(', ')}; relay alert test tries them`);
}
