import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createJob, frozenClock, outbox, runAlarm, drained, until, type JobHarness } from '../../testing/job.ts';
import { always, crash, newHook, receivers, verified, type Received } from '../../testing/webhook.ts';

/**
 * Guards the outbox from a job to the webhooks of its account: D1 or the gateway may fail between the end of the job
 * and the handover. Every notification arrives, and none arrives as two deliveries.
 */

const waits = (harness: JobHarness) => outbox(harness).then((keys) => keys.filter((key) => key.startsWith('notify')));

/** The search for webhooks fails until it is mended. */
function broken(): { mend: () => void; tried: () => number } {
  const prepare = env.DB.prepare.bind(env.DB);
  let tried = 0;
  const spy = vi.spyOn(env.DB, 'prepare').mockImplementation((query) => {
    if (query.includes('json_each')) {
      tried += 1;
      throw new Error('D1 is away');
    }
    return prepare(query);
  });
  onTestFinished(() => spy.mockRestore());
  return { mend: () => spy.mockRestore(), tried: () => tried };
}

describe('the end of a job', () => {
  it('reaches its webhooks when D1 failed at first', async () => {
    const { at } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    const d1 = broken();
    const harness = await createJob({ account: hook.account });
    await harness.stub.cancel(hook.account);
    await until(() => expect(d1.tried()).toBe(2));
    await until(async () => expect(await waits(harness)).toHaveLength(2));
    d1.mend();
    clock.pass(60_000);
    await runAlarm(harness);
    await drained(harness);
    await until(() => expect(at(hook.url)).toHaveLength(1));
  });

  it('reaches its webhooks when the gateway crashed before it was queued', async () => {
    const { at } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    const d1 = broken();
    const harness = await createJob({ account: hook.account });
    await harness.stub.cancel(hook.account);
    await until(() => expect(d1.tried()).toBe(2));
    await crash();
    d1.mend();
    clock.pass(60_000);
    await runAlarm(harness);
    await drained(harness);
    await until(() => expect(at(hook.url)).toHaveLength(1));
    expect((await hook.log()).data.map((each) => each.type)).toEqual(['job.canceled']);
  });
});

describe('an erased job', () => {
  it('leaves only ids and its status in the log of the webhooks', async () => {
    const { at } = receivers();
    frozenClock();
    const hook = await newHook();
    const harness = await createJob({ account: hook.account, metadata: { name: 'canary' } });
    const other = await createJob({ account: hook.account, metadata: { name: 'kept' } });
    for (const job of [harness, other]) {
      await job.stub.cancel(hook.account);
      await drained(job);
    }
    await until(() => expect(at(hook.url)).toHaveLength(2));
    const before = await hook.log();
    const [, last] = await Promise.all(before.data.map(({ id }) => hook.tried(id, 1)));
    expect(last?.body).toContain('canary');

    expect(await harness.stub.erase(hook.account)).toBe('erased');

    const after = await Promise.all((await hook.log()).data.map(({ id }) => hook.delivery(id)));
    expect(after.map(({ id, job, status, attempts }) => ({ id, job, status, attempts }))).toEqual(
      before.data.map(({ id, job }) => ({ id, job, status: 'delivered', attempts: [expect.anything()] })),
    );
    const bodies: Record<string, unknown>[] = after.map(({ body }) => JSON.parse(body));
    expect(bodies[1]).toMatchObject({
      type: 'job.canceled',
      data: { id: harness.id, object: 'job', status: 'canceled', erased: true },
    });
    expect(JSON.stringify(bodies[1])).not.toContain('canary');
    expect(JSON.stringify(bodies[0])).toContain('kept');
  });

  it('is still delivered as finished when delivery had failed before', async () => {
    const { at, answer } = receivers();
    const clock = frozenClock();
    const hook = await newHook();
    answer(hook.url, always(500));
    const harness = await createJob({ account: hook.account, metadata: { name: 'canary' } });
    await harness.stub.cancel(hook.account);
    await drained(harness);
    const [delivery] = (await hook.log()).data;
    await hook.tried(delivery?.id ?? '', 1);
    await harness.stub.erase(hook.account);
    answer(hook.url, always(204));
    clock.pass(3_600_000);
    await hook.ring();
    await hook.tried(delivery?.id ?? '', 2);
    const [first, second] = at(hook.url);
    expect(first?.body).toContain('canary');
    expect(second?.body).not.toContain('canary');
    expect(verified(hook.secret, must(second))).toMatchObject({
      type: 'job.canceled',
      data: { id: harness.id, erased: true },
    });
  });
});

const must = (received: Received | undefined): Received => {
  if (received === undefined) {
    throw new Error('nothing was received');
  }
  return received;
};
