import { describe, expect, it } from 'vitest';
import { ManualClock } from '../clock.ts';
import { FaultBook, type WebhookFault } from '../core/faults.ts';
import type { EndpointEvent } from '../core/endpoint-event.ts';
import { Webhooks } from './webhooks.ts';

/** A receiver that answers with the given statuses in turn, then 200; `null` never answers. */
function rig(answers: (number | null)[] = []) {
  const clock = new ManualClock();
  const start = clock.now();
  const faults = new FaultBook();
  const arrived: { job: string; at: number }[] = [];
  const happenings: EndpointEvent[] = [];
  const webhooks = new Webhooks(clock, faults, (_, body, signal) => {
    arrived.push({ job: body, at: clock.now() - start });
    const answer = answers.length === 0 ? 200 : answers.shift();
    return typeof answer === 'number'
      ? Promise.resolve(answer)
      : new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('aborted')));
        });
  });
  const send = (job: string): void =>
    webhooks.send({
      endpoint: 'e1',
      job,
      url: 'http://h',
      body: job,
      report: (happening) => happenings.push(happening),
    });
  const fault = (given: WebhookFault): void =>
    faults.add({ id: 'f', endpoint: null, job: null, skip: 0, times: 1, ...given });
  return { clock, arrived, happenings, webhooks, send, fault };
}

describe('retries of a webhook', () => {
  it('end after one 200', async () => {
    const { clock, arrived, send, happenings } = rig();
    send('j1');
    await clock.advance(120_000);
    expect(arrived).toEqual([{ job: 'j1', at: 0 }]);
    expect(happenings).toEqual([{ type: 'webhook_sent', job: 'j1', attempt: 1, status: 200 }]);
  });

  it.each([201, 204, 302, 400, 500])(
    'tries twice more, ten seconds apart, after a %d, then never again',
    async (status) => {
      const { clock, arrived, send, happenings } = rig([status, status, status]);
      send('j1');
      await clock.advance(600_000);
      expect(arrived.map(({ at }) => at)).toEqual([0, 10_000, 20_000]);
      expect(happenings.at(-1)).toEqual({ type: 'webhook_given_up', job: 'j1' });
    },
  );

  it('end after the first 200', async () => {
    const { clock, arrived, send, happenings } = rig([500]);
    send('j1');
    await clock.advance(600_000);
    expect(arrived).toHaveLength(2);
    expect(happenings.at(-1)).toMatchObject({ type: 'webhook_sent', attempt: 2 });
  });

  it('follow a receiver that does not answer', async () => {
    const { clock, arrived, send, happenings } = rig([null]);
    send('j1');
    await clock.advance(10_000);
    expect(happenings).toEqual([{ type: 'webhook_failed', job: 'j1', attempt: 1, reason: 'no answer in time' }]);
    await clock.advance(10_000);
    expect(arrived.map(({ at }) => at)).toEqual([0, 20_000]);
  });

  it('end when the platform closes', async () => {
    const { clock, arrived, send, webhooks } = rig([500]);
    send('j1');
    await clock.advance(1);
    webhooks.close();
    await clock.advance(600_000);
    expect(arrived).toHaveLength(1);
  });
});

describe('a webhook fault', () => {
  it('drops a webhook', async () => {
    const { clock, arrived, send, fault, happenings } = rig();
    fault({ kind: 'webhook', action: 'lose' });
    send('j1');
    send('j2');
    await clock.advance(600_000);
    expect(arrived.map(({ job }) => job)).toEqual(['j2']);
    expect(happenings).toContainEqual({ type: 'webhook_lost', job: 'j1' });
  });

  it('delays a webhook but not later ones', async () => {
    const { clock, arrived, send, fault } = rig();
    fault({ kind: 'webhook', action: 'delay', delay_ms: 45_000 });
    send('j1');
    send('j2');
    await clock.advance(60_000);
    expect(arrived).toEqual([
      { job: 'j2', at: 0 },
      { job: 'j1', at: 45_000 },
    ]);
  });

  it('sends a webhook again after a 200', async () => {
    const { clock, arrived, send, fault } = rig();
    fault({ kind: 'webhook', action: 'repeat', copies: 2 });
    send('j1');
    await clock.advance(1);
    expect(arrived.map(({ job }) => job)).toEqual(['j1', 'j1', 'j1']);
  });

  it('delivers held webhooks in reverse order', async () => {
    const { clock, arrived, send, fault } = rig();
    fault({ kind: 'webhook', action: 'reorder', size: 3 });
    send('j1');
    send('j2');
    await clock.advance(600_000);
    expect(arrived).toEqual([]);
    send('j3');
    send('j4');
    await clock.advance(1);
    expect(arrived.map(({ job }) => job).toSorted()).toEqual(['j1', 'j2', 'j3', 'j4']);
    expect(arrived.map(({ job }) => job).filter((job) => job !== 'j4')).toEqual(['j3', 'j2', 'j1']);
  });

  it('delivers held webhooks in order when the fault is deleted', async () => {
    const { clock, arrived, send, fault, webhooks } = rig();
    fault({ kind: 'webhook', action: 'reorder', size: 3 });
    send('j1');
    send('j2');
    webhooks.release();
    send('j3');
    await clock.advance(1);
    expect(arrived.map(({ job }) => job).filter((job) => job !== 'j3')).toEqual(['j1', 'j2']);
    expect(arrived).toHaveLength(3);
  });
});
