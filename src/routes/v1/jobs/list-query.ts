import { z } from '@hono/zod-openapi';
import { STATUSES } from '../../../contract/job.ts';
import { timestampText, uuidText } from '../../../domain/formats.ts';
import { MAX_METADATA_KEY_CHARS, MAX_METADATA_VALUE_CHARS } from '../../../services/jobs/request.ts';
import type { JobFilters } from '../../../services/jobs/list.ts';
import { fail, ok, type Result } from '../../../domain/result.ts';
import type { Refusal } from '../../http/problem.ts';
import { pageFields, readListQuery } from '../page-query.ts';
import { listOf } from '../query-fields.ts';

/** Pairs a list can be narrowed to at once. Each costs a look per line. */
const MAX_METADATA_FILTERS = 4;
const METADATA = 'metadata.';
/** As long as the name of an endpoint may be (config/schema.ts). */
const MAX_ENDPOINT_CHARS = 63;

/** Query of `GET /v1/jobs`, besides `metadata.<name>=<value>`. */
export const jobListQuery = z.object({
  ...pageFields,
  status: listOf(STATUSES).optional(),
  endpoint: z.string().min(1).max(MAX_ENDPOINT_CHARS).optional(),
  key: uuidText.optional(),
  created_after: timestampText.transform(Date.parse).optional(),
  created_before: timestampText.transform(Date.parse).optional(),
});

type JobListQuery = { limit: number; cursor: string | null; filters: JobFilters };

/** What a list of jobs was asked for. `queries`: every value of every parameter. */
export function readJobListQuery(queries: Record<string, string[]>): Result<JobListQuery, Refusal> {
  // Said twice, a status means either; any other filter is one value.
  const once = Object.entries(queries).map(([name, values]) => [name, values.join(',')]);
  const asked = readListQuery(jobListQuery, Object.fromEntries(once));
  if (!asked.ok) {
    return asked;
  }
  const metadata = Object.entries(queries).flatMap(([name, values]) =>
    name.startsWith(METADATA) ? values.map((value) => [name.slice(METADATA.length), value] as const) : [],
  );
  if (metadata.length > MAX_METADATA_FILTERS) {
    return refused(`metadata: a list can be narrowed to ${MAX_METADATA_FILTERS} pairs`);
  }
  if (metadata.some(([name, value]) => !isPair(name, value))) {
    return refused(
      `metadata: a name has 1 to ${MAX_METADATA_KEY_CHARS} characters, a value at most ${MAX_METADATA_VALUE_CHARS}`,
    );
  }
  const { limit, cursor, status = [], endpoint = null, key = null, created_after, created_before } = asked.value;
  return ok({
    limit,
    cursor,
    filters: {
      statuses: status,
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

const refused = (detail: string): Result<never, Refusal> => fail({ code: 'invalid_parameter', detail });
