/**
 * Renewal information (RFC 9773, "ARI"): decides which certificate we ask a CA about and what of its answer we take.
 * acme-client has none of it. Pure but for the one request.
 */
import { objectOf } from '../json-object.js';
import { type AcmeTransport, readRetryAfter } from './acme-transport.js';
import { type DerElement, readElements } from './der.js';
import { AcmeRefusal, IssueFailure } from './issue-failure.js';
import { leafOf } from './issued-chain.js';
import type { RenewalWindow } from './issuer.js';

const HOUR_MS = 3_600_000;
/** RFC 9773 §4.3.2: bounds of how often we ask, and what holds when the CA does not say. */
const MIN_ASK_AGAIN_MS = 60_000;
const MAX_ASK_AGAIN_MS = 24 * HOUR_MS;
const DEFAULT_ASK_AGAIN_MS = 6 * HOUR_MS;

const TAG_OID = 0x06;
const TAG_OCTETS = 0x04;
const TAG_INTEGER = 0x02;
const TAG_EXTENSIONS = 0xa3;
const TAG_KEY_IDENTIFIER = 0x80;
/** 2.5.29.35, id-ce-authorityKeyIdentifier. */
const AUTHORITY_KEY_IDENTIFIER = Buffer.from([0x55, 0x1d, 0x23]);

/**
 * RFC 9773 §4.1: `base64url(authority key identifier).base64url(serial number)`; undefined without a chain and for a
 * certificate that has no authority key identifier.
 */
export function certificateIdOf(chainPem: string | undefined): string | undefined {
  if (chainPem === undefined) return undefined;
  try {
    const [certificate] = readElements(leafOf(chainPem).raw);
    const [body] = readElements(certificate?.content ?? Buffer.alloc(0));
    const fields = readElements(body?.content ?? Buffer.alloc(0));
    const serial = fields.find(({ tag }) => tag === TAG_INTEGER)?.content;
    const keyId = authorityKeyIdIn(fields);
    if (serial === undefined || keyId === undefined) return undefined;
    return `${keyId.toString('base64url')}.${serial.toString('base64url')}`;
  } catch {
    return undefined;
  }
}

/**
 * What the CA says about this certificate; undefined when it does not know it.
 * @param renewalInfoUrl from the directory.
 */
export async function askRenewalWindow(
  transport: AcmeTransport,
  renewalInfoUrl: string,
  chainPem: string,
): Promise<RenewalWindow | undefined> {
  const id = certificateIdOf(chainPem);
  if (id === undefined) return undefined;
  try {
    const { data, headers } = await transport.request(`${renewalInfoUrl.replace(/\/$/, '')}/${id}`, 'get');
    return readRenewalInfo(data, readRetryAfter(headers['retry-after']));
  } catch (error) {
    // Another CA made it, or this one forgot it.
    if (error instanceof AcmeRefusal && error.status < 500 && error.status !== 429) return undefined;
    throw error;
  }
}

/**
 * The window in an answer's body (RFC 9773 §4.2).
 * @throws {IssueFailure} `ca-down` for anything else, and for a window that ends before it begins.
 */
export function readRenewalInfo(data: unknown, retryAfterMs: number | undefined): RenewalWindow {
  const { suggestedWindow, explanationURL } = objectOf(data);
  const { start, end } = objectOf(suggestedWindow);
  const [startMs, endMs] = [timeOf(start), timeOf(end)];
  if (startMs === undefined || endMs === undefined || endMs <= startMs) {
    throw new IssueFailure('ca-down', "Cannot use the CA's renewal information: it names no window.");
  }
  const askAgainInMs = Math.min(Math.max(retryAfterMs ?? DEFAULT_ASK_AGAIN_MS, MIN_ASK_AGAIN_MS), MAX_ASK_AGAIN_MS);
  return {
    startMs,
    endMs,
    askAgainInMs,
    ...(typeof explanationURL === 'string' ? { explanationUrl: explanationURL } : {}),
  };
}

/** RFC 5280 §4.2.1.1. */
function authorityKeyIdIn(fields: readonly DerElement[]): Buffer | undefined {
  const wrapper = fields.find(({ tag }) => tag === TAG_EXTENSIONS);
  const [list] = readElements(wrapper?.content ?? Buffer.alloc(0));
  for (const { content } of readElements(list?.content ?? Buffer.alloc(0))) {
    const parts = readElements(content);
    const isWanted = parts.some(({ tag, content: oid }) => tag === TAG_OID && oid.equals(AUTHORITY_KEY_IDENTIFIER));
    const value = parts.find(({ tag }) => tag === TAG_OCTETS);
    if (!isWanted || value === undefined) continue;
    const [sequence] = readElements(value.content);
    return readElements(sequence?.content ?? Buffer.alloc(0)).find(({ tag }) => tag === TAG_KEY_IDENTIFIER)?.content;
  }
  return undefined;
}

/** RFC 3339; anything that carries no zone is refused. */
function timeOf(value: unknown): number | undefined {
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)$/i.test(value)) return undefined;
  const ms = Date.parse(value);
  return Number.isNaN(ms) ? undefined : ms;
}
