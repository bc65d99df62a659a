import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EventBody } from '../../../contract/events.ts';
import type { AttemptView, JobError, JobView, Output, Progress } from '../../../contract/job.ts';
import { fitEvent, fitSnapshot, MAX_EVENT_BYTES } from '../../../domain/job/event-size.ts';
import { renderJob, renderOutput } from '../render.ts';

/** An event is at most 64 KiB when a client gets it, for any report of a worker of any size. */

// The longest host name there is (RFC 1035), with a port.
const PUBLIC_URL = `https://${`${'x'.repeat(62)}.`.repeat(4).slice(0, 253)}:65535`;
const ID = '01890000-0000-7000-8000-000000000000';
const bytes = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).byteLength;

/** Texts as long as they may be, of characters that JSON writes with one to six bytes. */
const text = (most: number): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom('a', '\u0001', 'ß', '漢', '"'), fc.oneof(fc.constant(most), fc.nat(most)))
    .map(([character, length]) => character.repeat(length));
const name = fc
  .tuple(fc.constantFrom('a', 'ß', '漢', ' '), fc.nat(80))
  .map(([character, length]) => `x${character.repeat(length)}`);

const output: fc.Arbitrary<Output> = fc.record(
  {
    name,
    node_id: text(256),
    class_type: text(300),
    type: fc.constant('text' as const),
    content_type: text(255),
    size_bytes: fc.nat(),
    sha256: fc.constant('0'.repeat(64)),
    key: fc.constant(null),
    temp: fc.boolean(),
    text: text(16_384),
  },
  { requiredKeys: ['name', 'node_id', 'class_type', 'type', 'content_type', 'size_bytes', 'sha256', 'key', 'temp'] },
);
const error: fc.Arbitrary<JobError> = fc.record(
  {
    code: fc.constant('execution_error' as const),
    message: text(2_000),
    at: fc.constant('workflow' as const),
    retryable: fc.boolean(),
    attempt: fc.nat(6),
    node: fc.record({ id: text(200_000), class_type: text(300) }),
    details: fc.record({ traceback: text(30_000) }),
  },
  { requiredKeys: ['code', 'message', 'at', 'retryable', 'attempt'] },
);
const progress: fc.Arbitrary<Progress> = fc.record({
  value: fc.constant(0.5),
  nodes_done: fc.nat(),
  nodes_total: fc.nat(),
  current_node: fc.option(text(100_000)),
  current_node_class: fc.option(text(300)),
});
const attempt: fc.Arbitrary<AttemptView> = fc.record({
  number: fc.nat(6),
  endpoint: fc.constant('e'.repeat(63)),
  status: fc.constant('failed' as const),
  created_at: fc.constant(1_800_000_000_000),
  claimed_at: fc.constant(1_800_000_000_000),
  ended_at: fc.constant(1_800_000_000_000),
  worker: text(200),
  environment: fc.option(
    fc.record({
      worker_version: text(50),
      comfyui_version: text(50),
      gpu: text(200),
      image: text(200),
      nodes: fc.constant('0'.repeat(64)),
      models: fc.array(fc.record({ path: text(500), sha256: fc.constant('0'.repeat(64)) }), { maxLength: 100 }),
      memory_free_bytes: fc.nat(),
      disk_free_bytes: fc.nat(),
    }),
  ),
  upstream_id: text(100),
  error: fc.option(error),
});
const metadata = fc.dictionary(text(64), text(512), { maxKeys: 16 });

const job = fc.record({
  outputs: fc.oneof(
    fc.array(output, { maxLength: 8 }),
    // As many as a job may have, with as much text as it can keep.
    output.map((one) =>
      Array.from({ length: 1_000 }, (_, index) => ({
        ...one,
        name: `${index}${one.name}`,
        text: one.text?.slice(0, 200) ?? '',
      })),
    ),
  ),
  attempts: fc.array(attempt, { maxLength: 6 }),
  error: fc.option(error),
  progress: fc.option(progress),
  metadata,
  seeds: fc.nat(100),
  clamped: fc.nat(2_000),
});
const viewOf = (parts: typeof job extends fc.Arbitrary<infer Parts> ? Parts : never): JobView => {
  const { seeds, clamped, ...rest } = parts;
  return {
    ...rest,
    id: ID,
    account: 'a',
    key: ID,
    endpoint: 'e'.repeat(63),
    status: 'failed',
    stage: null,
    created_at: 1_800_000_000_000,
    started_at: 1_800_000_000_000,
    completed_at: 1_800_000_000_000,
    deadline: 1_800_000_000_000,
    start_deadline: 1_800_000_000_000,
    expires_at: 1_800_000_000_000,
    queue_position: null,
    resolved: {
      seeds: Array.from({ length: seeds }, () => ({ node: 'n', input: 'seed', value: '1'.repeat(20), random: true })),
      overrides: [],
      clamped: Array.from({ length: clamped }, () => ({ node: 'n', input: 'w', from: 9, to: 1, limit: 'max_pixels' })),
    },
    usage: { billed_seconds: 1, cost_usd: 1 },
    metrics: { queue_ms: 1, cold_start_ms: 1, execution_ms: 1, upload_ms: 1, total_ms: 1 },
    last_event: 5_000,
  };
};

describe('a snapshot', () => {
  it('is at most 64 KiB for any job', () => {
    fc.assert(
      fc.property(job, (parts) => {
        expect(bytes(renderJob(fitSnapshot(viewOf(parts)), PUBLIC_URL))).toBeLessThanOrEqual(MAX_EVENT_BYTES);
      }),
      { numRuns: 60 },
    );
  });

  it('contains the whole job where it fits, and otherwise names the shortened fields', () => {
    fc.assert(
      fc.property(job, (parts) => {
        const whole = viewOf(parts);
        const { truncated, ...shown } = fitSnapshot(whole);
        const changed = Object.entries(shown).filter(
          ([field, value]) =>
            JSON.stringify(value) !== JSON.stringify(Object.entries(whole).find(([at]) => at === field)?.[1]),
        );
        const named = new Set((truncated ?? []).map((path) => path.split('.')[0]));
        expect(new Set(changed.map(([field]) => field))).toEqual(named);
      }),
      { numRuns: 60 },
    );
  });

  it('keeps the first outputs that fit', () => {
    const [one] = fc.sample(output, { seed: 1, numRuns: 1 });
    if (one === undefined) {
      throw new Error('no output');
    }
    const small = { ...one, name: 'n', node_id: '1', class_type: 'SaveImage', content_type: 'image/png', text: 'x' };
    const outputs = Array.from({ length: 1_000 }, (_, index) => ({ ...small, name: `${index}.png` }));
    const base = viewOf({ outputs, attempts: [], error: null, progress: null, metadata: {}, seeds: 0, clamped: 0 });
    const { outputs: shown, truncated } = fitSnapshot(base);
    expect(truncated).toEqual(['outputs.text', 'outputs']);
    expect(shown.length).toBeGreaterThan(50);
    expect(shown.map(({ name: kept }) => kept)).toEqual(shown.map((_, index) => `${index}.png`));
  });
});

describe('an event', () => {
  const at = '2026-11-21T00:00:00.000Z';
  const event: fc.Arbitrary<EventBody> = fc.oneof(
    fc.record({ event: fc.constant('output' as const), data: output }),
    fc.record({
      event: fc.constant('progress' as const),
      data: fc.tuple(progress, text(100_000)).map(([shown, nodes]) => ({ ...shown, nodes: { 1: nodes } })),
    }),
    fc.record({
      event: fc.constant('status' as const),
      data: error.map((failure) => ({ status: 'failed' as const, stage: null, attempt: 1, error: failure, at })),
    }),
    fc.record({
      event: fc.constant('log' as const),
      data: text(200_000).map((message) => ({ level: 'info' as const, message, at })),
    }),
  );
  const shownOf = (body: EventBody): unknown =>
    body.event === 'output' ? renderOutput(body.data, ID, PUBLIC_URL) : body.data;

  it('is at most 64 KiB, and unchanged where it fits', () => {
    fc.assert(
      fc.property(event, (body) => {
        const fitted = fitEvent(body);
        expect(bytes(shownOf(fitted))).toBeLessThanOrEqual(MAX_EVENT_BYTES);
        expect(fitted.event).toBe(body.event);
        // One twelfth is reserved for the links and times that the route adds.
        const small = bytes(body.data) < (MAX_EVENT_BYTES * 11) / 12;
        expect(small && fitted !== body).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});
