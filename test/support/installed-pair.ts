/** Both installed programs at work: a relay with a CA of its own, a client that joined it, a visitor. Ends with the test. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { startHttpOrigin } from './origins.js';
import { temporaryFolder } from './temporary-folder.js';
import { runTool, ToolProcess } from './tool-process.js';

const DOMAIN = 'relay.localhost';

/** The commands of the programs; the paths of the executables where they are not in PATH. */
export interface InstalledPrograms {
  readonly relay: string;
  readonly tunnel: string;
}

/**
 * Goes the way of the README with these programs: init, serve, join, up, and a visit by curl.
 * @returns what the visitor got.
 */
export async function visitThrough(
  t: TestContext,
  { relay, tunnel }: InstalledPrograms,
  curl: string,
): Promise<string> {
  const folder = temporaryFolder(t);
  const origin = await startHttpOrigin(t, (_, response) => response.end('carried'));
  const relayFile = join(folder, 'relay.yaml');
  const tunnelFile = join(folder, 'tunnel.yaml');

  const joinCommand = await output(t, relay, ['init', '--domain', DOMAIN, '--dir', folder]);
  onFreePorts(relayFile);
  const serving = new ToolProcess(t, relay, ['serve', '--config', relayFile]);
  const https = portOf(await serving.line('"event":"listening"'), 'https');

  const joinLine = /'(.*)'/.exec(joinCommand)?.[1] ?? assert.fail(joinCommand);
  await output(t, tunnel, ['join', joinLine, '--config', tunnelFile]);
  appendFileSync(tunnelFile, `\nrelay_address: "127.0.0.1:${https}"\n`);
  const host = `app.${DOMAIN}`;
  const up = new ToolProcess(t, tunnel, ['up', origin.url, '--host', host, '--json', '--config', tunnelFile]);
  await up.line('"event":"up"');

  const visit = ['--resolve', `${host}:${https}:127.0.0.1`, '--cacert', join(folder, 'state/local-ca/ca.pem')];
  const body = await output(t, curl, [
    '--silent',
    '--show-error',
    '--noproxy',
    '*',
    ...visit,
    `https://${host}:${https}/`,
  ]);
  for (const program of [up, serving]) {
    program.child.kill('SIGTERM');
    assert.equal(await program.closed, 0);
  }
  return body;
}

/** Runs a program to its end; returns its stdout, and fails the test when it fails. */
export async function output(t: TestContext, path: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runTool(t, path, args);
  assert.equal(code, 0, `${path} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

function onFreePorts(relayFile: string): void {
  const text = readFileSync(relayFile, 'utf8');
  writeFileSync(relayFile, text.replace(/^( {2}(?:https|http|admin): )"[^"]*"/gm, '$1"127.0.0.1:0"'));
}

function portOf(listening: string, name: string): number {
  const port = new RegExp(`"${name}":"[^"]*:(\\d+)"`).exec(listening)?.[1];
  return Number(port ?? assert.fail(listening));
}
