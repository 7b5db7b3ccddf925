/**
 * JoinHints: decides what `tunnel join` tells a person to do next. A join line does not say what its token may serve, so
 * no hint promises a hostname. Pure; owns nothing. Used by: join-command.ts.
 */
import * as path from 'node:path';

/** What is known once the files are written. */
export interface Joined {
  /** The config file, as the person named it; undefined for the user's own. */
  readonly config: string | undefined;
  /** Whether a config file was there before. */
  readonly isAgain: boolean;
  /** How many tunnels the file lists; undefined when it cannot be read. */
  readonly tunnels: number | undefined;
  /** A hostname that is likely to be granted. */
  readonly exampleHost: string;
}

export interface NextStep {
  /** For people, in this order. */
  readonly notes: readonly string[];
  /** The next command, for stdout. */
  readonly command: string;
}

const SERVICE_CONFIG = /^\/var\/lib\/(?:private\/)?sallyport-tunnel(?:-([a-z0-9][a-z0-9-]*))?\/tunnel\.yaml$/;

/** What to do after joining. */
export function nextStep(joined: Joined): NextStep {
  const { config, isAgain, tunnels, exampleHost } = joined;
  const service = config === undefined ? null : SERVICE_CONFIG.exec(path.resolve(config));
  if (config !== undefined && service !== null) return serviceStep(config, service[1], joined);
  const flag = config === undefined ? '' : ` --config ${config}`;
  const restart = isAgain ? ['A `tunnel up` that runs must be started again to take the new token.'] : [];
  if (tunnels !== 0) return { notes: [...restart, 'Next, serve what the file lists:'], command: `tunnel up${flag}` };
  const where = 'under a hostname that the token may serve, or with --tcp-port PORT instead of --host; for example:';
  return {
    notes: [...restart, `Next, serve what listens on port 3000 here, ${where}`],
    command: `tunnel up 3000 --host ${exampleHost}${flag}`,
  };
}

/** A service that a refused token ended (exit 77) is not started again by systemd: somebody has to. */
function serviceStep(config: string, instance: string | undefined, { isAgain, tunnels }: Joined): NextStep {
  const edit = tunnels === 0 ? [`List what this machine serves under "tunnels:": sudoedit ${config}`] : [];
  const unit = `sallyport-tunnel${instance === undefined ? '' : `@${instance}`}`;
  const flag = instance === undefined ? '' : ` --instance ${instance}`;
  const install = `sudo tunnel service install${flag}`;
  if (!isAgain) return { notes: [...edit, 'Next, install and start the service:'], command: install };
  return {
    notes: [...edit, `Next, start the service again with the new token (if it is not installed yet: ${install}):`],
    command: `sudo systemctl restart ${unit}`,
  };
}
