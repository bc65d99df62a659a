import { z } from 'zod';
import type { Health } from '../../../contract/endpoint.ts';
import { readRetryAfter } from '../../../contract/retry-after.ts';
import { runIdSchema, type RunRecord, type RunStatus } from '../../../contract/run.ts';
import { readJsonStream, type JsonPath, type TextSink } from '../../json-stream.ts';
import type { RunAnswer } from '../provider.ts';

/** RunPod's job API (reference/runpod.md section 2). `endpoint` in each call is RunPod's endpoint id. */
export type RunpodClient = {
  /** Calls `/run`, once. */
  run(request: RunpodRequest): Promise<RunAnswer>;
  /** The status of a run, and no more. */
  status(endpoint: string, runId: string): Promise<RunStatus>;
  /**
   * All that RunPod says of a run, its output included.
   * @param take asked at the beginning of every text in it: one that is wanted is handed on piece by piece as it arrives, and what
   *   comes of it stands in its place. What a sink rejects with, this rejects with.
   */
  read(
    endpoint: string,
    runId: string,
    take: (path: JsonPath) => TextSink | null,
  ): Promise<RunRecord | 'missing' | 'unreachable'>;
  /** Cancels a run, queued or running. `done` also when it is over or unknown there. */
  cancel(endpoint: string, runId: string): Promise<'done' | 'again'>;
  /** What RunPod says of an endpoint's workers and queue. */
  health(endpoint: string): Promise<HealthAnswer>;
};

/** Times in ms. */
export type RunpodRequest = {
  endpoint: string;
  /** What the worker gets as its input: one JSON object as text, in pieces, so that large ones are not copied together first. */
  input: readonly string[];
  /** Where RunPod says that the run is over; null: nowhere. */
  webhook: string | null;
  execution_timeout_ms: number;
  ttl_ms: number;
};

export type HealthAnswer =
  | { kind: 'ok'; health: Health }
  /** RunPod knows the endpoint no longer, or does not serve this account. */
  | { kind: 'refused' }
  /** No answer, or none that makes sense. */
  | { kind: 'failed' };

/** RunPod answers `/run` in well under this; its own clients give up after 3 to 10 s. */
const RUN_TIMEOUT_MS = 15_000;
const STATUS_TIMEOUT_MS = 10_000;
/** A reader waits for it. RunPod's own clients give up after 3 s (reference/runpod.md 3.1). */
const HEALTH_TIMEOUT_MS = 5_000;
/** A whole answer has up to 20 MB (reference/runpod.md 2.7, worker-comfyui#129), and is moved on while it arrives. */
const READ_TIMEOUT_MS = 120_000;
/** Bounds of `policy` in ms (reference/runpod.md 2.2). */
const EXECUTION_TIMEOUT_MS = { min: 5_000, max: 7 * 86_400_000 };
const TTL_MS = { min: 10_000, max: 7 * 86_400_000 };

const runAnswer = z.object({ id: runIdSchema });
const count = z.number().nonnegative().catch(0);
/** RunPod's pages show only some of the words (reference/runpod.md 2.1): one that is missing counts as none. */
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

/** A map, not an object: the word comes from outside and may be the name of something every object has. */
const STATUS_WORDS: ReadonlyMap<string, RunRecord['status']> = new Map([
  ['IN_QUEUE', 'queued'],
  ['IN_PROGRESS', 'running'],
  ['RUNNING', 'running'],
  ['COMPLETED', 'completed'],
  ['FAILED', 'failed'],
  ['CANCELLED', 'canceled'],
  ['TIMED_OUT', 'timed_out'],
]);

/** Refusals that no other run would escape: the key, the balance, the permission, the endpoint itself. */
const ABOUT_ENDPOINT: ReadonlySet<number> = new Set([401, 402, 403, 404]);
/** A proxy gave up waiting for the request or its answer: unlike the rest of 4xx it does not say that nothing was taken. */
const REQUEST_TIMEOUT = 408;
/** Answers to a cancel that mean there is no such run, or no longer. Others of 4xx say that *we* were refused: try again. */
const NOTHING_TO_CANCEL: ReadonlySet<number> = new Set([400, 404, 409, 410, 422]);

export function runpodClient(options: { baseUrl: string; apiKey: string }): RunpodClient {
  /** One call and the reading of its answer, within a time. Rejects for whatever the network does. */
  const call = async <T>(
    path: string,
    init: RequestInit,
    timeout_ms: number,
    read: (response: Response) => Promise<T>,
  ): Promise<T> => {
    const giveUp = new AbortController();
    // Not `AbortSignal.timeout`: its timer runs on after the answer and would keep the Job object from hibernating.
    const timer = setTimeout(() => giveUp.abort(), timeout_ms);
    try {
      const response = await fetch(`${options.baseUrl}/${path}`, {
        ...init,
        headers: { authorization: `Bearer ${options.apiKey}`, 'content-type': 'application/json' },
        signal: giveUp.signal,
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

    async read(endpoint, runId, take) {
      const path = `${endpoint}/status/${encodeURIComponent(runId)}`;
      /** A sink's own failure is the caller's affair, unlike the network's. */
      const failed: { by: unknown }[] = [];
      const watched = (at: JsonPath): TextSink | null => {
        const sink = take(at);
        return sink === null ? null : noticing(sink, (by) => failed.push({ by }));
      };
      try {
        return await call(path, { method: 'GET' }, READ_TIMEOUT_MS, (response) => readRecord(response, watched));
      } catch {
        const [first] = failed;
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
        return 'again';
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
      again: true,
      about: 'run',
      code: 'no_capacity',
      message: 'RunPod takes no more runs for now.',
      retry_after_ms: readRetryAfter(response.headers.get('retry-after'), Date.now()),
    };
  }
  if (status >= 400 && status < 500 && status !== REQUEST_TIMEOUT) {
    return {
      kind: 'refused',
      again: false,
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
  // An unknown word means work in progress (reference/runpod.md 2.3).
  return answer.success ? (STATUS_WORDS.get(answer.data.status) ?? 'running') : 'unreachable';
}

async function readRecord(
  response: Response,
  take: (path: JsonPath) => TextSink | null,
): Promise<RunRecord | 'missing' | 'unreachable'> {
  if (!response.ok || response.body === null) {
    await discard(response);
    return response.status === 404 ? 'missing' : 'unreachable';
  }
  const answer = recordAnswer.safeParse(await readJsonStream(response.body, take));
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

/** The same sink, and somebody who learns that it failed. */
function noticing(sink: TextSink, notice: (by: unknown) => void): TextSink {
  const watch = async <T>(work: () => Promise<T> | T): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      notice(error);
      throw error;
    }
  };
  return { write: (piece) => watch(() => sink.write(piece)), end: () => watch(() => sink.end()) };
}

async function readCancelAnswer(response: Response): Promise<'done' | 'again'> {
  await discard(response);
  return response.ok || NOTHING_TO_CANCEL.has(response.status) ? 'done' : 'again';
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

/** Frees the connection of an answer whose body nobody reads. */
async function discard(response: Response): Promise<void> {
  await response.body?.cancel();
}
