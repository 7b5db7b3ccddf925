/** The token's text and the proof made with it: what round-trips, what is refused, and that both libraries agree. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import nacl from 'tweetnacl';
import { TunnelError } from '../shared/errors.js';
import { generateToken, isPublicKey, parseToken, proofPayload, verifyProof } from '../shared/token.js';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const fields = {
  relay: 'example.com',
  nonce: new Uint8Array(32).fill(7),
  tokenId: 'AAAAAAAAAAAAAAAA',
  clientId: 'client',
  sessionId: '',
  exporter: new Uint8Array(0),
};

function refusal(text: string): TunnelError {
  try {
    parseToken(text);
  } catch (error) {
    assert.ok(error instanceof TunnelError, `parseToken threw ${String(error)}`);
    assert.equal(error.code, 'TOKEN_REJECTED');
    return error;
  }
  throw new assert.AssertionError({ message: 'parseToken accepted a text that is no token' });
}

test('a generated token parses back to its id and public key, also with spaces around it', () => {
  const made = generateToken();
  for (const text of [made.text, made.text.reveal(), ` ${made.text.reveal()}\r\n`]) {
    const token = parseToken(text);
    assert.deepEqual([token.id, token.publicKey], [made.id, made.publicKey]);
  }
  assert.match(made.text.reveal(), /^sp1\.[\w-]{16}\.[\w-]{43}\.[\w-]{4}$/);
});

test('neither a new token nor a parsed one prints its secret', () => {
  const made = generateToken();
  const seed = made.text.reveal().split('.')[2] ?? '';
  const token = parseToken(made.text);
  for (const print of [
    inspect(made),
    JSON.stringify(made),
    `${made.text}`,
    inspect(token, { depth: 9, showHidden: true }),
  ]) {
    assert.ok(!print.includes(seed), print);
  }
  assert.equal(JSON.parse(JSON.stringify(token)).id, token.id);
  assert.ok(!JSON.stringify(token).includes(seed));
});

test('a token that was cut off, lengthened or mistyped is refused with the reason and never echoed', () => {
  const text = generateToken().text.reveal();
  assert.match(refusal('').message, /it is empty/);
  assert.match(refusal('hello').message, /does not start with "sp1\."/);
  assert.match(refusal(text.slice(0, -1)).message, /cut off \(68 of 69 characters\)/);
  assert.match(refusal(`${text}A`).message, /too long/);
  assert.match(refusal(text.replace(/\.(.)/, '.!')).message, /character that no token has/);
  const other = text[30] === 'A' ? 'B' : 'A';
  assert.match(refusal(text.slice(0, 30) + other + text.slice(31)).message, /checksum/);
  assert.match(refusal('x').message, /relay token rotate NAME/);
});

test('any text at all is parsed or refused with TOKEN_REJECTED, without a piece of it in the message', () => {
  const token = generateToken().text.reveal();
  const mutated = fc
    .tuple(fc.nat(token.length), fc.nat(token.length), fc.string({ maxLength: 8 }))
    .map(([start, end, filling]) => token.slice(0, Math.min(start, end)) + filling + token.slice(Math.max(start, end)));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), mutated), (text) => {
      if (text.trim() === token) return;
      const { message } = refusal(text);
      assert.ok(text.length < 12 || !message.includes(text.trim()));
      for (const part of text.split('.').filter((piece) => piece.length >= 12)) assert.ok(!message.includes(part));
    }),
  );
});

test('a proof verifies for exactly the fields that it was made for', () => {
  const token = parseToken(generateToken().text);
  const signature = token.sign(proofPayload(fields));
  assert.equal(verifyProof(token.publicKey, proofPayload(fields), signature), true);
  const others = [
    { relay: 'other.example' },
    { nonce: new Uint8Array(32) },
    { tokenId: 'BAAAAAAAAAAAAAAA' },
    { clientId: 'clienT' },
    { sessionId: 's' },
    { exporter: new Uint8Array(1) },
  ];
  for (const change of others) {
    assert.equal(verifyProof(token.publicKey, proofPayload({ ...fields, ...change }), signature), false);
  }
  assert.equal(verifyProof(generateToken().publicKey, proofPayload(fields), signature), false);
});

test('two different sets of fields never share a payload', () => {
  const proof = fc.record({
    relay: fc.string({ maxLength: 4 }),
    nonce: bytes(32),
    tokenId: fc.string({ maxLength: 4 }),
    clientId: fc.string({ maxLength: 4 }),
    sessionId: fc.string({ maxLength: 4 }),
    exporter: fc.uint8Array({ maxLength: 4 }),
  });
  fc.assert(
    fc.property(proof, proof, fc.nat(4), (one, two, cut) => {
      assert.equal(proofPayload(one).equals(proofPayload(two)), JSON.stringify(one) === JSON.stringify(two));
      const joined = one.tokenId + one.clientId;
      const shifted = { ...one, tokenId: joined.slice(0, cut), clientId: joined.slice(cut) };
      assert.equal(proofPayload(one).equals(proofPayload(shifted)), one.tokenId === shifted.tokenId);
    }),
  );
});

test('a payload is refused when its nonce is not 32 bytes or a field is too long', () => {
  const tooLong = { ...fields, clientId: 'x'.repeat(65_536) };
  for (const bad of [{ ...fields, nonce: new Uint8Array(31) }, tooLong]) {
    assert.throws(() => proofPayload(bad), { name: 'TunnelError', code: 'PROTOCOL_VIOLATION' });
  }
});

test('tweetnacl and node:crypto agree on honest signatures and on broken ones', () => {
  fc.assert(
    fc.property(bytes(32), fc.uint8Array(), fc.nat(63), fc.integer({ min: 1, max: 255 }), (seed, payload, at, flip) => {
      const pair = nacl.sign.keyPair.fromSeed(seed);
      const key = Buffer.from(pair.publicKey).toString('base64url');
      const signature = nacl.sign.detached(payload, pair.secretKey);
      assert.equal(verifyProof(key, payload, signature), true);
      const broken = signature.map((byte, index) => (index === at ? byte ^ flip : byte));
      assert.equal(verifyProof(key, payload, broken), nacl.sign.detached.verify(payload, broken, pair.publicKey));
      assert.equal(verifyProof(key, payload, broken), false);
    }),
    { numRuns: 40 },
  );
});

test('what node:crypto accepts for arbitrary keys and signatures, tweetnacl accepts too; nothing throws', () => {
  fc.assert(
    fc.property(bytes(32), bytes(64), fc.uint8Array({ maxLength: 40 }), (key, signature, payload) => {
      const accepted = verifyProof(Buffer.from(key).toString('base64url'), payload, signature);
      assert.ok(!accepted || nacl.sign.detached.verify(payload, signature, key));
    }),
    { numRuns: 60 },
  );
});

test('keys of small order are refused, although a signature exists that fits every payload', () => {
  const identity = Buffer.from(`01${'00'.repeat(31)}`, 'hex');
  const universal = Buffer.concat([identity, Buffer.alloc(32)]);
  assert.equal(nacl.sign.detached.verify(Buffer.from('anything'), universal, identity), true, 'the attack is real');
  const encodings = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
    `ec${'ff'.repeat(30)}7f`,
    `ed${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
  ];
  for (const encoding of encodings) {
    const key = Buffer.from(encoding, 'hex');
    const negative = Buffer.from(key.map((byte, index) => (index === 31 ? byte | 0x80 : byte)));
    for (const point of [key, negative].map((each) => each.toString('base64url'))) {
      assert.equal(isPublicKey(point), false);
      assert.equal(verifyProof(point, Buffer.from('anything'), universal), false);
    }
  }
});

test('malformed keys and signatures of any length are false, never an error', () => {
  const payload = proofPayload(fields);
  const good = generateToken().publicKey;
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.base64String()), fc.uint8Array({ maxLength: 80 }), (key, signature) => {
      assert.equal(verifyProof(key, payload, signature), false);
      assert.equal(verifyProof(good, payload, signature), false);
    }),
  );
  const nonCanonical = `${good.slice(0, -1)}${String.fromCharCode(good.charCodeAt(42) + 1)}`;
  assert.equal(isPublicKey(nonCanonical), false);
});
