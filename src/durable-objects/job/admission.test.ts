import { evictDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { fakeRunpod, frozenClock, newJob, runAlarm, harnessOf, drained, until } from '../../testing/job.ts';
import { Account } from '../account/object.ts';

/**
 * Guards the handover between Account and Job: either object may crash, or be called first. A job must start once its
 * slot is granted, even if no call reaches it, and a canceled job must release its slot, even if the slot is granted
 * later.
 */

/** An account with one place, which another job has, and a job that waits behind it. */
async function inLine() {
  const runpod = fakeRunpod();
  const clock = frozenClock();
  const account = `a${crypto.randomUUID()}`;
  const stub = env.ACCOUNT.getByName(account);
  await stub.setLimits({ jobs_in_flight: 1 });
  const admit = (job: string) =>
    stub.admit({
      job,
      account,
      inputs: [],
      retention: null,
      key: 'k',
      priority: 'normal',
      expires_at: Date.now() + 3_600_000,
      reserve: { gpu_ms: 1, micro_usd: null },
      idempotency: null,
    });
  await admit('other');
  const job = newJob({ account, waits: true });
  expect(await admit(job.id)).toMatchObject({ kind: 'admitted', waits: true });
  const leaves = () => stub.releaseSlot('other', { gpu_ms: 0, micro_usd: 0 });
  return { runpod, clock, account, job, harness: harnessOf(job.id), leaves };
}

describe('a queued job', () => {
  it('waits, and runs when the account admits it', async () => {
    const { runpod, harness, job, leaves } = await inLine();
    expect(await harness.stub.create(job)).toMatchObject({ status: 'queued', stage: 'admission' });
    await drained(harness);
    expect(runpod.count('run')).toBe(0);
    await leaves();
    await until(() => expect(runpod.count('run')).toBe(1));
  });

  it('runs when it was admitted before it was created', async () => {
    const { runpod, harness, job, leaves } = await inLine();
    await leaves();
    await harness.stub.create(job);
    await until(() => expect(runpod.count('run')).toBe(1));
  });

  it('runs a minute later when its notification failed, also after both objects hibernated', async () => {
    const { runpod, clock, account, harness, job, leaves } = await inLine();
    await harness.stub.create(job);
    await drained(harness);
    const silent = vi
      .spyOn(Account.prototype as unknown as { notifyAdmitted(): Promise<void> }, 'notifyAdmitted')
      .mockResolvedValue();
    await leaves();
    expect(silent).toHaveBeenCalled();
    silent.mockRestore();
    await evictDurableObject(env.ACCOUNT.getByName(account));
    await evictDurableObject(harness.object);
    expect(runpod.count('run')).toBe(0);
    clock.pass(60_000);
    await runAlarm(harness);
    await until(() => expect(runpod.count('run')).toBe(1));
  });

  it('leaves the queue when it is canceled', async () => {
    const { account, runpod, harness, job, leaves } = await inLine();
    await harness.stub.create(job);
    await harness.stub.cancel(account);
    await drained(harness);
    await leaves();
    expect((await env.ACCOUNT.getByName(account).quota()).find(({ name }) => name === 'queued')).toMatchObject({
      remaining: 100,
    });
    expect(runpod.count('run')).toBe(0);
  });

  it('holds no slot when its tryStart arrives after its cancel', async () => {
    const { account, harness, job } = await inLine();
    const arrived = Promise.withResolvers<void>();
    const goesOn = Promise.withResolvers<void>();
    const { tryStart } = Account.prototype;
    const slow = vi
      .spyOn(
        Account.prototype as { tryStart(...args: Parameters<typeof tryStart>): Promise<boolean> | boolean },
        'tryStart',
      )
      .mockImplementation(async function (this: Account, ...args) {
        arrived.resolve();
        await goesOn.promise;
        return tryStart.apply(this, args);
      });
    onTestFinished(() => slow.mockRestore());
    await harness.stub.create(job);
    await arrived.promise;
    await harness.stub.cancel(account);
    const queued = async () => (await env.ACCOUNT.getByName(account).quota()).find(({ name }) => name === 'queued');
    await until(async () => expect(await queued()).toMatchObject({ remaining: 100 }));
    goesOn.resolve();
    await drained(harness);
    expect(await queued()).toMatchObject({ remaining: 100 });
  });
});
