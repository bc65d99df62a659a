import { describe, expect, it } from 'vitest';
import { type Fault, FaultBook } from './faults.ts';

const anywhere = { endpoint: null, job: null, skip: 0, times: 1 };
const at = { endpoint: 'e1', job: 'j1' };
const lose: Fault = { ...anywhere, id: 'f1', kind: 'webhook', action: 'lose' };

function book(...faults: Fault[]): FaultBook {
  const made = new FaultBook();
  for (const fault of faults) {
    made.add({ ...fault });
  }
  return made;
}

describe('a fault', () => {
  it('applies to `times` calls', () => {
    const faults = book({ ...anywhere, id: 'f', kind: 'answer', operation: 'run', status: 429, times: 2 });
    expect(faults.forCall('run', at)?.id).toBe('f');
    expect(faults.forCall('run', at)?.id).toBe('f');
    expect(faults.forCall('run', at)).toBeNull();
    expect(faults.all()).toEqual([]);
  });

  it('does not apply to the first `skip` calls', () => {
    const faults = book({ ...lose, skip: 2 });
    expect([1, 2, 3, 4].map(() => faults.forWebhook(at)?.id ?? null)).toEqual([null, null, 'f1', null]);
  });

  it('applies to its operation, endpoint and job only', () => {
    const faults = book({ ...anywhere, id: 'f', kind: 'drop', operation: 'run', when: 'after', endpoint: 'e1' });
    expect(faults.forCall('status', at)).toBeNull();
    expect(faults.forCall('run', { endpoint: 'e2', job: null })).toBeNull();
    expect(faults.forWebhook(at)).toBeNull();
    expect(faults.forCall('run', at)).toMatchObject({ id: 'f' });

    const forJob = book({ ...lose, job: 'j2' });
    expect(forJob.forWebhook(at)).toBeNull();
    expect(forJob.forWebhook({ endpoint: 'e1', job: 'j2' })).toMatchObject({ id: 'f1' });
  });

  it('applies in the order of creation', () => {
    const faults = book(lose, { ...anywhere, id: 'f2', kind: 'webhook', action: 'delay', delay_ms: 5 });
    expect([faults.forWebhook(at)?.action, faults.forWebhook(at)?.action]).toEqual(['lose', 'delay']);
  });

  it('does not apply after all faults were deleted', () => {
    const faults = book(lose);
    faults.clear();
    expect(faults.forWebhook(at)).toBeNull();
  });
});
