/**
 * Listeners: the listening sockets of the relay that have a name and an option, `listen.NAME`. It decides for each whether
 * the socket is made here or was given to the process, what happens when the option changes, and which sockets a successor
 * gets. What is done with a connection is the rooms' business.
 *
 * Owns: nothing; the rooms own the sockets. Owned by: Relay.
 */
import { type Address, formatAddress, splitHostAndPort } from '../shared/address.js';
import { asTunnelError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { ListenSockets, NamedSocket } from '../shared/service/listen-sockets.js';
import type { ListenerStatus } from './ops/relay-status.js';

/** In the order in which they are opened and shown. */
const NAMES = ['https', 'http', 'admin'] as const;
export type ListenerName = (typeof NAMES)[number];

/** Where to listen; undefined for not at all. */
export type ListenAddresses = Readonly<Record<ListenerName, Address | undefined>>;

/** A room that listens. */
export interface ListeningRoom {
  /**
   * Begins to listen, with the `given` descriptor if there is one, and ends it where the room listened before; without an
   * address it only ends. Resolves with where it listens now. Rejects with CONFIG_INVALID, and nothing has changed then.
   */
  listen(address: Address | undefined, given: number | undefined): Promise<Address | undefined>;
  /** The descriptor of its listening socket. */
  descriptor(): number | undefined;
}

export interface ListenersOptions {
  readonly rooms: Readonly<Record<ListenerName, ListeningRoom>>;
  readonly sockets: ListenSockets;
  readonly log: Log;
}

interface ListenersBefore {
  readonly wanted: ListenAddresses;
  readonly bound: ReadonlyMap<ListenerName, ListenerStatus>;
}

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #bound = new Map<ListenerName, ListenerStatus>();
  /** What was asked for, which is not what was bound where the port is 0 or the socket was given. */
  #wanted: ListenAddresses = { https: undefined, http: undefined, admin: undefined };

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  get status(): readonly ListenerStatus[] {
    return NAMES.flatMap((name) => this.#bound.get(name) ?? []);
  }

  /**
   * Opens, moves and closes what differs from before. Rejects with CONFIG_INVALID at the first that cannot be had; those
   * that had moved by then go back.
   */
  async listen(wanted: ListenAddresses): Promise<void> {
    const before = { wanted: this.#wanted, bound: new Map(this.#bound) };
    const moved: ListenerName[] = [];
    try {
      for (const name of NAMES) {
        const isOpen = this.#bound.has(name);
        if (isOpen && this.#options.sockets.isFixed(name)) continue;
        if (sameAddress(wanted[name], this.#wanted[name])) continue;
        await this.#open(name, wanted[name]);
        this.#wanted = { ...this.#wanted, [name]: wanted[name] };
        moved.push(name);
      }
    } catch (error) {
      // The first time there is nothing to go back to: the relay does not start.
      if (before.bound.size > 0) for (const name of moved) await this.#goBack(name, before);
      throw error;
    }
  }

  /** Those that a successor which wants to listen there can take over; it makes the others anew. */
  socketsFor(wanted: ListenAddresses): NamedSocket[] {
    const { rooms, sockets } = this.#options;
    return NAMES.flatMap((name) => {
      const descriptor = rooms[name].descriptor();
      const isKept = sockets.isFixed(name) || sameAddress(this.#wanted[name], wanted[name]);
      return descriptor === undefined || !isKept ? [] : [{ name: sockets.nameFor(name), descriptor }];
    });
  }

  async #goBack(name: ListenerName, { wanted, bound }: ListenersBefore): Promise<void> {
    try {
      await this.#open(name, addressOf(bound.get(name)));
      this.#wanted = { ...this.#wanted, [name]: wanted[name] };
    } catch (error) {
      const reason = asTunnelError(error).message;
      this.#options.log.error({ listener: name, reason }, 'the listener stays where the refused configuration put it');
    }
  }

  async #open(name: ListenerName, address: Address | undefined): Promise<void> {
    const { rooms, sockets, log } = this.#options;
    const bound = await rooms[name].listen(address, address && sockets.take(name));
    if (bound === undefined) this.#bound.delete(name);
    else this.#bound.set(name, { name, address: formatAddress(bound) });
    if (bound !== undefined && address !== undefined && address.port !== 0 && address.port !== bound.port) {
      const fields = { listener: name, address: formatAddress(bound), option: formatAddress(address) };
      log.warn(fields, 'the socket that the relay was given counts, not the option');
    }
  }
}

/** Where it was, which is more than was asked for where that was port 0. */
function addressOf(status: ListenerStatus | undefined): Address | undefined {
  const { host, port } = splitHostAndPort(status?.address ?? '') ?? {};
  return host === undefined ? undefined : { host, port: Number(port) };
}

function sameAddress(one: Address | undefined, other: Address | undefined): boolean {
  return one?.host === other?.host && one?.port === other?.port;
}
