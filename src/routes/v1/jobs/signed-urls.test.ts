import { describe, expect, it } from 'vitest';
import { testBindings } from '../../../../test/gateway-bindings.ts';
import { WINDOW_MS } from '../../../services/jobs/signed-urls.ts';
import { outputKey } from '../../../storage/r2/keys.ts';
import { answerRunpod, newClient, PNG, submitted, type Call } from '../../../testing/gateway.ts';
import { connected, dialChannel, frozenClock, harnessOf, drained, claimAttempt } from '../../../testing/job.ts';
import { runAsWorker } from '../../../testing/worker.ts';
import { jobResultSchema, jobSchema, type ApiJob, type ApiOutput } from '../schemas.ts';

const FILES = [
  { name: 'clip/a b.png', content_type: 'image/png', bytes: PNG },
  { name: 'page.html', content_type: 'text/html', bytes: new TextEncoder().encode('<script>alert(1)</script>') },
  { name: 'note.txt', content_type: 'text/plain', bytes: new TextEncoder().encode('hello') },
];

const get = async (call: Call, id: string): Promise<ApiJob> =>
  jobSchema.parse(await (await call(`/v1/jobs/${id}`)).json());
const named = (job: ApiJob, name: string): ApiOutput => {
  const output = job.outputs.find((each) => each.name === name);
  if (output === undefined) {
    throw new Error(`no output ${name}`);
  }
  return output;
};
const linkOf = (job: ApiJob, name: string): URL => new URL(named(job, name).signed_url ?? '');

/** A finished job with files, at the beginning of an hour. */
async function finished(body: Record<string, unknown> = {}) {
  answerRunpod();
  const clock = frozenClock();
  clock.pass(WINDOW_MS - (Date.now() % WINDOW_MS));
  const { account, call } = await newClient();
  const { id } = await submitted(call, body);
  await runAsWorker(account, id, FILES);
  return { clock, account, call, id };
}

describe('a signed URL', () => {
  it('is given for each file of a job, beside the URL that needs a key', async () => {
    const { account, call, id } = await finished();
    const job = await get(call, id);
    const link = linkOf(job, 'clip/a b.png');
    expect(link.origin).toBe(testBindings.R2_S3_ENDPOINT);
    expect(decodeURIComponent(link.pathname)).toBe(`/comfy-edge/${outputKey(account, id, 1, 'clip/a b.png')}`);
    expect(named(job, 'clip/a b.png').url).toContain(`/v1/jobs/${id}/outputs/`);
    expect(named(job, 'note.txt')).toMatchObject({ text: 'hello', signed_url: null, url_expires_at: null });
    const result = jobResultSchema.parse(await (await call(`/v1/jobs/${id}/result`)).json());
    expect(result.outputs).toEqual(job.outputs);
  });

  it('shows an image inline and serves a page as a download', async () => {
    const { call, id } = await finished();
    const job = await get(call, id);
    const answered = (name: string) => {
      const { searchParams } = linkOf(job, name);
      return [searchParams.get('response-content-type'), searchParams.get('response-content-disposition')];
    };
    expect(answered('clip/a b.png')).toEqual(['image/png', `inline; filename="a b.png"; filename*=UTF-8''a%20b.png`]);
    expect(answered('page.html')).toEqual([
      'application/octet-stream',
      `attachment; filename="page.html"; filename*=UTF-8''page.html`,
    ]);
  });

  it('works for one to two hours after the read', async () => {
    const { clock, call, id } = await finished();
    for (const minutes of [0, 59, 60, 125]) {
      clock.pass(minutes * 60_000);
      const job = await get(call, id);
      const expires = Date.parse(named(job, 'page.html').url_expires_at ?? '');
      const { searchParams } = linkOf(job, 'page.html');
      const signed = Math.floor(Date.now() / WINDOW_MS) * WINDOW_MS;
      expect(searchParams.get('X-Amz-Date')).toBe(new Date(signed).toISOString().replaceAll(/[:-]|\.\d{3}/g, ''));
      expect(signed + Number(searchParams.get('X-Amz-Expires')) * 1000).toBe(expires);
      expect(expires - Date.now()).toBeGreaterThan(WINDOW_MS - 1);
      expect(expires - Date.now()).toBeLessThanOrEqual(2 * WINDOW_MS);
    }
  });

  it('does not outlive its job', async () => {
    const { call, id } = await finished({ retention: 60 });
    const job = await get(call, id);
    expect(named(job, 'page.html').url_expires_at).toBe(job.expires_at);
    expect(Number(linkOf(job, 'page.html').searchParams.get('X-Amz-Expires'))).toBe(60);
  });

  it('is not in events, which are stored', async () => {
    const { call, id } = await finished();
    const events = await (await call(`/v1/jobs/${id}/events?after=0`)).text();
    expect(events).toContain('event: status');
    const snapshot = await (await call(`/v1/jobs/${id}/events`)).text();
    expect(events + snapshot).not.toContain('X-Amz-Signature');
  });
});

describe('an ETag of a job with files', () => {
  const conditional = (call: Call, id: string, tag: string, query = '') =>
    call(`/v1/jobs/${id}${query}`, { headers: { 'if-none-match': tag } });

  it("is valid while the client's URLs are", async () => {
    const { clock, call, id } = await finished();
    const first = await call(`/v1/jobs/${id}`);
    const tag = first.headers.get('etag') ?? '';
    const before = jobSchema.parse(await first.json());
    clock.pass(WINDOW_MS - 1);
    expect((await conditional(call, id, tag)).status).toBe(304);
    // A 304 leaves the client with links that still work for an hour.
    expect(Date.parse(named(before, 'page.html').url_expires_at ?? '') - Date.now()).toBeGreaterThan(WINDOW_MS);
    clock.pass(1);
    const fresh = await conditional(call, id, tag);
    expect(fresh.status).toBe(200);
    expect(fresh.headers.get('etag')).not.toBe(tag);
    expect(linkOf(jobSchema.parse(await fresh.json()), 'page.html').href).not.toBe(linkOf(before, 'page.html').href);
  });

  it("answers a long poll at once when the client's URLs are old", async () => {
    answerRunpod();
    const clock = frozenClock();
    const { account, call } = await newClient();
    const { id } = await submitted(call, { finish_within: 2 * (WINDOW_MS / 1000) });
    const harness = harnessOf(id);
    await drained(harness);
    const claim = crypto.randomUUID();
    await claimAttempt(harness, claim, 1);
    const line = await connected(dialChannel(harness, 1, claim));
    const output = {
      name: 'a.png',
      node_id: '2',
      type: 'image',
      content_type: 'image/png',
      size_bytes: 3,
      sha256: 'a'.repeat(64),
      key: outputKey(account, id, 1, 'a.png'),
    };
    await line.ask({ seq: 1, type: 'output', output });
    const tag = (await call(`/v1/jobs/${id}`)).headers.get('etag') ?? '';
    expect(tag).toMatch(/-/);
    clock.pass(WINDOW_MS);
    // It would wait for as long as this test may take.
    const answer = await conditional(call, id, tag, '?wait=60');
    expect(jobSchema.parse(await answer.json())).toMatchObject({ status: 'running', outputs: [{ name: 'a.png' }] });
  });
});
