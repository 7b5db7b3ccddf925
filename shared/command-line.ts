/**
 * CommandLine: what both programs' mains have in common: commander (its one door), exit codes by the error table, and
 * errors as one line on stderr.
 */
import { Command, CommanderError } from 'commander';
import { asTunnelError, exitOf } from './errors.js';
import { printable } from './printable.js';
import { VERSION } from './version.js';

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

/** Runs the verb that `process.argv` names and sets the exit code. */
export async function runProgram(program: Command): Promise<void> {
  // A verb inherits neither the override nor the hint by itself when it is added by another file.
  for (const command of allCommands(program)) command.exitOverride().showHelpAfterError('(add --help for usage)');
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(program.name(), error);
  }
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
