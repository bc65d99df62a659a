import { z } from '@hono/zod-openapi';
import { accountName } from '../../services/keys/request.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import type { Refusal } from '../http/problem.ts';
import { wholeNumber } from './query-fields.ts';

const MAX_LIMIT = 100;
const DEFAULT_LIMIT = 20;

/** What every list takes: how many, and where to go on. Each list adds its filters. */
export const pageFields = {
  limit: wholeNumber({ min: 1, max: MAX_LIMIT, default: DEFAULT_LIMIT }),
  cursor: z.string().min(1).max(200).optional(),
};

/** Query of the lists that a key and the operator can read. `account` is for the operator; a key has only its own. */
export const pageQuerySchema = z.object({ ...pageFields, account: accountName.optional() });

export type PageQuery = { limit: number; cursor: string | null; account: string | null };

export function readPageQuery(query: Record<string, string>): Result<PageQuery, Refusal> {
  const asked = readListQuery(pageQuerySchema, query);
  return asked.ok ? ok({ ...asked.value, account: asked.value.account ?? null }) : asked;
}

type Paged = { limit: number; cursor?: string | undefined };

/** The query of a list with its defaults; a fault names the parameter. */
export function readListQuery<T extends Paged>(
  schema: z.ZodType<T>,
  query: Record<string, string>,
): Result<Omit<T, keyof Paged> & { limit: number; cursor: string | null }, Refusal> {
  const asked = schema.safeParse(query);
  if (!asked.success) {
    const [issue] = asked.error.issues;
    const name = String(issue?.path[0] ?? 'query');
    const code = name === 'cursor' ? 'invalid_cursor' : 'invalid_parameter';
    return fail({ code, detail: `${name}: ${issue?.message ?? 'not valid'}` });
  }
  const { limit, cursor = null, ...filters } = asked.data;
  return ok({ ...filters, limit, cursor });
}
