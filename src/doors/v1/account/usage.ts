import { z } from '@hono/zod-openapi';
import { usageOf } from '../../../core/account/usage.ts';
import { problem } from '../../problem.ts';
import { headerRefs } from '../answers.ts';
import { describeRoute, type V1App } from '../v1-app.ts';

/** Bounds the rows an answer can have. */
const MAX_DAYS = 366;
const USUAL_DAYS = 30;
const DAY_MS = 86_400_000;

const query = z.object({
  from: z.iso.date().optional(),
  to: z.iso.date().optional(),
  group_by: z.enum(['day', 'key', 'day,key', 'key,day']).default('day'),
  format: z.enum(['json', 'csv']).optional(),
});

/** The days asked for; without any, the last thirty. */
function daysOf({ from, to }: z.infer<typeof query>, now: number): { from: string; to: string } | null {
  const last = to ?? dayOf(now);
  const first = from ?? dayOf(Date.parse(last) - (USUAL_DAYS - 1) * DAY_MS);
  const span = Date.parse(last) - Date.parse(first);
  return span < 0 || span >= MAX_DAYS * DAY_MS ? null : { from: first, to: last };
}

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

const lineSchema = z.object({
  day: z.iso.date().nullable(),
  key: z.string().nullable(),
  jobs: z.int(),
  succeeded: z.int(),
  billed_seconds: z.number(),
  cost_usd: z.number(),
});

const usageSchema = z
  .object({
    object: z.literal('usage'),
    from: z.iso.date(),
    to: z.iso.date(),
    group_by: z.array(z.enum(['day', 'key'])),
    data: z.array(lineSchema),
  })
  .openapi('Usage');
type Line = z.infer<typeof lineSchema>;

/** `GET /v1/usage`: what the account used, by day, key or both, as JSON or CSV. */
export function registerUsage(app: V1App): void {
  describeRoute(app, {
    method: 'get',
    path: '/usage',
    operationId: 'getUsage',
    summary: 'Sum up what jobs used and cost',
    request: { query },
    responses: {
      200: {
        description: 'Sums, oldest day first',
        headers: headerRefs('Content-Disposition'),
        content: { 'application/json': { schema: usageSchema }, 'text/csv': { schema: z.string() } },
      },
    },
  });
  app.get('/usage', async (c) => {
    const asked = query.safeParse(c.req.query());
    if (!asked.success) {
      const [issue] = asked.error.issues;
      return problem(c, 'invalid_parameter', { detail: `${String(issue?.path[0])}: ${issue?.message ?? 'not valid'}` });
    }
    const { format } = asked.data;
    const days = daysOf(asked.data, c.var.core.clock());
    if (days === null) {
      return problem(c, 'invalid_parameter', {
        detail: `from must not be after to, nor more than ${MAX_DAYS} days apart`,
      });
    }
    const { from, to } = days;
    const by = (['day', 'key'] as const).filter((each) => asked.data.group_by.split(',').includes(each));
    const { core, caller } = c.var;
    const found = await usageOf(core, caller, { from, to, by });
    const data: Line[] = (found.ok ? found.value : []).map(({ gpu_ms, micro_usd, ...line }) => ({
      ...line,
      billed_seconds: gpu_ms / 1000,
      cost_usd: micro_usd / 1e6,
    }));
    if (format === 'csv' || (format === undefined && /^text\/csv\b/i.test(c.req.header('accept') ?? ''))) {
      return c.body(csv(data), 200, {
        'content-type': 'text/csv; charset=utf-8; header=present',
        'content-disposition': `attachment; filename="usage_${from}_${to}.csv"`,
      });
    }
    return c.json({ object: 'usage', from, to, group_by: by, data });
  });
}

const COLUMNS = ['day', 'key', 'jobs', 'succeeded', 'billed_seconds', 'cost_usd'] as const satisfies (keyof Line)[];

/** RFC 4180. No value needs quotes: days, ids of ours, and numbers. */
const csv = (lines: readonly Line[]): string =>
  [COLUMNS.join(','), ...lines.map((line) => COLUMNS.map((column) => line[column] ?? '').join(','))]
    .map((line) => `${line}\r\n`)
    .join('');
