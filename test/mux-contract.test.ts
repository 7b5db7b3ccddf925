import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { collect, muxPair } from './support/mux-pair.js';

for (const pieceBytes of [1, 2, 5, 11, 13, 1 << 20]) {
  test(`bytes arrive unchanged both ways when the pipe splits every ${pieceBytes} bytes`, async () => {
    const payload = randomBytes(300_000);
    const pair = muxPair({
      pieceBytes,
      onStream: (stream) => {
        const echo = collect(stream);
        void echo.end.then(() => {
          assert.deepEqual(echo.content, payload);
          stream.write(echo.content);
          stream.end();
        });
      },
    });
    const stream = pair.left.openStream();
    const answer = collect(stream);
    stream.write(payload);
    stream.end();
    await answer.end;
    assert.equal(await answer.close, undefined);
    assert.deepEqual(answer.content, payload);
    assert.equal(pair.left.streamCount, 0);
    assert.equal(pair.right.streamCount, 0);
  });
}
