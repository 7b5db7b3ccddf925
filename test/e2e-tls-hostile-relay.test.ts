/** What a relay that wants to read an end-to-end tunnel can send to the client, and that none of it reaches the origin. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { verdictOf } from '../shared/errors.js';
import type { Opening } from '../shared/opening.js';
import { FakeRelay, type FakeRelayLink } from './support/fake-relay.js';
import { homeCertificate, VAULT, vaultTunnel } from './support/home-tls.js';
import { startHttpOrigin } from './support/origins.js';
import { clientHello } from './support/raw-tls.js';
import { until, within } from './support/within.js';
import { RelayHome, type RunningClient, startClient } from './support/world.js';

const REQUEST = `GET / HTTP/1.1\r\nHost: ${VAULT}\r\n\r\n`;
const CONNECTED = '00';
/** TLS records behind the verdict: a handshake message, or the fatal alerts handshake_failure and no_application_protocol. */
const HANDSHAKE = '0016';
const FATAL_ALERT = '0015030300020228';
const NO_PROTOCOL = '0015030300020278';

interface Besieged {
  readonly link: FakeRelayLink;
  readonly client: RunningClient;
  readonly requests: string[];
}

/** A client with an end-to-end tunnel, whose relay says that it is claimed with `tls`. */
async function besieged(t: TestContext, tls: string): Promise<Besieged> {
  const requests: string[] = [];
  const origin = await startHttpOrigin(t, (asked, response) => {
    requests.push(asked.url ?? '');
    response.end();
  });
  const home = new RelayHome(t);
  let begun: FakeRelayLink | undefined;
  const relay = await FakeRelay.start(t, home, (link) => {
    const begin = async () => {
      link.challenge();
      await link.message('proof');
      link.welcome();
      const { name, tls: wanted } = await link.message('claim');
      assert.equal(wanted, 'end-to-end');
      link.send({ type: 'claimed', name, url: `https://${VAULT}`, tls });
      begun = link;
    };
    begin().catch(() => {});
  });
  const tunnel = vaultTunnel(origin.url, await homeCertificate(t));
  const client = await startClient(t, relay.port, home, [tunnel], { noWait: true });
  return { link: await until('a session', () => begun), client, requests };
}

/** What the client says, in hexadecimal, to these bytes behind an Opening. */
async function answerTo(link: FakeRelayLink, opening: Partial<Opening>, bytes: Buffer, count: number): Promise<string> {
  const id = link.openTo({ tunnel: 'vault', authority: VAULT, tlsVersion: '', ...opening }, bytes.toString('latin1'));
  return (await within('answer', link.answer(id, count))).subarray(0, count).toString('hex');
}

test('a relay that claims to end TLS itself is given the tunnel back', async (t) => {
  for (const tls of ['relay', 'passthrough']) {
    const { link, client, requests } = await besieged(t, tls);
    await within('release', link.message('release'));
    await client.event('denied vault VERSION_UNSUPPORTED');
    assert.deepEqual(requests, []);
  }
});

test('a stream whose TLS ended at the relay is refused, and plain bytes become no request', async (t) => {
  const { link, client, requests } = await besieged(t, 'end-to-end');
  await client.event('up vault');
  const violation = Buffer.of(verdictOf('PROTOCOL_VIOLATION')).toString('hex');
  assert.equal(await answerTo(link, { tlsVersion: 'TLSv1.3' }, Buffer.from(REQUEST), 1), violation);
  assert.equal(await answerTo(link, { tlsVersion: 'TLSv1.3' }, await clientHello(t, VAULT), 1), violation);
  assert.equal(await answerTo(link, {}, Buffer.from(REQUEST), 1), CONNECTED);
  assert.equal(await answerTo(link, {}, await clientHello(t, VAULT), 2), HANDSHAKE, 'honest visitors are served');
  assert.deepEqual(requests, []);
});

test('only the SNI leads to a certificate, whatever the Opening says', async (t) => {
  const { link, client } = await besieged(t, 'end-to-end');
  await client.event('up vault');
  for (const name of ['other.relay.localhost', 'relay.localhost', 'x.vault.relay.localhost']) {
    assert.equal(await answerTo(link, { authority: VAULT }, await clientHello(t, name), 8), FATAL_ALERT, name);
  }
  assert.equal(await answerTo(link, { authority: 'x' }, await clientHello(t, VAULT.toUpperCase()), 2), HANDSHAKE);
});

test('a visitor who is passed off as a CA gets neither the certificate nor a challenge', async (t) => {
  const { link, client } = await besieged(t, 'end-to-end');
  await client.event('up vault');
  assert.equal(await answerTo(link, { alpn: 'acme-tls/1' }, await clientHello(t, VAULT), 8), NO_PROTOCOL);
});
