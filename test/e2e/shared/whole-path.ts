import { createHash } from 'node:crypto';
import { describe, test } from 'vitest';
import { ApiError } from '../../../clients/sdk/index.ts';
import { ended, eventsOf, finals, numbers, quickGraph, upTo } from '../platform.ts';
import { platform } from './stack.ts';

/** A 2 × 1 PNG, one red and one blue pixel. */
const TWO_PIXELS = 'iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP4z8DAwPAfAAcAAf+TEjBnAAAAAElFTkSuQmCC';

describe('a job', () => {
  test('returns its image, numbers every event once, and ends once', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({ workflow: quickGraph, metadata: { order: '7' } });
    const events = await eventsOf(edge, job.id);
    const done = await edge.jobs.get(job.id);

    expect(done).toMatchObject({ status: 'succeeded', error: null, metadata: { order: '7' } });
    expect(numbers(events)).toEqual(upTo(done.last_event));
    expect(finals(events)).toHaveLength(1);
    const statuses = events.flatMap((event) =>
      event.event === 'status' ? [`${event.data.status}/${event.data.stage}`] : [],
    );
    expect(statuses).toEqual(expect.arrayContaining(['queued/capacity', 'running/executing', 'succeeded/null']));

    const [output] = done.outputs;
    expect(output).toMatchObject({ name: 't_00001_.png', node_id: '2', type: 'image', content_type: 'image/png' });
    const bytes = new Uint8Array(await (await edge.jobs.download(job.id, 't_00001_.png')).arrayBuffer());
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(output?.sha256);

    // The signed link returns the same bytes without a key, and only as it was signed.
    const link = new URL(output?.signed_url ?? '');
    const direct = await fetch(link);
    expect(direct.status).toBe(200);
    expect(new Uint8Array(await direct.arrayBuffer())).toEqual(bytes);
    link.searchParams.set('response-content-type', 'text/html');
    expect((await fetch(link)).status).toBe(403);
  });

  test('gets an image of its own although ComfyUI has the same graph cached', async ({ expect }) => {
    const { edge } = platform;
    const first = await edge.jobs.submit({ workflow: quickGraph });
    const second = await edge.jobs.submit({ workflow: quickGraph });
    const [one, two] = [await ended(edge, first.id), await ended(edge, second.id)];
    expect([one.status, two.status]).toEqual(['succeeded', 'succeeded']);
    expect(one.outputs.map((output) => output.name)).toEqual(two.outputs.map((output) => output.name));
    await expect(edge.jobs.download(second.id, 't_00001_.png').then((response) => response.status)).resolves.toBe(200);
  });

  test('accepts inputs as uploads and base64, and returns video, animation, text and subfolders', async ({
    expect,
  }) => {
    const { edge } = platform;
    const asset = await edge.assets.upload(Buffer.from(TWO_PIXELS, 'base64'), { contentType: 'image/png' });
    const job = await edge.jobs.submit({
      inputs: [
        { name: 'uploaded.png', asset: asset.id },
        { name: 'inline.png', data: `data:image/png;base64,${TWO_PIXELS}` },
      ],
      workflow: {
        '1': { class_type: 'LoadImage', inputs: { image: 'uploaded.png' } },
        '2': { class_type: 'LoadImage', inputs: { image: 'inline.png' } },
        '3': {
          class_type: 'ImageScale',
          inputs: { image: ['1', 0], upscale_method: 'nearest-exact', width: 64, height: 64, crop: 'disabled' },
        },
        '4': { class_type: 'RepeatImageBatch', inputs: { image: ['3', 0], amount: 4 } },
        '5': { class_type: 'CreateVideo', inputs: { images: ['4', 0], fps: 8 } },
        '6': {
          class_type: 'SaveVideo',
          inputs: { video: ['5', 0], filename_prefix: 'clips/v', format: 'auto', codec: 'auto' },
        },
        '7': {
          class_type: 'SaveAnimatedWEBP',
          inputs: { images: ['4', 0], filename_prefix: 'anim', fps: 6, lossless: true, quality: 80, method: 'default' },
        },
        '8': { class_type: 'PrimitiveString', inputs: { value: 'hello' } },
        '9': { class_type: 'PreviewAny', inputs: { source: ['8', 0] } },
        '10': { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'same' } },
        '11': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'sub/same' } },
      },
    });
    const done = await ended(edge, job.id);
    expect(done.error).toBeNull();
    const outputs = Object.fromEntries(
      done.outputs.map((output) => [output.name, `${output.type} ${output.content_type}`]),
    );
    expect(outputs).toMatchObject({
      'clips/v_00001_.mp4': 'video video/mp4',
      'anim_00001_.webp': 'image image/webp',
      'same_00001_.png': 'image image/png',
      'sub/same_00001_.png': 'image image/png',
    });
    expect(done.outputs.find((output) => output.type === 'text')?.text).toBe('hello');
    for (const output of done.outputs) {
      const response = await platform.fetch(output.url, { headers: { authorization: `Bearer ${platform.key}` } });
      const bytes = new Uint8Array(await response.arrayBuffer());
      expect([output.name, createHash('sha256').update(bytes).digest('hex')]).toEqual([output.name, output.sha256]);
    }
  });

  test('names the failed node without a stack trace', async ({ expect }) => {
    const { edge } = platform;
    const job = await edge.jobs.submit({
      workflow: {
        ...quickGraph,
        '9': { class_type: 'Explode', inputs: { image: ['1', 0] } },
        '2': { class_type: 'SaveImage', inputs: { images: ['9', 0], filename_prefix: 't' } },
      },
      finish_within: 30,
    });
    const done = await ended(edge, job.id);
    expect(done).toMatchObject({
      status: 'failed',
      error: { code: 'out_of_memory', node: { id: '9', class_type: 'Explode' } },
    });
    expect(JSON.stringify(done)).not.toMatch(/Traceback|\.py|\/comfyui/);
  });

  test('is rejected at submit when its graph has a node class that the endpoint lacks', async ({ expect }) => {
    const { edge } = platform;
    await ended(edge, (await edge.jobs.submit({ workflow: quickGraph })).id);
    const taken = platform.runpod.events.find({ type: 'job_queued', after: 0 }).length;
    const refused = await edge.jobs
      .submit({ workflow: { ...quickGraph, '3': { class_type: 'NoSuchNode', inputs: { image: ['1', 0] } } } })
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ApiError);
    expect(refused).toMatchObject({ status: 422, code: 'unknown_node' });
    expect(platform.runpod.events.find({ type: 'job_queued', after: 0 })).toHaveLength(taken);
  });
});
