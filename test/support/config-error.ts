/** Assertions about what an operator is told. */
import assert from 'node:assert/strict';
import { TunnelError } from '../../shared/errors.js';

/** The message with which `act` refuses. Fails when it does not, or with anything but this code. */
export function refusalOf(act: () => unknown, code = 'CONFIG_INVALID'): string {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof TunnelError, `Not a TunnelError: ${error instanceof Error ? error.stack : error}`);
    assert.equal(error.code, code);
    return error.message;
  }
  return assert.fail('Nothing was refused');
}

/** Runs `act`, in which only a CONFIG_INVALID may be thrown; undefined when it was. */
export function unlessRefused<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof TunnelError && error.code === 'CONFIG_INVALID') return undefined;
    throw error;
  }
}
