import { sniff } from '../../../domain/files/sniff.ts';
import type { Limits } from '../../../contract/limits.ts';
import type { Output } from '../../../contract/job.ts';
import { UNKNOWN_TYPE } from '../../../contract/media-type.ts';
import type { WorkerError } from '../../../contract/worker.ts';
import { publicUrl } from '../../../domain/net/public-url.ts';
import { outputTypeOf, takes, verdictOf, type ResultFile as Found, type StoredFile } from './output.ts';
import { fetchPublic } from '../../public-fetch.ts';
import type { JobRef, ResultOutcome, RunRef } from '../provider.ts';
import type { RunpodClient } from '../runpod/client.ts';
import { outputKey } from '../../../storage/r2/keys.ts';
import { ResultFile } from '../../../storage/r2/result-file.ts';
import { Base64Sink, PlainSink } from './text-sinks.ts';

/** One result behind a URL has this long to arrive whole. All of them share the time the machine gives the moving. */
const FETCH_TIMEOUT_MS = 120_000;

export type Moving = RunRef &
  JobRef & { client: RunpodClient; bucket: R2Bucket; limits: Limits; publicUrl: string; clock: () => number };

/**
 * Moves the results of a run from RunPod's answer, or from where its URLs lead, into R2. The answer passes through in slices; at most
 * one part of one file is in memory. Doing it again writes the same files to the same places.
 */
export async function moveResult(moving: Moving): Promise<ResultOutcome> {
  const began = moving.clock();
  const files = new FilesOfRun(moving);
  try {
    const record = await moving.client.read(moving.endpoint, moving.run_id, (path) => {
      const how = takes(path);
      return how === null || !files.hasRoom
        ? null
        : how === 'text'
          ? new PlainSink(() => files.open('text/plain; charset=utf-8'))
          : new Base64Sink(() => files.open());
    });
    if (record === 'missing') {
      return { kind: 'missing' };
    }
    if (record === 'unreachable') {
      return { kind: 'again' };
    }
    if (record.status !== 'completed' && record.status !== 'failed') {
      return { kind: 'not_over' };
    }
    const verdict = verdictOf(record, moving.limits.max_outputs);
    const outputs: Output[] = [];
    let error = verdict.error;
    for (const found of verdict.files) {
      const stored = await storedFile(found, files, moving);
      if (stored === 'again') {
        return { kind: 'again' };
      }
      if ('code' in stored) {
        error ??= stored;
      } else if (stored.size_bytes > moving.limits.max_output_bytes) {
        error ??= tooLarge(moving.limits.max_output_bytes);
      } else {
        outputs.push(outputOf(found, stored));
      }
    }
    await files.deleteAllBut(outputs);
    return { kind: 'result', result: { outputs, error, warnings: verdict.warnings, moved_ms: moving.clock() - began } };
  } finally {
    await files.discardUnfinished();
  }
}

/** The files of one run, each under a key of its own: their names are known only once the answer has been read. */
class FilesOfRun {
  private readonly moving: Moving;
  private readonly opened: ResultFile[] = [];

  constructor(moving: Moving) {
    this.moving = moving;
  }

  /** One more than a job may have is taken, so that it shows. */
  get hasRoom(): boolean {
    return this.opened.length <= this.moving.limits.max_outputs;
  }

  /** @param type what the file is, where its bytes do not have to say it */
  open(type?: string): ResultFile {
    const { account, job, attempt, bucket } = this.moving;
    const key = outputKey(account, job, attempt, `result-${this.opened.length + 1}`);
    const file = new ResultFile(bucket, key, (head, size) => type ?? sniff(head, size) ?? UNKNOWN_TYPE);
    this.opened.push(file);
    return file;
  }

  /** Removes what was stored and is no output: a message that happened to be base64. */
  async deleteAllBut(outputs: readonly Output[]): Promise<void> {
    const keep = new Set(outputs.map(({ key }) => key));
    const others = this.opened.map(({ key }) => key).filter((key) => !keep.has(key));
    if (others.length > 0) {
      await this.moving.bucket.delete(others);
    }
  }

  async discardUnfinished(): Promise<void> {
    for (const file of this.opened) {
      await file.discard().catch(() => {});
    }
  }
}

async function storedFile(
  { source }: Found,
  files: FilesOfRun,
  moving: Moving,
): Promise<StoredFile | WorkerError | 'again'> {
  return source.kind === 'file' ? source.file : fetched(source.url, files, moving);
}

/** The file behind a result's URL: fetched as a client's input would be, by the same rule at every hop. */
async function fetched(url: string, files: FilesOfRun, moving: Moving): Promise<StoredFile | WorkerError | 'again'> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), FETCH_TIMEOUT_MS);
  try {
    const answer = await fetchPublic(url, (text) => publicUrl(text, moving.publicUrl), patience.signal);
    if (answer.kind === 'no_answer') {
      return 'again';
    }
    if (answer.kind === 'refused') {
      return lost(`A result's URL may not be fetched: it ${answer.problem}.`);
    }
    if (answer.kind === 'too_many_redirects') {
      return lost("A result's URL redirects too often.");
    }
    const { response } = answer;
    if (response.status !== 200 || response.body === null) {
      await response.body?.cancel();
      return mayPass(response.status) ? 'again' : lost(`A result's URL answered ${response.status}.`);
    }
    return await streamed(response.body, files.open(), moving.limits.max_output_bytes);
  } finally {
    clearTimeout(timer);
  }
}

/** Answers of a store that is busy, not of one that says no. */
const mayPass = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500;

async function streamed(
  body: ReadableStream<Uint8Array>,
  file: ResultFile,
  most: number,
): Promise<StoredFile | WorkerError | 'again'> {
  const reader = body.getReader();
  for (;;) {
    let chunk: ReadableStreamReadResult<Uint8Array>;
    try {
      chunk = await reader.read();
    } catch {
      return 'again';
    }
    if (chunk.done) {
      return file.length === 0 ? lost("A result's URL gave an empty file.") : file.finish();
    }
    await file.write(chunk.value);
    if (file.length > most) {
      await reader.cancel();
      return tooLarge(most);
    }
  }
}

const tooLarge = (most: number): WorkerError => ({
  code: 'output_too_large',
  message: `An output may be at most ${most} bytes.`,
  at: 'workflow',
  retryable: false,
});

const lost = (message: string): WorkerError => ({ code: 'output_missing', message, at: 'worker', retryable: false });

const outputOf = ({ name, node_id, class_type }: Found, file: StoredFile): Output => ({
  name,
  node_id,
  class_type,
  type: outputTypeOf(file.content_type),
  content_type: file.content_type,
  size_bytes: file.size_bytes,
  sha256: file.sha256,
  key: file.key,
  temp: false,
});
