import { z } from '@hono/zod-openapi';
import { STATUSES } from '../../../contract/job.ts';
import { timestampText, uuidText } from '../../../domain/formats.ts';
import type { Problem } from '../../../domain/problems.ts';
import { fail, ok, type Result } from '../../../domain/result.ts';
import type { JobFilters } from '../../../services/jobs/list.ts';
import { MAX_METADATA_KEY_CHARS, MAX_METADATA_VALUE_CHARS } from '../../../services/jobs/request.ts';
import { readQuery } from '../mount.ts';
import { pageFields } from '../page.ts';
import { listOf } from '../query-fields.ts';
import type { CustomQuery } from '../route.ts';

/** Filters by metadata that a list accepts at once. Each costs a read per row. */
const MAX_METADATA_FILTERS = 4;
const METADATA = 'metadata.';
/** The longest name of an endpoint (config/schema.ts). */
const MAX_ENDPOINT_CHARS = 63;

const fields = z.object({
  ...pageFields,
  status: listOf(STATUSES).optional(),
  endpoint: z.string().min(1).max(MAX_ENDPOINT_CHARS).optional(),
  key: uuidText.optional(),
  created_after: timestampText.transform(Date.parse).optional(),
  created_before: timestampText.transform(Date.parse).optional(),
});

type JobListQuery = { page: { limit: number; cursor: string | null }; filters: JobFilters };

/** Query of `GET /v1/jobs`. `metadata.<name>=<value>` may be repeated. */
export const jobListQuery: CustomQuery<JobListQuery> = {
  schema: fields.extend({
    'metadata.{name}': z
      .string()
      .optional()
      .openapi({ description: 'Jobs whose metadata has this value under this name; at most four such filters' }),
  }),
  read,
};

function read(queries: Record<string, string[]>): Result<JobListQuery, Problem> {
  // A repeated status means either of them; of any other filter a list is not a value.
  const once = Object.entries(queries).map(([name, values]) => [name, values.join(',')]);
  const asked = readQuery(fields, Object.fromEntries(once));
  if (!asked.ok) {
    return asked;
  }
  const metadata = Object.entries(queries).flatMap(([name, values]) =>
    name.startsWith(METADATA) ? values.map((value) => [name.slice(METADATA.length), value] as const) : [],
  );
  if (metadata.length > MAX_METADATA_FILTERS) {
    return refused(`A list accepts at most ${MAX_METADATA_FILTERS} "metadata" filters.`);
  }
  if (metadata.some(([name, value]) => !isPair(name, value))) {
    return refused(
      `A "metadata" name must have 1 to ${MAX_METADATA_KEY_CHARS} characters, and a value at most ${MAX_METADATA_VALUE_CHARS}.`,
    );
  }
  const { limit, cursor = null, status, endpoint = null, key = null, created_after, created_before } = asked.value;
  return ok({
    page: { limit, cursor },
    filters: {
      statuses: status ?? [],
      endpoint,
      key,
      created_after: created_after ?? null,
      created_before: created_before ?? null,
      metadata,
    },
  });
}

const isPair = (name: string, value: string): boolean =>
  name.length >= 1 && name.length <= MAX_METADATA_KEY_CHARS && value.length <= MAX_METADATA_VALUE_CHARS;

const refused = (detail: string): Result<never, Problem> => fail({ code: 'invalid_parameter', detail });
