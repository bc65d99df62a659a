import { z } from '@hono/zod-openapi';
import { iso } from '../../../lib/time.ts';
import { listAudit, type AuditEntry } from '../../../services/account/audit.ts';
import { accountPageQuery, pageOf, renderPage } from '../page.ts';
import { defineRoute, jsonResponse, type Route } from '../route.ts';

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

const pageSchema = pageOf(entrySchema).openapi('AuditPage');

/** `GET /v1/audit`: who changed which key or limit, newest first. */
const list = defineRoute({
  method: 'get',
  path: '/audit',
  access: { scope: 'admin', operator: true },
  operationId: 'listAudit',
  summary: 'List changes of keys and limits',
  query: accountPageQuery,
  responses: { 200: jsonResponse('A page of the audit log, newest first', pageSchema) },
  async handle(c, { query: { limit, cursor = null, account = null } }) {
    const { context, actor } = c.var;
    const page = await listAudit(context, actor, { limit, cursor, account });
    return page.ok ? c.json(renderPage(page.value, render)) : page;
  },
});

const render = ({ actor: type, actor_key, at, ...entry }: AuditEntry): z.infer<typeof entrySchema> => ({
  ...entry,
  object: 'audit_entry',
  at: iso(at),
  actor: { type, key: actor_key },
});

export const auditRoutes: readonly Route[] = [list];
