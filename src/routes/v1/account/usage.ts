import { z } from '@hono/zod-openapi';
import { usageByJob, usageLines, usageOf, type JobUsageRow } from '../../../services/account/usage.ts';
import { STATUSES } from '../../../contract/job.ts';
import { dayText } from '../../../domain/formats.ts';
import { DAY_MS, iso, isoDay } from '../../../lib/time.ts';
import { problem } from '../../http/problem.ts';
import { csvLine } from '../../http/csv.ts';
import { pageFields, pageOf, renderPage } from '../page.ts';
import { defineRoute, type Route, type V1Context } from '../route.ts';

/** Bounds the rows of a response. */
const MAX_DAYS = 366;
const DEFAULT_DAYS = 30;

const query = z.object({
  ...pageFields,
  from: dayText.optional(),
  to: dayText.optional(),
  group_by: z.enum(['day', 'key', 'day,key', 'key,day', 'job']).default('day'),
  format: z.enum(['json', 'csv']).optional(),
});

/** The requested days; by default the last thirty. */
function daysOf({ from, to }: Pick<z.infer<typeof query>, 'from' | 'to'>, now: number): Days | null {
  const last = to ?? isoDay(now);
  const first = from ?? isoDay(Date.parse(last) - (DEFAULT_DAYS - 1) * DAY_MS);
  const span = Date.parse(last) - Date.parse(first);
  return span < 0 || span >= MAX_DAYS * DAY_MS ? null : { from: first, to: last };
}

type Days = { from: string; to: string };

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

const jobLineSchema = z.object({
  job: z.string(),
  key: z.string(),
  endpoint: z.string(),
  status: z.enum(STATUSES),
  completed_at: z.iso.datetime({ precision: 3 }),
  billed_seconds: z.number(),
  cost_usd: z.number().nullable(),
  metadata: z.record(z.string(), z.string()),
});
type JobLine = z.infer<typeof jobLineSchema>;

const usageByJobSchema = z
  .object({
    object: z.literal('usage'),
    from: z.iso.date(),
    to: z.iso.date(),
    group_by: z.tuple([z.literal('job')]),
    ...pageOf(jobLineSchema).shape,
  })
  .openapi('UsageByJob');

/** `GET /v1/usage`: what the account used, by day, key, both, or job by job, as JSON or CSV. */
const getUsage = defineRoute({
  method: 'get',
  path: '/usage',
  access: { scope: 'usage:read' },
  operationId: 'getUsage',
  summary: 'Show what jobs used and cost, in sums or one by one',
  query,
  responses: {
    200: {
      description: 'Oldest first; a page of it where group_by is job, all of it as CSV',
      headers: ['Content-Disposition'],
      content: {
        'application/json': { schema: z.union([usageSchema, usageByJobSchema]) },
        'text/csv': { schema: z.string() },
      },
    },
  },
  async handle(c, { query: asked }) {
    const { format, group_by, limit, cursor = null } = asked;
    const days = daysOf(asked, c.var.context.clock());
    if (days === null) {
      const detail = `"from" must not be after "to", and at most ${MAX_DAYS} days before it.`;
      return problem(c, 'invalid_parameter', { detail });
    }
    const { context, caller } = c.var;
    const csv = format === 'csv' || (format === undefined && /^text\/csv\b/i.test(c.req.header('accept') ?? ''));
    if (group_by === 'job') {
      if (csv) {
        const detail = 'A CSV file has every job of the days. Remove "limit" and "cursor".';
        return cursor === null && c.req.query('limit') === undefined
          ? csvAnswer(c, days, JOB_COLUMNS, jobCells(usageLines(context, caller, days)))
          : problem(c, 'invalid_parameter', { detail });
      }
      const page = await usageByJob(context, caller, days, { limit, cursor });
      if (!page.ok) {
        return page;
      }
      return c.json({ object: 'usage', ...days, group_by: ['job'], ...renderPage(page.value, renderJobLine) });
    }
    const by = (['day', 'key'] as const).filter((each) => group_by.split(',').includes(each));
    const found = await usageOf(context, caller, { ...days, by });
    const data: Line[] = (found.ok ? found.value : []).map(({ gpu_ms, micro_usd, ...line }) => ({
      ...line,
      billed_seconds: gpu_ms / 1000,
      cost_usd: micro_usd / 1e6,
    }));
    return csv
      ? csvAnswer(c, days, COLUMNS, [data.map((line) => COLUMNS.map((column) => line[column]))])
      : c.json({ object: 'usage', ...days, group_by: by, data });
  },
});

export const usageRoutes: readonly Route[] = [getUsage];

const renderJobLine = ({ gpu_ms, micro_usd, completed_at, ...line }: JobUsageRow): JobLine => ({
  ...line,
  completed_at: iso(completed_at),
  billed_seconds: gpu_ms / 1000,
  cost_usd: micro_usd === null ? null : micro_usd / 1e6,
});

const COLUMNS = ['day', 'key', 'jobs', 'succeeded', 'billed_seconds', 'cost_usd'] as const satisfies (keyof Line)[];
const JOB_COLUMNS = [
  'job',
  'key',
  'endpoint',
  'status',
  'completed_at',
  'billed_seconds',
  'cost_usd',
  'metadata',
] as const satisfies (keyof JobLine)[];

type Cells = (string | number | null)[];

async function* jobCells(pages: AsyncIterable<JobUsageRow[]>): AsyncGenerator<Cells[]> {
  for await (const rows of pages) {
    yield rows.map((row) => {
      const line = { ...renderJobLine(row), metadata: JSON.stringify(row.metadata) };
      return JOB_COLUMNS.map((column) => line[column]);
    });
  }
}

/** A CSV file, sent as its rows are read. After an error it ends without its last chunk, which a client notices. */
function csvAnswer(
  c: V1Context,
  { from, to }: Days,
  columns: readonly string[],
  pages: AsyncIterable<Cells[]> | Iterable<Cells[]>,
): Response {
  const encoder = new TextEncoder();
  async function* file(): AsyncGenerator<Uint8Array> {
    yield encoder.encode(csvLine(columns));
    for await (const lines of pages) {
      yield encoder.encode(lines.map(csvLine).join(''));
    }
  }
  const parts = file();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const part = await parts.next();
      if (part.done === true) {
        controller.close();
      } else {
        controller.enqueue(part.value);
      }
    },
  });
  return c.body(body, 200, {
    'content-type': 'text/csv; charset=utf-8; header=present',
    'content-disposition': `attachment; filename="usage_${from}_${to}.csv"`,
  });
}
