import { z } from 'zod';
import { UNKNOWN_TYPE } from '../../../contract/media-type.ts';
import { LINE_AND_ORDER_CONTROLS, outputName, type OUTPUT_TYPES } from '../../../contract/job.ts';
import type { RunFailure, RunRecord } from '../../../contract/run.ts';
import type { WorkerError } from '../../../contract/worker.ts';
import { isFatal, failureOf, NO_IMAGES_LISTED, runFailure, textOf } from './failure.ts';
import { cleanMessage } from './message.ts';

/**
 * Parses the record of a finished run of worker-comfyui. Success has two forms: `images: [{filename, type, data}]`
 * (5.x), and a single `message` with `status: "success"` (older versions). worker-gpu without a gateway uses the first
 * form, with a list for each kind of file. Everything else is a failure, because `COMPLETED` alone does not mean
 * success (reference/competitors.md section 3, runpod.md 2.7).
 */

/** The content of a string that a sink extracted from the record. `head` is its beginning. */
export type TextContent =
  | { kind: 'file'; file: StoredFile; head: string }
  | { kind: 'url'; url: string; head: string }
  /** Neither base64 nor a URL, or empty. */
  | { kind: 'other'; head: string };

/** A file in R2. */
export type StoredFile = { key: string; size_bytes: number; sha256: string; content_type: string };

/** Replaces an extracted string in the record. It is a class so that no JSON value can be mistaken for it. */
export class ExtractedText {
  readonly text: TextContent;
  constructor(text: TextContent) {
    this.text = text;
  }
}

/** A result with the name that the output will have. A result with a URL is not fetched yet. */
export type ResultFile = {
  name: string;
  node_id: string;
  class_type: string;
  source: { kind: 'file'; file: StoredFile } | { kind: 'url'; url: string };
};

/** `error` is null if the run succeeded. A failed run can have files too, and they are kept. */
export type ParsedRun = { files: ResultFile[]; error: RunFailure | null; warnings: string[] };

/** The lists of results. worker-comfyui uses only `images`; worker-gpu uses all. */
const LISTS = ['images', 'gifs', 'videos', 'audio', '3d', 'latents', 'text', 'files'] as const;
/** The list whose `data` is plain text. */
const TEXT_LIST = 'text';

/**
 * How the string at a path of the record is extracted: `file` for a result in base64 or at a URL, `text` for a result
 * that is the text itself, null for a string that stays in the record.
 */
export function sinkKindOf(path: readonly (string | number)[]): 'file' | 'text' | null {
  const [root, list, , field] = path;
  if (root !== 'output') {
    return null;
  }
  if (path.length === 2) {
    return list === 'message' ? 'file' : null;
  }
  const known = LISTS.some((name) => name === list);
  if (!known || (path.length === 4 && field !== 'data' && field !== 'image') || path.length > 4) {
    return null;
  }
  return list === TEXT_LIST ? 'text' : 'file';
}

const item = z.object({
  filename: z.string().optional().catch(undefined),
  data: z.instanceof(ExtractedText).optional().catch(undefined),
  image: z.instanceof(ExtractedText).optional().catch(undefined),
  node_id: z.string().max(200).catch(''),
  class_type: z.string().max(200).catch(''),
});
const list = z.array(z.union([z.instanceof(ExtractedText), item])).catch([]);
const answerSchema = z.object({
  status: z.string().optional().catch(undefined),
  message: z.instanceof(ExtractedText).optional().catch(undefined),
  error: z.unknown().optional(),
  errors: z
    .union([z.array(z.unknown()), z.string().transform((text) => [text])])
    .optional()
    .catch(undefined),
});
const listsSchema = z.record(z.string(), z.unknown());

/** The most warnings of one run. The job stores all of them in one write, with up to 1,000 characters each. */
export const MAX_WARNINGS = 100;

/** Parses the record of a finished run. `maxFiles`: the most outputs of one job. */
export function parseRun(record: RunRecord, maxFiles: number): ParsedRun {
  if (record.status === 'failed') {
    return { files: [], error: runFailure(record.error, withMessageText(record.output)), warnings: [] };
  }
  const parsed = answerSchema.safeParse(record.output);
  const fields = listsSchema.safeParse(record.output);
  if (!parsed.success || !fields.success) {
    const error = textOf(record.error);
    return {
      files: [],
      error: error === '' ? missingOutput('The run ended without an output.') : failureOf(error),
      warnings: [],
    };
  }
  const { status, message, error, errors = [] } = parsed.data;
  const reported = textOf(error ?? record.error);
  const found = LISTS.flatMap((name) => list.parse(fields.data[name]).map((each) => candidateOf(each)));
  const texts = errors.map(textOf).filter((text) => text !== '');
  const warnings = warningsOf(texts);
  if (status === 'error' || reported !== '') {
    const text = reported === '' ? (message?.text.head ?? texts.join(' ')) : reported;
    return { files: filesOf(found), error: failureOf(text), warnings };
  }
  if (message !== undefined && isMedia(message.text)) {
    found.push({ filename: null, taken: message.text, node_id: '', class_type: '' });
  }
  const files = filesOf(found);
  const parsedRun = (problem: RunFailure | null): ParsedRun => ({ files, error: problem, warnings });
  const fatal = texts.find(isFatal) ?? (files.length === 0 ? texts[0] : undefined);
  if (fatal !== undefined) {
    return parsedRun(failureOf(fatal));
  }
  if (files.length === 0) {
    return parsedRun(
      missingOutput(found.length > 0 ? UNREADABLE : status === 'success_no_images' ? NO_IMAGES_LISTED : EMPTY),
    );
  }
  if (files.length < found.length) {
    return parsedRun(missingOutput(UNREADABLE));
  }
  return parsedRun(files.length > maxFiles ? tooManyOutputs(maxFiles) : null);
}

/** Returns the first `MAX_WARNINGS` warnings, and a count of the others. */
function warningsOf(texts: readonly string[]): string[] {
  const reported = texts.slice(0, MAX_WARNINGS).map(cleanMessage);
  return texts.length > MAX_WARNINGS
    ? [...reported, `${texts.length - MAX_WARNINGS} more warnings are left out.`]
    : reported;
}

/** Puts the text of `message` back into the output of a failed run, where it is an error and not a result. */
function withMessageText(output: unknown): unknown {
  const message = z.object({ message: z.instanceof(ExtractedText) }).safeParse(output);
  return message.success ? Object.assign({}, output, { message: message.data.message.text.head }) : output;
}

const EMPTY = 'The run ended without a result.';
const UNREADABLE = 'A result of the run was neither base64 nor a URL.';

const missingOutput = (message: string): WorkerError => ({
  code: 'output_missing',
  message,
  at: 'worker',
  retryable: false,
});

const tooManyOutputs = (maxFiles: number): WorkerError => ({
  code: 'output_too_large',
  message: `The run has more than ${maxFiles} results, the maximum number of outputs of a job.`,
  at: 'workflow',
  retryable: false,
});

type Candidate = { filename: string | null; taken: TextContent | null; node_id: string; class_type: string };

function candidateOf(each: ExtractedText | z.infer<typeof item>): Candidate {
  if (each instanceof ExtractedText) {
    return { filename: null, taken: each.text, node_id: '', class_type: '' };
  }
  const { filename, data, image, node_id, class_type } = each;
  return { filename: filename ?? null, taken: (data ?? image)?.text ?? null, node_id, class_type };
}

/** A `message` can also be a plain text. It is a result only if it is a URL or a known kind of file. */
const isMedia = (taken: TextContent): boolean =>
  taken.kind === 'url' || (taken.kind === 'file' && taken.file.content_type !== UNKNOWN_TYPE);

function filesOf(found: readonly Candidate[]): ResultFile[] {
  const names = new Set<string>();
  return found.flatMap(({ filename, taken, node_id, class_type }): ResultFile[] => {
    if (taken === null || taken.kind === 'other') {
      return [];
    }
    const source =
      taken.kind === 'file' ? { kind: taken.kind, file: taken.file } : { kind: taken.kind, url: taken.url };
    const proposed = safeName(filename ?? (source.kind === 'url' ? nameInUrl(source.url) : '')) ?? fallbackName(source);
    const name = unique(proposed, names);
    names.add(name);
    return [{ name, node_id, class_type, source }];
  });
}

/** Returns the file's name if it is a valid name of an output; otherwise null. */
function safeName(filename: string): string | null {
  const last = filename.split(/[/\\]/).at(-1) ?? '';
  const parsed = outputName.safeParse(last.replaceAll(LINE_AND_ORDER_CONTROLS, ''));
  return parsed.success ? parsed.data : null;
}

function nameInUrl(url: string): string {
  const last = URL.parse(url)?.pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

const fallbackName = (source: ResultFile['source']): string =>
  `output.${(source.kind === 'file' ? EXTENSIONS.get(source.file.content_type) : undefined) ?? 'bin'}`;

const EXTENSIONS: ReadonlyMap<string, string> = new Map([
  ['image/png', 'png'],
  ['image/jpeg', 'jpg'],
  ['image/webp', 'webp'],
  ['image/gif', 'gif'],
  ['video/mp4', 'mp4'],
  ['video/webm', 'webm'],
  ['audio/flac', 'flac'],
  ['audio/mpeg', 'mp3'],
  ['audio/wav', 'wav'],
  ['text/plain; charset=utf-8', 'txt'],
]);

/** worker-comfyui removes folders from names, so two files can have the same name. */
function unique(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) {
    return name;
  }
  const dot = name.lastIndexOf('.');
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  for (let number = 2; ; number += 1) {
    const next = `${stem}-${number}${extension}`;
    if (!taken.has(next)) {
      return next;
    }
  }
}

/** Returns the kind of output for a media type. */
export function outputTypeOf(contentType: string): (typeof OUTPUT_TYPES)[number] {
  const [kind] = contentType.split('/');
  switch (kind) {
    case 'image':
    case 'video':
    case 'audio':
    case 'text':
      return kind;
    case 'model':
      return '3d';
    default:
      return contentType === 'application/json'
        ? 'text'
        : contentType === 'application/x-safetensors'
          ? 'latent'
          : 'file';
  }
}
