/**
 * Chosen CAs: decides what of the store still counts when other CAs are configured than before. A CA that was not asked
 * has refused nothing; a certificate is as good as before, but the CA that is configured now shall replace it. Pure
 * functions; own nothing.
 */
import { caNameOf } from './account-store.js';
import { directoryUrlOf } from './acme-issuer.js';
import type { StoredRecord } from './stored-record.js';

/** No browser trusts its certificates. */
const STAGING = caNameOf(directoryUrlOf('staging'));

/** Folders of the CAs that are configured; undefined stands for all. */
export type ChosenCas = readonly string[] | undefined;

/** Whether a certificate of this CA may be shown to visitors. */
export function mayServe(ca: string, cas: ChosenCas): boolean {
  return ca !== STAGING || !isFormer(ca, cas);
}

/** Whether this CA was configured once and is not any more. */
export function isFormer(ca: string, cas: ChosenCas): boolean {
  return cas !== undefined && !cas.includes(ca);
}

/** The record without a failure that is none of the configured CAs'. */
export function withoutFormerFailure(record: StoredRecord, cas: ChosenCas): StoredRecord {
  const { askedCas } = record;
  if (askedCas === undefined || askedCas.some((ca) => !isFormer(ca, cas))) return record;
  return { ...record, askedCas: undefined, failures: undefined, lastError: undefined, retryAtMs: undefined };
}
