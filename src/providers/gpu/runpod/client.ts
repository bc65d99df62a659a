import { z } from 'zod';
import type { Health } from '../../../contract/endpoint.ts';
import { readRetryAfter } from '../../../contract/retry-after.ts';
import { runIdSchema, type RunRecord, type RunStatus } from '../../../contract/run.ts';
import { readJsonStream, type JsonPath, type TextSink } from '../../json-stream.ts';
import type { RunAnswer } from '../provider.ts';

/** RunPod's job API (reference/runpod.md section 2). `endpoint` is RunPod's endpoint id. */
export type RunpodClient = {
  /** Calls `/run`, once. */
  run(request: RunpodRequest): Promise<RunAnswer>;
  /** Reads only the status of a run. */
  status(endpoint: string, runId: string): Promise<RunStatus>;
  /**
   * Reads the whole record of a run, including its output. Rejects with the error of a sink.
   * @param sinkFor called at the beginning of every string in the record. A sink receives the string piece by piece as
   *   it arrives, and its result replaces the string.
   */
  read(
    endpoint: string,
    runId: string,
    sinkFor: (path: JsonPath) => TextSink | null,
  ): Promise<RunRecord | 'missing' | 'unreachable'>;
  /** Cancels a queued or running run. Also returns `done` if the run is finished or unknown to RunPod. */
  cancel(endpoint: string, runId: string): Promise<'done' | 'retry'>;
  /** Reads the state of an endpoint's workers and queue. */
  health(endpoint: string): Promise<HealthAnswer>;
};

/** Times in ms. */
export type RunpodRequest = {
  endpoint: string;
  /** The worker's input: one JSON object as text, in pieces, so that a large one is not copied into one string. */
  input: readonly string[];
  /** The URL that RunPod calls when the run finishes; null for none. */
  webhook: string | null;
  execution_timeout_ms: number;
  ttl_ms: number;
};

export type HealthAnswer =
  | { kind: 'ok'; health: Health }
  /** RunPod does not know the endpoint, or does not serve this account. */
  | { kind: 'refused' }
  /** No response, or an invalid one. */
  | { kind: 'failed' };

/** RunPod answers `/run` much faster. Its own clients time out after 3 to 10 s. */
const RUN_TIMEOUT_MS = 15_000;
const STATUS_TIMEOUT_MS = 10_000;
/** A request waits for it. RunPod's own clients time out after 3 s (reference/runpod.md 3.1). */
const HEALTH_TIMEOUT_MS = 5_000;
/**
 * A record has up to 20 MB (reference/runpod.md 2.7, worker-comfyui#129), and its files are stored while it arrives.
 */
const READ_TIMEOUT_MS = 120_000;
/** Limits of `policy` in ms (reference/runpod.md 2.2). */
const EXECUTION_TIMEOUT_MS = { min: 5_000, max: 7 * 86_400_000 };
const TTL_MS = { min: 10_000, max: 7 * 86_400_000 };

const runAnswer = z.object({ id: runIdSchema });
const count = z.number().nonnegative().catch(0);
/** RunPod documents only some of these fields (reference/runpod.md 2.1). A missing field counts as 0. */
const healthAnswer = z.object({
  jobs: z.object({ inQueue: count, inProgress: count }),
  workers: z.object({
    idle: count,
    initializing: count,
    ready: count,
    running: count,
    throttled: count,
    unhealthy: count,
  }),
});
const statusAnswer = z.object({ status: z.string() });
const ms = z.number().nonnegative().nullish().catch(null);
const recordAnswer = z.object({
  status: z.string(),
  output: z.unknown().optional(),
  error: z.unknown().optional(),
  delayTime: ms,
  executionTime: ms,
  workerId: z.string().max(200).nullish().catch(null),
});

/** A map and not an object: the word comes from outside and can be the name of an inherited property. */
const STATUS_WORDS: ReadonlyMap<string, RunRecord['status']> = new Map([
  ['IN_QUEUE', 'queued'],
  ['IN_PROGRESS', 'running'],
  ['RUNNING', 'running'],
  ['COMPLETED', 'completed'],
  ['FAILED', 'failed'],
  ['CANCELLED', 'canceled'],
  ['TIMED_OUT', 'timed_out'],
]);

/** Refusals that apply to every run of the endpoint: wrong key, no balance, no permission, unknown endpoint. */
const ABOUT_ENDPOINT: ReadonlySet<number> = new Set([401, 402, 403, 404]);
/** A proxy timed out. Unlike other 4xx statuses, this one does not mean that RunPod did not accept the run. */
const REQUEST_TIMEOUT = 408;
/** Responses to a cancel that mean the run does not exist or has finished. Other 4xx statuses are worth a retry. */
const NOTHING_TO_CANCEL: ReadonlySet<number> = new Set([400, 404, 409, 410, 422]);

export function runpodClient(options: { baseUrl: string; apiKey: string }): RunpodClient {
  /** Makes one call and reads its response, with a timeout for both. Rejects on every network failure. */
  const call = async <T>(
    path: string,
    init: RequestInit,
    timeout_ms: number,
    read: (response: Response) => Promise<T>,
  ): Promise<T> => {
    const timeout = new AbortController();
    // Not `AbortSignal.timeout`: its timer keeps running after the response and keeps the Job object from hibernating.
    const timer = setTimeout(() => timeout.abort(), timeout_ms);
    try {
      const response = await fetch(`${options.baseUrl}/${path}`, {
        ...init,
        headers: { authorization: `Bearer ${options.apiKey}`, 'content-type': 'application/json' },
        signal: timeout.signal,
        redirect: 'manual',
      });
      return await read(response);
    } finally {
      clearTimeout(timer);
    }
  };

  return {
    async run(request) {
      const post = { method: 'POST', body: runBody(request) };
      try {
        return await call(`${request.endpoint}/run`, post, RUN_TIMEOUT_MS, readRunAnswer);
      } catch {
        return { kind: 'unknown' };
      }
    },

    async status(endpoint, runId) {
      const path = `${endpoint}/status/${encodeURIComponent(runId)}`;
      try {
        return await call(path, { method: 'GET' }, STATUS_TIMEOUT_MS, readStatusAnswer);
      } catch {
        return 'unreachable';
      }
    },

    async read(endpoint, runId, sinkFor) {
      const path = `${endpoint}/status/${encodeURIComponent(runId)}`;
      /** Failures of sinks, which are thrown to the caller. Network failures are not. */
      const sinkFailures: { by: unknown }[] = [];
      const observedSink = (at: JsonPath): TextSink | null => {
        const sink = sinkFor(at);
        return sink === null ? null : withFailureCallback(sink, (by) => sinkFailures.push({ by }));
      };
      try {
        return await call(path, { method: 'GET' }, READ_TIMEOUT_MS, (response) => readRecord(response, observedSink));
      } catch {
        const [first] = sinkFailures;
        if (first !== undefined) {
          throw first.by;
        }
        return 'unreachable';
      }
    },

    async cancel(endpoint, runId) {
      const path = `${endpoint}/cancel/${encodeURIComponent(runId)}`;
      try {
        return await call(path, { method: 'POST' }, STATUS_TIMEOUT_MS, readCancelAnswer);
      } catch {
        return 'retry';
      }
    },

    async health(endpoint) {
      try {
        return await call(`${endpoint}/health`, { method: 'GET' }, HEALTH_TIMEOUT_MS, readHealthAnswer);
      } catch {
        return { kind: 'failed' };
      }
    },
  };
}

function runBody(request: RunpodRequest): Blob {
  const webhook = request.webhook === null ? '' : `,"webhook":${JSON.stringify(request.webhook)}`;
  const policy = JSON.stringify({
    executionTimeout: clamp(request.execution_timeout_ms, EXECUTION_TIMEOUT_MS),
    ttl: clamp(request.ttl_ms, TTL_MS),
  });
  return new Blob(['{"input":', ...request.input, `${webhook},"policy":${policy}}`]);
}

const clamp = (value: number, { min, max }: { min: number; max: number }): number =>
  Math.round(Math.min(max, Math.max(min, value)));

async function readRunAnswer(response: Response): Promise<RunAnswer> {
  if (response.ok) {
    const answer = runAnswer.safeParse(await response.json());
    return answer.success ? { kind: 'accepted', run_id: answer.data.id } : { kind: 'unknown' };
  }
  await discard(response);
  const { status } = response;
  if (status === 429) {
    return {
      kind: 'refused',
      retryable: true,
      about: 'run',
      code: 'no_capacity',
      message: 'RunPod does not accept more runs at the moment.',
      retry_after_ms: readRetryAfter(response.headers.get('retry-after'), Date.now()),
    };
  }
  if (status >= 400 && status < 500 && status !== REQUEST_TIMEOUT) {
    return {
      kind: 'refused',
      retryable: false,
      about: ABOUT_ENDPOINT.has(status) ? 'endpoint' : 'run',
      code: 'provider_refused',
      message: `RunPod refused the run (${status}).`,
      retry_after_ms: null,
    };
  }
  return { kind: 'unknown' };
}

async function readStatusAnswer(response: Response): Promise<RunStatus> {
  if (!response.ok) {
    await discard(response);
    return response.status === 404 ? 'missing' : 'unreachable';
  }
  const answer = statusAnswer.safeParse(await response.json());
  // An unknown status means that the run is in progress (reference/runpod.md 2.3).
  return answer.success ? (STATUS_WORDS.get(answer.data.status) ?? 'running') : 'unreachable';
}

async function readRecord(
  response: Response,
  sinkFor: (path: JsonPath) => TextSink | null,
): Promise<RunRecord | 'missing' | 'unreachable'> {
  if (!response.ok || response.body === null) {
    await discard(response);
    return response.status === 404 ? 'missing' : 'unreachable';
  }
  const answer = recordAnswer.safeParse(await readJsonStream(response.body, sinkFor));
  if (!answer.success) {
    return 'unreachable';
  }
  const { status, output, error, delayTime, executionTime, workerId } = answer.data;
  return {
    status: STATUS_WORDS.get(status) ?? 'running',
    output,
    error,
    delay_ms: delayTime ?? null,
    execution_ms: executionTime ?? null,
    worker: workerId ?? null,
  };
}

/** Wraps a sink so that its failures are also passed to `onFailure`. */
function withFailureCallback(sink: TextSink, onFailure: (by: unknown) => void): TextSink {
  const observe = async <T>(work: () => Promise<T> | T): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      onFailure(error);
      throw error;
    }
  };
  return { write: (piece) => observe(() => sink.write(piece)), end: () => observe(() => sink.end()) };
}

async function readCancelAnswer(response: Response): Promise<'done' | 'retry'> {
  await discard(response);
  return response.ok || NOTHING_TO_CANCEL.has(response.status) ? 'done' : 'retry';
}

async function readHealthAnswer(response: Response): Promise<HealthAnswer> {
  if (!response.ok) {
    await discard(response);
    return { kind: ABOUT_ENDPOINT.has(response.status) ? 'refused' : 'failed' };
  }
  const answer = healthAnswer.safeParse(await response.json());
  if (!answer.success) {
    return { kind: 'failed' };
  }
  const { jobs, workers } = answer.data;
  return { kind: 'ok', health: { workers, in_queue: jobs.inQueue, in_progress: jobs.inProgress } };
}

/** Cancels an unread body, which frees the connection. */
async function discard(response: Response): Promise<void> {
  await response.body?.cancel();
}
