import { z } from '@hono/zod-openapi';
import { deleteAsset, getAsset, listAssets } from '../../../services/assets/manage.ts';
import { coreProblem } from '../../http/problem.ts';
import { refuse } from '../../http/body.ts';
import { pageFields, readListQuery } from '../page-query.ts';
import { renderAsset } from '../render.ts';
import { assetPageSchema, assetSchema } from '../schemas.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

const query = z.object(pageFields);
const params = z.object({ id: z.string().regex(/^sha256:[0-9a-f]{64}$/) });

/** `GET /v1/assets`, and `GET` and `DELETE /v1/assets/{id}`. */
export function registerManageAssets(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/assets',
    operationId: 'listAssets',
    summary: 'List assets',
    request: { query },
    responses: { 200: jsonAnswer('A page of assets, newest first', assetPageSchema) },
  });
  app.get('/assets', async (c) => {
    const asked = readListQuery(query, c.req.query());
    if (!asked.ok) {
      return refuse(c, asked.problem);
    }
    const page = await listAssets(c.var.core, c.var.caller, asked.value);
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { assets, next_cursor } = page.value;
    return c.json({ data: assets.map(renderAsset), has_more: next_cursor !== null, next_cursor });
  });

  describeRoute(app, {
    method: 'get',
    path: '/assets/{id}',
    operationId: 'getAsset',
    summary: 'Get an asset',
    request: { params },
    responses: { 200: jsonAnswer('The asset', assetSchema) },
  });
  app.get('/assets/:id', async (c) => {
    const found = await getAsset(c.var.core, c.var.caller, c.req.param('id'));
    return found.ok ? c.json(renderAsset(found.value)) : coreProblem(c, found.problem);
  });

  describeRoute(app, {
    method: 'delete',
    path: '/assets/{id}',
    operationId: 'deleteAsset',
    summary: 'Delete an asset',
    problems: [409],
    request: { params },
    responses: { 204: { description: 'The asset is gone' } },
  });
  app.delete('/assets/:id', async (c) => {
    const deleted = await deleteAsset(c.var.core, c.var.caller, c.req.param('id'));
    return deleted.ok ? c.body(null, 204) : coreProblem(c, deleted.problem);
  });
}
