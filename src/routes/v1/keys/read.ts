import { z } from '@hono/zod-openapi';
import { getKey, listKeys } from '../../../services/keys/manage.ts';
import { coreProblem } from '../../http/problem.ts';
import { refuse } from '../../http/body.ts';
import { pageQuerySchema, readPageQuery } from '../page-query.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';
import { keyPageSchema, keySchema, renderKey } from './schemas.ts';

/** `GET /v1/keys` and `GET /v1/keys/{id}`: prefix and hint of a key, never its secret. */
export function registerReadKeys(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/keys',
    operationId: 'listKeys',
    summary: 'List API keys',
    request: { query: pageQuerySchema },
    responses: { 200: jsonAnswer('A page of keys, newest first, revoked ones too', keyPageSchema) },
  });
  app.get('/keys', async (c) => {
    const query = readPageQuery(c.req.query());
    if (!query.ok) {
      return refuse(c, query.problem);
    }
    const { core, actor } = c.var;
    const page = await listKeys(core, actor, query.value);
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { keys, next_cursor } = page.value;
    return c.json({ data: keys.map(renderKey), has_more: next_cursor !== null, next_cursor });
  });

  describeRoute(app, {
    method: 'get',
    path: '/keys/{id}',
    operationId: 'getKey',
    summary: 'Get an API key',
    request: { params: z.object({ id: z.uuid() }) },
    responses: { 200: jsonAnswer('The key without its secret', keySchema) },
  });
  app.get('/keys/:id', async (c) => {
    const { core, actor } = c.var;
    const found = await getKey(core, actor, c.req.param('id'));
    return found.ok ? c.json(renderKey(found.value)) : coreProblem(c, found.problem);
  });
}
