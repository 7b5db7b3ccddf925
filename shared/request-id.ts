/**
 * RequestId: names one request in every log, header and error page. 80 random bits, and the randomness is drawn in
 * blocks, because one request must not cost one system call for its name.
 */
import { randomFillSync } from 'node:crypto';

const ID_BYTES = 10;
const BLOCK_BYTES = ID_BYTES * 256;

const block = Buffer.allocUnsafe(BLOCK_BYTES);
let usedBytes = BLOCK_BYTES;

/** 20 hexadecimal digits. */
export function newRequestId(): string {
  if (usedBytes === BLOCK_BYTES) {
    randomFillSync(block);
    usedBytes = 0;
  }
  usedBytes += ID_BYTES;
  return block.toString('hex', usedBytes - ID_BYTES, usedBytes);
}
