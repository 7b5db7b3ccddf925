/**
 * ByteStream: what the HTTP exchange and the splice need of a stream towards an origin. A MuxStream is one; the relay's
 * OriginStream, which strips the verdict, is another.
 */
import type { TunnelError } from '../errors.js';
import type { StreamHandler } from '../mux/stream.js';

export interface ByteStreamHandler extends StreamHandler {
  /** The tunnel is being given back: what runs may finish, nothing new may begin on this stream. */
  onRetire?(): void;
}

/** The meaning of each member is MuxStream's. */
export interface ByteStream {
  handler: ByteStreamHandler | undefined;
  readonly alive: boolean;
  write(piece: Buffer): boolean;
  writeCopy(borrowed: Buffer): boolean;
  end(): void;
  reset(error?: TunnelError): void;
  pause(): void;
  resume(): void;
}
