import { Validator, type OutputUnit, type Schema } from '@cfworker/json-schema';

/** JSON Schema 2020-12 as the OpenAPI document holds it, made strict: in an answer no field is taken that is not described. */

type Node = Record<string, unknown>;

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const ONE = ['items', 'additionalProperties', 'not', 'contains', 'propertyNames'];
const LIST = ['prefixItems', 'anyOf', 'oneOf'];
const NAMED = ['properties', 'patternProperties'];

const COMPONENTS = '#/components/schemas/';

/**
 * A schema as it is used in one place: objects in it are closed. What stands in an `allOf` stays open, because it describes only a
 * part; the whole is closed instead. `unevaluatedProperties` sees through references, so components can stay open.
 */
function closed(schema: unknown, part = false): unknown {
  if (!isNode(schema)) {
    return schema;
  }
  const made: Node = { ...schema };
  if (typeof made['$ref'] === 'string') {
    made['$ref'] = made['$ref'].replace(COMPONENTS, '#/$defs/');
  }
  for (const key of ONE) {
    if (key in made) {
      made[key] = closed(made[key]);
    }
  }
  // Alternatives describe the same object as what is around them; that one is closed.
  for (const key of LIST) {
    const list = made[key];
    if (Array.isArray(list)) {
      made[key] = list.map((each) => closed(each, key !== 'prefixItems'));
    }
  }
  if (Array.isArray(made['allOf'])) {
    made['allOf'] = made['allOf'].map((each) => closed(each, true));
  }
  for (const key of NAMED) {
    const named = made[key];
    if (isNode(named)) {
      made[key] = Object.fromEntries(Object.entries(named).map(([name, each]) => [name, closed(each)]));
    }
  }
  const shapes = ['properties', 'allOf', 'anyOf', 'oneOf', '$ref'].some((key) => key in made);
  return part || !shapes || 'additionalProperties' in made ? made : { ...made, unevaluatedProperties: false };
}

/** Finds what is wrong with a value; nothing, when it fits. Each text says where it is. */
export type Check = (value: unknown) => string[];

/** Checks of values against schemas that may refer to the document's components. */
export function strictChecks(components: Readonly<Record<string, unknown>>): (schema: unknown) => Check {
  const $defs = Object.fromEntries(Object.entries(components).map(([name, each]) => [name, closed(each, true)]));
  return (schema) => {
    const strict = closed(schema);
    // The library takes any object for a schema and ignores what it does not know, as JSON Schema asks.
    const root: Schema = { $id: 'https://contract.invalid/answer', ...(isNode(strict) ? strict : {}), $defs };
    const validator = new Validator(root, '2020-12', false);
    return (value) => {
      const { valid, errors } = validator.validate(value);
      return valid ? [] : told(errors);
    };
  };
}

/** Errors that only say that something further inside has one. */
const AROUND = new Set([
  '$ref',
  'properties',
  'items',
  'prefixItems',
  'allOf',
  'anyOf',
  'oneOf',
  'unevaluatedProperties',
]);

/**
 * What is worth telling of the library's errors. A schema that does not fit has evaluated none of its fields, so every one of them
 * counts as undescribed: that is told only when nothing else is wrong.
 */
function told(errors: readonly OutputUnit[]): string[] {
  const issues = errors.filter(({ keyword }) => !AROUND.has(keyword));
  const wrong = issues.filter(({ keyword }) => keyword !== 'false');
  const lines =
    wrong.length > 0
      ? wrong.map(({ instanceLocation, error }) => `${instanceLocation}: ${error}`)
      : issues.map(({ instanceLocation }) => `${instanceLocation}: this field is not described`);
  return lines.length > 0 ? [...new Set(lines)] : errors.map(({ error }) => error);
}
