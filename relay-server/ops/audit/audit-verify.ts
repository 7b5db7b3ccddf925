/**
 * AuditVerify: decides whether the audit log is whole: each record's own hash, its number, and the hash of the one before,
 * over all files. It stops at the first line that does not fit.
 *
 * What it cannot see is a chain cut off at its end, or written anew from some record on by somebody who may write the files:
 * for that, keep `seq:hash` of an earlier look elsewhere and ask whether the chain still contains it.
 * Reads while a relay writes. Owns nothing.
 */
import { isCode } from '../../../shared/files/atomic-file.js';
import { openToRead } from '../../../shared/files/bounded-file.js';
import { CHAIN_START, type ChainEnd, type ChainRecord, readRecord, vouchesFor } from './audit-chain.js';
import { auditFiles } from './audit-files.js';

export interface AuditVerdict {
  /** The first line that does not fit, and why; undefined when all do. */
  readonly broken: BrokenLine | undefined;
  /** Records that fit. */
  readonly records: number;
  /** Number of the first record that is still there; 1 unless old files were removed. */
  readonly firstSeq: number;
  /** The newest record that fits. */
  readonly end: ChainEnd;
  /** Bytes of a last line that its writer left unfinished; the next record will vouch for it. */
  readonly tornBytes: number;
  /** Whether the record that was asked for is there; undefined when none was. */
  readonly containsExpected: boolean | undefined;
}

export interface BrokenLine {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly reason: string;
}

interface Line {
  readonly file: string;
  /** From 1. */
  readonly number: number;
  readonly bytes: Buffer;
  readonly isTorn: boolean;
}

const LINE_END = 0x0a;
const NO_RECORD = 'it is no record, or its text does not have its hash';

/** Reads all of the log in `folder`. Rejects when a file cannot be read. */
export async function verifyAudit(folder: string, expected?: ChainEnd): Promise<AuditVerdict> {
  const chain = new ChainReader(expected);
  const files = await auditFiles(folder);
  for (const [index, file] of files.entries()) {
    try {
      for await (const line of linesOf(file)) {
        chain.take(line, index === files.length - 1);
        if (chain.broken !== undefined) return chain.verdict();
      }
    } catch (error) {
      // The relay has removed its oldest file meanwhile.
      if (!isCode(error, 'ENOENT') || chain.records > 0) throw error;
    }
  }
  chain.finish();
  return chain.verdict();
}

class ChainReader {
  broken: BrokenLine | undefined;
  records = 0;
  readonly #expected: ChainEnd | undefined;
  #end: ChainEnd | undefined;
  #firstSeq = 1;
  #contains = false;
  /** A line that is no record; fine only if the next one vouches for it. */
  #remains: Line | undefined;
  #tornBytes = 0;

  constructor(expected: ChainEnd | undefined) {
    this.#expected = expected;
  }

  take(line: Line, isInLastFile: boolean): void {
    if (line.isTorn && isInLastFile) this.#tornBytes = line.bytes.length;
    else if (line.isTorn) this.#break(line, 'it is cut off');
    else this.#takeWhole(line);
  }

  /** There is no further line. */
  finish(): void {
    if (this.#remains !== undefined) this.#break(this.#remains, NO_RECORD);
  }

  verdict(): AuditVerdict {
    const { records, broken } = this;
    const end = this.#end ?? CHAIN_START;
    const containsExpected = this.#expected === undefined ? undefined : this.#contains;
    return { broken, records, firstSeq: this.#firstSeq, end, tornBytes: this.#tornBytes, containsExpected };
  }

  #takeWhole(line: Line): void {
    const record = readRecord(line.bytes);
    const remains = this.#remains;
    this.#remains = undefined;
    if (remains !== undefined && (record === undefined || !vouchesFor(record, remains.bytes))) {
      this.#break(remains, NO_RECORD);
    } else if (record === undefined) this.#remains = line;
    else this.#follow(record, line);
  }

  #follow({ seq, prev, hash }: ChainRecord, line: Line): void {
    const before = this.#end ?? (seq === 1 ? CHAIN_START : { seq: seq - 1, hash: prev });
    if (seq !== before.seq + 1) this.#break(line, `it is record ${seq} and should be ${before.seq + 1}`);
    else if (prev !== before.hash) this.#break(line, 'it does not follow the record before it');
    else this.#accept({ seq, hash });
  }

  #accept(end: ChainEnd): void {
    if (this.#end === undefined) this.#firstSeq = end.seq;
    if (this.#expected?.seq === end.seq) this.#contains = this.#expected.hash === end.hash;
    this.#end = end;
    this.records += 1;
  }

  #break({ file, number }: Line, reason: string): void {
    this.broken = { file, line: number, reason };
  }
}

/** Lines without their ends. */
async function* linesOf(file: string): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  // The stream closes what it reads from, also when it is left early.
  const chunks: AsyncIterable<Buffer> = (await openToRead(file)).createReadStream();
  for await (const chunk of chunks) {
    const bytes = Buffer.concat([rest, chunk]);
    let from = 0;
    for (let at = bytes.indexOf(LINE_END); at >= 0; at = bytes.indexOf(LINE_END, from)) {
      number += 1;
      yield { file, number, bytes: bytes.subarray(from, at), isTorn: false };
      from = at + 1;
    }
    rest = bytes.subarray(from);
  }
  if (rest.length > 0) yield { file, number: number + 1, bytes: rest, isTorn: true };
}
