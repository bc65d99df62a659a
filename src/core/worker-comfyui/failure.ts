import { z } from 'zod';
import { JOB_ERROR_CODES } from '../../contract/job.ts';
import type { RunFailure } from '../../contract/run.ts';
import { workerError } from '../../contract/worker.ts';
import { cleanMessage } from './message.ts';

/** What a failure reported by worker-comfyui, or by RunPod about it, means in the words of a job's error. */

type Meaning = Omit<RunFailure, 'message' | 'node' | 'details'>;

const memory: Meaning = { code: 'out_of_memory', at: 'worker', retryable: true };
const execution: Meaning = { code: 'execution_error', at: 'workflow', retryable: false };

/**
 * First match wins. Texts: worker-comfyui 5.x (reference/competitors.md section 3); RunPod's own about a vanished worker are not
 * documented, these have been seen in the wild or are those of local/runpod.
 */
const MEANINGS: readonly { text: RegExp; means: Meaning }[] = [
  { text: /out of memory|OutOfMemoryError|allocation on device/i, means: memory },
  {
    text: /workflow validation failed|prompt_outputs_failed_validation|invalid prompt/i,
    means: { code: 'invalid_workflow', at: 'workflow', retryable: false },
  },
  { text: /workflow execution error|node type:/i, means: execution },
  {
    text: /failed to upload one or more input images/i,
    means: { code: 'input_fetch_failed', at: 'worker', retryable: true, ran: false },
  },
  {
    text: /comfyui server.*not reachable/i,
    means: { code: 'comfyui_unavailable', at: 'worker', retryable: true, ran: false },
  },
  {
    text: /communication error|comfyui.*(?:unavailable|unreachable|not running)/i,
    means: { code: 'comfyui_unavailable', at: 'worker', retryable: true },
  },
  {
    text: /timed out after \d+ retries|worker\b.*\b(?:was lost|vanished|exited|crashed|not responding)/i,
    means: { code: 'worker_lost', at: 'worker', retryable: true },
  },
];

/** Whether a text that came beside results says that the graph did not run to its end. */
export const endsTheRun = (text: string): boolean =>
  MEANINGS.some(
    ({ text: pattern, means }) =>
      pattern.test(text) && (means === execution || means === memory || means.code === 'invalid_workflow'),
  );

/** A failure in a text. Where nothing is known of it: the graph's run failed on that worker, and nothing says that it would not again. */
export function failureOf(text: string): RunFailure {
  const meaning = MEANINGS.find(({ text: pattern }) => pattern.test(text))?.means ?? {
    code: 'execution_error' as const,
    at: 'worker' as const,
    retryable: false,
  };
  const node = nodeIn(text);
  return {
    ...meaning,
    message: cleanMessage(text) || 'The worker reported a failure without a message.',
    ...(node === null ? {} : { node }),
  };
}

/** "Workflow execution error: Node Type: X, Node ID: N, Message: …" */
const NODE = /Node Type: ([^,\n]{1,200}), Node ID: ([^,\n]{1,200})/;

function nodeIn(text: string): { id: string; class_type: string } | null {
  const [, class_type, id] = NODE.exec(text) ?? [];
  return class_type === undefined || id === undefined ? null : { id, class_type };
}

/** What the SDK makes of an exception in a handler: a JSON text that also names the host and holds the trace (reference/runpod.md 2.7). */
const raised = z.object({ error_type: z.string().optional(), error_message: z.string() });
/** worker-gpu used without a gateway says it in the contract's own words (docs/worker.md). */
const ownWords = workerError.extend({ code: z.enum(JOB_ERROR_CODES) });
const withDetails = z.object({ details: z.array(z.string()).max(100) });

/** Why a run that is FAILED failed. */
export function runFailure(error: unknown, output: unknown): RunFailure {
  const own = ownWords.safeParse(output);
  if (own.success) {
    const { code, at, retryable, message, node } = own.data;
    return { code, at, retryable, message: cleanMessage(message), ...(node ? { node } : {}) };
  }
  const details = withDetails.safeParse(output);
  const text = [textOf(error), ...(details.success ? details.data.details : [])].filter((part) => part !== '');
  return failureOf(text.join(' '));
}

/** The message in whatever stands under `error`. */
export function textOf(error: unknown): string {
  if (typeof error === 'string') {
    return error.startsWith('{') ? (messageIn(error) ?? '') : error;
  }
  const object = z.object({ message: z.string() }).safeParse(error);
  return object.success ? object.data.message : '';
}

function messageIn(json: string): string | null {
  try {
    const parsed = raised.safeParse(JSON.parse(json));
    return parsed.success ? parsed.data.error_message : null;
  } catch {
    // Cut in the middle, or no JSON at all: nothing in it can be told from a trace.
    return /"error_message":\s*"((?:[^"\\]|\\.)*)"/.exec(json)?.[1]?.replaceAll(/\\./g, ' ') ?? null;
  }
}
