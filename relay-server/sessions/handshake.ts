/**
 * Handshake: decides who a new link belongs to. The relay sends a challenge, the client proves that it has a token, and
 * nothing that could log in again crosses the wire.
 *
 * Unknown, expired and revoked tokens get the same answer after the same work: a stranger learns nothing about which
 * token ids exist. The link has `linkHandshakeMs` in all; only a proof removes that deadline.
 *
 * Owns: the link until it is handed over. Owned by: Sessions.
 */
import { randomBytes } from 'node:crypto';
import { asTunnelError, TunnelError } from '../../shared/errors.js';
import type { Link, LinkHandler } from '../../shared/link.js';
import { PROTOCOL_VERSION, type Proof, readClientMessage } from '../../shared/messages.js';
import { generateToken, proofPayload, verifyProof } from '../../shared/token.js';
import { isExpired, type TokenRecord } from './token-record.js';

/** Of a token that nobody keeps: checking against it costs an unknown token id the same time as a known one. */
const DUMMY_PUBLIC_KEY = generateToken().publicKey;

export interface HandshakeOptions {
  /** The relay's own name, which the proof signs. */
  readonly relay: string;
  readonly timeoutMs: number;
  /** True where TLS ends at a trusted proxy in front of the relay: the two ends then see different TLS. */
  readonly tlsEndsElsewhere: boolean;
  /** The token of this id, if there is one. */
  readonly token: (tokenId: string) => TokenRecord | undefined;
}

/** A link whose client has proven its token. */
export interface ProvenLink {
  readonly proof: Proof;
  readonly token: TokenRecord;
}

/**
 * Runs the handshake. Rejects with TOKEN_REJECTED, VERSION_UNSUPPORTED, PROTOCOL_VIOLATION, HANDSHAKE_TIMEOUT or the
 * link's own end; the caller refuses the link then.
 */
export function shakeHands(link: Link, options: HandshakeOptions): Promise<ProvenLink> {
  const nonce = randomBytes(32);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new TunnelError('HANDSHAKE_TIMEOUT', 'Cannot accept link: no proof arrived in time'));
    }, options.timeoutMs);
    link.handler = new ProofReceiver(
      (text) => {
        clearTimeout(timer);
        link.handler = undefined; // One proof is verified; what follows it waits for the session.
        try {
          resolve(verify(readClientMessage(text), link, nonce, options));
        } catch (error) {
          reject(asTunnelError(error));
        }
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
    link.sendMessage({
      type: 'challenge',
      version: PROTOCOL_VERSION,
      nonce: nonce.toString('base64url'),
      relay: options.relay,
    });
  });
}

/** Takes one message; bytes before the proof are a violation. */
class ProofReceiver implements LinkHandler {
  readonly onMessage: (text: string) => void;
  readonly onClose: (error: TunnelError) => void;

  constructor(onMessage: (text: string) => void, onClose: (error: TunnelError) => void) {
    this.onMessage = onMessage;
    this.onClose = onClose;
  }

  onBytes(): void {
    this.onClose(new TunnelError('PROTOCOL_VIOLATION', 'Cannot accept link: bytes arrived before the proof'));
  }

  onSent(): void {}
}

function verify(message: { type: string }, link: Link, nonce: Buffer, options: HandshakeOptions): ProvenLink {
  if (message.type !== 'proof') throw new TunnelError('PROTOCOL_VIOLATION', 'Cannot accept link: no proof was sent');
  const proof = message as Proof;
  if (proof.version !== PROTOCOL_VERSION) {
    throw new TunnelError(
      'VERSION_UNSUPPORTED',
      `Cannot accept link: it speaks protocol ${proof.version}, this relay ${PROTOCOL_VERSION}. Update the older one.`,
    );
  }
  const token = options.token(proof.tokenId);
  const signed = verifyProof(
    token?.publicKey ?? DUMMY_PUBLIC_KEY,
    payloadOf(proof, nonce, options),
    bytesOf(proof.signature),
  );
  const sameTls = options.tlsEndsElsewhere || bytesOf(proof.exporter).equals(link.exporter());
  if (token === undefined || !signed || !sameTls || isExpired(token)) throw rejected();
  return { proof, token };
}

function payloadOf(proof: Proof, nonce: Buffer, options: HandshakeOptions): Buffer {
  const { tokenId, clientId, sessionId } = proof;
  return proofPayload({ relay: options.relay, nonce, tokenId, clientId, sessionId, exporter: bytesOf(proof.exporter) });
}

function bytesOf(base64url: string): Buffer {
  return Buffer.from(base64url, 'base64url');
}

function rejected(): TunnelError {
  const cure = 'It may be revoked, expired or replaced. Make a new one. On the VPS: relay token rotate NAME';
  return new TunnelError('TOKEN_REJECTED', `Cannot accept link: the token is not valid here. ${cure}`);
}
