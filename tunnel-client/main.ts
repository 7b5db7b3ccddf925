#!/usr/bin/env node
/**
 * `tunnel`: the home end of Sallyport. One file per verb.
 */
import { processIo } from '../shared/command/command-io.js';
import { newProgram, runProgram } from '../shared/command/command-line.js';
import { freeBuffersAtOnce } from '../shared/garbage-collection.js';
import { addServiceCommands } from '../shared/service/service-command.js';
import { addCheckCommand } from './check-command.js';
import { addDoctorCommand } from './doctor-command.js';
import { addJoinCommand } from './join-command.js';
import { addStatusCommand } from './status-command.js';
import { addUpCommand } from './up-command.js';
import { addWhyCommand } from './why-command.js';

freeBuffersAtOnce();
const io = processIo();
const program = newProgram('tunnel', 'Sallyport client: opens tunnels from home to your relay.');
addJoinCommand(program, io);
addUpCommand(program);
addCheckCommand(program, io);
addStatusCommand(program, io);
addServiceCommands(program, io);
addDoctorCommand(program, io);
addWhyCommand(program, io);
await runProgram(program);
