/**
 * Listen: starts and stops a server, with errors that say which option to change.
 */
import type { AddressInfo, Server } from 'node:net';
import { type Address, formatAddress } from '../../shared/address.js';
import { TunnelError } from '../../shared/errors.js';

/** Resolves with the address that the server listens on. Rejects with CONFIG_INVALID, naming `option`. */
export function listenOn(server: Server, address: Address, option: string): Promise<Address> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      const cure = curesByCode[error.code ?? ''] ?? 'Choose another address.';
      const message = `Cannot listen on ${formatAddress(address)} (${option}): ${error.code}. ${cure}`;
      reject(new TunnelError('CONFIG_INVALID', message, { cause: error }));
    };
    server.once('error', onError);
    server.listen(address.port, address.host, () => {
      server.off('error', onError);
      // Accepting may fail for want of file descriptors; that must not end the relay.
      server.on('error', () => {});
      const { address: host, port } = server.address() as AddressInfo;
      resolve({ host, port });
    });
  });
}

const curesByCode: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program has this port: stop it, or choose another port.',
  EACCES: 'Ports below 1024 need a permission: run under systemd with AmbientCapabilities=CAP_NET_BIND_SERVICE.',
  EADDRNOTAVAIL: 'This machine does not have that address.',
};

/** Stops accepting; resolves once every connection is gone. Safe on a server that never listened. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}
