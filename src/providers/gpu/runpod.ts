import { z } from 'zod';
import type { RunStatus } from '../../contract/run.ts';
import type { GpuProvider, RunAnswer, RunOrder } from './provider.ts';

/** RunPod's job API (reference/runpod.md section 2). */

/** RunPod answers `/run` in well under this; its own clients give up after 3 to 10 s. */
const RUN_TIMEOUT_MS = 15_000;
const STATUS_TIMEOUT_MS = 10_000;
/** Bounds of `policy` in ms (reference/runpod.md 2.2). */
const EXECUTION_TIMEOUT_MS = { min: 5_000, max: 7 * 86_400_000 };
const TTL_MS = { min: 10_000, max: 7 * 86_400_000 };

const runAnswer = z.object({ id: z.string().min(1) });
const statusAnswer = z.object({ status: z.string() });

const STATUS_WORDS: Record<string, RunStatus> = {
  IN_QUEUE: 'queued',
  IN_PROGRESS: 'running',
  RUNNING: 'running',
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'canceled',
  TIMED_OUT: 'timed_out',
};

/** `endpoint` in each call is RunPod's endpoint id. */
export function runpodProvider(options: { baseUrl: string; apiKey: string }): GpuProvider {
  const call = (path: string, init: RequestInit, timeout_ms: number): Promise<Response> =>
    fetch(`${options.baseUrl}/${path}`, {
      ...init,
      headers: { authorization: `Bearer ${options.apiKey}`, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(timeout_ms),
      redirect: 'manual',
    });

  return {
    async run(order) {
      try {
        const response = await call(`${order.endpoint}/run`, { method: 'POST', body: runBody(order) }, RUN_TIMEOUT_MS);
        return await readRunAnswer(response);
      } catch {
        return { kind: 'unknown' };
      }
    },

    async status(endpoint, runId) {
      try {
        const response = await call(
          `${endpoint}/status/${encodeURIComponent(runId)}`,
          { method: 'GET' },
          STATUS_TIMEOUT_MS,
        );
        if (response.status === 404) {
          await response.body?.cancel();
          return 'missing';
        }
        const answer = statusAnswer.safeParse(response.ok ? await response.json() : await discard(response));
        // An unknown word means work in progress (reference/runpod.md 2.3).
        return answer.success ? (STATUS_WORDS[answer.data.status] ?? 'running') : 'unreachable';
      } catch {
        return 'unreachable';
      }
    },

    async cancel(endpoint, runId) {
      try {
        const response = await call(
          `${endpoint}/cancel/${encodeURIComponent(runId)}`,
          { method: 'POST' },
          STATUS_TIMEOUT_MS,
        );
        await response.body?.cancel();
        return response.ok || (response.status >= 400 && response.status < 500 && response.status !== 429)
          ? 'done'
          : 'again';
      } catch {
        return 'again';
      }
    },
  };
}

const runBody = (order: RunOrder): string =>
  JSON.stringify({
    input: order.ticket,
    webhook: order.webhook,
    policy: {
      executionTimeout: clamp(order.execution_timeout_ms, EXECUTION_TIMEOUT_MS),
      ttl: clamp(order.ttl_ms, TTL_MS),
    },
  });

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
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    return {
      kind: 'refused',
      again: true,
      code: 'no_capacity',
      message: 'RunPod takes no more runs for now.',
      retry_after_ms: Number.isFinite(seconds) ? seconds * 1000 : null,
    };
  }
  if (status >= 400 && status < 500) {
    return {
      kind: 'refused',
      again: false,
      code: 'provider_refused',
      message: `RunPod refused the run (${status}).`,
      retry_after_ms: null,
    };
  }
  return { kind: 'unknown' };
}

/** Frees the connection of an answer whose body nobody reads. */
async function discard(response: Response): Promise<null> {
  await response.body?.cancel();
  return null;
}
