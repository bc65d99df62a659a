import { expect, test } from 'vitest';
import { ComfyEdge } from './index.ts';
import { JOB_ID, KEY, LOG, OUTPUT, sampleJob, sseOf } from './testing/samples.ts';
import { answerJson, serve } from './testing/server.ts';

test('submit sends the unchanged workflow with the key and returns the job', async () => {
  const { url, asked } = await serve((_, response) => answerJson(response, 201, sampleJob()));
  const edge = new ComfyEdge({ url: `${url}/`, key: KEY });
  const newJob = {
    workflow: { '1': { class_type: 'LoadImage', inputs: { image: 'photo.png' } } },
    inputs: [{ name: 'photo.png', asset: `sha256:${'0'.repeat(64)}` }],
    metadata: { order: '7' },
    finish_within: 60,
  };
  expect(await edge.jobs.submit(newJob)).toEqual(sampleJob());
  expect(asked[0]).toMatchObject({
    method: 'POST',
    path: '/v1/jobs',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
  });
  expect(JSON.parse(asked[0]?.body.toString() ?? '')).toEqual(newJob);
});

test('a response with unknown fields is accepted', async () => {
  const newer = { ...sampleJob(), mood: 'sunny', metrics: { ...sampleJob().metrics, gpu_ms: 3 } };
  const { url } = await serve((_, response) => answerJson(response, 200, newer));
  expect(await new ComfyEdge({ url, key: KEY }).jobs.get(JOB_ID)).toEqual(newer);
});

test('a response of another shape is rejected with the name of the field', async () => {
  const { url } = await serve((_, response) => answerJson(response, 200, { ...sampleJob(), status: 'resting' }));
  await expect(new ComfyEdge({ url, key: KEY }).jobs.get(JOB_ID)).rejects.toThrow(
    /\/status is not one of queued, running/,
  );
});

test('ApiError has code, pointers and request id', async () => {
  const problem = {
    type: 'https://gw.example/problems/invalid_workflow',
    title: 'Unprocessable',
    status: 422,
    detail: 'The workflow has 1 problem',
    code: 'invalid_workflow',
    request_id: 'r1',
    errors: [{ pointer: '#/workflow/3/class_type', code: 'unknown_node', detail: 'No node is called Foo' }],
  };
  const { url } = await serve((_, response) => answerJson(response, 422, problem, { 'x-request-id': 'r1' }));
  await expect(new ComfyEdge({ url, key: KEY }).jobs.submit({ workflow: {} })).rejects.toMatchObject({
    name: 'ApiError',
    status: 422,
    code: 'invalid_workflow',
    message: '422 invalid_workflow: The workflow has 1 problem; #/workflow/3/class_type: No node is called Foo',
    problem: { requestId: 'r1', errors: problem.errors, retryAfter: null },
  });
});

test.each([
  ['7', 7],
  ['9'.repeat(400), 86_400],
  ['-5', null],
  ['soon', null],
])('ApiError for Retry-After %s has retryAfter %d', async (header, retryAfter) => {
  const { url } = await serve((_, response) =>
    answerJson(
      response,
      429,
      { code: 'rate_limited', title: 'Too many', detail: 'Slow down' },
      { 'retry-after': header },
    ),
  );
  await expect(new ComfyEdge({ url, key: KEY }).jobs.list()).rejects.toMatchObject({ problem: { retryAfter } });
});

test('an error page of a proxy is an ApiError', async () => {
  const { url } = await serve((_, response) => response.writeHead(502).end('<h1>Bad gateway</h1>'));
  await expect(new ComfyEdge({ url, key: KEY }).jobs.get(JOB_ID)).rejects.toMatchObject({
    status: 502,
    code: 'unknown',
  });
});

test('a response that is not JSON is an AnswerError', async () => {
  const { url } = await serve((_, response) => response.writeHead(200).end('hello'));
  await expect(new ComfyEdge({ url, key: KEY }).jobs.get(JOB_ID)).rejects.toMatchObject({ name: 'AnswerError' });
});

test('a failed connection is a ConnectionError', async () => {
  const { url } = await serve((_, response) => response.destroy());
  await expect(new ComfyEdge({ url, key: KEY }).jobs.get(JOB_ID)).rejects.toMatchObject({ name: 'ConnectionError' });
});

test('list sends only the given filters and returns the page', async () => {
  const page = { data: [], has_more: false, next_cursor: null };
  const { url, asked } = await serve((_, response) => answerJson(response, 200, page));
  const edge = new ComfyEdge({ url, key: KEY });
  expect(await edge.jobs.list()).toEqual(page);
  await edge.jobs.list({ limit: 5, cursor: 'a b', status: 'failed' });
  expect(asked.map((one) => one.path)).toEqual(['/v1/jobs', '/v1/jobs?limit=5&cursor=a+b&status=failed']);
});

test('list sends every given filter', async () => {
  const page = { data: [], has_more: false, next_cursor: null };
  const { url, asked } = await serve((_, response) => answerJson(response, 200, page));
  await new ComfyEdge({ url, key: KEY }).jobs.list({
    status: ['queued', 'running'],
    endpoint: 'video',
    createdAfter: new Date(0),
    createdBefore: new Date(1),
    metadata: { 'a&b': 'c d' },
  });
  const query = new URL(asked[0]?.path ?? '', url).searchParams;
  expect(Object.fromEntries(query)).toEqual({
    status: 'queued,running',
    endpoint: 'video',
    created_after: '1970-01-01T00:00:00.000Z',
    created_before: '1970-01-01T00:00:00.001Z',
    'metadata.a&b': 'c d',
  });
});

test('submit sends its wait and its Idempotency-Key', async () => {
  const { url, asked } = await serve((_, response) => answerJson(response, 201, sampleJob()));
  const { jobs } = new ComfyEdge({ url, key: KEY });
  await jobs.submit({ workflow: {} }, { wait: 30, idempotencyKey: 'k1' });
  await jobs.submit({ workflow: {} });
  expect(asked.map(({ headers }) => [headers['prefer'], headers['idempotency-key']])).toEqual([
    ['wait=30', 'k1'],
    [undefined, undefined],
  ]);
});

test('submitBatch returns the result of each job', async () => {
  const problem = { type: 'x', title: 'Too many', status: 429, detail: 'full', code: 'queue_full', request_id: 'r' };
  const data = [
    { status: 201, replayed: false, job: sampleJob() },
    { status: 429, problem, retry_after: 5 },
  ];
  const { url, asked } = await serve((_, response) =>
    answerJson(response, 200, { object: 'job_batch', accepted: 1, refused: 1, data }),
  );
  const batch = await new ComfyEdge({ url, key: KEY }).jobs.submitBatch(
    [{ workflow: {}, idempotency_key: 'a' }, { workflow: {} }],
    { idempotencyKey: 'b' },
  );
  expect(batch.data.map((item) => ('job' in item ? item.job.id : item.problem.code))).toEqual([JOB_ID, 'queue_full']);
  expect(asked[0]).toMatchObject({ path: '/v1/jobs/batch', headers: { 'idempotency-key': 'b' } });
  expect(JSON.parse(asked[0]?.body.toString() ?? '')).toEqual({
    jobs: [{ workflow: {}, idempotency_key: 'a' }, { workflow: {} }],
  });
});

test('result returns the outputs, null while the job runs, and an error after it failed', async () => {
  const ready = { object: 'job_result', id: JOB_ID, status: 'succeeded', outputs: [OUTPUT], metadata: {} };
  const pending = { object: 'job_pending', id: JOB_ID, status: 'running', stage: 'executing' };
  const failed = { title: 'The job failed', status: 410, detail: 'no', code: 'job_failed' };
  const answers: [number, object][] = [
    [202, pending],
    [200, ready],
    [410, failed],
  ];
  const { url, asked } = await serve((_, response) => answerJson(response, ...(answers.shift() ?? [500, {}])));
  const { jobs } = new ComfyEdge({ url, key: KEY });
  expect(await jobs.result(JOB_ID)).toBeNull();
  expect(await jobs.result(JOB_ID, { wait: 60 })).toEqual(ready);
  await expect(jobs.result(JOB_ID)).rejects.toMatchObject({ status: 410, code: 'job_failed' });
  expect(asked.map(({ path }) => path)).toEqual(
    ['', '?wait=60', ''].map((query) => `/v1/jobs/${JOB_ID}/result${query}`),
  );
});

test('cancel returns the job', async () => {
  const { url, asked } = await serve((_, response) => answerJson(response, 200, sampleJob({ status: 'canceling' })));
  expect((await new ComfyEdge({ url, key: KEY }).jobs.cancel(JOB_ID)).status).toBe('canceling');
  expect(asked[0]).toMatchObject({ method: 'POST', path: `/v1/jobs/${JOB_ID}/cancel` });
});

test('upload sends the bytes with their media type', async () => {
  const asset = {
    id: 'sha256:0',
    object: 'asset',
    size_bytes: 3,
    content_type: 'image/png',
    sha256: '0',
    created_at: 'x',
  };
  const { url, asked } = await serve((_, response) => answerJson(response, 201, asset));
  const { assets } = new ComfyEdge({ url, key: KEY });
  const bytes = new Uint8Array([1, 2, 3]);
  expect(await assets.upload(bytes, { contentType: 'image/png' })).toEqual(asset);
  await assets.upload(new Blob([bytes], { type: 'image/webp' }));
  await assets.upload(bytes.buffer);
  expect(asked.map((one) => [...one.body])).toEqual([
    [1, 2, 3],
    [1, 2, 3],
    [1, 2, 3],
  ]);
  expect(asked.map((one) => one.headers['content-type'])).toEqual([
    'image/png',
    'image/webp',
    'application/octet-stream',
  ]);
});

test('download requests an output by name, from a byte offset when given', async () => {
  const { url, asked } = await serve((_, response) => response.writeHead(200).end('pixels'));
  const { jobs } = new ComfyEdge({ url, key: KEY });
  expect(await (await jobs.download(JOB_ID, OUTPUT.name)).text()).toBe('pixels');
  await jobs.download(JOB_ID, OUTPUT.name, { from: 3 });
  expect(asked[0]?.path).toBe(`/v1/jobs/${JOB_ID}/outputs/clip/bl%C3%A4u%201_00001_.png`);
  expect(asked.map((one) => one.headers['range'])).toEqual([undefined, 'bytes=3-']);
});

test('wait passes every event on and returns the finished job', async () => {
  const finished = sampleJob({ status: 'succeeded', stage: null, outputs: [OUTPUT] });
  const { url } = await serve((asked, response) => {
    if (asked.path.endsWith('/events')) {
      response.writeHead(200).end(sseOf(LOG));
    } else {
      answerJson(response, 200, finished);
    }
  });
  const seen: string[] = [];
  const onEvent = ({ event }: { event: string }) => seen.push(event);
  expect(await new ComfyEdge({ url, key: KEY }).jobs.wait(JOB_ID, { after: 0, onEvent })).toEqual(finished);
  expect(seen).toEqual(LOG.map((event) => event.event));
});
