import { z } from 'zod';
import { PART_URL_LIFE_S, type Asset, type Upload } from '../../contract/assets.ts';
import { isUuidV7 } from '../../lib/ids.ts';
import { uploadPartKey } from '../../storage/r2/keys.ts';
import { presigner } from '../../storage/r2/presign.ts';
import { findAsset } from '../../storage/r2/assets.ts';
import { clearParts, listParts } from '../../storage/r2/upload-parts.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { parseBody } from '../../domain/validation.ts';
import { inputNameIssue } from '../../domain/workflow/input-name.ts';
import { invalidRequest, notFound, type Problem, type Issue } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { storeAsset } from '../assets/store.ts';
import { storageFull, tooLarge } from '../assets/refusals.ts';
import {
  MAX_PART_BYTES,
  MAX_PARTS,
  MIN_PART_BYTES,
  missingParts,
  PART_BYTES,
  partCount,
  type Part,
} from '../../domain/files/upload-plan.ts';

/** The most part URLs in one response. The client asks again for more. */
const URLS_AT_ONCE = 100;

/** Body of `POST /v1/uploads`. The hash is of the whole file; R2 checks it before the file becomes an asset. */
export const uploadRequestSchema = z
  .strictObject({
    size_bytes: z.int().min(1),
    sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits'),
    name: z.string().optional(),
    part_bytes: z.int().min(MIN_PART_BYTES).max(MAX_PART_BYTES).default(PART_BYTES),
  })
  .meta({ id: 'UploadRequest' });

/** The state of an upload: the missing parts with their URLs, or the asset once it is stored. */
export type UploadView = {
  upload: Upload;
  received_bytes: number;
  missing_parts: number;
  /** The first missing parts, with URLs that are valid until `urls_expire_at`. */
  missing: (Part & { url: string })[];
  urls_expire_at: number | null;
  asset: Asset | null;
};

/**
 * Starts a multipart upload, whose parts the client sends directly to R2. A request for the same file and part size
 * returns the upload in progress of this account, so that a client without local state can resume.
 */
export async function openUpload(
  context: ServiceContext,
  caller: Caller,
  body: unknown,
): Promise<Result<{ view: UploadView; created: boolean }, Problem>> {
  const parsed = parseBody(uploadRequestSchema, body);
  if (!parsed.ok) {
    return parsed;
  }
  const { size_bytes, sha256, name = null, part_bytes } = parsed.value;
  const { max_upload_bytes } = context.config.limits;
  if (size_bytes > max_upload_bytes) {
    return fail(tooLarge(max_upload_bytes));
  }
  const issue = issueOf(name, { size_bytes, part_bytes });
  if (issue !== null) {
    return fail(invalidRequest([issue]));
  }
  const account = context.env.ACCOUNT.getByName(caller.account);
  const id = context.newId();
  const upload = await withRpcRetry(() =>
    account.beginUpload(caller.account, { id, sha256, size_bytes, part_bytes, name }),
  );
  if (upload === 'full') {
    return fail(storageFull);
  }
  if (upload === 'too_many') {
    const detail = `An account may have at most ${context.config.limits.max_open_uploads} open uploads, including those deleted in the last hour. Complete one, or wait.`;
    return fail({ code: 'too_many_uploads', detail });
  }
  const known = await findAsset(context.env.BUCKET, caller.account, sha256);
  if (known === null || known.size_bytes !== size_bytes) {
    return ok({ view: await viewOf(context, caller, upload), created: upload.id === id });
  }
  // The account already has this file.
  await endUpload(context, caller, upload.id, 'stored');
  return ok({ view: await viewOf(context, caller, { ...upload, status: 'stored' }), created: upload.id === id });
}

/** Returns the state of an upload. Each call extends its lifetime. */
export async function getUpload(
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<UploadView, Problem>> {
  const upload = await findUpload(context, caller, id);
  return upload === null ? fail(notFound) : ok(await viewOf(context, caller, upload));
}

/** Cancels an upload and deletes its parts. A completed upload remains an asset. */
export async function cancelUpload(
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<null, Problem>> {
  if ((await findUpload(context, caller, id)) === null) {
    return fail(notFound);
  }
  await endUpload(context, caller, id, 'closed');
  return ok(null);
}

/** Null for an invalid id, and for an upload that does not exist, has ended, or belongs to another account. */
export const findUpload = (context: ServiceContext, caller: Caller, id: string): Promise<Upload | null> =>
  isUuidV7(id) ? withRpcRetry(() => context.env.ACCOUNT.getByName(caller.account).upload(id)) : Promise.resolve(null);

/** Records the end of an upload, and then deletes its parts. In this order no request sees used parts as missing. */
export async function endUpload(
  context: ServiceContext,
  caller: Caller,
  id: string,
  status: 'stored' | 'closed',
): Promise<void> {
  await withRpcRetry(() => context.env.ACCOUNT.getByName(caller.account).endUpload(id, status));
  await clearParts(context.env.BUCKET, caller.account, id);
}

async function viewOf(context: ServiceContext, caller: Caller, upload: Upload): Promise<UploadView> {
  if (upload.status === 'stored') {
    const asset = await storedAsset(context, caller, upload);
    return { upload, received_bytes: upload.size_bytes, missing_parts: 0, missing: [], urls_expire_at: null, asset };
  }
  const missing = missingParts(upload, await listParts(context.env.BUCKET, caller.account, upload.id));
  const sign = presigner(context.config.s3);
  const first = await Promise.all(
    missing.slice(0, URLS_AT_ONCE).map(async (part) => ({
      ...part,
      url: await sign.putExactly(
        uploadPartKey(caller.account, upload.id, part.number),
        PART_URL_LIFE_S,
        part.size_bytes,
      ),
    })),
  );
  return {
    upload,
    received_bytes: upload.size_bytes - missing.reduce((sum, part) => sum + part.size_bytes, 0),
    missing_parts: missing.length,
    missing: first,
    urls_expire_at: missing.length === 0 ? null : context.clock() + PART_URL_LIFE_S * 1000,
    asset: null,
  };
}

/** Returns the asset of a completed upload, and counts it as used; null when it has been deleted. */
export async function storedAsset(context: ServiceContext, caller: Caller, { sha256 }: Upload): Promise<Asset | null> {
  // Looked up again when it was being deleted meanwhile.
  const kept = await storeAsset(context, caller, true, async () => {
    const asset = await findAsset(context.env.BUCKET, caller.account, sha256);
    return asset === null ? fail(notFound) : ok({ asset, created: false });
  });
  return kept.ok ? kept.value.asset : null;
}

function issueOf(name: string | null, plan: { size_bytes: number; part_bytes: number }): Issue | null {
  const detail = name === null ? null : inputNameIssue(name);
  if (detail !== null) {
    return { pointer: '#/name', code: 'invalid_name', detail };
  }
  return partCount(plan) > MAX_PARTS
    ? {
        pointer: '#/part_bytes',
        code: 'out_of_range',
        detail: `A file may have at most ${MAX_PARTS} parts. Use larger parts.`,
      }
    : null;
}
