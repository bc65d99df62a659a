import { afterAll, beforeAll, describe, test } from 'vitest';
import type { JobEvent } from '../../clients/sdk/index.ts';
import { finals, numbers, upTo } from '../e2e/platform.ts';
import { FAILS, SUCCEEDS } from './expected.ts';
import { WITHOUT_PROMPT, allRecordings, recordedCases, recording } from './recordings.ts';
import { type Stage, nodeStates, openStage, outputs, progressValues, sha256, statuses } from './stage.ts';

const recordings = allRecordings();

/** The rows of a table beside the recordings they are about. */
const rows = <T>(table: Record<string, T>) =>
  Object.entries(table).map(([name, expected]) => ({ name, expected, recorded: recording(name) }));

/** What every job tells once a worker has claimed it, whatever comes of it. */
const ran = ['running/inputs', 'running/executing'];
const executing = (event: JobEvent) => event.event === 'status' && event.data.stage === 'executing';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

test('every prompt of every recording is replayed here', ({ expect }) => {
  expect(recordings.map(({ name }) => name).toSorted()).toEqual(Object.keys({ ...SUCCEEDS, ...FAILS }).toSorted());
  const files = new Set(recordings.map(({ name }) => name.split(' ')[0]));
  expect([...files, ...WITHOUT_PROMPT].toSorted()).toEqual(recordedCases());
});

describe('a job whose ComfyUI says and does what was recorded', () => {
  test.for(rows(SUCCEEDS))('$name: gives its outputs', async ({ recorded, expected }, { expect }) => {
    // A socket that comes late hears the rest only if the end has not come first.
    const heard = Promise.withResolvers<void>();
    const manner = recorded.late ? { hold: { before: 'executed', until: heard.promise } } : {};
    const { job, events } = await stage.perform(recorded, manner, (event) => {
      if (event.event === 'progress') {
        heard.resolve();
      }
    });

    expect(job.error).toBeNull();
    expect(job.status).toBe('succeeded');
    expect(outputs(job)).toEqual(expected.outputs);
    for (const { name, sha256: stated, text } of job.outputs) {
      const bytes = new Uint8Array(await (await stage.platform.edge.jobs.download(job.id, name)).arrayBuffer());
      const made = text === undefined ? stage.comfyui.served.get(viewPath(job.id, name)) : Buffer.from(text);
      expect([name, sha256(bytes), stated]).toEqual([name, sha256(made ?? Buffer.alloc(0)), sha256(bytes)]);
    }

    expect(statuses(events)).toEqual(['queued/capacity', ...ran, 'running/uploading', 'succeeded/null']);
    // An output is told as soon as it is stored, which may be before the graph has ended.
    const told = events.flatMap((event) => (event.event === 'output' ? [event.data.name] : []));
    expect(told.toSorted()).toEqual(job.outputs.map(({ name }) => name).toSorted());
    expect(events.findIndex((event) => event.event === 'output')).toBeGreaterThan(events.findIndex(executing));
    expect(numbers(events)).toEqual(upTo(job.last_event));
    expect(events.at(-1)).toEqual(finals(events)[0]);
    expect(nodeStates(events)).toEqual(expected.nodes);
    expect(progressValues(events)).toEqual(progressValues(events).toSorted((a, b) => a - b));
    expect(progressValues(events).at(-1)).toBe(1);
  });

  test.for(rows(FAILS))('$name: fails and says why', async ({ recorded, expected }, { expect }) => {
    const { job, events } = await stage.perform(recorded);

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
    '%s: shows previews of the node at work while it works',
    async (name, { expect }) => {
      const seen = Promise.withResolvers<void>();
      const hold = { before: 'executed', until: seen.promise };
      const { job, events } = await stage.perform(recording(name), { hold }, (event) => {
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

  test('interrupted: is canceled when its client asked for the interrupt', async ({ expect }) => {
    const { edge } = stage.platform;
    const asked = Promise.withResolvers<void>();
    const hold = { before: 'execution_interrupted', until: asked.promise };
    let canceling: Promise<unknown> | null = null;
    const { job, events } = await stage.perform(recording('interrupted'), { hold }, (event, id) => {
      if (event.event === 'progress' && canceling === null) {
        void stage.comfyui.interrupted().then(asked.resolve);
        canceling = edge.jobs.cancel(id);
      }
    });
    await canceling;
    expect([job.status, job.error]).toEqual(['canceled', null]);
    expect(finals(events)).toHaveLength(1);
    expect(statuses(events).slice(-2)).toEqual(['canceling/executing', 'canceled/null']);
  });
});

/** Where the first attempt's file of that name was in ComfyUI. */
function viewPath(job: string, name: string): string {
  if (name.startsWith('temp/')) {
    return `temp//${name.slice('temp/'.length)}`;
  }
  const path = `${job}.1/${name}`;
  const slash = path.lastIndexOf('/');
  return `output/${path.slice(0, slash)}/${path.slice(slash + 1)}`;
}
