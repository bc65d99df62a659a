import { z } from '@hono/zod-openapi';
import { createAsset, incompleteBody, type IncomingFile } from '../../../services/assets/create.ts';
import { boundaryOf, NotOneFile, openForm } from '../../../services/assets/form.ts';
import { tooLarge } from '../../../services/assets/refusals.ts';
import { fail, ok, type Result } from '../../../domain/result.ts';
import { coreProblem, type Refusal } from '../../http/problem.ts';
import { arriving, refuse, statedLength } from '../../http/body.ts';
import { renderAsset } from '../render.ts';
import { assetSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App, type V1Context } from '../v1-app.ts';

/** What a form may have around its file. */
const FORM_BYTES = 64 * 1024;

/** `POST /v1/assets`: stores a file under its hash. 201 when it is new, 200 when it was there. */
export function registerCreateAsset(app: V1App): void {
  const binary = z.string().openapi({ format: 'binary' });
  describeRoute(app, {
    method: 'post',
    path: '/assets',
    operationId: 'createAsset',
    summary: 'Upload an input file',
    request: {
      body: {
        required: true,
        content: {
          'application/octet-stream': { schema: binary },
          'multipart/form-data': { schema: z.object({ file: binary }) },
        },
      },
    },
    responses: {
      201: jsonAnswer('Stored', assetSchema),
      200: jsonAnswer('Known already', assetSchema),
    },
  });
  app.post('/assets', async (c) => {
    const { core, caller } = c.var;
    const incoming = await incomingFile(c);
    if (!incoming.ok) {
      return refuse(c, incoming.problem);
    }
    const { file, refusal } = incoming.value;
    const stored = await createAsset(core, caller, file);
    if (!stored.ok) {
      const ended = await refusal();
      return ended === null ? coreProblem(c, stored.problem) : refuse(c, ended);
    }
    return c.json(renderAsset(stored.value.asset), stored.value.created ? 201 : 200);
  });
}

/** A file, and why its sender may not send it any more, or how its form is wrong, which is known when it has been read. */
type Incoming = { file: IncomingFile; refusal: () => Promise<Refusal | null> };

/** The raw body, or the one `file` part of a form. The stated type is not looked at beyond telling the two apart. */
async function incomingFile(c: V1Context): Promise<Result<Incoming, Refusal>> {
  const type = c.req.header('content-type') ?? '';
  if ((c.req.header('content-encoding') ?? 'identity') !== 'identity') {
    return fail({ code: 'unsupported_media_type', detail: 'Content-Encoding is not taken here' });
  }
  const isForm = /^multipart\/form-data\b/i.test(type);
  const { max_asset_bytes, max_upload_bytes } = c.var.core.config.limits;
  const stated = statedLength(c);
  if (stated > max_asset_bytes + (isForm ? FORM_BYTES : 0)) {
    return fail(tooLarge(max_asset_bytes, max_upload_bytes));
  }
  const { chunks, refusal } = arriving(c);
  if (isForm) {
    return fileOfForm(chunks, type, stated, refusal);
  }
  return ok({ file: { chunks, ...(stated === 0 ? {} : { size: { bytes: stated, isExact: true } }) }, refusal });
}

const notOneFile: Refusal = {
  code: 'invalid_multipart',
  detail: 'the form must hold one part: a file with the name "file"',
};

async function fileOfForm(
  body: AsyncGenerator<Uint8Array, void, undefined>,
  type: string,
  stated: number,
  refusal: () => Promise<Refusal | null>,
): Promise<Result<Incoming, Refusal>> {
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
