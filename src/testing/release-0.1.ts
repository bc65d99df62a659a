import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { newId } from './job.ts';

/**
 * A job as an early gateway stored it, without what was added since. An upgrade must continue such jobs. Before the first release its
 * names follow those of the tables; after it, it is never changed.
 */

const TABLES = `
CREATE TABLE job (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL, pending TEXT NOT NULL, tail TEXT NOT NULL);
CREATE TABLE job_spec (one INTEGER PRIMARY KEY CHECK (one = 1), workflow TEXT NOT NULL, inputs TEXT NOT NULL, initial_view TEXT NOT NULL);
CREATE TABLE chunks (last INTEGER PRIMARY KEY, events TEXT NOT NULL);
`;

/** The claim that holds the stored job. */
export const OLD_CLAIM = '5f0f6c2e-7f55-4c39-9a35-0d1f8a0c2b11';

/** Stores a job that a worker has claimed, and returns its id. */
export async function storedByRelease01(account: string, now: number): Promise<string> {
  const id = newId();
  const common = {
    id,
    account,
    endpoint: 'default',
    metadata: { shot: '7' },
    resolved: { seeds: [], overrides: [], clamped: [] },
    created_at: now,
    completed_at: null,
    deadline: now + 900_000,
    progress: null,
    outputs: [],
    error: null,
  };
  const state = {
    ...common,
    key: 'key-1',
    price_per_second: 0.0004,
    options: { previews: true, temp_outputs: false },
    retention_ms: 604_800_000,
    status: 'running',
    stage: 'inputs',
    started_at: now + 50,
    timings: {},
    waiting: null,
    cancel: null,
    attempts: [
      {
        number: 1,
        phase: 'claimed',
        outcome: null,
        created_at: now + 20,
        claimed_at: now + 50,
        ended_at: null,
        run_id: 'run-1',
        claim: OLD_CLAIM,
        worker: { id: 'w1', version: '0.1.0' },
        error: null,
        acked: 0,
        channel_open: false,
        refusals: 0,
        due_at: null,
        hinted_at: null,
        check_at: now + 30_020,
        lost_at: now + 30_050,
        settle_at: null,
        settle_error: null,
      },
    ],
    erased: false,
    last_event: 2,
    progress_log: { count: 0, at: 0 },
  };
  const first = {
    ...common,
    status: 'queued',
    stage: 'capacity',
    started_at: null,
    expires_at: now + 605_700_000,
    attempts: [
      {
        number: 1,
        status: 'waiting',
        created_at: now + 20,
        claimed_at: null,
        ended_at: null,
        worker: null,
        error: null,
      },
    ],
    usage: null,
    metrics: { queue_ms: null, execution_ms: null, upload_ms: null, total_ms: null },
    last_event: 1,
  };
  const events = [
    { status: 'queued', stage: 'capacity', attempt: 1, at: new Date(now + 20).toISOString() },
    { status: 'running', stage: 'inputs', attempt: 1, at: new Date(now + 50).toISOString() },
  ];
  await runInDurableObject(env.JOB.getByName(id), async (_object, { storage }) => {
    const { sql } = storage;
    sql.exec(TABLES);
    const notify = { kind: 'notify', sequence: 2, status: 'running', tries: 1, at: now + 50 };
    sql.exec(
      'INSERT INTO job (one, state, pending, tail) VALUES (1, ?, ?, ?)',
      JSON.stringify(state),
      JSON.stringify([{ effect: notify, due_at: now + 50, tries: 0, started: false }]),
      JSON.stringify(events.map((data, index) => ({ event: 'status', data, id: index + 1 }))),
    );
    sql.exec(
      'INSERT INTO job_spec (one, workflow, inputs, initial_view) VALUES (1, ?, ?, ?)',
      JSON.stringify({ '1': { class_type: 'EmptyImage', inputs: {} } }),
      '[]',
      JSON.stringify(first),
    );
    await storage.sync();
  });
  return id;
}
