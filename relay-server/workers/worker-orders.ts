/**
 * What the main process tells a TLS worker over the channel between parent and child, as plain values. A worker obeys its
 * parent; nobody else can reach that channel.
 */

/** The first order. */
export interface StartOrder {
  readonly order: 'start';
  /** The unix socket where the main process takes plaintext. */
  readonly path: string;
  /** Keys of session tickets, base64: visitors resume at any worker. */
  readonly ticketKeys: string;
  /** For a whole handshake, in milliseconds. */
  readonly handshakeMs: number;
}

/** A certificate that `serve` may name from now on. PEM. */
export interface HoldOrder {
  readonly order: 'hold';
  readonly certificate: number;
  readonly cert: string;
  readonly key: string;
}

/** A certificate that will not be named again. */
export interface ForgetOrder {
  readonly order: 'forget';
  readonly certificate: number;
}

/** A visitor, whose socket comes along. */
export interface ServeOrder {
  readonly order: 'serve';
  readonly id: number;
  readonly certificate: number;
  /** What was read of the connection: the ClientHello, base64. */
  readonly hello: string;
  /** For ALPN, best first. */
  readonly protocols: readonly string[];
  /** Whether the greeting carries the exporter's value. */
  readonly wantsExporter: boolean;
}

/** The last order: end as soon as every visitor has what was said to it. */
export interface FinishOrder {
  readonly order: 'finish';
}

export type WorkerOrder = StartOrder | HoldOrder | ForgetOrder | ServeOrder | FinishOrder;
