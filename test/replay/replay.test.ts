import { afterAll, beforeAll, describe, test } from 'vitest';
import type { JobEvent } from '../../clients/sdk/index.ts';
import { finals, numbers, upTo } from '../e2e/platform.ts';
import { FAILS, SUCCEEDS } from './expected.ts';
import { WITHOUT_PROMPT, allRecordings, recordedCases, recording } from './recordings.ts';
import { type ReplayHarness, nodeStates, startReplay, outputs, progressValues, sha256, statuses } from './harness.ts';

const recordings = allRecordings();

/** The rows of a table beside the recordings they are about. */
const rows = <T>(table: Record<string, T>) =>
  Object.entries(table).map(([name, expected]) => ({ name, expected, recorded: recording(name) }));

/** Statuses of every job after a worker has claimed it, however it ends. */
const ran = ['running/inputs', 'running/executing'];
const executing = (event: JobEvent) => event.event === 'status' && event.data.stage === 'executing';

let replay: ReplayHarness;
beforeAll(async () => {
  replay = await startReplay();
});
afterAll(() => replay.close());

test('SUCCEEDS and FAILS name every recording', ({ expect }) => {
  expect(recordings.map(({ name }) => name).toSorted()).toEqual(Object.keys({ ...SUCCEEDS, ...FAILS }).toSorted());
  const files = new Set(recordings.map(({ name }) => name.split(' ')[0]));
  expect([...files, ...WITHOUT_PROMPT].toSorted()).toEqual(recordedCases());
});

/**
 * ComfyUI as it was recorded, behind the whole platform. How the worker reads each message, and that the loss of any changes
 * nothing, is proved in `worker-gpu/tests/job/test_every_message.py`.
 */
describe('a job on a recorded ComfyUI', () => {
  test.for(rows(SUCCEEDS))('succeeds with the recorded outputs: $name', async ({ recorded, expected }, { expect }) => {
    // A late socket receives the rest only if the run has not ended before.
    const progressed = Promise.withResolvers<void>();
    const manner = recorded.late ? { hold: { before: 'executed', until: progressed.promise } } : {};
    const { job, events } = await replay.run(recorded, manner, (event) => {
      if (event.event === 'progress') {
        progressed.resolve();
      }
    });

    expect(job.error).toBeNull();
    expect(job.status).toBe('succeeded');
    expect(outputs(job)).toEqual(expected.outputs);
    for (const { name, sha256: stated, text } of job.outputs) {
      const bytes = new Uint8Array(await (await replay.platform.edge.jobs.download(job.id, name)).arrayBuffer());
      const made = text === undefined ? replay.comfyui.served.get(viewPath(job.id, name)) : Buffer.from(text);
      expect([name, sha256(bytes), stated]).toEqual([name, sha256(made ?? Buffer.alloc(0)), sha256(bytes)]);
    }

    expect(statuses(events)).toEqual(['queued/capacity', ...ran, 'running/uploading', 'succeeded/null']);
    // An output event comes as soon as the output is stored, which may be before the graph has ended.
    const announced = events.flatMap((event) => (event.event === 'output' ? [event.data.name] : []));
    expect(announced.toSorted()).toEqual(job.outputs.map(({ name }) => name).toSorted());
    expect(events.findIndex((event) => event.event === 'output')).toBeGreaterThan(events.findIndex(executing));
    expect(numbers(events)).toEqual(upTo(job.last_event));
    expect(events.at(-1)).toEqual(finals(events)[0]);
    expect(nodeStates(events)).toEqual(expected.nodes);
    expect(progressValues(events)).toEqual(progressValues(events).toSorted((a, b) => a - b));
    expect(progressValues(events).at(-1)).toBe(1);
  });

  test.for(rows(FAILS))('fails with the recorded error: $name', async ({ recorded, expected }, { expect }) => {
    const { job, events } = await replay.run(recorded);

    expect(job.status).toBe('failed');
    expect(job.error).toMatchObject(expected.error);
    expect(job.error?.node).toEqual(expected.error.node);
    expect(job.outputs).toEqual([]);
    expect(JSON.stringify(events)).not.toMatch(/Traceback|\.py/);
    expect(statuses(events)).toEqual(['queued/capacity', ...ran, 'failed/null']);
    expect(numbers(events)).toEqual(upTo(job.last_event));
    expect(nodeStates(events)).toEqual(expected.nodes);
  });

  test.for(['progress_with_previews', 'previews_with_metadata'])(
    'streams previews of the running node: %s',
    async (name, { expect }) => {
      const seen = Promise.withResolvers<void>();
      const hold = { before: 'executed', until: seen.promise };
      const { job, events } = await replay.run(recording(name), { hold }, (event) => {
        if (event.event === 'preview') {
          seen.resolve();
        }
      });
      expect(job.status).toBe('succeeded');
      const previews = events.flatMap((event) => (event.event === 'preview' ? [event.data] : []));
      for (const { node_id, content_type, data_base64 } of previews) {
        expect([node_id, content_type]).toEqual(['5', 'image/jpeg']);
        expect([...Buffer.from(data_base64, 'base64').subarray(0, 3)]).toEqual([0xff, 0xd8, 0xff]);
      }
      expect(previews.length).toBeGreaterThan(0);
    },
  );

  test('is canceled when its client asked for the interrupt', async ({ expect }) => {
    const { edge } = replay.platform;
    const asked = Promise.withResolvers<void>();
    const hold = { before: 'execution_interrupted', until: asked.promise };
    let canceling: Promise<unknown> | null = null;
    const { job, events } = await replay.run(recording('interrupted'), { hold }, (event, id) => {
      if (event.event === 'progress' && canceling === null) {
        void replay.comfyui.interrupted().then(asked.resolve);
        canceling = edge.jobs.cancel(id);
      }
    });
    await canceling;
    expect([job.status, job.error]).toEqual(['canceled', null]);
    expect(finals(events)).toHaveLength(1);
    expect(statuses(events).slice(-2)).toEqual(['canceling/executing', 'canceled/null']);
  });
});

describe('a socket to ComfyUI that is lost during a run', () => {
  test('does not change a success', async ({ expect }) => {
    const { job, events } = await replay.run(recording('success_image'), { cutAfter: 3 });
    expect([job.status, job.error]).toEqual(['succeeded', null]);
    expect(outputs(job)).toEqual(['t_00001_.png image image/png']);
    expect(numbers(events)).toEqual(upTo(job.last_event));
    expect(finals(events)).toHaveLength(1);
  });

  test('does not change a failure', async ({ expect }) => {
    const { job, events } = await replay.run(recording('execution_error'), { cutAfter: 3 });
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'out_of_memory', node: { id: '9', class_type: 'Explode' } },
      outputs: [],
    });
    expect(finals(events)).toHaveLength(1);
  });
});

/** Path of the first attempt's file in ComfyUI. */
function viewPath(job: string, name: string): string {
  if (name.startsWith('temp/')) {
    return `temp//${name.slice('temp/'.length)}`;
  }
  const path = `${job}.1/${name}`;
  const slash = path.lastIndexOf('/');
  return `output/${path.slice(0, slash)}/${path.slice(slash + 1)}`;
}
