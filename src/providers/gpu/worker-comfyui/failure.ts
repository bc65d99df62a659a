import { z } from 'zod';
import { JOB_ERROR_CODES } from '../../../contract/errors.ts';
import type { RunFailure } from '../../../contract/run.ts';
import { workerError } from '../../../contract/worker.ts';
import { cleanMessage } from './message.ts';
import { refusalIn } from './refusal.ts';

/** Maps failures that worker-comfyui reports, or that RunPod reports about it, to the errors of a job. */

type FailureKind = Omit<RunFailure, 'message' | 'node' | 'details'>;

const memory: FailureKind = { code: 'out_of_memory', at: 'worker', retryable: true };
const execution: FailureKind = { code: 'execution_error', at: 'workflow', retryable: false };
const unknown: FailureKind = { code: 'execution_error', at: 'worker', retryable: false };

/** A node raised while the graph ran. The rest of such a text comes from the node and can contain anything. */
const RAISED = /workflow execution error|node type:/i;

/** worker-comfyui returns only the files that ComfyUI lists under `images`. */
export const NO_IMAGES_LISTED =
  'The run saved no images or videos. This endpoint runs worker-comfyui, which returns only files that ComfyUI lists under "images". ' +
  'Add a node that saves an image or a video, or use an endpoint that runs worker-gpu.';

/**
 * The first match wins. The texts are those of worker-comfyui 5.x (reference/competitors.md section 3). RunPod's texts
 * about a lost worker are not documented; these were observed, or are those of local/runpod. `message` replaces the
 * text.
 */
const KNOWN_FAILURES: readonly { text: RegExp; failure: FailureKind; message?: string }[] = [
  { text: /out of memory|OutOfMemoryError|allocation on device/i, failure: memory },
  { text: RAISED, failure: execution },
  {
    text: /no outputs found in history/i,
    failure: { code: 'output_missing', at: 'worker', retryable: false },
    message: NO_IMAGES_LISTED,
  },
  { text: /failed to fetch image data for/i, failure: { code: 'output_missing', at: 'worker', retryable: false } },
  { text: /error uploading .* to s3/i, failure: { code: 'upload_failed', at: 'worker', retryable: true } },
  {
    text: /failed to upload one or more input images/i,
    failure: { code: 'input_fetch_failed', at: 'worker', retryable: true, ran: false },
  },
  {
    text: /comfyui server.*not reachable/i,
    failure: { code: 'comfyui_unavailable', at: 'worker', retryable: true, ran: false },
  },
  {
    text: /communication error|error queuing workflow|not found in history|comfyui.*(?:unavailable|unreachable|not running)/i,
    failure: { code: 'comfyui_unavailable', at: 'worker', retryable: true },
  },
  {
    text: /timed out after \d+ retries|worker\b.*\b(?:was lost|vanished|exited|crashed|not responding)/i,
    failure: { code: 'worker_lost', at: 'worker', retryable: true },
  },
];

const refusalOf = (text: string): RunFailure | null => (RAISED.test(text) ? null : refusalIn(text));

/** Whether a text that came with results means that the graph did not finish. */
export const isFatal = (text: string): boolean =>
  refusalOf(text) !== null ||
  KNOWN_FAILURES.some(
    ({ text: pattern, failure }) => pattern.test(text) && (failure === execution || failure === memory),
  );

/** Returns the failure that a text reports. An unknown text is an execution error that is not worth a retry. */
export function failureOf(text: string): RunFailure {
  const refusal = refusalOf(text);
  if (refusal !== null) {
    return refusal;
  }
  const known = KNOWN_FAILURES.find(({ text: pattern }) => pattern.test(text));
  const node = nodeIn(text);
  return {
    ...(known?.failure ?? unknown),
    message: known?.message ?? (cleanMessage(text) || 'The worker reported a failure without a message.'),
    ...(node === null ? {} : { node }),
  };
}

/** "Workflow execution error: Node Type: X, Node ID: N, Message: …" */
const NODE = /Node Type: ([^,\n]{1,200}), Node ID: ([^,\n]{1,200})/;

function nodeIn(text: string): { id: string; class_type: string } | null {
  const [, class_type, id] = NODE.exec(text) ?? [];
  return class_type === undefined || id === undefined ? null : { id, class_type };
}

/** The SDK's JSON for an exception in a handler. It also contains the host and the trace (reference/runpod.md 2.7). */
const sdkException = z.object({ error_type: z.string().optional(), error_message: z.string() });
/** worker-gpu without a gateway reports errors in the form of the contract (docs/reference/worker.md). */
const contractError = workerError.extend({ code: z.enum(JOB_ERROR_CODES) });
const withDetails = z.object({ details: z.array(z.string()).max(100) });

/** Returns the failure of a run with the status `FAILED`. */
export function runFailure(error: unknown, output: unknown): RunFailure {
  const own = contractError.safeParse(output);
  if (own.success) {
    const { code, at, retryable, message, node } = own.data;
    return { code, at, retryable, message: cleanMessage(message), ...(node ? { node } : {}) };
  }
  const details = withDetails.safeParse(output);
  const text = [textOf(error), ...(details.success ? details.data.details : [])].filter((part) => part !== '');
  return failureOf(text.join(' '));
}

/** Returns the message in a value of `error`, which has several forms. */
export function textOf(error: unknown): string {
  if (typeof error === 'string') {
    return error.startsWith('{') ? (messageIn(error) ?? '') : error;
  }
  const object = z.object({ message: z.string() }).safeParse(error);
  return object.success ? object.data.message : '';
}

function messageIn(json: string): string | null {
  try {
    const parsed = sdkException.safeParse(JSON.parse(json));
    return parsed.success ? parsed.data.error_message : null;
  } catch {
    // The JSON was cut, or is invalid. Only `error_message` is safe to show; the rest can be a trace.
    return /"error_message":\s*"((?:[^"\\]|\\.)*)"/.exec(json)?.[1]?.replaceAll(/\\./g, ' ') ?? null;
  }
}
