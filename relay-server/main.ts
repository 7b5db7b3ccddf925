#!/usr/bin/env node
/**
 * `relay`: the public end of Sallyport. One file per verb.
 */
import { processIo } from '../shared/command/command-io.js';
import { newProgram, runProgram } from '../shared/command/command-line.js';
import { freeBuffersAtOnce } from '../shared/garbage-collection.js';
import { addServiceCommands } from '../shared/service/service-command.js';
import { addAdminTokenCommands } from './admin-token-command.js';
import { addAlertCommands } from './alert-command.js';
import { addAuditCommands } from './audit-command.js';
import { addCertCommands } from './cert-command.js';
import { addCheckCommand } from './check-command.js';
import { addControlCommands } from './control-command.js';
import { addDoctorCommand } from './doctor-command.js';
import { addHostCommands } from './host-command.js';
import { addInitCommand } from './init-command.js';
import { readRelayConfig } from './relay-config.js';
import { addServeCommand } from './serve-command.js';
import { addStatusCommand } from './status-command.js';
import { addTlsWorkerCommand } from './tls-worker-command.js';
import { addTokenCommands } from './token-command.js';
import { addWhyCommand } from './why-command.js';

freeBuffersAtOnce();
const io = processIo();
const program = newProgram('relay', 'Sallyport relay: the public end of your tunnels.');
addInitCommand(program, io);
addServeCommand(program);
addControlCommands(program, io);
addCheckCommand(program, io);
addTokenCommands(program, io);
addHostCommands(program, io);
addAdminTokenCommands(program, io);
addCertCommands(program, io);
addStatusCommand(program, io);
addServiceCommands(program, io, (file) => {
  const { listen, stateDir } = readRelayConfig(file);
  return { https: listen.https, http: listen.http, stateDir };
});
addDoctorCommand(program, io);
addWhyCommand(program, io);
addAlertCommands(program, io);
addAuditCommands(program, io);
addTlsWorkerCommand(program);
await runProgram(program);
