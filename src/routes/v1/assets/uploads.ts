import { iso, isoOrNull } from '../../../lib/time.ts';
import { completeUpload } from '../../../services/uploads/complete-upload.ts';
import {
  cancelUpload,
  getUpload,
  openUpload,
  uploadRequestSchema,
  type UploadView,
} from '../../../services/uploads/upload.ts';
import { UPLOAD } from '../examples.ts';
import { idParams } from '../params.ts';
import { renderAsset } from '../render.ts';
import { defineRoute, jsonBody, jsonResponse, type Route } from '../route.ts';
import { assetSchema, uploadSchema, type ApiUpload } from '../schemas.ts';

/** The links in the response work for everyone who has them. */
const PRIVATE = { 'cache-control': 'no-store' };

const open = defineRoute({
  method: 'post',
  path: '/uploads',
  access: { scope: 'assets:write' },
  operationId: 'openUpload',
  summary: 'Start or find a resumable upload',
  body: jsonBody(uploadRequestSchema, { example: UPLOAD }),
  responses: {
    201: jsonResponse('The new upload', uploadSchema, { headers: ['Location'] }),
    200: jsonResponse('The upload, which was already open', uploadSchema, { headers: ['Location'] }),
  },
  async handle(c, { body }) {
    const { context, caller } = c.var;
    const opened = await openUpload(context, caller, body);
    if (!opened.ok) {
      return opened;
    }
    const upload = render(opened.value.view, context.config.publicUrl);
    return c.json(upload, opened.value.created ? 201 : 200, { ...PRIVATE, location: upload.urls.self });
  },
});

const get = defineRoute({
  method: 'get',
  path: '/uploads/{id}',
  access: { scope: 'assets:write' },
  operationId: 'getUpload',
  summary: 'Show the progress of an upload',
  params: idParams,
  responses: { 200: jsonResponse('The upload, with URLs for the missing parts', uploadSchema) },
  async handle(c) {
    const { context, caller } = c.var;
    const found = await getUpload(context, caller, c.req.param('id'));
    return found.ok ? c.json(render(found.value, context.config.publicUrl), 200, PRIVATE) : found;
  },
});

const complete = defineRoute({
  method: 'post',
  path: '/uploads/{id}/complete',
  access: { scope: 'assets:write' },
  operationId: 'completeUpload',
  summary: 'Turn an upload into an asset',
  params: idParams,
  responses: {
    201: jsonResponse('The new asset', assetSchema),
    200: jsonResponse('The asset, which was already stored', assetSchema),
  },
  refusals: [409, 422],
  async handle(c) {
    const completed = await completeUpload(c.var.context, c.var.caller, c.req.param('id'));
    return completed.ok ? c.json(renderAsset(completed.value.asset), completed.value.created ? 201 : 200) : completed;
  },
});

const cancel = defineRoute({
  method: 'delete',
  path: '/uploads/{id}',
  access: { scope: 'assets:write' },
  operationId: 'deleteUpload',
  summary: 'Cancel an upload',
  params: idParams,
  responses: { 204: { description: 'The upload and its parts are deleted' } },
  async handle(c) {
    const canceled = await cancelUpload(c.var.context, c.var.caller, c.req.param('id'));
    return canceled.ok ? c.body(null, 204) : canceled;
  },
});

/**
 * `/v1/uploads`: a file in parts, which go straight to R2 and can stop and resume anywhere (docs/reference/files.md).
 */
export const uploadRoutes: readonly Route[] = [open, get, complete, cancel];

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
    urls_expire_at: isoOrNull(urls_expire_at),
    asset: asset === null ? null : renderAsset(asset),
    created_at: iso(created_at),
    expires_at: iso(expires_at),
    urls: { self, complete: `${self}/complete` },
  };
}
