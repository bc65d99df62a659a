import type { Job, JobEvent, Output } from '../types.ts';

export const KEY = 'ce_test_key';
export const JOB_ID = '0192f0c1-0000-7000-8000-000000000001';
const AT = '2026-01-02T03:04:05.678Z';

/** A file name that needs care in a URL and in UTF-8. */
export const OUTPUT: Output = {
  name: 'clip/bläu 1_00001_.png',
  node_id: '2',
  type: 'image',
  content_type: 'image/png',
  size_bytes: 131,
  sha256: 'a'.repeat(64),
  url: `https://gw.example/v1/jobs/${JOB_ID}/outputs/clip/bl%C3%A4u%201_00001_.png`,
};

/** A job as docs/reference/api.md shows it. */
export function sampleJob(changes: Partial<Job> = {}): Job {
  return {
    id: JOB_ID,
    status: 'running',
    stage: 'executing',
    endpoint: 'default',
    created_at: AT,
    started_at: AT,
    completed_at: null,
    deadline: AT,
    expires_at: AT,
    progress: { value: 0.4, nodes_done: 1, nodes_total: 3, current_node: '5', current_node_class: 'KSampler' },
    outputs: [],
    error: null,
    attempts: [
      {
        number: 1,
        endpoint: 'default',
        status: 'running',
        created_at: AT,
        claimed_at: AT,
        ended_at: null,
        worker: 'w1',
        error: null,
      },
    ],
    metadata: {},
    metrics: { queue_ms: 12, execution_ms: null, upload_ms: null, total_ms: null },
    urls: { self: 'https://gw.example/self', events: 'https://gw.example/events', cancel: 'https://gw.example/cancel' },
    last_event: 0,
    ...changes,
  };
}

/** The log of a job that went well; the preview between two entries has no number. */
export const LOG: JobEvent[] = [
  { event: 'status', id: 1, data: { status: 'queued', stage: 'admission', attempt: 0, at: AT } },
  { event: 'status', id: 2, data: { status: 'running', stage: 'executing', attempt: 1, at: AT } },
  {
    event: 'progress',
    id: 3,
    data: { value: 0.5, nodes_done: 1, nodes_total: 2, nodes: { '5': { state: 'running', value: 1, max: 2 } } },
  },
  { event: 'log', id: 4, data: { level: 'warn', message: 'größer als gedacht 🐢', at: AT } },
  { event: 'output', id: 5, data: OUTPUT },
  { event: 'status', id: 6, data: { status: 'succeeded', stage: null, attempt: 1, at: AT } },
];

/** Events as the gateway writes them, the keep-alive comment and the retry hint included. */
export function sseOf(events: JobEvent[]): string {
  const blocks = events.map(
    (event) =>
      `${'id' in event ? `id: ${event.id}\n` : ''}event: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`,
  );
  return ['retry: 2000\n\n', ...blocks].join(': keepalive\n\n');
}
