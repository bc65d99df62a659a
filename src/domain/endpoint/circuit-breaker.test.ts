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

/** A breaker played by hand: time moves only when told to. */
class Play {
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

  /** Whether this job may call `/run` now. */
  lets(job: string): boolean {
    const answer = ask(this.breaker, job, this.now, settings);
    this.breaker = answer.breaker;
    return answer.wait_ms === null;
  }
}

const opened = () => new Play().on(run('failed'), run('failed'), run('failed'));
const halfOpen = () => opened().after(10_000).on(health('ok'));

describe('a closed breaker', () => {
  test('opens with the third failure in a window, not before', ({ expect }) => {
    const scenario = new Play().on(run('failed'), run('failed'));
    expect(scenario.breaker.mode).toBe('closed');
    expect(scenario.on(run('failed')).breaker).toMatchObject({
      mode: 'open',
      cause: 'failing',
      retry_at: START + 10_000,
    });
  });

  test('forgets failures that are older than the window', ({ expect }) => {
    const scenario = new Play().on(run('failed'), run('failed')).after(60_000).on(run('failed'));
    expect(scenario.breaker.mode).toBe('closed');
  });

  test('stays closed while more calls succeed than fail', ({ expect }) => {
    const scenario = new Play().on(
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

  test('is not kept closed by health that answers while no run is taken', ({ expect }) => {
    const scenario = new Play().on(run('failed'), ...Array.from({ length: 20 }, () => health('ok', 'some')));
    expect(scenario.on(run('failed'), run('failed')).breaker.mode).toBe('open');
  });

  test.for([run('refused'), health('refused')])(
    'opens at once when the provider refuses us: $kind',
    (event, { expect }) => {
      expect(new Play().on(event).breaker).toMatchObject({ mode: 'open', cause: 'refused' });
    },
  );

  test('opens when what waits has had no worker for too long', ({ expect }) => {
    expect(new Play().on(health('ok', 'unknown')).breaker.mode).toBe('closed');
    expect(new Play().on(health('ok', 'starved')).breaker).toMatchObject({ mode: 'open', cause: 'no_workers' });
  });

  test('is left alone as long as the provider asked for', ({ expect }) => {
    const scenario = new Play().on(run('failed'), run('failed'), run('failed', 'j', 40_000));
    expect(scenario.breaker.retry_at).toBe(START + 40_000);
  });

  test('is the very same value while all is well: nothing to store', ({ expect }) => {
    expect(new Play().on(run('ok'), health('ok', 'some')).breaker).toBe(closedBreaker);
  });
});

describe('an open breaker', () => {
  test('lets nobody through, and says how long to wait', ({ expect }) => {
    const scenario = opened().after(4_000);
    expect(ask(scenario.breaker, 'a', scenario.now, settings).wait_ms).toBe(6_000);
  });

  test('does not listen to calls that were sent before it opened', ({ expect }) => {
    const scenario = opened();
    const before = scenario.breaker;
    expect(scenario.on(run('ok'), run('failed'), run('refused')).breaker).toBe(before);
  });

  test('stays open after its pause until health answers, and pauses twice as long each time it does not', ({
    expect,
  }) => {
    const scenario = opened().after(10_000);
    expect(scenario.lets('a')).toBe(false);
    scenario.on(health('failed'));
    expect(scenario.breaker).toMatchObject({ mode: 'open', retry_at: scenario.now + 20_000 });
    scenario.after(20_000).on(health('refused'));
    expect(scenario.breaker).toMatchObject({ mode: 'open', cause: 'refused', retry_at: scenario.now + 40_000 });
    expect(scenario.after(40_000).on(health('ok')).breaker.mode).toBe('half_open');
  });

  test('for want of workers closes as soon as there is one', ({ expect }) => {
    const scenario = new Play().on(health('ok', 'starved')).after(1_000).on(health('ok', 'some'));
    expect(scenario.breaker.mode).toBe('closed');
  });
});

describe('a half-open breaker', () => {
  test('lets one job through, and that one again', ({ expect }) => {
    const scenario = halfOpen();
    expect([scenario.lets('a'), scenario.lets('b'), scenario.lets('a'), scenario.lets('c')]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  test('closes when that job is taken', ({ expect }) => {
    const scenario = halfOpen();
    scenario.lets('a');
    expect(scenario.on(run('ok', 'a')).breaker).toBe(closedBreaker);
  });

  test.for(['failed', 'refused'] as const)(
    'opens for twice as long when that job is not: %s',
    (outcome, { expect }) => {
      const scenario = halfOpen();
      scenario.lets('a');
      scenario.on(run(outcome, 'a'));
      expect(scenario.breaker).toMatchObject({ mode: 'open', retry_at: scenario.now + 20_000 });
    },
  );

  test('does not mind what becomes of any other job', ({ expect }) => {
    const scenario = halfOpen();
    scenario.lets('a');
    const before = scenario.breaker;
    expect(scenario.on(run('ok', 'b'), run('refused', 'c')).breaker).toBe(before);
  });

  test('lets another one through when the first is never heard of again', ({ expect }) => {
    const scenario = halfOpen();
    scenario.lets('a');
    scenario.after(PROBE_MS - 1);
    expect(scenario.lets('b')).toBe(false);
    scenario.after(1);
    expect(scenario.lets('b')).toBe(true);
  });

  test('for want of workers lets the next one through when the first no longer waits for one', ({ expect }) => {
    const scenario = new Play().on(health('ok', 'starved')).after(10_000).on(health('ok', 'idle'));
    expect(scenario.lets('a')).toBe(true);
    scenario
      .on(run('ok', 'a'))
      .after(PROBE_MS - 1)
      .on(health('ok', 'idle'));
    // RunPod may not count the run yet.
    expect(scenario.lets('b')).toBe(false);
    scenario.after(1).on(health('ok', 'unknown'));
    expect(scenario.lets('b')).toBe(false);
    scenario.on(health('ok', 'idle'));
    expect(scenario.lets('b')).toBe(true);
  });

  test('for want of workers waits for a worker, not for the run to be taken', ({ expect }) => {
    const scenario = new Play().on(health('ok', 'starved')).after(10_000).on(health('ok', 'unknown'));
    expect(scenario.breaker).toMatchObject({ mode: 'half_open', cause: 'no_workers' });
    expect(scenario.lets('a')).toBe(true);
    scenario.on(run('ok', 'a'));
    expect(scenario.lets('b')).toBe(false);
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
const moment = fc.oneof(
  fc.record({ do: fc.constant('feed' as const), event }),
  fc.record({ do: fc.constant('ask' as const), job }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 90_000 }) }),
);
const story = fc.array(moment, { maxLength: 80 });

function playStory(
  moments: (typeof moment extends fc.Arbitrary<infer M> ? M : never)[],
  each: (scenario: Play) => void,
): Play {
  const scenario = new Play();
  for (const one of moments) {
    if (one.do === 'wait') {
      scenario.after(one.ms);
    } else if (one.do === 'feed') {
      scenario.on(one.event);
    } else {
      scenario.lets(one.job);
    }
    each(scenario);
  }
  return scenario;
}

describe('whatever happens, the breaker', () => {
  test('sends nothing while it is open, and is never open without an end', ({ expect }) => {
    fc.assert(
      fc.property(story, (moments) => {
        playStory(moments, ({ breaker, now }) => {
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

  test('has at most one job ahead of the others while it is half-open', ({ expect }) => {
    fc.assert(
      fc.property(story, (moments) => {
        playStory(moments, ({ breaker, now }) => {
          const { probe } = breaker;
          if (breaker.mode === 'half_open' && probe !== null && now < probe.until) {
            const ahead = ['a', 'b', 'c', 'd'].filter((one) => ask(breaker, one, now, settings).wait_ms === null);
            expect(ahead).toEqual([probe.job]);
          }
        });
      }),
    );
  });

  test('opens from closed for a reason only: enough failures, a refusal, or no workers', ({ expect }) => {
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
          expect(new Play().on(...events).breaker.mode).toBe('closed');
        },
      ),
    );
  });

  test('is closed again within its longest pause and one probe once all is well', ({ expect }) => {
    fc.assert(
      fc.property(story, (moments) => {
        const scenario = playStory(moments, () => {});
        // The longest anything of before may still hold: a pause, then a probe that nobody hears of.
        scenario.after(MAX_PAUSE_MS).on(health('ok', 'some'));
        scenario.after(settings.no_workers_after_ms + PROBE_MS);
        expect(scenario.lets('well')).toBe(true);
        scenario.on(run('ok', 'well'), health('ok', 'some'));
        expect(scenario.breaker.mode).toBe('closed');
      }),
    );
  });
});
