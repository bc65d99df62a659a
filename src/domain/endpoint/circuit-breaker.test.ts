import fc from 'fast-check';
import { describe, test } from 'vitest';
import type { CallOutcome } from '../../contract/endpoint.ts';
import {
  ask,
  closedBreaker,
  feed,
  MAX_PAUSE_MS,
  PROBE_MS,
  type Breaker,
  type BreakerEvent,
  type BreakerSettings,
  type Supply,
} from './circuit-breaker.ts';

const settings: BreakerSettings = { failures: 3, window_ms: 60_000, pause_ms: 10_000, no_workers_after_ms: 180_000 };
const START = 1_800_000_000_000;

const run = (outcome: CallOutcome, job = 'j', retry_after_ms: number | null = null): BreakerEvent => ({
  kind: 'run',
  job,
  outcome,
  retry_after_ms,
});
const health = (outcome: CallOutcome, workers: Supply = 'unknown'): BreakerEvent => ({
  kind: 'health',
  outcome,
  workers: outcome === 'ok' ? workers : null,
});

/** A breaker with a clock that the test controls. */
class Scenario {
  breaker: Breaker = closedBreaker;
  now = START;

  on(...events: BreakerEvent[]): this {
    for (const event of events) {
      this.breaker = feed(this.breaker, event, this.now, settings);
    }
    return this;
  }

  after(ms: number): this {
    this.now += ms;
    return this;
  }

  /** Asks whether this job may call `/run` now. */
  allows(job: string): boolean {
    const answer = ask(this.breaker, job, this.now, settings);
    this.breaker = answer.breaker;
    return answer.wait_ms === null;
  }
}

const openBreaker = () => new Scenario().on(run('failed'), run('failed'), run('failed'));
const halfOpenBreaker = () => openBreaker().after(10_000).on(health('ok'));

describe('a closed circuit breaker', () => {
  test('opens with the third failure in a window, not before', ({ expect }) => {
    const scenario = new Scenario().on(run('failed'), run('failed'));
    expect(scenario.breaker.mode).toBe('closed');
    expect(scenario.on(run('failed')).breaker).toMatchObject({
      mode: 'open',
      cause: 'failing',
      retry_at: START + 10_000,
    });
  });

  test('forgets failures that are older than the window', ({ expect }) => {
    const scenario = new Scenario().on(run('failed'), run('failed')).after(60_000).on(run('failed'));
    expect(scenario.breaker.mode).toBe('closed');
  });

  test('stays closed while more calls succeed than fail', ({ expect }) => {
    const scenario = new Scenario().on(
      run('failed'),
      run('ok'),
      run('ok'),
      run('ok'),
      run('ok'),
      run('failed'),
      run('failed'),
    );
    expect(scenario.breaker.mode).toBe('closed');
  });

  test('opens when runs fail, even if health checks succeed', ({ expect }) => {
    const scenario = new Scenario().on(run('failed'), ...Array.from({ length: 20 }, () => health('ok', 'some')));
    expect(scenario.on(run('failed'), run('failed')).breaker.mode).toBe('open');
  });

  test.for([run('refused'), health('refused')])(
    'opens at once when the provider refuses the account: $kind',
    (event, { expect }) => {
      expect(new Scenario().on(event).breaker).toMatchObject({ mode: 'open', cause: 'refused' });
    },
  );

  test('opens when waiting runs have had no worker for too long', ({ expect }) => {
    expect(new Scenario().on(health('ok', 'unknown')).breaker.mode).toBe('closed');
    expect(new Scenario().on(health('ok', 'starved')).breaker).toMatchObject({ mode: 'open', cause: 'no_workers' });
  });

  test("opens for the time of the provider's Retry-After", ({ expect }) => {
    const scenario = new Scenario().on(run('failed'), run('failed'), run('failed', 'j', 40_000));
    expect(scenario.breaker.retry_at).toBe(START + 40_000);
  });

  test('returns the same object when nothing changed', ({ expect }) => {
    expect(new Scenario().on(run('ok'), health('ok', 'some')).breaker).toBe(closedBreaker);
  });
});

describe('an open circuit breaker', () => {
  test('rejects every job, and returns the time to wait', ({ expect }) => {
    const scenario = openBreaker().after(4_000);
    expect(ask(scenario.breaker, 'a', scenario.now, settings).wait_ms).toBe(6_000);
  });

  test('ignores the outcomes of earlier calls', ({ expect }) => {
    const scenario = openBreaker();
    const before = scenario.breaker;
    expect(scenario.on(run('ok'), run('failed'), run('refused')).breaker).toBe(before);
  });

  test('stays open after its pause until a health check succeeds, and doubles the pause on each failure', ({
    expect,
  }) => {
    const scenario = openBreaker().after(10_000);
    expect(scenario.allows('a')).toBe(false);
    scenario.on(health('failed'));
    expect(scenario.breaker).toMatchObject({ mode: 'open', retry_at: scenario.now + 20_000 });
    scenario.after(20_000).on(health('refused'));
    expect(scenario.breaker).toMatchObject({ mode: 'open', cause: 'refused', retry_at: scenario.now + 40_000 });
    expect(scenario.after(40_000).on(health('ok')).breaker.mode).toBe('half_open');
  });

  test('closes as soon as there is a worker, when it opened for lack of workers', ({ expect }) => {
    const scenario = new Scenario().on(health('ok', 'starved')).after(1_000).on(health('ok', 'some'));
    expect(scenario.breaker.mode).toBe('closed');
  });
});

describe('a half-open circuit breaker', () => {
  test('allows one job, and the same job again', ({ expect }) => {
    const scenario = halfOpenBreaker();
    expect([scenario.allows('a'), scenario.allows('b'), scenario.allows('a'), scenario.allows('c')]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  test('closes when the run of that job is accepted', ({ expect }) => {
    const scenario = halfOpenBreaker();
    scenario.allows('a');
    expect(scenario.on(run('ok', 'a')).breaker).toBe(closedBreaker);
  });

  test.for(['failed', 'refused'] as const)(
    'opens for twice as long when the run of that job is not accepted: %s',
    (outcome, { expect }) => {
      const scenario = halfOpenBreaker();
      scenario.allows('a');
      scenario.on(run(outcome, 'a'));
      expect(scenario.breaker).toMatchObject({ mode: 'open', retry_at: scenario.now + 20_000 });
    },
  );

  test('ignores the outcomes of other jobs', ({ expect }) => {
    const scenario = halfOpenBreaker();
    scenario.allows('a');
    const before = scenario.breaker;
    expect(scenario.on(run('ok', 'b'), run('refused', 'c')).breaker).toBe(before);
  });

  test('allows another job when the outcome of the first is not reported', ({ expect }) => {
    const scenario = halfOpenBreaker();
    scenario.allows('a');
    scenario.after(PROBE_MS - 1);
    expect(scenario.allows('b')).toBe(false);
    scenario.after(1);
    expect(scenario.allows('b')).toBe(true);
  });

  test('allows the next job when the first no longer waits for a worker', ({ expect }) => {
    const scenario = new Scenario().on(health('ok', 'starved')).after(10_000).on(health('ok', 'idle'));
    expect(scenario.allows('a')).toBe(true);
    scenario
      .on(run('ok', 'a'))
      .after(PROBE_MS - 1)
      .on(health('ok', 'idle'));
    // RunPod may not have counted the run yet.
    expect(scenario.allows('b')).toBe(false);
    scenario.after(1).on(health('ok', 'unknown'));
    expect(scenario.allows('b')).toBe(false);
    scenario.on(health('ok', 'idle'));
    expect(scenario.allows('b')).toBe(true);
  });

  test('closes for a worker and not for an accepted run, when it opened for lack of workers', ({ expect }) => {
    const scenario = new Scenario().on(health('ok', 'starved')).after(10_000).on(health('ok', 'unknown'));
    expect(scenario.breaker).toMatchObject({ mode: 'half_open', cause: 'no_workers' });
    expect(scenario.allows('a')).toBe(true);
    scenario.on(run('ok', 'a'));
    expect(scenario.allows('b')).toBe(false);
    const worse = scenario.breaker;
    expect(scenario.on(health('ok', 'some')).breaker).toBe(closedBreaker);
    scenario.breaker = worse;
    expect(scenario.on(health('ok', 'starved')).breaker).toMatchObject({ mode: 'open', cause: 'no_workers' });
  });
});

const outcome = fc.constantFrom<CallOutcome>('ok', 'failed', 'refused');
const job = fc.constantFrom('a', 'b', 'c', 'd');
const event: fc.Arbitrary<BreakerEvent> = fc.oneof(
  fc.record({
    kind: fc.constant('run' as const),
    job,
    outcome,
    retry_after_ms: fc.option(fc.integer({ min: 0, max: 1_000_000 })),
  }),
  fc
    .record({ outcome, workers: fc.constantFrom('some' as const, 'starved' as const, 'unknown' as const) })
    .map((seen) => health(seen.outcome, seen.workers)),
);
const step = fc.oneof(
  fc.record({ do: fc.constant('feed' as const), event }),
  fc.record({ do: fc.constant('ask' as const), job }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 90_000 }) }),
);
const scenarioSteps = fc.array(step, { maxLength: 80 });

function runSteps(
  steps: (typeof step extends fc.Arbitrary<infer M> ? M : never)[],
  each: (scenario: Scenario) => void,
): Scenario {
  const scenario = new Scenario();
  for (const one of steps) {
    if (one.do === 'wait') {
      scenario.after(one.ms);
    } else if (one.do === 'feed') {
      scenario.on(one.event);
    } else {
      scenario.allows(one.job);
    }
    each(scenario);
  }
  return scenario;
}

describe('a circuit breaker after random events', () => {
  test('allows no job while it is open, and is open for at most MAX_PAUSE_MS', ({ expect }) => {
    fc.assert(
      fc.property(scenarioSteps, (steps) => {
        runSteps(steps, ({ breaker, now }) => {
          if (breaker.mode === 'open') {
            expect(ask(breaker, 'a', now, settings).wait_ms).not.toBeNull();
            expect(breaker.pause_ms).toBeLessThanOrEqual(MAX_PAUSE_MS);
            expect(breaker.retry_at).toBeLessThanOrEqual(now + MAX_PAUSE_MS);
          } else {
            expect(breaker.retry_at).toBeNull();
          }
        });
      }),
    );
  });

  test('allows only the probe job while it is half-open', ({ expect }) => {
    fc.assert(
      fc.property(scenarioSteps, (steps) => {
        runSteps(steps, ({ breaker, now }) => {
          const { probe } = breaker;
          if (breaker.mode === 'half_open' && probe !== null && now < probe.until) {
            const ahead = ['a', 'b', 'c', 'd'].filter((one) => ask(breaker, one, now, settings).wait_ms === null);
            expect(ahead).toEqual([probe.job]);
          }
        });
      }),
    );
  });

  test('stays closed with fewer failures than its limit', ({ expect }) => {
    const mild = fc.array(fc.oneof(fc.constant(run('ok')), fc.constant(health('ok', 'some'))), { maxLength: 40 });
    fc.assert(
      fc.property(
        mild,
        fc.integer({ min: 0, max: settings.failures - 1 }),
        fc.infiniteStream(fc.nat(40)),
        (calm, failures, at) => {
          const events = [...calm];
          for (let count = 0; count < failures; count += 1) {
            events.splice(at.next().value % (events.length + 1), 0, run('failed'));
          }
          expect(new Scenario().on(...events).breaker.mode).toBe('closed');
        },
      ),
    );
  });

  test('closes within its longest pause and one probe after the provider recovers', ({ expect }) => {
    fc.assert(
      fc.property(scenarioSteps, (steps) => {
        const scenario = runSteps(steps, () => {});
        // The longest possible effect of earlier steps: a full pause, then a probe without an outcome.
        scenario.after(MAX_PAUSE_MS).on(health('ok', 'some'));
        scenario.after(settings.no_workers_after_ms + PROBE_MS);
        expect(scenario.allows('well')).toBe(true);
        scenario.on(run('ok', 'well'), health('ok', 'some'));
        expect(scenario.breaker.mode).toBe('closed');
      }),
    );
  });
});
