import { z } from '@hono/zod-openapi';
import { createAsset, incompleteBody, type IncomingFile } from '../../../services/assets/create.ts';
import { boundaryOf, NotOneFile, openForm } from '../../../services/assets/form.ts';
import { tooLarge } from '../../../services/assets/refusals.ts';
import { fail, ok, type Result } from '../../../domain/result.ts';
import type { Problem } from '../../../domain/problems.ts';
import { incomingBody, statedLength } from '../../http/body.ts';
import { renderAsset } from '../render.ts';
import { assetSchema } from '../schemas.ts';
import { defineRoute, jsonResponse, type Route, type V1Context } from '../route.ts';

/** Bytes that a form may have beside its file. */
const FORM_BYTES = 64 * 1024;

const BINARY = z.string().openapi({ format: 'binary' });

/** `POST /v1/assets`: stores a file under its hash. 201 when it is new, 200 when it was there. */
const create = defineRoute({
  method: 'post',
  path: '/assets',
  access: { scope: 'assets:write' },
  operationId: 'createAsset',
  summary: 'Upload an input file',
  body: {
    kind: 'streamed',
    content: {
      'application/octet-stream': { schema: BINARY },
      'multipart/form-data': { schema: z.object({ file: BINARY }).openapi('AssetForm') },
    },
  },
  responses: {
    201: jsonResponse('The new asset', assetSchema),
    200: jsonResponse('The asset, which was already stored', assetSchema),
  },
  async handle(c) {
    const { context, caller } = c.var;
    const incoming = await incomingFile(c);
    if (!incoming.ok) {
      return incoming;
    }
    const { file, refusal } = incoming.value;
    const stored = await createAsset(context, caller, file);
    if (!stored.ok) {
      const ended = await refusal();
      return ended === null ? stored : fail(ended);
    }
    return c.json(renderAsset(stored.value.asset), stored.value.created ? 201 : 200);
  },
});

export const createAssetRoutes: readonly Route[] = [create];

/** A file, and the refusal that is known only after it has been read: a revoked key, or an invalid form. */
type Incoming = { file: IncomingFile; refusal: () => Promise<Problem | null> };

/** The raw body, or the one `file` part of a form. The stated type only tells the two apart. */
async function incomingFile(c: V1Context): Promise<Result<Incoming, Problem>> {
  const type = c.req.header('content-type') ?? '';
  if ((c.req.header('content-encoding') ?? 'identity') !== 'identity') {
    return fail({
      code: 'unsupported_media_type',
      detail: 'Content-Encoding is not supported. Send the file as it is.',
    });
  }
  const isForm = /^multipart\/form-data\b/i.test(type);
  const { max_asset_bytes, max_upload_bytes } = c.var.context.config.limits;
  const stated = statedLength(c);
  if (stated > max_asset_bytes + (isForm ? FORM_BYTES : 0)) {
    return fail(tooLarge(max_asset_bytes, max_upload_bytes));
  }
  const { chunks, refusal } = incomingBody(c);
  if (isForm) {
    return fileOfForm(chunks, type, stated, refusal);
  }
  return ok({ file: { chunks, ...(stated === 0 ? {} : { size: { bytes: stated, isExact: true } }) }, refusal });
}

const notOneFile: Problem = {
  code: 'invalid_multipart',
  detail: 'The form must have exactly one part: a file with the name "file".',
};

async function fileOfForm(
  body: AsyncGenerator<Uint8Array, void, undefined>,
  type: string,
  stated: number,
  refusal: () => Promise<Problem | null>,
): Promise<Result<Incoming, Problem>> {
  const boundary = boundaryOf(type);
  if (boundary === null) {
    return fail(notOneFile);
  }
  const form = await openForm(body, boundary, 'file').catch(() => null);
  if (form === null) {
    return fail((await refusal()) ?? incompleteBody);
  }
  if (!form.ok) {
    await body.return();
    return fail(notOneFile);
  }
  const { name, chunks } = form.value;
  let isOneFile = true;
  async function* watched(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* chunks;
    } catch (error) {
      isOneFile = !(error instanceof NotOneFile);
      throw error;
    }
  }
  const size = stated === 0 ? {} : { size: { bytes: stated, isExact: false } };
  return ok({
    file: { chunks: watched(), name, ...size },
    refusal: async () => (isOneFile ? refusal() : notOneFile),
  });
}
