import { describe, expect, it } from 'vitest';
import type { JobError } from '../../clients/sdk/index.ts';
import { judge } from './judge.ts';
import type { Observation } from './observe.ts';

const failed = (error: Partial<JobError>): Observation => ({
  name: 'a node raises',
  job: {
    status: 'failed',
    error: { code: 'out_of_memory', message: 'no room', at: 'worker', retryable: true, attempt: 1, ...error },
    outputs: [],
  },
  story: ['failed'],
  files: new Map(),
});

const verdicts = (one: Observation, two: Observation): boolean[] =>
  Object.values(judge('python', one, two)).map(({ same }) => same);

describe('two observations of one job', () => {
  it('are equal when only the run id of RunPod differs in their errors', () => {
    expect(verdicts(failed({ upstream_id: 'one' }), failed({ upstream_id: 'two' }))).toEqual([true, true, true, true]);
  });

  it('differ when their errors have different codes', () => {
    expect(verdicts(failed({}), failed({ code: 'execution_error' }))).toContain(false);
  });
});
