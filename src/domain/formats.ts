import { z } from 'zod';

/**
 * Text formats in requests. Each schema is also its description in the OpenAPI document, with a `pattern`, because
 * generators and validators interpret `format` differently (RFC 3339 allows a lower-case "t" and leap seconds).
 */

const UUID = z.regexes.uuid();
export const uuidText = z.uuid({ error: 'must be a UUID' }).meta({ pattern: UUID.source });

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:[0-5]\d(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/;
/** A time with its offset from UTC, as `2026-11-01T00:00:00Z`. */
export const timestampText = z.iso
  .datetime({ offset: true, error: 'must be a time as 2026-11-01T00:00:00Z' })
  .meta({ pattern: RFC3339.source });

/** Days from 1970 to 9999: no job finished before 1970, and a date has four digits for the year. */
const SINCE_1970 = /^(?:19[7-9]\d|[2-9]\d{3})-\d{2}-\d{2}$/;
/** A day from 1970-01-01 on. */
export const dayText = z.iso
  .date({ error: 'must be a day as 2026-11-01' })
  .refine((text) => SINCE_1970.test(text), 'must not be before 1970-01-01')
  .meta({ pattern: SINCE_1970.source });
