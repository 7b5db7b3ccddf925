/**
 * ThisProgram: how to start this program once more, for a successor or a worker.
 */

/** The command line without its arguments; a single executable is its own interpreter. */
export function thisProgram(): string[] {
  const [interpreter = process.execPath, main = process.execPath] = process.argv;
  return [interpreter, ...process.execArgv, ...(main === process.execPath ? [] : [main])];
}
