/**
 * TlsPipe: a Node that ends TLS and pipes bytes to the origin: two sockets per visitor and nothing else, none of it ours.
 *
 * Arguments: certificate file, key file, the origin's port. Says `listening PORT`.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer } from 'node:tls';

const [cert = '', key = '', originPort = ''] = process.argv.slice(2);
const server = createServer({
  cert: readFileSync(cert),
  key: readFileSync(key),
  minVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256',
  noDelay: true,
});
server.on('secureConnection', (visitor) => {
  const origin = connect({ host: '127.0.0.1', port: Number(originPort), noDelay: true });
  visitor.on('error', () => origin.destroy());
  origin.on('error', () => visitor.destroy());
  visitor.pipe(origin).pipe(visitor);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') console.log(`listening ${address.port}`);
});
