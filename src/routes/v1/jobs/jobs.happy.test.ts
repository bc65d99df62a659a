import { describe, expect, it, vi } from 'vitest';
import {
  answerRunpod,
  newClient,
  ORIGIN,
  PNG,
  postJson,
  storedOf,
  submitted,
  type Call,
} from '../../../testing/gateway.ts';
import { jobPageSchema, jobSchema } from '../schemas.ts';

describe('a job', () => {
  it('is accepted with a Location and can be read', async () => {
    answerRunpod();
    const { call } = await newClient();
    const response = await call(
      '/v1/jobs',
      postJson({
        workflow: { '1': { class_type: 'EmptyImage', inputs: {} } },
        metadata: { order: '7' },
        finish_within: 60,
      }),
    );
    expect(response.status).toBe(201);
    const job = jobSchema.parse(await response.json());
    expect(response.headers.get('location')).toBe(job.urls.self);
    expect(job).toMatchObject({ object: 'job', status: 'queued', endpoint: 'default', metadata: { order: '7' } });
    expect(Date.parse(job.deadline) - Date.parse(job.created_at)).toBe(60_000);
    expect(job.urls.self).toBe(`${ORIGIN}/v1/jobs/${job.id}`);

    const read = await call(`/v1/jobs/${job.id}`);
    expect(read.status).toBe(200);
    expect(jobSchema.parse(await read.json()).id).toBe(job.id);
  });

  it('is canceled, and a second cancel answers the same', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    const first = await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect(first.status).toBe(200);
    expect(jobSchema.parse(await first.json()).status).toMatch(/^cancel(ing|ed)$/);
    const second = await call(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    expect(second.status).toBe(200);
    expect(jobSchema.parse(await second.json()).status).toMatch(/^cancel(ing|ed)$/);
  });

  it('accepts input files as base64, as a data URL and as an asset', async () => {
    answerRunpod();
    const { account, call } = await newClient();
    const upload = await call('/v1/assets', { method: 'POST', body: PNG });
    const { id } = await upload.json<{ id: string }>();
    const job = await submitted(call, {
      inputs: [
        { name: 'a.png', data: PNG.toBase64() },
        { name: 'b.png', data: `data:image/jpeg;base64,${PNG.toBase64()}` },
        { name: 'c.png', asset: id },
      ],
    });
    expect(job.status).toBe('queued');
    // One content under three names is one asset.
    expect((await storedOf(account)).objects).toBe(1);
  });
});

const pageOf = async (call: Call, query: string) => jobPageSchema.parse(await (await call(`/v1/jobs${query}`)).json());

/** The list is a projection that follows the jobs: waits until it has caught up. */
const listed = (call: Call, count: number) =>
  vi.waitFor(async () => expect((await pageOf(call, '?limit=100')).data).toHaveLength(count));

describe('the list of jobs', () => {
  it('pages from newest to oldest, unaffected by new jobs', async () => {
    answerRunpod();
    const { call } = await newClient();
    const made: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      made.unshift((await submitted(call)).id);
    }
    await listed(call, 5);
    const first = await pageOf(call, '?limit=2');
    expect(first.has_more).toBe(true);
    await submitted(call);
    await listed(call, 6);
    const second = await pageOf(call, `?limit=2&cursor=${first.next_cursor}`);
    const third = await pageOf(call, `?limit=2&cursor=${second.next_cursor}`);
    expect([...first.data, ...second.data, ...third.data].map((job) => job.id)).toEqual(made);
    expect(third).toMatchObject({ has_more: false, next_cursor: null });
  });

  it('filters by status', async () => {
    answerRunpod();
    const { call } = await newClient();
    const { id } = await submitted(call);
    await listed(call, 1);
    const ids = async (status: string) => (await pageOf(call, `?status=${status}`)).data.map((job) => job.id);
    expect(await ids('queued')).toEqual([id]);
    expect(await ids('failed')).toEqual([]);
  });
});
