/**
 * A real systemd as the first process of a small machine: in namespaces of its own (processes, mounts, network, cgroups),
 * on this machine's files, of which it changes only a copy in memory. It boots in a second or two and ends with the test.
 */
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestContext } from 'node:test';
import { requireTool, skipFor } from './require-tool.js';
import { ROOT } from './source-files.js';
import { temporaryFolder } from './temporary-folder.js';
import { runTool, type ToolOutput, ToolProcess } from './tool-process.js';
import { until } from './within.js';

const BOOT_MS = 20_000;
/** Where the project is seen there; the services may not look into homes and /tmp. */
const PROJECT = '/opt/sallyport';

/** The machine's cgroup, as $group: without one of its own it would take the services of another machine for its own. */
const GROUP = `
mount -t cgroup2 none /sys
group="/sys$(sed -n 's/^0:://p' /proc/self/cgroup)/$4"
`;

/** $1: an empty folder; $2: the project; $3: node; $4: a name. Goes on with the script that follows. */
const ENTER = `
set -e
mount --make-rprivate /
${GROUP}
mkdir "$group"
echo 0 >"$group/cgroup.procs"
umount /sys
exec unshare --cgroup sh "$0.boot" "$@"
`;

/** The same arguments. Becomes systemd. */
const BOOT = `
set -e
root=$1/root
mount -t tmpfs -o size=1g none "$1"
mkdir "$1/changed" "$1/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changed,workdir=$1/work" "$root"
mkdir -p "$root${PROJECT}"
mount --bind "$2" "$root${PROJECT}"
# What is there cannot be moved by systemd: it lies below an overlay.
rm -rf "$root"/var/lib/sallyport* "$root"/var/lib/private/sallyport*
rm -f "$root/usr/local/bin/node" && touch "$root/usr/local/bin/node"
mount --bind "$3" "$root/usr/local/bin/node"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/run"
mount -t tmpfs none "$root/tmp"
mount -t tmpfs -o mode=755 none "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# Nothing of this machine is started: only what the test asks for, and what that needs.
find "$root/etc/systemd/system" "$root/usr/lib/systemd/system" -name '*.wants' -prune -exec rm -rf {} +
printf '[Unit]\\nWants=systemd-journald.service\\n' >"$root/etc/systemd/system/small.target"
for program in relay-server:relay tunnel-client:tunnel; do
  printf '#!/bin/sh\\nexec /usr/local/bin/node ${PROJECT}/dist/%s/main.js "$@"\\n' "\${program%:*}" >"$root/usr/local/bin/\${program#*:}"
  chmod 755 "$root/usr/local/bin/\${program#*:}"
done
ip link set lo up
cd "$root"
mkdir before
pivot_root . before
umount -l /before
# As container managers leave it: what systemd mounts for a service (credentials) must be seen by that.
mount --make-rshared /
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --unit=small.target --log-target=console --show-status=no --log-level=notice
`;

export class BootedSystemd {
  readonly #nsenter: string;
  readonly #pid: number;
  readonly #t: TestContext;

  private constructor(t: TestContext, nsenter: string, pid: number) {
    this.#t = t;
    this.#nsenter = nsenter;
    this.#pid = pid;
  }

  /** Undefined where that cannot be, and the test is marked skipped. */
  static async boot(t: TestContext): Promise<BootedSystemd | undefined> {
    const unshare = requireTool(t, 'unshare', 'util-linux');
    const nsenter = unshare && requireTool(t, 'nsenter', 'util-linux');
    if (unshare === undefined || nsenter === undefined || requireTool(t, 'ip', 'iproute2') === undefined)
      return undefined;
    if (requireTool(t, 'systemctl', 'systemd') === undefined) return undefined;
    if (process.getuid?.() !== 0) {
      skipFor(t, 'a systemd of its own needs root on Linux');
      return undefined;
    }
    const folder = temporaryFolder(t);
    const script = join(folder, 'boot');
    writeFileSync(script, ENTER);
    writeFileSync(`${script}.boot`, BOOT);
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    const namespaces = ['--pid', '--fork', '--kill-child', '--mount', '--uts', '--ipc', '--net'];
    const args = [disk, ROOT, realpathSync(process.execPath), basename(folder)];
    const machine = new ToolProcess(t, unshare, [...namespaces, 'sh', script, ...args]);
    t.after(() => removeGroup(t, unshare, args));
    const ended = machine.line('nothing that systemd says').catch((error: unknown) => error);
    const pid = await until('first process', () => onlyChildOf(machine.child.pid ?? 0), BOOT_MS);
    const systemd = new BootedSystemd(t, nsenter, pid);
    const booted = until(
      'boot',
      async () => ((await systemd.run('systemctl', 'is-active', 'small.target')).code === 0 ? true : undefined),
      BOOT_MS,
    );
    const failure = await Promise.race([booted.then(() => undefined), ended]);
    if (failure === undefined) return systemd;
    skipFor(t, `systemd does not boot here: ${failure}`);
    return undefined;
  }

  /** Runs a command there, to its end. */
  run(...command: readonly string[]): Promise<ToolOutput> {
    return runTool(this.#t, this.#nsenter, ['--target', String(this.#pid), '--all', '--', ...command]);
  }

  /** The same for a line of shell; rejects when it fails. */
  async shell(line: string): Promise<string> {
    const { code, stdout, stderr } = await this.run('sh', '-c', line);
    if (code === 0) return stdout;
    throw new Error(`${line}: exit ${code}\n${stdout}${stderr}`);
  }

  /** One property of a unit. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.shell(`systemctl show --value --property=${name} ${unit}`)).trim();
  }
}

/** Once the machine has ended; the processes in it end a moment later. */
async function removeGroup(t: TestContext, unshare: string, args: readonly string[]): Promise<void> {
  const remove = `${GROUP}\n! test -d "$group" || find "$group" -depth -type d -exec rmdir {} +`;
  await until('end of the machine', async () => {
    const { code } = await runTool(t, unshare, ['--mount', 'sh', '-c', remove, 'remove', ...args]);
    return code === 0 ? true : undefined;
  });
}

function onlyChildOf(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return child ? Number(child) : undefined;
  } catch {
    return undefined;
  }
}
