/**
 * StopSignal: what SIGINT and SIGTERM mean. The first asks for an orderly end, the second ends at once.
 *
 * Owns: the process's signal listeners. Owned by: the verb that runs until it is stopped.
 */

export interface StopSteps {
  /** The first signal. */
  readonly drain: () => void;
  /** The second one. */
  readonly end: () => void;
}

/** Listens until the returned function is called. */
export function onStopSignal(steps: StopSteps): () => void {
  let signals = 0;
  const onSignal = () => {
    signals += 1;
    if (signals === 1) steps.drain();
    else steps.end();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return () => {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  };
}
