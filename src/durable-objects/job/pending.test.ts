import { describe, expect, it } from 'vitest';
import type { Effect } from '../../domain/job/signals.ts';
import { Outbox } from './outbox.ts';
import { Pending, type PendingEffect } from './pending.ts';

/**
 * Guards the pending effects in memory: they must equal the stored ones after every restart. Written before the store
 * succeeds, they would be done once and be stored as not done, or the other way round.
 */

const project: Effect = { kind: 'project' };
const send: Effect = { kind: 'send', attempt: 1 };

describe('pending effects', () => {
  it('are due after a restart, begun or not; only a begun send is marked', () => {
    const pending = new Pending([]);
    pending.add(project, 0);
    pending.add(send, 0);
    pending.lease('project', 30_000);
    pending.lease('send:1', 30_000);
    expect(pending.due(0)).toEqual([]);
    const after = new Pending(JSON.parse(pending.stored()));
    expect(after.due(0).map(({ key, started }) => [key, started])).toEqual([
      ['project', false],
      ['send:1', true],
    ]);
  });

  it('are stored only when they have changed', () => {
    const pending = new Pending([]);
    pending.add(project, 0);
    pending.stored();
    pending.lease('project', 30_000);
    expect(pending.changed).toBe(false);
    pending.done({ key: 'project', requests: 1 }, 0);
    expect(pending.changed).toBe(true);
  });

  it('are repeated when they were requested while in progress', () => {
    const pending = new Pending([]);
    pending.add(project, 0);
    const [first] = pending.due(0);
    pending.lease('project', 30_000);
    pending.add(project, 5);
    pending.done(first ?? { key: '', requests: 0 }, 6);
    expect(pending.due(6).map(({ key }) => key)).toEqual(['project']);
  });
});

describe('an outbox whose store throws', () => {
  it('begins nothing, and begins everything at the next try', async () => {
    const stored: PendingEffect[] = [{ effect: send, due_at: 0, tries: 0, started: false }];
    const begun: string[] = [];
    let fails = true;
    const store = {
      pending: new Pending(stored),
      flush: () => {
        if (fails) {
          // As the store does after a failure: memory is loaded from storage.
          store.pending = new Pending(stored);
          throw new Error('the disk is full');
        }
        store.pending.stored();
      },
    };
    const outbox = new Outbox({
      store,
      isRelevant: () => true,
      willStoreSoon: () => false,
      perform: (effect) => {
        begun.push(effect.kind);
        return Promise.resolve({ kind: 'done' });
      },
      onSignal: () => {},
    });
    await expect(outbox.drain(0)).rejects.toThrow('full');
    expect(begun).toEqual([]);
    fails = false;
    await outbox.drain(0);
    expect(begun).toEqual(['send']);
    expect(store.pending.keys()).toEqual([]);
  });
});
