import { env } from 'cloudflare:workers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { created, heldClock, outbox, ring, settled, until, type Rig } from '../testing/job.ts';
import { crash, newHook, receivers } from '../testing/webhook.ts';

/** From a job to the webhooks of its account: nothing is lost on the way, and nothing arrives as two. */

const waits = (rig: Rig) => outbox(rig).then((keys) => keys.filter((key) => key.startsWith('notify')));

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
  it('reaches its webhooks although D1 was away when it ended', async () => {
    const { at } = receivers();
    const clock = heldClock();
    const hook = await newHook();
    const d1 = broken();
    const rig = await created({ account: hook.account });
    await rig.stub.cancel(hook.account);
    await until(() => expect(d1.tried()).toBe(2));
    await until(async () => expect(await waits(rig)).toHaveLength(2));
    d1.mend();
    clock.pass(60_000);
    await ring(rig);
    await settled(rig);
    await until(() => expect(at(hook.url)).toHaveLength(1));
  });

  it('reaches its webhooks although the gateway died before it was handed over', async () => {
    const { at } = receivers();
    const clock = heldClock();
    const hook = await newHook();
    const d1 = broken();
    const rig = await created({ account: hook.account });
    await rig.stub.cancel(hook.account);
    await until(() => expect(d1.tried()).toBe(2));
    await crash();
    d1.mend();
    clock.pass(60_000);
    await ring(rig);
    await settled(rig);
    await until(() => expect(at(hook.url)).toHaveLength(1));
    expect((await hook.log()).data.map((each) => each.type)).toEqual(['job.canceled']);
  });
});
