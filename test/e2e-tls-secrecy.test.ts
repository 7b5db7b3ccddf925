/**
 * What a relay gets to see of an end-to-end tunnel: every byte that any of its sockets reads or writes is recorded, above
 * TLS where TLS ends there, and searched for what visitor and origin said.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { caNameOf } from '../shared/certs/account-store.js';
import { acmeTunnel, startAcmeHome } from './support/acme-home.js';
import { homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { startHttpOrigin } from './support/origins.js';
import { startRecordingRelay } from './support/recording-relay.js';
import { RelayHome, startClient } from './support/world.js';

const PLACES = ['path', 'requestField', 'requestBody', 'responseField', 'responseBody'] as const;

function makeMarkers(): Record<(typeof PLACES)[number], string> {
  const marker = () => randomBytes(16).toString('hex');
  return {
    path: marker(),
    requestField: marker(),
    requestBody: marker(),
    responseField: marker(),
    responseBody: marker(),
  };
}

interface Exchange {
  /** The markers that the relay handled, and all that it handled. */
  readonly seen: string[];
  readonly bytes: Buffer;
  /** PEM of the keys at home. */
  readonly keys: readonly string[];
}

/** Where TLS ends, and the certificate's origin. */
interface Ending {
  readonly home: RelayHome;
  readonly tunnel: string;
  readonly yaml: string;
  /** After the tunnel's first visitor. */
  ca(): string | Promise<string>;
  keys(): string[];
}

async function atRelay(t: TestContext, origin: string): Promise<Ending> {
  const home = new RelayHome(t);
  const tunnel = `{ name: plain, host: ${VAULT}, origin: "${origin}" }`;
  return { home, tunnel, yaml: '', ca: () => home.ca, keys: () => [] };
}

async function withFiles(t: TestContext, origin: string): Promise<Ending> {
  const { ca, key, ...files } = await homeCertificate(t);
  const tunnel = vaultTunnel(origin, { ca, key, ...files });
  return { home: new RelayHome(t), tunnel, yaml: '', ca: () => ca, keys: () => [key] };
}

async function withAcme(t: TestContext, origin: string): Promise<Ending | undefined> {
  const world = await startAcmeHome(t);
  if (world === undefined) return undefined;
  const { home, yaml, stateDir, pebble } = world;
  const ca = caNameOf(pebble.directoryUrl);
  const files = [join('certificates', ca, VAULT, 'privkey.pem'), join('accounts', ca, 'account-key.pem')];
  const keys = () => files.map((file) => readFileSync(join(stateDir, file), 'utf8'));
  return { home, yaml, tunnel: acmeTunnel(origin), ca: () => pebble.root(), keys };
}

/** One exchange through a recording relay; undefined when a tool is missing. */
async function exchange(
  t: TestContext,
  place: (t: TestContext, origin: string) => Promise<Ending | undefined>,
): Promise<Exchange | undefined> {
  const markers = makeMarkers();
  const heard: string[] = [];
  const origin = await startHttpOrigin(t, async (asked, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of asked) chunks.push(chunk as Buffer);
    heard.push(asked.url ?? '', String(asked.headers['x-marker']), Buffer.concat(chunks).toString());
    response.setHeader('X-Marker', markers.responseField);
    response.end(markers.responseBody);
  });
  const ending = await place(t, origin.url);
  if (ending === undefined) return undefined;
  const { home, tunnel, yaml } = ending;
  const relay = await startRecordingRelay(t, home);
  const client = await startClient(t, relay.https, home, [tunnel], { yaml });
  if (place === withAcme) await client.event('certificate vault valid');

  const asked = request({
    host: '127.0.0.1',
    port: relay.https,
    servername: VAULT,
    ca: await ending.ca(),
    method: 'POST',
    path: `/${markers.path}`,
    headers: { Host: VAULT, 'X-Marker': markers.requestField },
    agent: false,
  });
  asked.end(markers.requestBody);
  const [response] = await once(asked, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  assert.equal(Buffer.concat(chunks).toString(), markers.responseBody);
  assert.equal(response.headers['x-marker'], markers.responseField);
  assert.deepEqual(heard, [`/${markers.path}`, markers.requestField, markers.requestBody]);

  const bytes = await relay.dump();
  return { seen: PLACES.filter((marked) => bytes.includes(markers[marked])), bytes, keys: ending.keys() };
}

test('a relay that ends TLS handles every part of request and response: so the recording misses nothing', async (t) => {
  const { seen } = (await exchange(t, atRelay)) ?? assert.fail();
  assert.deepEqual(seen, [...PLACES]);
});

for (const [name, place, wantedKeys] of [
  ['files', withFiles, 1],
  ['a CA that asked through the relay', withAcme, 2],
] as const) {
  test(`with a certificate from ${name} the relay handles the hostname and ciphertext, and no key`, async (t) => {
    const done = await exchange(t, place);
    if (done === undefined) return;
    const { seen, bytes, keys } = done;
    assert.deepEqual(seen, []);
    assert.ok(bytes.includes(VAULT), 'the hostname was recorded');
    assert.ok(bytes.length > 2_000, `${bytes.length} bytes were recorded`);
    if (place === withAcme) assert.ok(bytes.includes('acme-tls/1'), 'the question of the CA was recorded');
    assert.equal(keys.length, wantedKeys);
    for (const form of keys.flatMap(formsOf)) assert.ok(form.length > 30 && !bytes.includes(form));
  });
}

/** How a P-256 key could be written. */
function formsOf(key: string): (string | Buffer)[] {
  const secret = Buffer.from(createPrivateKey(key).export({ format: 'jwk' }).d ?? '', 'base64url');
  assert.equal(secret.length, 32);
  const [, firstLine = ''] = key.split('\n');
  return [secret, secret.toString('hex'), secret.toString('base64'), secret.toString('base64url'), firstLine];
}
