import { z } from 'zod';
import { JOB_ERROR_CODES } from '../../../contract/errors.ts';
import type { RunFailure } from '../../../contract/run.ts';
import { workerError } from '../../../contract/worker.ts';
import { cleanMessage } from './message.ts';
import { refusalIn } from './refusal.ts';

/** What a failure reported by worker-comfyui, or by RunPod about it, means in the words of a job's error. */

type Meaning = Omit<RunFailure, 'message' | 'node' | 'details'>;

const memory: Meaning = { code: 'out_of_memory', at: 'worker', retryable: true };
const execution: Meaning = { code: 'execution_error', at: 'workflow', retryable: false };
const unknown: Meaning = { code: 'execution_error', at: 'worker', retryable: false };

/** The graph began: a node raised. Such a text may hold anything, for the rest of it is the node's. */
const RAISED = /workflow execution error|node type:/i;

/** worker-comfyui tells its callers of what ComfyUI lists under `images` and of nothing else. */
export const NOTHING_LISTED =
  'The graph listed no pictures or videos. This endpoint runs worker-comfyui, which passes on only what ComfyUI lists under "images". ' +
  'Add a node that saves one, or use an endpoint that runs worker-gpu.';

/**
 * First match wins. Texts: worker-comfyui 5.x (reference/competitors.md section 3); RunPod's own about a vanished worker are not
 * documented, these have been seen in the wild or are those of local/runpod. `says`: in place of the text.
 */
const MEANINGS: readonly { text: RegExp; means: Meaning; says?: string }[] = [
  { text: /out of memory|OutOfMemoryError|allocation on device/i, means: memory },
  { text: RAISED, means: execution },
  {
    text: /no outputs found in history/i,
    means: { code: 'output_missing', at: 'worker', retryable: false },
    says: NOTHING_LISTED,
  },
  { text: /failed to fetch image data for/i, means: { code: 'output_missing', at: 'worker', retryable: false } },
  { text: /error uploading .* to s3/i, means: { code: 'upload_failed', at: 'worker', retryable: true } },
  {
    text: /failed to upload one or more input images/i,
    means: { code: 'input_fetch_failed', at: 'worker', retryable: true, ran: false },
  },
  {
    text: /comfyui server.*not reachable/i,
    means: { code: 'comfyui_unavailable', at: 'worker', retryable: true, ran: false },
  },
  {
    text: /communication error|error queuing workflow|not found in history|comfyui.*(?:unavailable|unreachable|not running)/i,
    means: { code: 'comfyui_unavailable', at: 'worker', retryable: true },
  },
  {
    text: /timed out after \d+ retries|worker\b.*\b(?:was lost|vanished|exited|crashed|not responding)/i,
    means: { code: 'worker_lost', at: 'worker', retryable: true },
  },
];

const refusalOf = (text: string): RunFailure | null => (RAISED.test(text) ? null : refusalIn(text));

/** Whether a text that came beside results says that the graph did not run to its end. */
export const endsTheRun = (text: string): boolean =>
  refusalOf(text) !== null ||
  MEANINGS.some(({ text: pattern, means }) => pattern.test(text) && (means === execution || means === memory));

/** A failure in a text. Where nothing is known of it: the graph's run failed on that worker, and nothing says that it would not again. */
export function failureOf(text: string): RunFailure {
  const refusal = refusalOf(text);
  if (refusal !== null) {
    return refusal;
  }
  const known = MEANINGS.find(({ text: pattern }) => pattern.test(text));
  const node = nodeIn(text);
  return {
    ...(known?.means ?? unknown),
    message: known?.says ?? (cleanMessage(text) || 'The worker reported a failure without a message.'),
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
/** worker-gpu used without a gateway says it in the contract's own words (docs/reference/worker.md). */
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
