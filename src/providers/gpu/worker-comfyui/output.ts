import { z } from 'zod';
import { UNKNOWN_TYPE } from '../../../contract/media-type.ts';
import { LINE_AND_ORDER_CONTROLS, outputName, type OUTPUT_TYPES } from '../../../contract/job.ts';
import type { RunFailure, RunRecord } from '../../../contract/run.ts';
import type { WorkerError } from '../../../contract/worker.ts';
import { endsTheRun, failureOf, NOTHING_LISTED, runFailure, textOf } from './failure.ts';
import { cleanMessage } from './message.ts';

/**
 * What a finished run of worker-comfyui came to. Two shapes of success are known: `images: [{filename, type, data}]` (5.x), and a
 * single `message` beside `status: "success"` (before); worker-gpu without a gateway answers the first with a list for each kind of
 * file. Everything else is a failure, for COMPLETED alone says nothing (reference/competitors.md section 3, runpod.md 2.7).
 */

/** What became of a text that was taken out of the answer while it was read. `head` is its beginning. */
export type TakenText =
  | { kind: 'file'; file: StoredFile; head: string }
  | { kind: 'url'; url: string; head: string }
  /** Neither base64 nor a URL, or nothing at all. */
  | { kind: 'neither'; head: string };

/** A file in R2. */
export type StoredFile = { key: string; size_bytes: number; sha256: string; content_type: string };

/** Stands in the answer for a text that was taken out: nothing that JSON can hold looks like it. */
export class Taken {
  readonly text: TakenText;
  constructor(text: TakenText) {
    this.text = text;
  }
}

/** A result by the name it will have. A URL must still be fetched. */
export type ResultFile = {
  name: string;
  node_id: string;
  class_type: string;
  source: { kind: 'file'; file: StoredFile } | { kind: 'url'; url: string };
};

/** `error` is null where the run succeeded. Files may have come with an error; they are worth keeping. */
export type Verdict = { files: ResultFile[]; error: RunFailure | null; warnings: string[] };

/** Lists of results: worker-comfyui has the first, worker-gpu the others too. */
const LISTS = ['images', 'gifs', 'videos', 'audio', '3d', 'latents', 'text', 'files'] as const;
/** The one whose `data` is plain text. */
const TEXT_LIST = 'text';

/** How a text of the answer is to be taken out of it: a result in base64 or behind a URL, or one that is text itself; null: it stays. */
export function takes(path: readonly (string | number)[]): 'file' | 'text' | null {
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
  data: z.instanceof(Taken).optional().catch(undefined),
  image: z.instanceof(Taken).optional().catch(undefined),
  node_id: z.string().max(200).catch(''),
  class_type: z.string().max(200).catch(''),
});
const list = z.array(z.union([z.instanceof(Taken), item])).catch([]);
const answerSchema = z.object({
  status: z.string().optional().catch(undefined),
  message: z.instanceof(Taken).optional().catch(undefined),
  error: z.unknown().optional(),
  errors: z
    .union([z.array(z.unknown()), z.string().transform((text) => [text])])
    .optional()
    .catch(undefined),
});
const listsSchema = z.record(z.string(), z.unknown());

/** Warnings that are passed on: all of them are one write of the job, 1,000 characters each. */
export const MAX_WARNINGS = 100;

/** What a run that is over came to. `maxFiles`: a job may have so many outputs. */
export function verdictOf(record: RunRecord, maxFiles: number): Verdict {
  if (record.status === 'failed') {
    return { files: [], error: runFailure(record.error, withItsMessage(record.output)), warnings: [] };
  }
  const parsed = answerSchema.safeParse(record.output);
  const fields = listsSchema.safeParse(record.output);
  if (!parsed.success || !fields.success) {
    const error = textOf(record.error);
    return {
      files: [],
      error: error === '' ? nothing('The run ended without an output.') : failureOf(error),
      warnings: [],
    };
  }
  const { status, message, error, errors = [] } = parsed.data;
  const told = textOf(error ?? record.error);
  const found = LISTS.flatMap((name) => list.parse(fields.data[name]).map((each) => candidate(each)));
  const texts = errors.map(textOf).filter((text) => text !== '');
  const warnings = warningsOf(texts);
  if (status === 'error' || told !== '') {
    const text = told === '' ? (message?.text.head ?? texts.join(' ')) : told;
    return { files: filesOf(found), error: failureOf(text), warnings };
  }
  if (message !== undefined && isMedia(message.text)) {
    found.push({ filename: null, taken: message.text, node_id: '', class_type: '' });
  }
  const files = filesOf(found);
  const verdict = (problem: RunFailure | null): Verdict => ({ files, error: problem, warnings });
  const ending = texts.find(endsTheRun) ?? (files.length === 0 ? texts[0] : undefined);
  if (ending !== undefined) {
    return verdict(failureOf(ending));
  }
  if (files.length === 0) {
    return verdict(nothing(found.length > 0 ? UNREADABLE : status === 'success_no_images' ? NOTHING_LISTED : EMPTY));
  }
  if (files.length < found.length) {
    return verdict(nothing(UNREADABLE));
  }
  return verdict(files.length > maxFiles ? tooMany(maxFiles) : null);
}

/** As many as the log takes at once; the others are counted. */
function warningsOf(texts: readonly string[]): string[] {
  const told = texts.slice(0, MAX_WARNINGS).map(cleanMessage);
  return texts.length > MAX_WARNINGS ? [...told, `${texts.length - MAX_WARNINGS} more warnings are left out.`] : told;
}

/** The output of a failure, whose `message` is no result. */
function withItsMessage(output: unknown): unknown {
  const message = z.object({ message: z.instanceof(Taken) }).safeParse(output);
  return message.success ? Object.assign({}, output, { message: message.data.message.text.head }) : output;
}

const EMPTY = 'The run ended without a result.';
const UNREADABLE = 'A result of the run was neither base64 nor a URL.';

const nothing = (message: string): WorkerError => ({ code: 'output_missing', message, at: 'worker', retryable: false });

const tooMany = (most: number): WorkerError => ({
  code: 'output_too_large',
  message: `The run has more results than a job may have outputs, ${most}.`,
  at: 'workflow',
  retryable: false,
});

type Candidate = { filename: string | null; taken: TakenText | null; node_id: string; class_type: string };

function candidate(each: Taken | z.infer<typeof item>): Candidate {
  if (each instanceof Taken) {
    return { filename: null, taken: each.text, node_id: '', class_type: '' };
  }
  const { filename, data, image, node_id, class_type } = each;
  return { filename: filename ?? null, taken: (data ?? image)?.text ?? null, node_id, class_type };
}

/** A `message` may also be a word: only what is a known kind of file, or behind a URL, is a result. */
const isMedia = (taken: TakenText): boolean =>
  taken.kind === 'url' || (taken.kind === 'file' && taken.file.content_type !== UNKNOWN_TYPE);

function filesOf(found: readonly Candidate[]): ResultFile[] {
  const names = new Set<string>();
  return found.flatMap(({ filename, taken, node_id, class_type }): ResultFile[] => {
    if (taken === null || taken.kind === 'neither') {
      return [];
    }
    const source =
      taken.kind === 'file' ? { kind: taken.kind, file: taken.file } : { kind: taken.kind, url: taken.url };
    const wanted = safeName(filename ?? (source.kind === 'url' ? nameInUrl(source.url) : '')) ?? fallbackName(source);
    const name = unique(wanted, names);
    names.add(name);
    return [{ name, node_id, class_type, source }];
  });
}

/** The file's own name as a job's output may be called; null when nothing of it can be used. */
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

/** worker-comfyui leaves folders out of its names, so that two files may come by one. */
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

/** The kind of output that content of this type is. */
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
