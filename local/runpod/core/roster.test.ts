import { describe, expect, it } from 'vitest';
import type { EndpointEvent } from './endpoint-event.ts';
import { Roster, type RosterRules } from './roster.ts';

const START = 1_000_000;

function roster(changes: Partial<RosterRules> = {}) {
  const happenings: EndpointEvent[] = [];
  const made = new Roster(
    {
      min: 0,
      idleTimeoutMs: 5000,
      initTimeoutMs: 420_000,
      stopGraceMs: 10_000,
      termGraceMs: 8000,
      silenceMs: 30_000,
      ...changes,
    },
    (happening) => happenings.push(happening),
  );
  return { roster: made, happenings };
}

/** A started worker that has asked for work once. */
function ready(made: Roster, at = START): string {
  const { id } = made.open(at);
  made.asks(id, false, at);
  return id;
}

describe('names and slots', () => {
  it('do not repeat a name but reuse slots', () => {
    const { roster: made } = roster();
    expect([made.open(START), made.open(START)].map(({ id, slot }) => [id, slot])).toEqual([
      ['w1', 1],
      ['w2', 2],
    ]);
    made.remove('w1');
    expect(made.open(START)).toMatchObject({ id: 'w3', slot: 1 });
  });

  it('include an attached worker from its first call', () => {
    const { roster: made, happenings } = roster();
    expect(made.asks('mine', false, START)).toMatchObject({ id: 'mine', slot: null, state: 'idle' });
    expect(happenings).toEqual([{ type: 'worker_ready', worker: 'mine', attached: true }]);
  });
});

it('a ping after the end of a started worker does not add it again', () => {
  const { roster: made } = roster();
  const id = ready(made);
  made.remove(id);
  made.pinged(id, [], START + 1);
  expect(made.asks(id, false, START + 2).state).toBe('stopping');
  expect(made.all()).toEqual([]);
});

describe('a started worker', () => {
  it('is initializing until its first job-take', () => {
    const { roster: made } = roster();
    const worker = made.open(START);
    expect(worker.state).toBe('initializing');
    made.pinged(worker.id, [], START + 1);
    expect(worker.state).toBe('initializing');
    made.asks(worker.id, false, START + 2);
    expect(worker.state).toBe('idle');
  });

  it('is killed without a job-take within the start limit', () => {
    const { roster: made } = roster();
    const { id } = made.open(START);
    expect(made.due(START + 419_999)).toEqual([]);
    expect(made.due(START + 420_000)).toEqual([{ do: 'kill', worker: id, reason: 'did not start in time' }]);
    made.killed(id);
    expect(made.due(START + 420_000)).toEqual([]);
  });

  it('gets SIGTERM after the idle time since its last job', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    expect(made.due(START + 60_000)).toEqual([]);
    made.removeJob(id, 'j1', START + 60_000);
    expect(made.nextDeadline(START + 60_000)).toBe(START + 65_000);
    expect(made.due(START + 64_999)).toEqual([]);
    expect(made.due(START + 65_000)).toEqual([{ do: 'terminate', worker: id, reason: 'idle' }]);
  });

  it('is kept when it is one of the minimum', () => {
    const { roster: made } = roster({ min: 1 });
    ready(made);
    ready(made);
    expect(made.due(START + 5000)).toHaveLength(1);
    expect(made.nextDeadline(START + 5000)).toBe(Number.POSITIVE_INFINITY);
  });

  it('is killed when it does not end in time after SIGTERM', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.stopping(id, 'admin', START);
    expect(made.due(START + 7999)).toEqual([]);
    expect(made.due(START + 8000)).toEqual([{ do: 'kill', worker: id, reason: 'did not end' }]);
  });

  it('finishes its job after SIGTERM', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.stopping(id, 'admin', START);
    expect(made.due(START + 100_000)).toEqual([]);
    made.removeJob(id, 'j1', START + 100_000);
    expect(made.due(START + 107_999)).toEqual([]);
    expect(made.due(START + 108_000)).toHaveLength(1);
  });
});

describe('stopping one job', () => {
  it('sends job-stop exactly once', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START);
    expect(made.takeStops(id, START + 300)).toEqual(['j1']);
    expect(made.takeStops(id, START + 300)).toEqual([]);
  });

  it('waits STOP_AFTER_TAKE_MS after the take, because the SDK drops an earlier stop', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START + 50);
    expect(made.takeStops(id, START + 249)).toEqual([]);
    expect(made.nextStopIn(id, START + 50)).toBe(200);
    expect(made.takeStops(id, START + 250)).toEqual(['j1']);
    expect(made.nextStopIn(id, START + 250)).toBe(Number.POSITIVE_INFINITY);
  });

  it('sends job-stop again when the worker did not receive it', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START);
    const named = made.takeStops(id, START + 300);
    made.stopsNotReceived(id, named);
    expect(made.takeStops(id, START + 400)).toEqual(['j1']);
  });

  it.each([
    ['asks for work with none in progress', (made: Roster, id: string) => made.asks(id, false, START + 1000)],
    [
      'no longer names it in two pings',
      (made: Roster, id: string) => {
        made.pinged(id, ['other'], START + 500);
        made.pinged(id, [], START + 1000);
      },
    ],
    ['reports its end after all', (made: Roster, id: string) => made.removeJob(id, 'j1', START + 1000)],
  ])('ends when the worker %s', (_, sign) => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START);
    made.takeStops(id, START + 300);
    expect(made.get(id)?.state).toBe('running');
    sign(made, id);
    expect(made.get(id)).toMatchObject({ state: 'idle', idleSince: START + 1000 });
    expect(made.due(START + 5999)).toEqual([]);
  });

  it('does not end with one ping without the job, which may be older than the job', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START);
    made.pinged(id, [], START + 10);
    made.takeStops(id, START + 300);
    made.pinged(id, [], START + 20);
    made.pinged(id, ['j1'], START + 1000);
    made.pinged(id, [], START + 2000);
    expect(made.get(id)?.jobs.has('j1')).toBe(true);
  });

  it('does not end while the worker still reports the job', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START);
    made.takeStops(id, START + 300);
    made.pinged(id, ['j1'], START + 1000);
    made.asks(id, true, START + 1000);
    expect(made.get(id)?.jobs.has('j1')).toBe(true);
  });

  it('kills a worker that continues the job', () => {
    const { roster: made } = roster();
    const id = ready(made);
    made.assign(id, 'j1', START);
    made.wantStop(id, 'j1', START + 100);
    expect(made.nextDeadline(START + 100)).toBe(START + 10_100);
    expect(made.due(START + 10_100)).toEqual([{ do: 'kill', worker: id, reason: 'went on with a stopped job' }]);
  });
});

describe('an attached worker', () => {
  it('is lost after it missed its pings', () => {
    const { roster: made } = roster();
    made.asks('mine', false, START);
    made.pinged('mine', [], START + 20_000);
    expect(made.due(START + 49_999)).toEqual([]);
    expect(made.due(START + 50_000)).toEqual([{ do: 'write off', worker: 'mine', reason: 'missed pings' }]);
  });

  it('is not silent during its own job-take', () => {
    const { roster: made } = roster();
    made.asks('mine', false, START).openPolls += 1;
    expect(made.due(START + 500_000)).toEqual([]);
  });

  it('is not stopped when idle', () => {
    const { roster: made } = roster();
    made.asks('mine', false, START);
    expect(made.due(START + 6000)).toEqual([]);
  });
});
