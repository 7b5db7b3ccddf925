/**
 * ListenSockets: the listening sockets that this process was started with (sd_listen_fds(3)): by systemd from its socket
 * units, or by a relay that hands over to its successor. Somebody else keeps them open, so a restart refuses nobody.
 *
 * Each has a name, which says what it is for: `https`, `http`, `admin`, `tcp-2222`.
 * Owns: descriptors that nobody took yet. Owned by: the verb `relay serve`.
 */
import { closeSync, fstatSync } from 'node:fs';

/** The first descriptor after stdin, stdout and stderr (SD_LISTEN_FDS_START). */
export const FIRST_DESCRIPTOR = 3;

/** Before the name of a socket that a predecessor made by its own configuration. */
const LENT = 'lent-';

/** More than a relay has ports; keeps a wrong variable from making us close the world. */
const MAX_SOCKETS = 1_024;

export class ListenSockets {
  readonly #byName: Map<string, number>;
  readonly #surplus: number[] = [];
  readonly #fixed: ReadonlySet<string>;

  constructor(named: readonly NamedSocket[] = []) {
    this.#byName = new Map();
    this.#fixed = new Set(named.map(({ name }) => name).filter((name) => !name.startsWith(LENT)));
    for (const { name, descriptor } of named) {
      if (this.#byName.has(name)) this.#surplus.push(descriptor);
      else this.#byName.set(name, descriptor);
    }
  }

  /** Those of this process. The variables are removed: children of ours have no such sockets. */
  static ofProcess(): ListenSockets {
    const named = namedSockets(process.env, process.pid);
    for (const name of ['LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PID', 'LISTEN_PIDFDID']) delete process.env[name];
    return new ListenSockets(named.filter(({ descriptor }) => isSocket(descriptor)));
  }

  /** The descriptor of this name, which is the caller's from now on; undefined when there is none. */
  take(name: string): number | undefined {
    for (const known of [name, LENT + name]) {
      const descriptor = this.#byName.get(known);
      if (descriptor === undefined) continue;
      this.#byName.delete(known);
      return descriptor;
    }
    return undefined;
  }

  /** Whether whoever started us decides the address of this socket, and not our configuration. */
  isFixed(name: string): boolean {
    return this.#fixed.has(name);
  }

  /** What a successor must be told to know that as well. */
  nameFor(name: string): string {
    return this.isFixed(name) ? name : LENT + name;
  }

  /** Closes what nobody took: visitors of a socket that nobody accepts from would wait for ever. Safe any number of times. */
  close(): void {
    for (const descriptor of [...this.#byName.values(), ...this.#surplus.splice(0)]) closeQuietly(descriptor);
    this.#byName.clear();
  }
}

export interface NamedSocket {
  readonly name: string;
  readonly descriptor: number;
}

/** What the variables of sd_listen_fds(3) say to the process `pid`; empty when they are for another one or wrong. */
export function namedSockets(env: NodeJS.ProcessEnv, pid: number): NamedSocket[] {
  const { LISTEN_FDS = '', LISTEN_PID = '', LISTEN_FDNAMES = '' } = env;
  if (!/^\d{1,4}$/.test(LISTEN_FDS) || LISTEN_PID !== String(pid)) return [];
  const names = LISTEN_FDNAMES.split(':');
  return Array.from({ length: Math.min(Number(LISTEN_FDS), MAX_SOCKETS) }, (_, index) => {
    return { name: names[index] || 'unknown', descriptor: FIRST_DESCRIPTOR + index };
  });
}

/** A variable that says too much leads to descriptors of Node's own, which are none. */
function isSocket(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isSocket();
  } catch {
    return false;
  }
}

function closeQuietly(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch {
    // It was none of ours, or is closed already.
  }
}
