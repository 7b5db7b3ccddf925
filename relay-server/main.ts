#!/usr/bin/env node
/**
 * `relay`: the public end of Sallyport. One file per verb.
 */
import { processIo } from '../shared/command-io.js';
import { newProgram, runProgram } from '../shared/command-line.js';
import { freeBuffersAtOnce } from '../shared/garbage-collection.js';
import { addCertCommands } from './cert-command.js';
import { addCheckCommand } from './check-command.js';
import { addHostCommands } from './host-command.js';
import { addInitCommand } from './init-command.js';
import { addServeCommand } from './serve-command.js';
import { addStatusCommand } from './status-command.js';
import { addTokenCommands } from './token-command.js';

freeBuffersAtOnce();
const io = processIo();
const program = newProgram('relay', 'Sallyport relay: the public end of your tunnels.');
addInitCommand(program, io);
addServeCommand(program);
addCheckCommand(program, io);
addTokenCommands(program, io);
addHostCommands(program, io);
addCertCommands(program, io);
addStatusCommand(program, io);
await runProgram(program);
