import { z } from 'zod';
import { WORKER_KEY } from '../limits.ts';

/** What an HTTP call came back with. */
export interface Answer {
  status: number;
  body: Record<string, unknown>;
}

const anyObject = z.record(z.string(), z.unknown());

/** A caller of one running platform: client, worker and admin calls as plain HTTP. */
export function callerOf(url: string) {
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: 'Bearer test-key', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? {} : anyObject.parse(JSON.parse(text)) };
  };
  const asWorker = { authorization: WORKER_KEY };
  return {
    call,
    get: (path: string) => call('GET', path),
    post: (path: string, body?: unknown) => call('POST', path, body),
    /** Submits a job and returns its id. */
    async run(endpoint: string, body: Record<string, unknown> = { input: {} }): Promise<string> {
      return z.string().parse((await call('POST', `/v2/${endpoint}/run`, body)).body['id']);
    },
    /** Takes the next job as an attached worker; resolves with its id. */
    async take(endpoint: string, worker: string): Promise<string> {
      const taken = await call(
        'GET',
        `/v2/${endpoint}/job-take/${worker}?gpu=x&job_in_progress=0`,
        undefined,
        asWorker,
      );
      return z.string().parse(taken.body['id']);
    },
    /** A GET of the worker API. */
    workerGet: (path: string) => call('GET', path, undefined, asWorker),
    /** A POST of the worker API, with the SDK's odd content type. */
    workerPost: (path: string, body: unknown) =>
      call('POST', path, body, { ...asWorker, 'content-type': 'application/x-www-form-urlencoded' }),
    /** Posts a result as the SDK does. */
    done: (endpoint: string, worker: string, job: string, result: unknown) =>
      call('POST', `/v2/${endpoint}/job-done/${worker}/${job}?gpu=x&isStream=false`, result, asWorker),
  };
}

export type Caller = ReturnType<typeof callerOf>;
