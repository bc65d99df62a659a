import { z } from '@hono/zod-openapi';
import { completeUpload } from '../../../services/uploads/complete-upload.ts';
import {
  cancelUpload,
  getUpload,
  openUpload,
  uploadRequestSchema,
  type UploadView,
} from '../../../services/uploads/upload.ts';
import { coreProblem } from '../../http/problem.ts';
import { readJsonBody, refuse } from '../../http/body.ts';
import { renderAsset } from '../render.ts';
import { assetSchema, uploadSchema, type ApiUpload } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

const params = z.object({ id: z.uuid() });

/** Links in the answer work for whoever has them. */
const PRIVATE = { 'cache-control': 'no-store' };

/** `/v1/uploads`: a file in parts, which go straight to R2 and can be cut anywhere (docs/reference/files.md). */
export function registerUploads(app: V1App): void {
  describeRoute(app, {
    method: 'post',
    path: '/uploads',
    operationId: 'openUpload',
    summary: 'Begin or find a resumable upload',
    request: { body: { required: true, content: { 'application/json': { schema: uploadRequestSchema } } } },
    responses: {
      201: jsonAnswer('Begun', uploadSchema, 'Location'),
      200: jsonAnswer('Under way already', uploadSchema, 'Location'),
    },
  });
  app.post('/uploads', async (c) => {
    const body = await readJsonBody(c);
    if (!body.ok) {
      return refuse(c, body.problem);
    }
    const { core, caller } = c.var;
    const opened = await openUpload(core, caller, body.value);
    if (!opened.ok) {
      return coreProblem(c, opened.problem);
    }
    const upload = render(opened.value.view, core.config.publicUrl);
    return c.json(upload, opened.value.created ? 201 : 200, { ...PRIVATE, location: upload.urls.self });
  });

  describeRoute(app, {
    method: 'get',
    path: '/uploads/{id}',
    operationId: 'getUpload',
    summary: 'Say how far an upload is',
    request: { params },
    responses: { 200: jsonAnswer('The upload, with URLs for what is missing', uploadSchema) },
  });
  app.get('/uploads/:id', async (c) => {
    const { core, caller } = c.var;
    const found = await getUpload(core, caller, c.req.param('id'));
    return found.ok ? c.json(render(found.value, core.config.publicUrl), 200, PRIVATE) : coreProblem(c, found.problem);
  });

  describeRoute(app, {
    method: 'post',
    path: '/uploads/{id}/complete',
    operationId: 'completeUpload',
    summary: 'Make an asset of an upload',
    problems: [409, 422],
    request: { params },
    responses: {
      201: jsonAnswer('Stored', assetSchema),
      200: jsonAnswer('Known already', assetSchema),
    },
  });
  app.post('/uploads/:id/complete', async (c) => {
    const completed = await completeUpload(c.var.core, c.var.caller, c.req.param('id'));
    return completed.ok
      ? c.json(renderAsset(completed.value.asset), completed.value.created ? 201 : 200)
      : coreProblem(c, completed.problem);
  });

  describeRoute(app, {
    method: 'delete',
    path: '/uploads/{id}',
    operationId: 'deleteUpload',
    summary: 'Give up an upload',
    request: { params },
    responses: { 204: { description: 'Nothing of it is kept' } },
  });
  app.delete('/uploads/:id', async (c) => {
    const dropped = await cancelUpload(c.var.core, c.var.caller, c.req.param('id'));
    return dropped.ok ? c.body(null, 204) : coreProblem(c, dropped.problem);
  });
}

function render({ upload, asset, urls_expire_at, ...rest }: UploadView, publicUrl: string): ApiUpload {
  const { id, status, sha256, size_bytes, part_bytes, created_at, expires_at } = upload;
  const self = `${publicUrl}/v1/uploads/${id}`;
  return {
    id,
    object: 'upload',
    status,
    sha256,
    size_bytes,
    part_bytes,
    ...rest,
    urls_expire_at: urls_expire_at === null ? null : new Date(urls_expire_at).toISOString(),
    asset: asset === null ? null : renderAsset(asset),
    created_at: new Date(created_at).toISOString(),
    expires_at: new Date(expires_at).toISOString(),
    urls: { self, complete: `${self}/complete` },
  };
}
