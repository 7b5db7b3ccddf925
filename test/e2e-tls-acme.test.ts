/** An end-to-end tunnel gets its certificate by itself, at home, through the relay, which sees a hostname and ciphertext. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { caNameOf } from '../shared/certs/account-store.js';
import { acmeTunnel, startAcmeHome } from './support/acme-home.js';
import { Chromium } from './support/chromium.js';
import { VAULT } from './support/home-tls.js';
import { startHttpOrigin } from './support/origins.js';
import { requireTool } from './support/require-tool.js';
import { modeOf, temporaryFolder } from './support/temporary-folder.js';
import { runTool } from './support/tool-process.js';
import { within } from './support/within.js';
import { type RunningProgram, startRelayProcess, startTunnelProcess } from './support/world.js';

const PAGE =
  "<h1>from home</h1><script>window.finished = Promise.resolve('h1 ' + document.querySelector('h1').textContent)</script>";

async function certificateEvent(tunnel: RunningProgram, state: string): Promise<Record<string, unknown>> {
  return JSON.parse(
    await within(20_000, state, tunnel.line(`"event":"certificate","name":"vault","state":"${state}"`)),
  );
}

test('the certificate comes through the tunnel, and curl and Chromium accept it', { timeout: 60_000 }, async (t) => {
  const curl = requireTool(t, 'curl', 'curl');
  const world = await startAcmeHome(t);
  if (world === undefined || curl === undefined) return;
  const { pebble, home, httpsPort, stateDir, yaml } = world;
  const origin = await startHttpOrigin(t, (_request, response) => response.end(PAGE));
  await startRelayProcess(t, home);
  const tunnel = await startTunnelProcess(t, httpsPort, home, [acmeTunnel(origin.url)], { yaml });
  await certificateEvent(tunnel, 'issuing');
  const { host, notAfter } = await certificateEvent(tunnel, 'valid');
  assert.equal(host, VAULT);
  assert.ok(Date.parse(String(notAfter)) > Date.now());
  const folder = join(stateDir, 'certificates', caNameOf(pebble.directoryUrl), VAULT);
  assert.deepEqual(readdirSync(folder).sort(), ['certificate.json', 'fullchain.pem', 'privkey.pem']);
  assert.deepEqual([modeOf(stateDir), modeOf(join(folder, 'privkey.pem'))], ['700', '600']);
  const root = join(temporaryFolder(t), 'root.pem');
  writeFileSync(root, await pebble.root());
  const here = ['--resolve', `${VAULT}:${httpsPort}:127.0.0.1`];
  const args = ['-q', '--noproxy', '*', '-sS', '--max-time', '20', '--cacert', root, ...here];
  const { stdout, stderr } = await runTool(t, curl, [...args, `https://${VAULT}:${httpsPort}/`]);
  assert.equal(stdout, PAGE, stderr);
  const chromium = requireTool(t, 'chromium', 'chromium');
  if (chromium === undefined) return;
  const browser = await Chromium.start(t, chromium, new X509Certificate(readFileSync(join(folder, 'fullchain.pem'))));
  await browser.open(`https://${VAULT}:${httpsPort}/`);
  assert.equal(await browser.evaluate('window.finished'), 'h1 from home');
});
