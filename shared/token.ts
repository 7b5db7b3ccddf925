/**
 * Token: decides what a client's credential looks like and how it is proven (architecture §5).
 *
 *     sp1.<id>.<seed>.<check>          each part base64url without padding
 *
 * `id` is 12 random bytes (16 characters), `seed` the 32 bytes of an Ed25519 private key (43 characters; RFC 8032
 * §5.1.5), `check` the first 3 bytes (4 characters) of SHA-256 over everything before the last dot, so that a token cut
 * off while copying gets a clear error. The relay keeps id and public key alone; neither could log in.
 *
 * The client derives its key and signs with tweetnacl, of which this file is the only door. The relay verifies with
 * node:crypto: tweetnacl needs 6 ms of CPU for a verification, node:crypto 0.07 ms, and strangers can ask for many.
 */
import { createHash, createPublicKey, type KeyObject, randomBytes, verify } from 'node:crypto';
import nacl from 'tweetnacl';
import { TunnelError } from './errors.js';
import { Secret } from './secret.js';

const VERSION = 'sp1';
const ID_BYTES = 12;
const SEED_BYTES = 32;
const CHECK_BYTES = 3;
const GRAMMAR = /^sp1\.([\w-]{16})\.([\w-]{43})\.([\w-]{4})$/;
const TEXT_LENGTH = VERSION.length + 1 + 16 + 1 + 43 + 1 + 4;
const PUBLIC_KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const NONCE_BYTES = 32;

const PROOF_CONTEXT = 'sallyport link proof v1\0';

/** A new credential: what the relay keeps (`id`, `publicKey`) and what only the client may have (`text`). */
export interface NewToken {
  readonly id: string;
  /** Ed25519 public key, base64url, 43 characters. */
  readonly publicKey: string;
  readonly text: Secret;
}

/** What a proof binds together; both ends build it from what they themselves saw. */
export interface ProofFields {
  /** The relay's own hostname, so that a relay cannot pass a proof on to another. */
  readonly relay: string;
  /** 32 random bytes of the relay's challenge, so that a proof works once. */
  readonly nonce: Uint8Array;
  readonly tokenId: string;
  readonly clientId: string;
  /** The session that this link joins; empty for a new session. */
  readonly sessionId: string;
  /** TLS exporter of the link (RFC 9266), so that a proof works on one connection; empty when TLS ends elsewhere. */
  readonly exporter: Uint8Array;
}

/** The client's credential, ready to sign. Prints without its key. */
export class Token {
  readonly id: string;
  /** Ed25519 public key, base64url. */
  readonly publicKey: string;
  readonly #secretKey: Uint8Array;

  constructor(id: string, seed: Uint8Array) {
    const pair = nacl.sign.keyPair.fromSeed(seed);
    this.id = id;
    this.publicKey = Buffer.from(pair.publicKey).toString('base64url');
    this.#secretKey = pair.secretKey;
  }

  /** The Ed25519 signature of `payload`, 64 bytes. */
  sign(payload: Uint8Array): Buffer {
    return Buffer.from(nacl.sign.detached(payload, this.#secretKey));
  }
}

/** A new random token. */
export function generateToken(): NewToken {
  const id = randomBytes(ID_BYTES).toString('base64url');
  const seed = randomBytes(SEED_BYTES);
  const body = `${VERSION}.${id}.${seed.toString('base64url')}`;
  return { id, publicKey: new Token(id, seed).publicKey, text: new Secret(`${body}.${checkOf(body)}`) };
}

/**
 * Reads a token; spaces and line ends around it are fine.
 * @throws {TunnelError} TOKEN_REJECTED, without a character of the token in the message.
 */
export function parseToken(text: Secret | string): Token {
  const plain = (typeof text === 'string' ? text : text.reveal()).trim();
  const match = GRAMMAR.exec(plain);
  if (!match) throw rejected(describe(plain));
  const [, id = '', seed = '', check] = match;
  if (checkOf(`${VERSION}.${id}.${seed}`) !== check) throw rejected('a character is wrong (its checksum differs)');
  return new Token(id, Buffer.from(seed, 'base64url'));
}

/**
 * The bytes that a proof signs: the context string, then each field behind its length (16 bits, big-endian).
 * @throws {TunnelError} PROTOCOL_VIOLATION when the nonce is not 32 bytes or a field is longer than 65,535.
 */
export function proofPayload(fields: ProofFields): Buffer {
  if (fields.nonce.length !== NONCE_BYTES) {
    throw new TunnelError('PROTOCOL_VIOLATION', `Cannot build proof: nonce is ${fields.nonce.length} bytes, not 32`);
  }
  const { relay, nonce, tokenId, clientId, sessionId, exporter } = fields;
  return Buffer.concat([
    Buffer.from(PROOF_CONTEXT, 'latin1'),
    ...[relay, nonce, tokenId, clientId, sessionId, exporter].flatMap(lengthPrefixed),
  ]);
}

/**
 * Whether `signature` over `payload` was made by the owner of `publicKey` (base64url). False, never an error, for
 * anything malformed. Keys of small order are refused, because for them a signature fits every payload.
 */
export function verifyProof(publicKey: string, payload: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  const key = keyObject(publicKey);
  return key !== undefined && verify(null, payload, key, signature);
}

/** Whether `text` is a public key that `verifyProof` can use. */
export function isPublicKey(text: string): boolean {
  return keyObject(text) !== undefined;
}

/** Whether `text` has the form of a token id. */
export function isTokenId(text: string): boolean {
  return /^[\w-]{16}$/.test(text);
}

function checkOf(body: string): string {
  return createHash('sha256').update(body).digest().subarray(0, CHECK_BYTES).toString('base64url');
}

function rejected(state: string): TunnelError {
  const cure = 'Copy the whole join line again, or make a new token. On the VPS: relay token rotate NAME';
  return new TunnelError('TOKEN_REJECTED', `Cannot use token: ${state}. ${cure}`);
}

function describe(plain: string): string {
  if (plain === '') return 'it is empty';
  if (!plain.startsWith(`${VERSION}.`)) return `it does not start with "${VERSION}."`;
  if (plain.length < TEXT_LENGTH) return `it is cut off (${plain.length} of ${TEXT_LENGTH} characters)`;
  if (plain.length > TEXT_LENGTH) return `it is too long (${plain.length} characters instead of ${TEXT_LENGTH})`;
  return 'it holds a character that no token has';
}

function lengthPrefixed(field: string | Uint8Array): [Buffer, Uint8Array] {
  const bytes = typeof field === 'string' ? Buffer.from(field, 'utf8') : field;
  if (bytes.length > 0xffff) {
    throw new TunnelError('PROTOCOL_VIOLATION', `Cannot build proof: a field is ${bytes.length} bytes long`);
  }
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return [length, bytes];
}

/** Importing a key costs more than verifying with it. A relay has tens of tokens; the bound only guards the memory. */
const MAX_CACHED_KEYS = 4_096;
const cachedKeys = new Map<string, KeyObject>();

function keyObject(publicKey: string): KeyObject | undefined {
  const cached = cachedKeys.get(publicKey);
  if (cached) return cached;
  const key = importKey(publicKey);
  if (!key) return undefined;
  if (cachedKeys.size >= MAX_CACHED_KEYS) cachedKeys.clear();
  cachedKeys.set(publicKey, key);
  return key;
}

function importKey(publicKey: string): KeyObject | undefined {
  const bytes = Buffer.from(publicKey, 'base64url');
  if (bytes.length !== PUBLIC_KEY_BYTES || bytes.toString('base64url') !== publicKey) return undefined;
  if (isSmallOrder(bytes)) return undefined;
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** Every encoding of a point of order 1, 2, 4 or 8, sign bit cleared (libsodium, ge25519_has_small_order). */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

function isSmallOrder(point: Buffer): boolean {
  const unsigned = Buffer.from(point);
  unsigned.writeUInt8(unsigned.readUInt8(PUBLIC_KEY_BYTES - 1) & 0x7f, PUBLIC_KEY_BYTES - 1);
  return SMALL_ORDER.has(unsigned.toString('hex'));
}
