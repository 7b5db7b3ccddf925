/**
 * CommandLine: what both programs' mains have in common: commander (its one door), exit codes by the error table, and
 * errors as one line on stderr.
 */
import { Command, CommanderError } from 'commander';
import { asTunnelError, exitOf } from '../errors.js';
import { printable } from '../printable.js';
import { VERSION } from '../version.js';

const EXIT_USAGE = 64;

/** A program without verbs, ready to get them. */
export function newProgram(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(VERSION, '-V, --version')
    .helpCommand('help [command]', 'show help for a command')
    .showHelpAfterError('(add --help for usage)')
    .exitOverride();
}

/** Runs the verb that `process.argv` names, and ends the process with the exit code of what came of it. */
export async function runProgram(program: Command): Promise<never> {
  // Nobody who stops reading (`tunnel --help | head -1`) may crash a program; what else it means, the verbs decide.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  // A verb inherits neither the override nor the hint by itself when it is added by another file.
  const outputError = (text: string, write: (text: string) => void) =>
    write(text.replace(/^error: /, `${program.name()}: `));
  for (const command of allCommands(program)) {
    command.exitOverride().showHelpAfterError('(add --help for usage)').configureOutput({ outputError });
  }
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(program.name(), error);
  }
  // Everything is closed by now. Left to itself, Node (20.20) may spin for ever in its own clean-up when a peer reset a
  // TLS connection in the very end.
  process.exit();
}

function report(program: string, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const failure = asTunnelError(error);
  for (const line of failure.message.split('\n')) process.stderr.write(`${program}: ${printable(line)}\n`);
  return exitOf(failure.code);
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}
