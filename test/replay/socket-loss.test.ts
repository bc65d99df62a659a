import { afterAll, beforeAll, describe, test } from 'vitest';
import { finals, numbers, upTo } from '../e2e/platform.ts';
import { recording } from './recordings.ts';
import { type Stage, openStage, outputs, statuses } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

/** Every moment of a recording at which the socket can be lost: before its first message, and after each. */
const cuts = (name: string) => {
  const recorded = recording(name);
  return [0, ...recorded.frames.keys().map((index) => index + 1)].map((cutAfter) => ({
    recorded,
    cutAfter,
    heard: recorded.frames[cutAfter - 1]?.type ?? 'nothing',
  }));
};

describe('a socket to ComfyUI that is lost in the run, and all that it would have said', () => {
  test.for(cuts('success_image'))(
    'changes nothing about a success ($cutAfter messages heard, last: $heard)',
    async ({ recorded, cutAfter }, { expect }) => {
      const { job, events } = await stage.perform(recorded, { cutAfter });
      expect([job.status, job.error]).toEqual(['succeeded', null]);
      expect(outputs(job)).toEqual(['t_00001_.png image image/png']);
      expect(statuses(events).slice(-2)).toEqual(['running/uploading', 'succeeded/null']);
      expect(numbers(events)).toEqual(upTo(job.last_event));
      expect(finals(events)).toHaveLength(1);
    },
  );

  test.for(cuts('execution_error'))(
    'changes nothing about a failure ($cutAfter messages heard, last: $heard)',
    async ({ recorded, cutAfter }, { expect }) => {
      const { job, events } = await stage.perform(recorded, { cutAfter });
      expect(job).toMatchObject({
        status: 'failed',
        error: { code: 'out_of_memory', node: { id: '9', class_type: 'Explode' } },
        outputs: [],
      });
      expect(numbers(events)).toEqual(upTo(job.last_event));
      expect(finals(events)).toHaveLength(1);
    },
  );
});
