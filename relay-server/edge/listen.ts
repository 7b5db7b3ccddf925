/**
 * Listen: starts and stops a server, with errors that say which option to change. The listening socket is made here, or
 * was given to the process; and it can be given on to another one.
 */
import type { AddressInfo, Server } from 'node:net';
import { type Address, formatAddress } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';

/** Connections that wait to be accepted; during a restart, those of all the time that it takes. */
const BACKLOG = 4_096;

/** Descriptor of the listening socket that somebody else made for the purpose `name`; the caller owns it then. */
export type GivenSocket = (name: string) => number | undefined;

/**
 * Resolves with the address that the server listens on: that of the `given` descriptor, else `address`. Rejects with
 * CONFIG_INVALID, naming `option`.
 */
export function listenOn(server: Server, address: Address, option: string, given?: number): Promise<Address> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      const cure = curesByCode[error.code ?? ''] ?? 'Choose another address.';
      const message = `Cannot listen on ${placeOf(address, given)} (${option}): ${error.code}. ${cure}`;
      reject(new TunnelError('CONFIG_INVALID', message, { cause: error }));
    };
    const { host, port } = address;
    // Without a host Node takes every address, and on a machine without IPv6 those of IPv4.
    const where = given !== undefined ? { fd: given } : host === '::' ? { port } : { port, host };
    server.once('error', onError);
    server.listen(where, BACKLOG, () => {
      server.off('error', onError);
      // Accepting may fail for want of file descriptors; that must not end the relay.
      server.on('error', () => {});
      const bound = server.address() as AddressInfo | string | null;
      if (bound === null || typeof bound === 'string') {
        server.close();
        onError(Object.assign(new Error('no TCP socket'), { code: 'ENOTSUP' }));
      } else {
        resolve({ host: bound.address, port: bound.port });
      }
    });
  });
}

function placeOf(address: Address, given: number | undefined): string {
  return given === undefined ? formatAddress(address) : `the given descriptor ${given}`;
}

const curesByCode: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program has this port: stop it, or choose another port.',
  EACCES: 'Ports below 1024 need a permission: run under systemd with sallyport-relay.socket.',
  EADDRNOTAVAIL: 'This machine does not have that address.',
  EINVAL: 'Whoever started the relay gave it no listening TCP socket there: look at its socket units.',
  ENOTSUP: 'It is no TCP socket: look at ListenStream in the socket units.',
};

/**
 * The descriptor of the socket that a server listens on; undefined when it does not, and on systems that have none. Node
 * has no public name for it, and no other way to let a successor accept while we still do.
 */
export function descriptorOf(server: Server): number | undefined {
  const { _handle: handle } = server as Server & { readonly _handle?: { readonly fd?: number } | null };
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}

/** Stops accepting; resolves once every connection is gone. Safe on a server that never listened. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}
