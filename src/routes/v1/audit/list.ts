import { z } from '@hono/zod-openapi';
import { listAudit } from '../../../services/account/audit.ts';
import { coreProblem } from '../../http/problem.ts';
import { refuse } from '../../http/body.ts';
import { pageQuerySchema, readPageQuery } from '../page-query.ts';
import { describeRoute, jsonAnswer, type V1App } from '../v1-app.ts';

const entrySchema = z
  .object({
    id: z.uuid(),
    object: z.literal('audit_entry'),
    account: z.string(),
    at: z.iso.datetime({ precision: 3 }),
    actor: z.object({ type: z.enum(['key', 'operator', 'secret']), key: z.uuid().nullable() }),
    action: z.string(),
    target: z.string(),
    request_id: z.string(),
    changes: z.record(z.string(), z.unknown()),
  })
  .openapi('AuditEntry');

const pageSchema = z
  .object({ data: z.array(entrySchema), has_more: z.boolean(), next_cursor: z.string().nullable() })
  .openapi('AuditPage');

/** `GET /v1/audit`: who changed which key or limit, newest first. */
export function registerListAudit(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/audit',
    operationId: 'listAudit',
    summary: 'List changes of keys and limits',
    request: { query: pageQuerySchema },
    responses: { 200: jsonAnswer('A page of the audit log, newest first', pageSchema) },
  });
  app.get('/audit', async (c) => {
    const query = readPageQuery(c.req.query());
    if (!query.ok) {
      return refuse(c, query.problem);
    }
    const { core, actor } = c.var;
    const page = await listAudit(core, actor, query.value);
    if (!page.ok) {
      return coreProblem(c, page.problem);
    }
    const { entries, next_cursor } = page.value;
    const data: z.infer<typeof entrySchema>[] = entries.map(({ actor: type, actor_key, at, ...entry }) => ({
      ...entry,
      object: 'audit_entry',
      at: new Date(at).toISOString(),
      actor: { type, key: actor_key },
    }));
    return c.json({ data, has_more: next_cursor !== null, next_cursor });
  });
}
