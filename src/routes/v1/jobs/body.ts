import type { Limits } from '../../../config/limits.ts';
import { MAX_BATCH_JOBS } from '../../../services/jobs/batch.ts';
import { withInlineFiles, type JobBody } from '../../../services/jobs/inline.ts';
import { JsonExtractor, type TextSink, type Way } from '../../../domain/json-extract.ts';
import type { Result } from '../../../domain/result.ts';
import type { Problem } from '../../../domain/problems.ts';
import { readDocument, statedLength } from '../../http/body.ts';
import type { V1Context } from '../route.ts';

/** Where the content of files is, in base64, in the body of a job and in that of a batch. */
const JOB_FILES: Way = ['inputs', '*', 'data'];
const BATCH_FILES: Way = ['jobs', '*', ...JOB_FILES];
/** Where RunPod's POST /run has it: such a body is refused, but not for its size. */
const RUNPOD_FILES: Way = ['input', 'images', '*', 'image'];

/** Room for names, metadata and white space beside what `max_workflow_bytes` bounds. */
const OTHER_BYTES = 1024 * 1024;
/** What all jobs of a batch may have together without their files: it is parsed at once. */
const MAX_BATCH_DOCUMENT_BYTES = 16 * 1024 * 1024;

/** Stands for content that nobody looks at, because its body is refused for another reason. */
const discarded: TextSink = { write: () => {}, end: () => '' };

/**
 * Works with the body of a job or a batch. The content of its files goes to storage as it comes, and what is left of the body is parsed;
 * what the work did not store is thrown away behind it.
 * @param see is shown every chunk of the body
 */
export function withJobBody<T>(
  c: V1Context,
  kind: 'job' | 'batch',
  work: (body: JobBody) => Promise<Result<T, Problem>>,
  see?: (chunk: Uint8Array) => Promise<void>,
): Promise<Result<T, Problem>> {
  const { core, caller } = c.var;
  const { limits } = core.config;
  const stated = statedLength(c);
  // Base64 is a third longer than what it stands for.
  const most = stated === 0 ? null : Math.ceil((stated * 3) / 4);
  return withInlineFiles(core, caller, most, async (files) => {
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

/** Whether a file in this place of a body will be looked at: counts are judged before what they count. */
function isUsed(places: readonly number[], limits: Limits): boolean {
  const [input = 0, job = 0] = places.toReversed();
  return input < limits.max_inputs && job < MAX_BATCH_JOBS;
}
