import { type Connection, send, sendForJson } from './http.ts';
import type { Timing } from './timing.ts';
import type { Shape } from './shape.ts';
import {
  type Batch,
  type Job,
  type JobEvent,
  type JobPage,
  type JobResult,
  type NewJob,
  type Status,
  batch,
  job,
  jobPage,
  resultAnswer,
} from './types.ts';
import { type WatchOptions, watchJob } from './watch.ts';

/** Every call can be given up. */
export interface CallOptions {
  signal?: AbortSignal;
}

export interface ListOptions extends CallOptions {
  /** 1 to 100; the gateway's default is 20. */
  limit?: number;
  /** `next_cursor` of the page before. */
  cursor?: string;
  /** One, or any of these. */
  status?: Status | Status[];
  endpoint?: string;
  /** Id of the API key that submitted. */
  key?: string;
  /** Made then or later. */
  createdAfter?: Date;
  /** Made earlier than then. */
  createdBefore?: Date;
  /** Jobs that have all of these; up to four. */
  metadata?: Record<string, string>;
}

export interface SubmitOptions extends CallOptions {
  /** Whole seconds to wait for the job's end, 60 at most; look at `status` of what comes. */
  wait?: number;
  /** Makes it safe to submit again after a lost answer: made up once per job. */
  idempotencyKey?: string;
}

export interface BatchOptions extends CallOptions {
  /** Stands for a key of every job that has none. */
  idempotencyKey?: string;
}

export interface ResultOptions extends CallOptions {
  /** Seconds to wait for the job's end, 60 at most. */
  wait?: number;
}

export interface DownloadOptions extends CallOptions {
  /** First byte wanted, to go on with a download that was cut. */
  from?: number;
}

/** `/v1/jobs`. Every method throws `ApiError`, `ConnectionError` or `AnswerError`. */
export class Jobs {
  readonly #connection: Connection;
  readonly #timing: Timing;

  constructor(connection: Connection, timing: Timing) {
    this.#connection = connection;
    this.#timing = timing;
  }

  /** Submits a workflow. The job is stored when this resolves, and runs independently of this client. */
  submit(newJob: NewJob, options: SubmitOptions = {}): Promise<Job> {
    const prefer: Record<string, string> = options.wait === undefined ? {} : { prefer: `wait=${options.wait}` };
    return this.#post('/v1/jobs', job, newJob, options, prefer);
  }

  /** Submits up to 50 workflows at once; each is accepted or refused on its own. */
  submitBatch(jobs: (NewJob & { idempotency_key?: string })[], options: BatchOptions = {}): Promise<Batch> {
    return this.#post('/v1/jobs/batch', batch, { jobs }, options);
  }

  /** What came out of a job; null while it is not over. Throws `ApiError` (`job_failed`, `job_canceled`, `job_expired`) when nothing ever will. */
  async result(id: string, options: ResultOptions = {}): Promise<JobResult | null> {
    const { wait, signal } = options;
    const answer = await sendForJson(this.#connection, `${pathOf(id)}/result`, resultAnswer, {
      query: { wait },
      signal,
    });
    return answer.object === 'job_result' ? answer : null;
  }

  #post<T>(
    path: string,
    shape: Shape<T>,
    value: unknown,
    { idempotencyKey, signal }: BatchOptions,
    more: Record<string, string> = {},
  ): Promise<T> {
    const headers = {
      'content-type': 'application/json',
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
      ...more,
    };
    return sendForJson(this.#connection, path, shape, { method: 'POST', headers, body: JSON.stringify(value), signal });
  }

  get(id: string, options: CallOptions = {}): Promise<Job> {
    return sendForJson(this.#connection, pathOf(id), job, { signal: options.signal });
  }

  /** One page of the account's jobs that fit, newest first. */
  list(options: ListOptions = {}): Promise<JobPage> {
    const { limit, cursor, status, endpoint, key, createdAfter, createdBefore, metadata = {}, signal } = options;
    const query = {
      limit,
      cursor,
      status: Array.isArray(status) ? status.join(',') : status,
      endpoint,
      key,
      created_after: createdAfter?.toISOString(),
      created_before: createdBefore?.toISOString(),
      ...Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`metadata.${name}`, value])),
    };
    return sendForJson(this.#connection, '/v1/jobs', jobPage, { query, signal });
  }

  /** Asks the job to stop; of a job that is over, answers how it ended. */
  cancel(id: string, options: CallOptions = {}): Promise<Job> {
    return sendForJson(this.#connection, `${pathOf(id)}/cancel`, job, { method: 'POST', signal: options.signal });
  }

  /** The job's events until its final status, over as many connections as it takes; see `watchJob`. */
  watch(id: string, options: WatchOptions = {}): AsyncGenerator<JobEvent, void, void> {
    return watchJob(this.#connection, this.#timing, id, options);
  }

  /** Waits for the final status, handing over every event on the way, and answers the finished job. */
  async wait(id: string, options: WatchOptions & { onEvent?: (event: JobEvent) => void } = {}): Promise<Job> {
    const { onEvent, ...watchOptions } = options;
    for await (const event of this.watch(id, watchOptions)) {
      onEvent?.(event);
    }
    return this.get(id, options.signal === undefined ? {} : { signal: options.signal });
  }

  /** An output's bytes, as a response to stream or to read at once. */
  download(id: string, name: string, options: DownloadOptions = {}): Promise<Response> {
    const file = name.split('/').map(encodeURIComponent).join('/');
    const headers: Record<string, string> = options.from === undefined ? {} : { range: `bytes=${options.from}-` };
    return send(this.#connection, `${pathOf(id)}/outputs/${file}`, { headers, signal: options.signal });
  }
}

function pathOf(id: string): string {
  return `/v1/jobs/${encodeURIComponent(id)}`;
}
