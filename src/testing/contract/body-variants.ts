import { z } from 'zod';

/**
 * Bodies made from an accepted one. Each differs in one field: its value is at a bound of its schema, next to it, or of another
 * type, or its name is not in the schema. The schema alone decides whether a body conforms.
 */

type Path = readonly (string | number)[];
/** `field`: the pointer of the outermost field that differs. */
export type Variant = { field: string; pointer: string; value: unknown; body: unknown };

const schemaSchema = z.object({
  type: z.union([z.string(), z.array(z.string())]).optional(),
  format: z.string().optional(),
  enum: z.array(z.unknown()).optional(),
  anyOf: z.array(z.unknown()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  items: z.unknown().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  exclusiveMinimum: z.number().optional(),
  minLength: z.number().optional(),
  maxLength: z.number().optional(),
  minItems: z.number().optional(),
  maxItems: z.number().optional(),
});
type Schema = z.infer<typeof schemaSchema>;

const OF_EVERY_TYPE = [null, true, 1, 1.5, -1, '', 'x', '1', [], {}, ['x'], [null], { x: 1 }];

function valuesFor(schema: Schema): unknown[] {
  const { minimum, maximum, exclusiveMinimum, minLength, maxLength, minItems, maxItems, enum: words = [] } = schema;
  const item: Schema = schemaSchema.parse(schema.items ?? {});
  const [some = 'x'] = item.enum ?? [];
  const around = (bounds: (number | undefined)[]): number[] =>
    bounds.flatMap((bound) => (bound === undefined ? [] : [bound - 1, bound, bound + 1]));
  return [
    ...OF_EVERY_TYPE,
    ...words,
    ...around([minimum, maximum, exclusiveMinimum]),
    ...around([minLength, maxLength]).flatMap((length) => (length < 0 ? [] : ['x'.repeat(length)])),
    ...around([minItems, maxItems]).flatMap((length) => (length < 0 ? [] : [Array.from({ length }, () => some)])),
    ...(item.enum ?? []).map((word) => [word]),
    ...(schema.format === 'date-time' ? ['2126-01-01T00:00:00Z', '2126-01-01', '2126-01-01t00:00:00z'] : []),
  ];
}

/** Every variant of `base`, a body that conforms to `schema`. Fields that `base` lacks are added. */
export function variantsOf(schema: unknown, base: unknown): Variant[] {
  const made: Variant[] = [];
  const visit = (each: unknown, path: Path): void => {
    const parsed = schemaSchema.parse(each);
    const put = (value: unknown, at: Path = path): void => {
      made.push({ field: `#/${at[0]}`, pointer: `#/${at.join('/')}`, value, body: withValue(base, at, value) });
    };
    if (path.length > 0) {
      valuesFor(parsed).forEach((value) => put(value));
    }
    for (const alternative of parsed.anyOf ?? []) {
      visit(alternative, path);
    }
    if (parsed.properties !== undefined) {
      put('x', [...path, 'no_such_field']);
      for (const [name, field] of Object.entries(parsed.properties)) {
        visit(field, [...path, name]);
      }
    }
  };
  visit(schema, []);
  return made;
}

/** A copy with one value in another's place. */
function withValue(value: unknown, [step, ...rest]: Path, put: unknown): unknown {
  if (step === undefined) {
    return put;
  }
  const record = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  const inner = Object.entries(record).find(([name]) => name === step)?.[1];
  return { ...record, [step]: withValue(inner, rest, put) };
}
