import { z } from '@hono/zod-openapi';

/**
 * Query parameters that are numbers or lists for a client. One definition gives the check and the schema in the OpenAPI
 * document, so that the two cannot differ.
 */

/** Decimal digits without a sign, a point, an exponent or leading zeros, as every client writes them. */
const WHOLE_NUMBER = /^(?:0|[1-9]\d{0,14})$/;

/** A whole number from `min` to `max`, in decimal digits. */
export const wholeNumber = ({ min, max, default: usual }: { min: number; max: number; default: number }) =>
  z
    .string()
    .regex(WHOLE_NUMBER, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(z.int().min(min).max(max))
    .default(usual)
    .openapi({ type: 'integer', minimum: min, maximum: max, default: usual });

/** One of these words, or several with commas between them. A repeated word counts once. */
export const listOf = <const T extends readonly string[]>(words: T) =>
  z
    .string()
    .transform((text) => [...new Set(text.split(','))])
    .pipe(z.array(z.enum(words)))
    .openapi({
      type: 'array',
      items: { type: 'string', enum: [...words] },
      param: { style: 'form', explode: false },
    });
