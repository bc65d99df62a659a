import type { Upload } from '../../contract/assets.ts';
import { findAsset } from '../../storage/r2/assets.ts';
import { listParts, PartChanged, PartsReader, putJoined } from '../../storage/r2/upload-parts.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { storeAsset, type AssetAnswer } from '../assets/store.ts';
import { inspectStored, INSPECTED_BYTES } from '../assets/inspect.ts';
import { findUpload, endUpload, storedAsset } from './upload.ts';
import { missingParts, partCount } from '../../domain/files/upload-plan.ts';

/** The most missing part numbers that an error names. */
const MAX_NAMED_PARTS = 10;

const changed: Problem = {
  code: 'upload_incomplete',
  detail: 'A part changed while the file was assembled. Send it again.',
};
const mismatch: Problem = {
  code: 'hash_mismatch',
  detail: 'The file does not match the announced SHA-256 and was deleted. Start a new upload.',
};

/**
 * Turns an upload with all its parts into an asset. Streams the file once from R2 to R2. R2 hashes the file while
 * storing it and accepts it only when the hash matches the declared one, which is also the asset's id. Repeated or
 * concurrent calls return the same asset. A rejected file is deleted.
 */
export async function completeUpload(
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<AssetAnswer, Problem>> {
  const upload = await findUpload(context, caller, id);
  if (upload === null) {
    return fail(notFound);
  }
  if (upload.status === 'stored') {
    return stored(context, caller, upload);
  }
  const outcome = await join(context, caller, upload).catch((error: unknown) => ({ error }));
  if ('error' in outcome || !outcome.ok) {
    // Another request may have completed the upload and deleted its parts meanwhile.
    const now = await findUpload(context, caller, id);
    if (now?.status === 'stored') {
      return stored(context, caller, now);
    }
    if (now === null) {
      return fail(notFound);
    }
    if ('error' in outcome) {
      throw outcome.error;
    }
    if (outcome.problem.code !== 'upload_incomplete') {
      await endUpload(context, caller, id, 'closed');
    }
    return outcome;
  }
  await endUpload(context, caller, id, 'stored');
  return outcome;
}

async function join(context: ServiceContext, caller: Caller, upload: Upload): Promise<Result<AssetAnswer, Problem>> {
  const bucket = context.env.BUCKET;
  const { id, sha256, size_bytes, name } = upload;
  const missing = missingParts(upload, await listParts(bucket, caller.account, id));
  if (missing.length > 0) {
    return fail(incomplete(missing.map(({ number }) => number)));
  }
  const reader = new PartsReader(bucket, caller.account, upload);
  const inspected = await inspectParts(context, reader, { size_bytes, name: name ?? undefined });
  if (!inspected.ok) {
    return inspected;
  }
  const { content_type } = inspected.value;
  return storeAsset(context, caller, true, async () => {
    const known = await findAsset(bucket, caller.account, sha256);
    if (known !== null) {
      return ok({ asset: known, created: false });
    }
    const parts = { count: partCount(upload), size_bytes, etags: reader.etags };
    const put = await putJoined(bucket, caller.account, id, parts, { sha256, content_type });
    return put === 'mismatch' ? fail(mismatch) : put === 'changed' ? fail(changed) : ok(put);
  });
}

/** Inspects the file by its parts; `upload_incomplete` when one of them changed meanwhile. */
async function inspectParts(
  context: ServiceContext,
  reader: PartsReader,
  file: { size_bytes: number; name: string | undefined },
): Promise<Result<{ content_type: string }, Problem>> {
  try {
    const head = await reader.read(0, INSPECTED_BYTES);
    return await inspectStored(head, file, context.config.limits, (offset, length) => reader.read(offset, length));
  } catch (error) {
    if (error instanceof PartChanged) {
      return fail(changed);
    }
    throw error;
  }
}

async function stored(context: ServiceContext, caller: Caller, upload: Upload): Promise<Result<AssetAnswer, Problem>> {
  const asset = await storedAsset(context, caller, upload);
  return asset === null ? fail(notFound) : ok({ asset, created: false });
}

function incomplete(numbers: readonly number[]): Problem {
  const named = numbers.slice(0, MAX_NAMED_PARTS).join(', ');
  const more = numbers.length > MAX_NAMED_PARTS ? ` and ${numbers.length - MAX_NAMED_PARTS} more` : '';
  return { code: 'upload_incomplete', detail: `These parts are missing or have the wrong size: ${named}${more}.` };
}
