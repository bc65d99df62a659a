import { Webhook as Verifier } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { STATUSES, type JobError } from '../../contract/job.ts';
import type { JobNotice } from '../../contract/webhook.ts';
import { jobSummarySchema } from '../../routes/v1/schemas.ts';
import { disabledEvent, erasedBody, jobEvent, MAX_BODY_BYTES, pingEvent } from './payload.ts';
import { isSecret, newSecret, signatureHeaders, signing } from './secret.ts';

const AT = 1_800_000_000_000;
const ORIGIN = 'https://gateway.acme.com';
const job: JobNotice = {
  id: '01930000-0000-7000-8000-000000000000',
  endpoint: 'default',
  status: 'succeeded',
  attempt: 1,
  created_at: AT - 3_000,
  started_at: AT - 2_000,
  completed_at: AT,
  error: null,
  metadata: { order: '7' },
};
const error: JobError = {
  code: 'execution_error',
  message: 'm',
  at: 'workflow',
  retryable: false,
  attempt: 1,
  node: { id: '5', class_type: 'KSampler' },
};
const bodyOf = (notice: JobNotice) =>
  JSON.parse(jobEvent(notice, 7, AT, ORIGIN).body) as { data: Record<string, unknown>; omitted?: string[] };
const bytes = (text: string) => new TextEncoder().encode(text).length;

describe('the webhook event of a job', () => {
  it('contains the type, the time, the sequence and the URL of the job', () => {
    const event = jobEvent(job, 7, AT, ORIGIN);
    expect({ id: event.id, type: event.type, job: event.job }).toEqual({
      id: `evt_${job.id}_7`,
      type: 'job.succeeded',
      job: job.id,
    });
    expect(JSON.parse(event.body)).toMatchObject({
      type: 'job.succeeded',
      timestamp: new Date(AT).toISOString(),
      sequence: 7,
      data: {
        id: job.id,
        status: 'succeeded',
        metadata: { order: '7' },
        urls: { self: `${ORIGIN}/v1/jobs/${job.id}` },
      },
    });
  });

  it('contains the summary of the job in every status', () => {
    for (const status of STATUSES) {
      const { data } = bodyOf({ ...job, status, error: status === 'failed' ? error : null });
      expect(jobSummarySchema.parse(data)).toMatchObject({ status });
    }
  });

  it('has a stable id and body, and a different id for each sequence number', () => {
    expect(jobEvent(job, 7, AT, ORIGIN)).toEqual(jobEvent(job, 7, AT, ORIGIN));
    expect(jobEvent(job, 8, AT, ORIGIN).id).not.toBe(jobEvent(job, 7, AT, ORIGIN).id);
  });

  it.each([
    ['with the largest metadata in the longest escapes', { metadata: huge('\u0001') }, ['data.metadata']],
    ['with metadata of three-byte letters', { metadata: huge('本') }, ['data.metadata']],
    [
      'with an error of many faults',
      { error: { ...error, details: { node_errors: 'x'.repeat(30_000) } } },
      ['data.error.details'],
    ],
    [
      'with both',
      { metadata: huge('\u0001'), error: { ...error, details: { node_errors: 'x'.repeat(30_000) } } },
      ['data.error.details', 'data.metadata'],
    ],
    [
      'with an error that is itself too large',
      { metadata: huge('x'), error: { ...error, message: '\u0001'.repeat(5_000) } },
      ['data.error', 'data.metadata'],
    ],
  ])('stays within MAX_BODY_BYTES for a job %s, and lists the omitted fields', (_title, over, omitted) => {
    const { body } = jobEvent({ ...job, status: 'failed', ...over }, 7, AT, ORIGIN);
    expect(bytes(body)).toBeLessThan(MAX_BODY_BYTES);
    expect(JSON.parse(body)).toMatchObject({ omitted, data: { id: job.id, status: 'failed' } });
  });

  it('omits nothing when the body fits', () => {
    const full = bodyOf({ ...job, status: 'failed', error: { ...error, details: { a: 'b' } }, metadata: huge('x') });
    expect(full.omitted).toBeUndefined();
    expect(full.data).toMatchObject({ error: { details: { a: 'b' } }, metadata: huge('x') });
  });
});

/** The largest metadata that a request may contain: 16 pairs of 64 and 512 characters. */
function huge(char: string): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: 16 }, (_, index) => [char.repeat(62) + String(index).padStart(2, '0'), char.repeat(512)]),
  );
}

it('event ids contain no dot, which is the separator in the signed text', () => {
  const ids = [
    jobEvent(job, 7, AT, ORIGIN).id,
    pingEvent(job.id, 'w', AT).id,
    disabledEvent({ id: 'w', url: 'https://a.b', version: 2 }, { reason: 'gone', detail: '' }, AT).id,
  ];
  expect(ids.filter((id) => !/^evt_[A-Za-z0-9_-]+$/.test(id))).toEqual([]);
});

describe('a webhook secret', () => {
  const fill = (count: number) => new Uint8Array(count).fill(7);

  it('starts with whsec_ and encodes 32 random bytes in base64', () => {
    expect(newSecret(fill)).toBe(`whsec_${fill(32).toBase64()}`);
  });

  it('is accepted with 24 to 64 bytes in canonical base64', () => {
    const lengths = Array.from({ length: 80 }, (_, count) => count);
    expect(lengths.filter((count) => isSecret(`whsec_${fill(count).toBase64()}`))).toEqual(
      Array.from({ length: 41 }, (_, index) => index + 24),
    );
    const good = fill(32).toBase64();
    for (const bad of [
      good,
      `whsk_${good}`,
      `whsec_${good.slice(0, -1)}`,
      `whsec_${good} `,
      `whsec_${good}=`,
      `whsec_ ${good}`,
    ]) {
      expect(isSecret(bad)).toBe(false);
    }
  });

  it.each([24, 32, 64])('makes signatures with %i bytes that the official library accepts', async (count) => {
    const secret = `whsec_${crypto.getRandomValues(new Uint8Array(count)).toBase64()}`;
    const { body } = jobEvent({ ...job, metadata: { name: 'jalapeño 🌶' } }, 7, AT, ORIGIN);
    const headers = await signatureHeaders(
      [{ secret, created_at: 0, expires_at: null }],
      { id: 'evt_1', body },
      Date.now(),
    );
    expect(new Verifier(secret).verify(body, headers)).toEqual(JSON.parse(body));
  });

  it('makes the signature of the example in the specification', async () => {
    const now = 1_614_265_330_000;
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const body = '{"test": 2432232314}';
    const headers = await signatureHeaders(
      [{ secret, created_at: 0, expires_at: null }],
      { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body },
      now,
    );
    expect(headers['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  it('does not sign after it has expired', () => {
    const secrets = [
      { secret: 'new', created_at: 5, expires_at: null },
      { secret: 'old', created_at: 0, expires_at: 10 },
    ];
    expect(signing(secrets, 9).map((each) => each.secret)).toEqual(['new', 'old']);
    expect(signing(secrets, 10).map((each) => each.secret)).toEqual(['new']);
  });
});

describe('the webhook event of an erased job', () => {
  it("contains only the type, the time, the sequence, the job's id and its status", () => {
    const { body } = jobEvent({ ...job, status: 'failed', error, metadata: { name: 'canary' } }, 7, AT, ORIGIN);
    expect(JSON.parse(erasedBody(body))).toEqual({
      type: 'job.failed',
      timestamp: new Date(AT).toISOString(),
      sequence: 7,
      data: { id: job.id, object: 'job', status: 'failed', erased: true },
    });
    expect(erasedBody(erasedBody(body))).toBe(erasedBody(body));
  });

  it.each(['', 'canary', '{"data":"canary"}', '{"type":"x","data":{"id":"canary"}}'])(
    'is empty when the body was not an event: %s',
    (body) => {
      expect(erasedBody(body)).toBe('{}');
    },
  );
});
