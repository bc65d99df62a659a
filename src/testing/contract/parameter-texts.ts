import { z } from 'zod';
import type { Check } from './schemas.ts';

/**
 * Texts to send as a parameter, chosen by its schema in the OpenAPI document: its bounds, the values next to them, and texts that
 * parsers disagree about. Whether a text conforms is decided by the schema alone, never by the code under test.
 */

const bounds = z.object({
  format: z.string().default(''),
  enum: z.array(z.string()).default([]),
  items: z.object({ enum: z.array(z.string()).default([]) }).default({ enum: [] }),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  minLength: z.number().optional(),
  maxLength: z.number().optional(),
});

/** Some parsers read these as a number, others do not. */
const NUMBER_LIKE = [
  '0',
  '1',
  '101',
  '999',
  '1000',
  '',
  ' ',
  '-1',
  '+1',
  '007',
  '1.5',
  '1e1',
  '0x10',
  '1_0',
  '1,0',
  ' 1',
  '1 ',
  '٣',
  'NaN',
  'Infinity',
];
const WORDS = ['null', 'true', 'undefined', '[object Object]', '__proto__', '*', '%', '"x"', 'a b', 'é'];
/** As long as keys and cursors may be, and one more. */
const LONG = [200, 201, 255, 256].map((length) => 'x'.repeat(length));
const TIMES = [
  '2026-01-01T00:00:00Z',
  '2026-01-01T00:00:00.123456789Z',
  '2026-12-31T23:59:59+05:30',
  '2024-02-29T00:00:00-00:00',
  '2026-01-01t00:00:00z',
  '2026-01-01 00:00:00Z',
  '2026-06-30T23:59:60Z',
  '2026-01-01T00:00Z',
  '2026-01-01T00:00:00',
  '2026-01-01T24:00:00Z',
  '2026-02-29T00:00:00Z',
  '0000-01-01T00:00:00Z',
];
const DATES = [
  '2026-01-01',
  '2024-02-29',
  '2026-02-29',
  '2026-13-01',
  '2026-1-1',
  '1970-01-01',
  '1969-12-31',
  '0001-01-01',
];
const UUIDS = [
  '0192f0c1-7c3e-7d52-9a51-3f2a6f8f1c11',
  '0192F0C1-7C3E-7D52-9A51-3F2A6F8F1C11',
  '00000000-0000-0000-0000-000000000000',
  '12345678-1234-0234-c234-123456789012',
  '0192f0c17c3e7d529a513f2a6f8f1c11',
];

const FORMATTED: Readonly<Record<string, readonly string[]>> = { 'date-time': TIMES, date: DATES, uuid: UUIDS };

/** The texts for a parameter of this schema. */
export function textsFor(schema: unknown): string[] {
  const { minimum, maximum, minLength, maxLength, format, ...rest } = bounds.parse(schema);
  const near = [minimum, maximum].flatMap((bound) => (bound === undefined ? [] : [bound - 1, bound, bound + 1]));
  const lengths = [minLength, maxLength].flatMap((bound) =>
    bound === undefined ? [] : [bound - 1, bound, bound + 1].filter((length) => length >= 0),
  );
  const words = [...rest.enum, ...rest.items.enum];
  return [
    ...new Set([
      ...near.map(String),
      ...lengths.map((length) => 'x'.repeat(length)),
      ...words,
      ...words.map((word) => word.toUpperCase()),
      ...(words.length > 1 ? [words.slice(0, 2).join(','), `${words[0]},`, `${words[0]},nope`] : []),
      ...NUMBER_LIKE,
      ...WORDS,
      ...LONG,
      ...(FORMATTED[format] ?? []),
    ]),
  ];
}

const DECIMAL = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;
const kind = z.object({ type: z.union([z.string(), z.array(z.string())]).optional() });

/** Whether a text conforms to a parameter's schema, read as OpenAPI says: numbers in decimal digits, lists with commas (`style: form`). */
export function conforms(schema: unknown, check: Check, text: string): boolean {
  const { type } = kind.parse(schema);
  const types = [type].flat();
  const readings = [
    ...(types.includes('null') && text === 'null' ? [null] : []),
    ...(types.some((each) => each === 'integer' || each === 'number') && DECIMAL.test(text) ? [Number(text)] : []),
    ...(types.includes('array') ? [text.split(',')] : []),
    text,
  ];
  return readings.some((value) => check(value).length === 0);
}
