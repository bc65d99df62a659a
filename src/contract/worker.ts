import { z } from 'zod';
import { mediaType } from './media-type.ts';
import { ERROR_SOURCES } from './errors.ts';
import { jobErrorCode, output, outputName, type Output, progress, STAGES } from './job.ts';

/**
 * The worker contract in zod: docs/reference/worker-contract.md is the page, worker-gpu's contract.py the other side.
 */

/** Longest text output that travels inline rather than as a file in R2. */
export const MAX_INLINE_TEXT_BYTES = 16_384;
/** An attempt's upload URLs work this long after the job's deadline: the worker then still reports its outputs. */
export const UPLOAD_GRACE_MS = 120_000;
/** Above this a file goes up in parts. R2 wants equal parts of at least 5 MiB (reference/cloudflare.md section 5). */
export const SINGLE_PUT_BYTES = 64 * 1024 * 1024;
export const PART_BYTES = 16 * 1024 * 1024;
/** Parts of one file that R2 takes (reference/cloudflare.md section 5). */
export const MAX_PARTS = 10_000;
/**
 * URLs that one `uploads` call may ask for, each about 600 bytes of its answer: one for a file, or one for each part of
 * a large one. A single file may have more of them.
 */
export const MAX_UPLOAD_URLS = 1_000;
/** Longest preview (base64 characters) that is sent on; a longer one is dropped. It fits into an event of 64 KiB. */
export const MAX_PREVIEW_CHARS = 63 * 1024;
/** Longest frame whose message is read; a longer one is acknowledged and ignored. */
export const MAX_FRAME_CHARS = 256 * 1024;

const uuid = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
const attempt = z.int().positive();

export const workerInfo = z.object({
  id: z.string().max(200),
  version: z.string().max(50),
  comfyui_version: z.string().max(50).nullish(),
  gpu: z.string().max(200).nullish(),
  // A value that only explains a result must not refuse it: a malformed one is left out.
  image: z.string().max(200).nullish().catch(null),
  nodes: z.string().max(200).nullish().catch(null),
});
export type WorkerInfo = z.infer<typeof workerInfo>;

export const claimRequest = z.object({
  attempt,
  claim: uuid,
  worker: workerInfo,
  catalog: z.string().max(64).nullish(),
});
export type ClaimRequest = z.infer<typeof claimRequest>;

/** Names of node classes, as ComfyUI's /object_info lists them. */
export const nodeClasses = z.array(z.string().max(300)).min(1).max(20_000);

/**
 * What ComfyUI says of node classes: whether it runs them by themselves, and the inputs they must have. Classes with
 * neither are left out.
 */
export const nodeFacts = z.record(
  z.string().max(300),
  z.object({ output: z.boolean().default(false), required: z.array(z.string().max(300)).max(500).default([]) }),
);

export const catalogRequest = z.object({
  attempt,
  claim: uuid,
  comfyui_version: z.string().max(50).nullish(),
  classes: nodeClasses,
  // A value that only explains must not refuse the rest: malformed facts are left out.
  nodes: nodeFacts.optional().catch(undefined),
});
export type CatalogRequest = z.infer<typeof catalogRequest>;

/** The number of URLs for a file of this size. */
export const uploadUrls = (size_bytes: number): number =>
  size_bytes <= SINGLE_PUT_BYTES ? 1 : Math.ceil(size_bytes / PART_BYTES);

export const uploadsRequest = z.object({
  attempt,
  claim: uuid,
  files: z
    .array(
      z.object({
        name: outputName,
        size_bytes: z.int().nonnegative(),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        content_type: mediaType,
      }),
    )
    .min(1)
    .max(MAX_UPLOAD_URLS)
    .refine(
      (files) =>
        files.length === 1 || files.reduce((sum, { size_bytes }) => sum + uploadUrls(size_bytes), 0) <= MAX_UPLOAD_URLS,
      `ask for at most ${MAX_UPLOAD_URLS} URLs in one call, or for one file`,
    ),
});
export type UploadsRequest = z.infer<typeof uploadsRequest>;

/** Longest key, upload id or ETag that is passed on to R2: its own are shorter (reference/cloudflare.md section 5). */
const MAX_STORE_WORD_CHARS = 2_000;

export const finishRequest = z.object({
  attempt,
  claim: uuid,
  key: z.string().max(MAX_STORE_WORD_CHARS),
  upload_id: z.string().max(MAX_STORE_WORD_CHARS),
  parts: z
    .array(z.object({ number: z.int().positive(), etag: z.string().max(MAX_STORE_WORD_CHARS) }))
    .min(1)
    .max(MAX_PARTS),
});
export type FinishRequest = z.infer<typeof finishRequest>;

/** Longest id and class of a node in an error; a longer one is left out. */
const MAX_NODE_CHARS = 300;

export const workerError = z.object({
  code: jobErrorCode,
  message: z.string(),
  at: z.enum(ERROR_SOURCES).catch('worker'),
  retryable: z.boolean(),
  node: z
    .object({ id: z.string().max(MAX_NODE_CHARS), class_type: z.string().max(MAX_NODE_CHARS) })
    .nullish()
    .catch(null),
  details: z.record(z.string(), z.unknown()).nullish(),
});
export type WorkerError = z.infer<typeof workerError>;

const ms = z.number().nonnegative();
/**
 * Numbers by name that a report may bring; all are stored with the job, so a report with more, or longer names, has
 * none.
 */
const MAX_NUMBERS = 100;
const numberName = z.string().max(100);
const few = (numbers: Record<string, number>): boolean => Object.keys(numbers).length <= MAX_NUMBERS;

/** Model files of an attempt that are recorded; the others are left out. Each is about 300 bytes in every view. */
export const MAX_MODELS_TOLD = 32;

/**
 * The environment of a run: the manifest's models that its graph named, and the bytes free on the worker at its end.
 */
const runReport = z.object({
  models: z
    .array(z.object({ path: z.string().max(200), sha256: z.string().regex(/^[0-9a-f]{64}$/) }))
    .max(MAX_MODELS_TOLD),
  memory_free_bytes: z.int().nonnegative().nullable(),
  disk_free_bytes: z.int().nonnegative().nullable(),
});
export type RunReport = z.infer<typeof runReport>;

function lastOfEachName(outputs: Output[]): Output[] {
  const byName = new Map(outputs.map((each) => [each.name, each]));
  return [...byName.values()];
}

export const completeRequest = z.object({
  attempt,
  claim: uuid,
  last_seq: z.int().nonnegative(),
  outcome: z.enum(['succeeded', 'failed', 'canceled']),
  // A name identifies one output: two would share their URL and their object in R2.
  outputs: z.array(output).default([]).transform(lastOfEachName),
  error: workerError.nullish(),
  timings: z.record(numberName, ms).refine(few).default({}).catch({}),
  usage: z.record(numberName, z.number()).refine(few).default({}).catch({}),
  worker: workerInfo.nullish(),
  ran_with: runReport.nullish().catch(null),
});
export type CompleteRequest = z.infer<typeof completeRequest>;

const seq = z.int().positive();

/** A numbered message from the worker's channel. */
export const workerMessage = z.discriminatedUnion('type', [
  z.object({ seq, type: z.literal('stage'), stage: z.enum(STAGES), message: z.string().max(500).nullish() }),
  progress.extend({ seq, type: z.literal('progress'), nodes: z.record(z.string(), z.unknown()).nullish() }),
  z.object({ seq, type: z.literal('output'), output }),
  z.object({ seq, type: z.literal('log'), level: z.enum(['info', 'warn', 'error']), message: z.string() }),
]);
/**
 * `unknown`: a type this gateway does not know yet; it is acknowledged and otherwise ignored. `dropped`: one of too
 * many; it is ignored, and acknowledged with the next that is not.
 */
export type WorkerMessage = z.infer<typeof workerMessage> | { seq: number; type: 'unknown' | 'dropped' };

/** The fields of every numbered message. */
export const numberedMessage = z.object({ seq });

export const previewMessage = z.object({
  type: z.literal('preview'),
  node_id: z.string().max(300),
  content_type: mediaType,
  data_base64: z.string().max(MAX_PREVIEW_CHARS),
});
