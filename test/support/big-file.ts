/** A file too large to be held in memory by whoever carries it, with content in which no block equals another. */
import { createHash, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';

const BLOCK_BYTES = 1024 * 1024;

/** Writes `bytes` (a multiple of 1 MiB) and returns their SHA-256 in hex. */
export async function writeBigFile(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const block = randomBytes(BLOCK_BYTES);
  const file = await open(path, 'w');
  try {
    for (let written = 0; written < bytes; written += BLOCK_BYTES) {
      block.writeUInt32BE(written / BLOCK_BYTES, (written / BLOCK_BYTES) % (BLOCK_BYTES - 4));
      hash.update(block);
      await file.write(block);
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}
