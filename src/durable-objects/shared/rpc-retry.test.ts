import { describe, expect, it } from 'vitest';
import { isTransient, withRpcRetry } from './rpc-retry.ts';

/**
 * Guards calls between objects during a deploy: the platform resets objects, and an object of another release may lack
 * a method. Such errors are retried; any other error is not, because the call may have had its effect.
 */

/** A call that fails in the given ways, one after the other, and then succeeds. */
function failing(...marks: Record<string, boolean>[]) {
  let calls = 0;
  const call = () => {
    const mark = marks[calls];
    calls += 1;
    return mark === undefined ? Promise.resolve('done') : Promise.reject(Object.assign(new Error('moved'), mark));
  };
  return { call, calls: () => calls };
}

describe('withRpcRetry', () => {
  it('retries errors that the platform flags as retryable', async () => {
    const object = failing({ retryable: true }, { retryable: true });
    expect(await withRpcRetry(object.call)).toBe('done');
    expect(object.calls()).toBe(3);
  });

  it('throws after three calls', async () => {
    const object = failing({ retryable: true }, { retryable: true }, { retryable: true });
    await expect(withRpcRetry(object.call)).rejects.toThrow('moved');
    expect(object.calls()).toBe(3);
  });

  it.each([{}, { retryable: false }, { overloaded: true }, { retryable: true, overloaded: true }])(
    'does not retry after %j',
    async (mark) => {
      const object = failing(mark);
      await expect(withRpcRetry(object.call)).rejects.toThrow('moved');
      expect(object.calls()).toBe(1);
    },
  );
});

describe('isTransient', () => {
  it('accepts the error for a method that an object of another release lacks (test/skew has the real one)', () => {
    expect(isTransient(new TypeError('The RPC receiver does not implement the method "next".'))).toBe(true);
  });

  it.each([new Error('the object does not exist'), new TypeError('not a function'), 'text', null])(
    'rejects %s',
    (error) => expect(isTransient(error)).toBe(false),
  );
});
