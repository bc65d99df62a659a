import { z } from '@hono/zod-openapi';
import { deleteAsset, getAsset, listAssets } from '../../../services/assets/manage.ts';
import { pageFields, renderPage } from '../page.ts';
import { renderAsset } from '../render.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { assetPageSchema, assetSchema } from '../schemas.ts';

const params = z.object({ id: z.string().regex(/^sha256:[0-9a-f]{64}$/) });

const list = defineRoute({
  method: 'get',
  path: '/assets',
  access: { scope: 'assets:read' },
  operationId: 'listAssets',
  summary: 'List assets',
  query: z.object(pageFields),
  responses: { 200: jsonResponse('A page of assets, newest first', assetPageSchema) },
  async handle(c, { query: { limit, cursor = null } }) {
    const page = await listAssets(c.var.context, c.var.caller, { limit, cursor });
    return page.ok ? c.json(renderPage(page.value, renderAsset)) : page;
  },
});

const get = defineRoute({
  method: 'get',
  path: '/assets/{id}',
  access: { scope: 'assets:read' },
  operationId: 'getAsset',
  summary: 'Get an asset',
  params,
  responses: { 200: jsonResponse('The asset', assetSchema) },
  async handle(c) {
    const found = await getAsset(c.var.context, c.var.caller, c.req.param('id'));
    return found.ok ? c.json(renderAsset(found.value)) : found;
  },
});

const remove = defineRoute({
  method: 'delete',
  path: '/assets/{id}',
  access: { scope: 'assets:write' },
  operationId: 'deleteAsset',
  summary: 'Delete an asset',
  params,
  responses: { 204: { description: 'The asset is deleted' } },
  refusals: [409],
  async handle(c) {
    const deleted = await deleteAsset(c.var.context, c.var.caller, c.req.param('id'));
    return deleted.ok ? c.body(null, 204) : deleted;
  },
});

/** `GET /v1/assets`, and `GET` and `DELETE /v1/assets/{id}`. */
export const assetRoutes: readonly Route[] = [list, get, remove];
