import type { Limits } from '../../../contract/limits.ts';
import { MAX_BATCH_JOBS } from '../../../services/jobs/batch.ts';
import { withInlineFiles, type JobBody } from '../../../services/jobs/inline.ts';
import { JsonExtractor, type TextSink, type Way } from '../../../domain/json-extract.ts';
import type { Result } from '../../../domain/result.ts';
import type { Problem } from '../../../domain/problems.ts';
import { readDocument, statedLength } from '../../http/body.ts';
import type { V1Context } from '../route.ts';

/** The places of base64 files in the body of a job and in the body of a batch. */
const JOB_FILES: Way = ['inputs', '*', 'data'];
const BATCH_FILES: Way = ['jobs', '*', ...JOB_FILES];
/** The place in a body of RunPod's POST /run. Such a body is refused, but not for its size. */
const RUNPOD_FILES: Way = ['input', 'images', '*', 'image'];

/** Bytes for names, metadata and white space, beside the workflow. */
const OTHER_BYTES = 1024 * 1024;
/** The largest body of a batch without its files, which is parsed at once. */
const MAX_BATCH_DOCUMENT_BYTES = 16 * 1024 * 1024;

/** For content that is not read, because its body is refused for another reason. */
const discarded: TextSink = { write: () => {}, end: () => '' };

/**
 * Works with the body of a job or a batch. The content of its files goes to storage as it arrives; the rest of the body
 * is parsed. Files that the work did not keep are deleted afterwards.
 * @param see receives every chunk of the body
 */
export function withJobBody<T>(
  c: V1Context,
  kind: 'job' | 'batch',
  work: (body: JobBody) => Promise<Result<T, Problem>>,
  see?: (chunk: Uint8Array) => Promise<void>,
): Promise<Result<T, Problem>> {
  const { context, caller } = c.var;
  const { limits } = context.config;
  const stated = statedLength(c);
  // Base64 is a third longer than its content.
  const most = stated === 0 ? null : Math.ceil((stated * 3) / 4);
  return withInlineFiles(context, caller, most, async (files) => {
    const extractor = new JsonExtractor(kind === 'job' ? [JOB_FILES, RUNPOD_FILES] : [BATCH_FILES], (places, way) =>
      way !== RUNPOD_FILES && isUsed(places, limits) ? files.next() : discarded,
    );
    const documentLimit = kind === 'job' ? 4 * limits.max_workflow_bytes + OTHER_BYTES : MAX_BATCH_DOCUMENT_BYTES;
    const options = { limit: limits.max_body_bytes, documentLimit };
    const read = await readDocument(c, extractor, see === undefined ? options : { ...options, see });
    if (!read.ok) {
      return read;
    }
    await files.close();
    return work({ value: read.value, files });
  });
}

/** Whether a file in this place is read. A body with too many files is refused for their number. */
function isUsed(places: readonly number[], limits: Limits): boolean {
  const [input = 0, job = 0] = places.toReversed();
  return input < limits.max_inputs && job < MAX_BATCH_JOBS;
}
