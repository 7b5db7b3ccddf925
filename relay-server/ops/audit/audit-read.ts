/**
 * AuditRead: decides which records people get to see: the newest ones, whole lines only. Whether they are true is
 * audit-verify.ts's to say. Owns nothing.
 */
import { openToRead } from '../../../shared/files/bounded-file.js';
import { readRecord } from './audit-chain.js';
import { auditFiles } from './audit-files.js';

export interface ShownRecord {
  /** As it is in the file. */
  readonly line: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** The newest `count` records of the log in `folder`, oldest first. Rejects when a file cannot be read. */
export async function auditRecords(folder: string, count: number): Promise<ShownRecord[]> {
  let records: ShownRecord[] = [];
  for (const file of (await auditFiles(folder)).reverse()) {
    const lines = (await textOf(file)).split('\n').slice(-count - 1);
    records = [...lines.flatMap(shown), ...records];
    if (records.length >= count) break;
  }
  return records.slice(-count);
}

async function textOf(file: string): Promise<string> {
  const handle = await openToRead(file);
  try {
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

function shown(line: string): ShownRecord[] {
  const record = readRecord(Buffer.from(line));
  return record === undefined ? [] : [{ line, facts: record.facts }];
}
