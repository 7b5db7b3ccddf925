/**
 * Quickstart (`npm start`): the whole product on this machine, on loopback, without root: the two real programs as child
 * processes, a sample origin for the client to forward to, and one visit of its own to prove it.
 *
 *   relay listens → client's tunnel is up → visit → welcome … until a signal, or until a program ends by itself
 *
 * The tunnel's program is started by its path, as a person would: neither program imports the other.
 *
 * Owns: the sample origin, both programs. `main` of its own process.
 */
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { asTunnelError, exitOf } from '../shared/errors.js';
import { readTextFile } from '../shared/files/bounded-file.js';
import { VERSION } from '../shared/version.js';
import { ChildProgram } from './quickstart/child-program.js';
import { prepareFolder, type QuickstartFolder } from './quickstart/quickstart-folder.js';
import { type SampleOrigin, startSampleOrigin } from './quickstart/sample-origin.js';
import { type VisitResult, visit } from './quickstart/visit.js';
import { welcomeText } from './quickstart/welcome.js';

const FOLDER = '.sallyport';
const RELAY = new URL('./main.js', import.meta.url);
const TUNNEL = new URL('../tunnel-client/main.js', import.meta.url);
/** A closed terminal counts as well: its programs must not stay behind. */
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

interface Ending {
  readonly code: number;
  /** Undefined when it was asked for. */
  readonly text: string | undefined;
}

class Quickstart {
  readonly #folder: QuickstartFolder;
  readonly #programs: ChildProgram[] = [];
  #over: (ending: Ending) => void = () => {};

  constructor(folder: QuickstartFolder) {
    this.#folder = folder;
  }

  /** Resolves when it is over, after a signal or by itself, and nothing is left running. */
  async run(): Promise<Ending> {
    const over = new Promise<Ending>((resolve) => {
      this.#over = resolve;
    });
    for (const signal of STOP_SIGNALS) process.on(signal, () => this.#over({ code: 0, text: undefined }));
    try {
      // When a program ends before its event, the wait for that event never ends, and `over` does.
      return await Promise.race([over, this.#bringUp().then(() => over)]);
    } finally {
      for (const program of this.#programs.reverse()) await program.stop();
    }
  }

  async #bringUp(): Promise<void> {
    const { relayConfig, tunnelConfig, relayLog, tunnelLog } = this.#folder;
    const relay = this.#start('relay', RELAY, ['serve', '--config', relayConfig], relayLog);
    await relay.event('listening');
    const client = this.#start('tunnel', TUNNEL, ['up', '--json', '--once', '--config', tunnelConfig], tunnelLog);
    const { url } = await client.event('up');
    console.log(await this.#welcome(new URL(String(url))));
  }

  #start(name: string, main: URL, args: readonly string[], logFile: string): ChildProgram {
    // The status socket stays in our folder, and a token of the person's own is for another relay.
    const env = { XDG_RUNTIME_DIR: FOLDER, SALLYPORT_TOKEN: undefined };
    const program = new ChildProgram({ name, main, args, env, logFile });
    this.#programs.push(program);
    void program.ended.then((ending) => this.#over(ending));
    return program;
  }

  async #welcome(url: URL): Promise<string> {
    const { relayConfig, relayLog, tunnelLog, caFile } = this.#folder;
    return welcomeText({
      version: VERSION,
      folder: FOLDER,
      url: url.href,
      visit: await visitOnce(url, caFile),
      caFile,
      statusCommands: [
        `node ${pathFromHere(RELAY)} status --config ${relayConfig}`,
        `XDG_RUNTIME_DIR=${FOLDER} node ${pathFromHere(TUNNEL)} status`,
      ],
      logFiles: [relayLog, tunnelLog],
    });
  }
}

/** What our own visit brought, or why it brought nothing. */
async function visitOnce(url: URL, caFile: string): Promise<VisitResult | string> {
  try {
    return await visit(url, readTextFile(caFile).text);
  } catch (error) {
    return asTunnelError(error).message;
  }
}

function pathFromHere(file: URL): string {
  return relative(process.cwd(), fileURLToPath(file));
}

async function runQuickstart(): Promise<Ending> {
  const origin: SampleOrigin = await startSampleOrigin();
  try {
    return await new Quickstart(await prepareFolder(FOLDER, origin.url)).run();
  } catch (error) {
    const { code, message } = asTunnelError(error);
    return { code: exitOf(code), text: message };
  } finally {
    await origin.close();
  }
}

// The terminal or the pipe that reads us may go before we do.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});
const { code, text } = await runQuickstart();
if (text !== undefined) console.error(`quickstart: ${text}`);
process.exitCode = code;
