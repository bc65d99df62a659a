import { type Connection, send, sendForJson } from './http.ts';
import type { Timing } from './timing.ts';
import { type Job, type JobEvent, type JobPage, type NewJob, type Status, job, jobPage } from './types.ts';
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
  status?: Status;
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

  /** Submits a workflow. The job is stored when this resolves, and runs whatever happens to this client. */
  submit(newJob: NewJob, options: CallOptions = {}): Promise<Job> {
    const body = JSON.stringify(newJob);
    const headers = { 'content-type': 'application/json' };
    return sendForJson(this.#connection, '/v1/jobs', job, { method: 'POST', headers, body, signal: options.signal });
  }

  get(id: string, options: CallOptions = {}): Promise<Job> {
    return sendForJson(this.#connection, pathOf(id), job, { signal: options.signal });
  }

  /** One page of the account's jobs, newest first. */
  list(options: ListOptions = {}): Promise<JobPage> {
    const { limit, cursor, status, signal } = options;
    return sendForJson(this.#connection, '/v1/jobs', jobPage, { query: { limit, cursor, status }, signal });
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
