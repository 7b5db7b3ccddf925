/** What the relay says of a relay.yaml that its own user may not read. */
import assert from 'node:assert/strict';
import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readOwnConfig } from '../relay-server/own-config.js';
import { refusalOf } from './support/config-error.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** Somebody else than root, who need not exist. */
const OTHER_USER = 54_321;

/** Does `act`, which must not wait for anything, as somebody else. */
function asOtherUser<Result>(act: () => Result): Result {
  process.seteuid?.(OTHER_USER);
  try {
    return act();
  } finally {
    process.seteuid?.(0);
  }
}

function fileOf(t: TestContext, owner: number): string {
  const folder = temporaryFolder(t);
  const file = join(folder, 'relay.yaml');
  writeFileSync(file, 'domain: example.com\n', { mode: 0o600 });
  chownSync(folder, OTHER_USER, OTHER_USER);
  chownSync(file, owner, owner);
  return file;
}

test('a relay.yaml that the relay’s user cannot read names that user and the cure', (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can become somebody else');
  const file = fileOf(t, 0);
  const message = refusalOf(() => asOtherUser(() => readOwnConfig(file)));
  assert.match(
    message,
    /relay\.yaml: permission denied to the relay, which runs as uid 54321\. Do: chown --reference=/,
  );
  const readable = fileOf(t, OTHER_USER);
  assert.equal(asOtherUser(() => readOwnConfig(readable)).domain, 'example.com');
  return undefined;
});

test('what is wrong with a file that it can read is told as everywhere', (t) => {
  const file = join(temporaryFolder(t), 'relay.yaml');
  writeFileSync(file, 'domian: example.com\n');
  assert.doesNotMatch(
    refusalOf(() => readOwnConfig(file)),
    /the relay/,
  );
});
