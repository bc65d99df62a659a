import {
  PART_BYTES,
  SINGLE_PUT_BYTES,
  UPLOAD_GRACE_MS,
  uploadUrls,
  type FinishRequest,
  type UploadsRequest,
} from '../../contract/worker.ts';
import { isOutputKey, outputKey } from '../../storage/r2/keys.ts';
import { presigner } from '../../storage/r2/presign.ts';
import { beginMultipart, finishMultipart } from '../../storage/r2/multipart.ts';
import type { ServiceContext } from '../context.ts';
import { storedTypeOf } from '../../domain/files/presentation.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { refusal, type WorkerRefusal } from './access.ts';

/** The upload target of one file (docs/reference/worker-contract.md, uploads). */
export type Upload =
  | { name: string; key: string; method: 'PUT'; url: string; headers: Record<string, string> }
  | {
      name: string;
      key: string;
      method: 'MULTIPART';
      upload_id: string;
      part_bytes: number;
      parts: { number: number; url: string }[];
    };

/** Returns presigned URLs for the files of an attempt, in the given order. The call may be repeated. */
export async function uploads(
  context: ServiceContext,
  job: string,
  request: UploadsRequest,
): Promise<Result<Upload[], WorkerRefusal>> {
  const target = await context.env.JOB.getByName(job).uploadTarget(request.attempt, request.claim);
  if ('refused' in target) {
    return fail(refusal(target.refused));
  }
  const tooLarge = request.files.filter((file) => file.size_bytes > context.config.limits.max_output_bytes);
  if (tooLarge.length > 0) {
    return fail({ code: 'output_too_large', names: tooLarge.map((file) => file.name) });
  }
  const sign = presigner(context.config.s3);
  const life_s = (target.deadline - context.clock() + UPLOAD_GRACE_MS) / 1000;
  return ok(
    await Promise.all(
      request.files.map(async ({ name, size_bytes, content_type }): Promise<Upload> => {
        const key = outputKey(target.account, job, request.attempt, name);
        const type = storedTypeOf(content_type);
        if (size_bytes <= SINGLE_PUT_BYTES) {
          const headers = { 'content-type': type };
          return { name, key, method: 'PUT', url: await sign.put(key, life_s, type), headers };
        }
        const upload_id = await beginMultipart(context.env.BUCKET, key, type);
        const numbers = Array.from({ length: uploadUrls(size_bytes) }, (_, index) => index + 1);
        const parts = await Promise.all(
          numbers.map(async (number) => ({ number, url: await sign.part(key, life_s, upload_id, number) })),
        );
        return { name, key, method: 'MULTIPART', upload_id, part_bytes: PART_BYTES, parts };
      }),
    ),
  );
}

/** Completes a multipart upload. The call may be repeated after it has succeeded. */
export async function finishUpload(
  context: ServiceContext,
  job: string,
  request: FinishRequest,
): Promise<Result<null, WorkerRefusal>> {
  const target = await context.env.JOB.getByName(job).uploadTarget(request.attempt, request.claim);
  if ('refused' in target) {
    return fail(refusal(target.refused));
  }
  if (!isOutputKey(target.account, job, request.attempt, request.key)) {
    return fail({ code: 'output_missing', missing: [request.key] });
  }
  const done = await finishMultipart(context.env.BUCKET, request.key, request.upload_id, request.parts);
  return done ? ok(null) : fail({ code: 'output_missing', missing: [request.key] });
}
