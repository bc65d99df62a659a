import { sniff } from '../../../domain/files/sniff.ts';
import type { Limits } from '../../../contract/limits.ts';
import type { Output } from '../../../contract/job.ts';
import { UNKNOWN_TYPE } from '../../../contract/media-type.ts';
import type { WorkerError } from '../../../contract/worker.ts';
import { publicUrl } from '../../../domain/net/public-url.ts';
import { outputTypeOf, sinkKindOf, parseRun, type ResultFile as Found, type StoredFile } from './output.ts';
import { fetchPublic } from '../../public-fetch.ts';
import type { JobRef, ResultOutcome, RunRef } from '../provider.ts';
import type { RunpodClient } from '../runpod/client.ts';
import { outputKey } from '../../../storage/r2/keys.ts';
import { ResultFile } from '../../../storage/r2/result-file.ts';
import { Base64Sink, PlainSink } from './text-sinks.ts';

/** Timeout for the download of one output. The job's state machine limits the time for all of them. */
const FETCH_TIMEOUT_MS = 120_000;

export type ResultTransfer = RunRef &
  JobRef & { client: RunpodClient; bucket: R2Bucket; limits: Limits; publicUrl: string; clock: () => number };

/**
 * Moves the outputs of a run from RunPod's record, or from the URLs in it, into R2. The record is read in chunks, and
 * at most one part of one file is in memory. A repeated call writes the same files to the same keys.
 */
export async function moveResult(transfer: ResultTransfer): Promise<ResultOutcome> {
  const startedAt = transfer.clock();
  const files = new RunFiles(transfer);
  try {
    const record = await transfer.client.read(transfer.endpoint, transfer.run_id, (path) => {
      const sinkKind = sinkKindOf(path);
      return sinkKind === null || !files.hasRoom
        ? null
        : sinkKind === 'text'
          ? new PlainSink(() => files.open('text/plain; charset=utf-8'))
          : new Base64Sink(() => files.open());
    });
    if (record === 'missing') {
      return { kind: 'missing' };
    }
    if (record === 'unreachable') {
      return { kind: 'retry' };
    }
    if (record.status !== 'completed' && record.status !== 'failed') {
      return { kind: 'not_finished' };
    }
    const verdict = parseRun(record, transfer.limits.max_outputs);
    const outputs: Output[] = [];
    let error = verdict.error;
    for (const found of verdict.files) {
      const stored = await storeFile(found, files, transfer);
      if (stored === 'retry') {
        return { kind: 'retry' };
      }
      if ('code' in stored) {
        error ??= stored;
      } else if (stored.size_bytes > transfer.limits.max_output_bytes) {
        error ??= tooLarge(transfer.limits.max_output_bytes);
      } else {
        outputs.push(outputOf(found, stored));
      }
    }
    await files.deleteAllBut(outputs);
    return {
      kind: 'result',
      result: { outputs, error, warnings: verdict.warnings, moved_ms: transfer.clock() - startedAt },
    };
  } finally {
    await files.discardUnfinished();
  }
}

/** The files of one run. Their keys are numbered, because their names are known only after the record was read. */
class RunFiles {
  private readonly transfer: ResultTransfer;
  private readonly opened: ResultFile[] = [];

  constructor(transfer: ResultTransfer) {
    this.transfer = transfer;
  }

  /** True until `max_outputs` is exceeded by one file, so that the excess is noticed. */
  get hasRoom(): boolean {
    return this.opened.length <= this.transfer.limits.max_outputs;
  }

  /** @param type the media type, where it is not determined from the bytes */
  open(type?: string): ResultFile {
    const { account, job, attempt, bucket } = this.transfer;
    const key = outputKey(account, job, attempt, `result-${this.opened.length + 1}`);
    const file = new ResultFile(bucket, key, (head, size) => type ?? sniff(head, size) ?? UNKNOWN_TYPE);
    this.opened.push(file);
    return file;
  }

  /** Deletes stored files that are not outputs, such as a message that is valid base64. */
  async deleteAllBut(outputs: readonly Output[]): Promise<void> {
    const keep = new Set(outputs.map(({ key }) => key));
    const others = this.opened.map(({ key }) => key).filter((key) => !keep.has(key));
    if (others.length > 0) {
      await this.transfer.bucket.delete(others);
    }
  }

  async discardUnfinished(): Promise<void> {
    for (const file of this.opened) {
      await file.discard().catch(() => {});
    }
  }
}

async function storeFile(
  { source }: Found,
  files: RunFiles,
  transfer: ResultTransfer,
): Promise<StoredFile | WorkerError | 'retry'> {
  return source.kind === 'file' ? source.file : fetchFile(source.url, files, transfer);
}

/** Downloads the file at a result's URL, with the checks that apply to a client's input at every redirect. */
async function fetchFile(
  url: string,
  files: RunFiles,
  transfer: ResultTransfer,
): Promise<StoredFile | WorkerError | 'retry'> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), FETCH_TIMEOUT_MS);
  try {
    const answer = await fetchPublic(url, (text) => publicUrl(text, transfer.publicUrl), timeout.signal);
    if (answer.kind === 'no_answer') {
      return 'retry';
    }
    if (answer.kind === 'refused') {
      return missingOutput(`The URL of a result is not allowed: it ${answer.problem}.`);
    }
    if (answer.kind === 'too_many_redirects') {
      return missingOutput('The URL of a result redirects too often.');
    }
    const { response } = answer;
    if (response.status !== 200 || response.body === null) {
      await response.body?.cancel();
      return isTransient(response.status)
        ? 'retry'
        : missingOutput(`The URL of a result returned status ${response.status}.`);
    }
    return await storeBody(response.body, files.open(), transfer.limits.max_output_bytes);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a retry may succeed: the server is busy. */
const isTransient = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500;

async function storeBody(
  body: ReadableStream<Uint8Array>,
  file: ResultFile,
  maxBytes: number,
): Promise<StoredFile | WorkerError | 'retry'> {
  const reader = body.getReader();
  for (;;) {
    let chunk: ReadableStreamReadResult<Uint8Array>;
    try {
      chunk = await reader.read();
    } catch {
      return 'retry';
    }
    if (chunk.done) {
      return file.length === 0 ? missingOutput('The URL of a result returned an empty file.') : file.finish();
    }
    await file.write(chunk.value);
    if (file.length > maxBytes) {
      await reader.cancel();
      return tooLarge(maxBytes);
    }
  }
}

const tooLarge = (maxBytes: number): WorkerError => ({
  code: 'output_too_large',
  message: `An output may be at most ${maxBytes} bytes.`,
  at: 'workflow',
  retryable: false,
});

const missingOutput = (message: string): WorkerError => ({
  code: 'output_missing',
  message,
  at: 'worker',
  retryable: false,
});

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
