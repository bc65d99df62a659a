import { z } from '@hono/zod-openapi';
import { createAsset, type IncomingFile } from '../../../core/assets/create.ts';
import { tooLarge } from '../../../core/assets/refusals.ts';
import { fail, ok, type Result } from '../../../core/result.ts';
import { chunksOf } from '../../../core/chunks.ts';
import { coreProblem } from '../../problem.ts';
import { arriving, readBounded, refuse, statedLength, type Refusal } from '../body.ts';
import { renderAsset } from '../render.ts';
import { assetSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App, type V1Context } from '../v1-app.ts';

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

/** A file, and why its sender may not send it any more, which is known when it has been read. */
type Incoming = { file: IncomingFile; refusal: () => Promise<Refusal | null> };

/** The raw body as a stream, or the one `file` part of a form. The stated type is not looked at beyond telling the two apart. */
async function incomingFile(c: V1Context): Promise<Result<Incoming, Refusal>> {
  const type = c.req.header('content-type') ?? '';
  if (/^multipart\/form-data\b/i.test(type)) {
    const form = await fileOfForm(c, type);
    return form.ok ? ok({ file: form.value, refusal: () => Promise.resolve(null) }) : form;
  }
  if ((c.req.header('content-encoding') ?? 'identity') !== 'identity') {
    return fail({ code: 'unsupported_media_type', detail: 'Content-Encoding is not taken here' });
  }
  const limit = c.var.core.config.limits.max_asset_bytes;
  if (statedLength(c) > limit) {
    return fail(tooLarge(limit, c.var.core.config.limits.max_upload_bytes));
  }
  const { chunks, refusal } = arriving(c);
  return ok({ file: { chunks, statedSize: statedLength(c) }, refusal });
}

/** Forms are parsed in memory, so they may be as large as a JSON body; larger files go as the raw body, which is streamed. */
async function fileOfForm(c: V1Context, type: string): Promise<Result<IncomingFile, Refusal>> {
  const chunks: Uint8Array[] = [];
  const read = await readBounded(
    c,
    c.var.core.config.limits.max_body_bytes,
    (chunk) => void chunks.push(chunk.slice()),
  );
  if (!read.ok) {
    return read;
  }
  const form = await new Response(new Blob(chunks), { headers: { 'content-type': type } }).formData().catch(() => null);
  const parts = form === null ? [] : [...form.entries()];
  const [first, ...others] = parts;
  if (first === undefined || others.length > 0 || first[0] !== 'file' || typeof first[1] === 'string') {
    return fail({ code: 'invalid_multipart', detail: 'the form must hold one part: a file with the name "file"' });
  }
  return ok({ chunks: chunksOf(first[1].stream()), name: first[1].name });
}
