import { getKey, listKeys } from '../../../services/keys/manage.ts';
import { accountPageQuery, renderPage } from '../page.ts';
import { idParams } from '../params.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';
import { keyPageSchema, keySchema, renderKey } from './schemas.ts';

const list = defineRoute({
  method: 'get',
  path: '/keys',
  access: { scope: 'keys:read', operator: true },
  operationId: 'listKeys',
  summary: 'List API keys',
  query: accountPageQuery,
  responses: { 200: jsonResponse('A page of keys, newest first, revoked keys included', keyPageSchema) },
  async handle(c, { query: { limit, cursor = null, account = null } }) {
    const { context, actor } = c.var;
    const page = await listKeys(context, actor, { limit, cursor, account });
    return page.ok ? c.json(renderPage(page.value, renderKey)) : page;
  },
});

const get = defineRoute({
  method: 'get',
  path: '/keys/{id}',
  access: { scope: 'keys:read', operator: true },
  operationId: 'getKey',
  summary: 'Get an API key',
  params: idParams,
  responses: { 200: jsonResponse('The key without its secret', keySchema) },
  async handle(c) {
    const { context, actor } = c.var;
    const found = await getKey(context, actor, c.req.param('id'));
    return found.ok ? c.json(renderKey(found.value)) : found;
  },
});

/** `GET /v1/keys` and `GET /v1/keys/{id}`: prefix and hint of a key, never its secret. */
export const readKeyRoutes: readonly Route[] = [list, get];
