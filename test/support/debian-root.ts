/**
 * A Debian system of its own for tests that install packages: this machine's root with an empty layer above it, which
 * takes every change and is gone with the test. No download, and dpkg knows what is really installed here.
 *
 * systemctl is one that only writes down how it was called.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { requireTool, skipFor } from './require-tool.js';
import { temporaryFolder } from './temporary-folder.js';
import { runTool, ToolProcess } from './tool-process.js';

const CALLS = '/var/tmp/systemctl-calls';

/** $1 is where the layers go, $2 what becomes /mnt. The layers must not lie on the root itself, so they are in memory. */
const MOUNT = `set -e
mount -t tmpfs layers "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay root -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --bind "$2" "$1/root/mnt"
mount --bind /dev "$1/root/dev"
mkdir -p "$1/root/run/systemd/system"
printf '#!/bin/sh\\necho "$@" >> ${CALLS}\\n' > "$1/root/usr/local/bin/systemctl"
chmod 755 "$1/root/usr/local/bin/systemctl"
echo mounted
exec cat`;

export class DebianRoot {
  readonly #t: TestContext;
  readonly #enter: readonly string[];

  private constructor(t: TestContext, enter: readonly string[]) {
    this.#t = t;
    this.#enter = enter;
  }

  /** A root with the folder `shared` at /mnt; undefined when it cannot be made here and the test is skipped. */
  static async open(t: TestContext, shared: string): Promise<DebianRoot | undefined> {
    if (requireTool(t, 'dpkg', 'dpkg') === undefined) return undefined;
    const unshare = requireTool(t, 'unshare', 'util-linux');
    if (unshare === undefined) return undefined;
    const layers = join(temporaryFolder(t), 'layers');
    mkdirSync(layers);
    const holder = new ToolProcess(t, unshare, ['--mount', 'sh', '-c', MOUNT, 'sh', layers, shared]);
    try {
      await holder.line('mounted');
    } catch (error) {
      skipFor(t, `no mount namespace with an overlay can be made; run as root (${String(error)})`);
      return undefined;
    }
    const namespace = `--mount=/proc/${holder.child.pid}/ns/mnt`;
    return new DebianRoot(t, ['nsenter', namespace, 'chroot', join(layers, 'root'), 'sh', '-c']);
  }

  /** Runs a shell command inside; returns its stdout. @throws with all it said when it fails. */
  async run(command: string): Promise<string> {
    const { code, stdout, stderr } = await runTool(this.#t, 'env', [...this.#enter, command]);
    if (code !== 0) throw new Error(`${command} ended with ${code}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** How systemctl was called since the last time, one call an entry. */
  async systemctlCalls(): Promise<string[]> {
    const text = await this.run(`touch ${CALLS}; cat ${CALLS}; rm ${CALLS}`);
    return text.split('\n').filter((line) => line !== '');
  }
}
