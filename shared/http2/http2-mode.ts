/**
 * Http2Mode: whether HTTP/2 is offered to visitors. Its frames are read by the runtime (nghttp2 inside of node:http2), so
 * the runtime's holes are ours. HTTP/1.1 is read by code of our own and depends on no such thing. Pure.
 */
import { isPatchedRuntime, PATCHED_RELEASES } from '../patched-runtime.js';

/** The values of the option `http2`. `auto`: where the runtime has its security fixes. */
export const HTTP2_MODES = ['auto', 'on', 'off'] as const;

export type Http2Mode = (typeof HTTP2_MODES)[number];

/** Whether HTTP/2 is offered. */
export function offersHttp2(mode: Http2Mode, nodeVersion = process.versions.node): boolean {
  return mode === 'on' || (mode === 'auto' && isPatchedRuntime(nodeVersion));
}

/** What the operator should know about it at start; undefined where all is well. */
export function http2Warning(mode: Http2Mode, nodeVersion = process.versions.node): string | undefined {
  if (mode === 'off' || isPatchedRuntime(nodeVersion)) return undefined;
  const state = `Node ${nodeVersion} lacks security fixes`;
  const cure = `Install ${PATCHED_RELEASES} or newer`;
  if (mode === 'on') return `HTTP/2 is offered, as http2: on says, although ${state}. ${cure}`;
  return `HTTP/2 is not offered: ${state}. ${cure}`;
}
