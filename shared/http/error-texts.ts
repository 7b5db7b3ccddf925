/**
 * The words of the visitor's error pages: for every code what happened, whose turn it is, and what to do.
 *
 * Plain words for people who have never heard of a tunnel. Nothing here names an address, a program version or any
 * other fact about the inside. Text between backticks is a command or a value to type.
 */
import type { ErrorCode } from '../errors.js';

/** The stations of a request on its way in; a page shows the first one that it did not get past. */
export const STATIONS = ['You', 'Relay', 'Home server', 'App'] as const;

export type Station = (typeof STATIONS)[number];

export interface ErrorText {
  /** The heading: one short sentence without a full stop. */
  readonly title: string;
  /** What happened, for both readers. */
  readonly what: string;
  /** The station where the request ended. */
  readonly stoppedAt: Station;
  /** Whose turn it is. */
  readonly turn: 'visitor' | 'owner' | 'nobody';
  /** What the visitor can do. */
  readonly visitor: string;
  /** What the owner of the server can do. */
  readonly owner: string;
}

const TELL_THE_OWNER = 'Nothing is wrong on your side. Try again in a minute; if it stays like this, tell the owner.';

const internal: ErrorText = {
  title: 'Something went wrong at the relay',
  what: 'The relay that serves this address met a problem that it did not expect.',
  stoppedAt: 'Relay',
  turn: 'owner',
  visitor: TELL_THE_OWNER,
  owner: 'Look for the request id below in the log of the relay: the line with it says what failed.',
};

const linkLost: ErrorText = {
  title: 'The connection to the home server broke',
  what: 'The home server was connected, but lost its connection while it worked on this request.',
  stoppedAt: 'Home server',
  turn: 'nobody',
  visitor:
    'It reconnects by itself within seconds, so try again. If you were sending something, check first whether it arrived.',
  owner: 'If this happens often, run `tunnel status` on the home server and look at its internet connection.',
};

/** One text per code. Codes that no visitor meets share the text of INTERNAL. */
export const errorTexts: Readonly<Record<ErrorCode, ErrorText>> = {
  USAGE_INVALID: internal,
  AUDIT_BROKEN: internal,
  CONFIG_INVALID: internal,
  TOKEN_REJECTED: internal,
  NOT_GRANTED: internal,
  VERSION_UNSUPPORTED: internal,
  SESSION_REPLACED: internal,
  SESSION_UNKNOWN: internal,
  HOSTNAME_TAKEN: internal,
  PORT_TAKEN: internal,
  CERTIFICATE_FAILED: internal,
  PROTOCOL_VIOLATION: internal,
  INTERNAL: internal,
  HANDSHAKE_TIMEOUT: linkLost,
  HEARTBEAT_LOST: linkLost,
  LINK_LOST: linkLost,
  TUNNEL_OFFLINE: {
    title: 'The home server is not connected',
    what: 'This address is right, but the server behind it is not connected at the moment. It may be switched off, restarting or without internet.',
    stoppedAt: 'Home server',
    turn: 'owner',
    visitor: 'Nothing is wrong on your side. You can leave this page open: it tries again by itself.',
    owner:
      'Check that the home server is on and online, then run `tunnel status` there. If no client is running, start it with `tunnel up`.',
  },
  ORIGIN_REFUSED: {
    title: 'The app is not running',
    what: 'The home server is connected and its tunnel works, but the app behind it does not accept connections. It has probably stopped or is still starting.',
    stoppedAt: 'App',
    turn: 'owner',
    visitor: TELL_THE_OWNER,
    owner:
      'The tunnel is fine; start the app. If it is running, compare the address it listens on with the origin that `tunnel status` shows.',
  },
  ORIGIN_TIMEOUT: {
    title: 'The app did not answer in time',
    what: 'The home server is connected and its tunnel works, but the app behind it took too long to answer.',
    stoppedAt: 'App',
    turn: 'owner',
    visitor: 'It may be busy. Try again in a minute; if it stays like this, tell the owner.',
    owner:
      'The tunnel is fine; look at the load and the log of the app. If the origin is another machine, check that it is on and that no firewall drops the connection.',
  },
  ORIGIN_TLS_FAILED: {
    title: 'The app could not prove who it is',
    what: 'The home server is connected and its tunnel works, but the certificate of the app behind it was not accepted.',
    stoppedAt: 'App',
    turn: 'owner',
    visitor: 'Your own connection is safe, and nothing was sent to the app. Tell the owner.',
    owner:
      'Renew the certificate of the app. If it is self-signed and you trust the way to it, write the origin with `https+insecure://`.',
  },
  ORIGIN_CLOSED: {
    title: 'The app hung up',
    what: 'The home server is connected and its tunnel works, but the app behind it closed the connection without an answer.',
    stoppedAt: 'App',
    turn: 'owner',
    visitor: `${TELL_THE_OWNER} If you were sending something, check first whether it arrived.`,
    owner:
      'The tunnel is fine; look at the log of the app. It may have crashed on this request, or it expects `https://` in the origin.',
  },
  ORIGIN_INVALID: {
    title: 'The app gave an answer that is not HTTP',
    what: 'The home server is connected and its tunnel works, but what the app behind it sent is not a valid HTTP answer.',
    stoppedAt: 'App',
    turn: 'owner',
    visitor: TELL_THE_OWNER,
    owner:
      'Check that the port of the origin belongs to a web app. An app that speaks TLS needs `https://` in the origin.',
  },
  STREAM_RESET: {
    title: 'The connection broke off',
    what: 'The home server is connected, but this one connection through its tunnel ended before the app had answered.',
    stoppedAt: 'Home server',
    turn: 'nobody',
    visitor: 'Try again. If you were sending something, check first whether it arrived.',
    owner: 'If this happens often, look for the request id below in the logs of the client and of the app.',
  },
  RELAY_DRAINING: {
    title: 'The relay is restarting',
    what: 'The relay that serves this address is going down for a moment and takes no new requests.',
    stoppedAt: 'Relay',
    turn: 'nobody',
    visitor: 'Try again in half a minute.',
    owner: 'Somebody stopped or restarted the relay. The home server reconnects to it by itself.',
  },
  LIMIT_EXCEEDED: {
    title: 'Too much at once',
    what: 'A limit of this address is reached: too many requests or connections at the same time.',
    stoppedAt: 'Relay',
    turn: 'visitor',
    visitor: 'Wait a little, close other windows of this site, then try again.',
    owner:
      'Run `relay status` on the VPS to see what is refused. The limits stand under `limits` in the configuration of the relay.',
  },
  REQUEST_INVALID: {
    title: 'This request cannot be understood',
    what: 'What arrived is not a request that can be passed on safely: it breaks the rules of HTTP, or it is too large.',
    stoppedAt: 'You',
    turn: 'visitor',
    visitor: 'Clear the cookies of this site and try again. Programs: check the request line and the header fields.',
    owner: 'Nothing reached your server. The log of the relay says under the request id which rule was broken.',
  },
  ROUTE_NOT_FOUND: {
    title: 'There is nothing at this address',
    what: 'The relay is working, but no server has claimed this name.',
    stoppedAt: 'Relay',
    turn: 'visitor',
    visitor: 'Check the spelling of the address, or ask the person who gave it to you.',
    owner: 'Compare the name with the public addresses that `tunnel status` shows on the home server.',
  },
  HOST_MISDIRECTED: {
    title: 'This request came over the wrong connection',
    what: 'The connection was opened for one name and the request asks for another, so it was not passed on.',
    stoppedAt: 'Relay',
    turn: 'visitor',
    visitor: 'Reload the page. Programs: open a new connection for each name.',
    owner: 'Another proxy in front of the relay must send the same name in TLS (SNI) and in `Host`.',
  },
};
