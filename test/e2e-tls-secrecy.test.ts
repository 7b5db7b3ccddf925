/**
 * What a relay gets to see of an end-to-end tunnel: every byte that any of its sockets reads or writes is recorded, above
 * TLS where TLS ends there, and searched for what visitor and origin said.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:https';
import { type TestContext, test } from 'node:test';
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

/** One exchange through a recording relay; which of its markers the relay handled, and all that it handled. */
async function exchange(
  t: TestContext,
  tls: 'relay' | 'end-to-end',
): Promise<{ seen: string[]; bytes: Buffer; key: string }> {
  const markers = makeMarkers();
  const heard: string[] = [];
  const origin = await startHttpOrigin(t, async (asked, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of asked) chunks.push(chunk as Buffer);
    heard.push(asked.url ?? '', String(asked.headers['x-marker']), Buffer.concat(chunks).toString());
    response.setHeader('X-Marker', markers.responseField);
    response.end(markers.responseBody);
  });
  const home = new RelayHome(t);
  const relay = await startRecordingRelay(t, home);
  const certificate = await homeCertificate(t);
  const plain = `{ name: plain, host: ${VAULT}, origin: "${origin.url}" }`;
  await startClient(t, relay.https, home, [tls === 'relay' ? plain : vaultTunnel(origin.url, certificate)]);

  const asked = request({
    host: '127.0.0.1',
    port: relay.https,
    servername: VAULT,
    ca: tls === 'relay' ? home.ca : certificate.ca,
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
  return { seen: PLACES.filter((place) => bytes.includes(markers[place])), bytes, key: certificate.key };
}

test('a relay that ends TLS handles every part of request and response: so the recording misses nothing', async (t) => {
  const { seen } = await exchange(t, 'relay');
  assert.deepEqual(seen, [...PLACES]);
});

test('of an end-to-end tunnel the relay handles the hostname and ciphertext, no part of request or response', async (t) => {
  const { seen, bytes } = await exchange(t, 'end-to-end');
  assert.deepEqual(seen, []);
  assert.ok(bytes.includes(VAULT), 'the hostname was recorded');
  assert.ok(bytes.length > 2_000, `${bytes.length} bytes were recorded`);
});

test('the private key is in nothing that the relay handles', async (t) => {
  const { bytes, key } = await exchange(t, 'end-to-end');
  const secret = Buffer.from(createPrivateKey(key).export({ format: 'jwk' }).d ?? '', 'base64url');
  assert.equal(secret.length, 32);
  const [, firstLine = ''] = key.split('\n');
  for (const form of [
    secret,
    secret.toString('hex'),
    secret.toString('base64'),
    secret.toString('base64url'),
    firstLine,
  ]) {
    assert.ok(form.length > 30 && !bytes.includes(form));
  }
});
